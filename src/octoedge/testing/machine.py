"""A machine of its own on this one: processes, network, mounts and /run apart, the disk shared. It can lose its power.

    unshare ─► process 1 (mounts /proc, /sys, /run anew, then sleeps) ◄─ nsenter ─ commands

When process 1 is killed, the kernel ends all that runs in it and takes its network and mounts, as when the power fails.
What is on the disk stays. The machine has a loopback and whatever link a test gives it, which leads nowhere.
"""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from octoedge.testing.eventually import eventually

# cgroups are the kernel's; they are kept as they are, while /sys is mounted anew to show the machine's own network.
BOOT = """
set -e
kept=$(mktemp -d /tmp/octoedge-cgroup.XXXXXX)
mount --rbind /sys/fs/cgroup "$kept"
mount -t sysfs sysfs /sys
mount --rbind "$kept" /sys/fs/cgroup
umount -l "$kept"
rmdir "$kept"
mount -t tmpfs tmpfs /run
printf 'nameserver 192.0.2.53\\n' > /run/resolv.conf
mount --bind /run/resolv.conf /etc/resolv.conf
ip link set lo up
touch /run/booted
exec sleep infinity
"""
LINK, ADDRESS = "up0", "192.0.2.10"


@dataclass(frozen=True, slots=True)
class Machine:
    """One that is switched on; `pid` is its process 1, as seen from outside."""

    pid: int

    @property
    def through(self) -> tuple[str, ...]:
        """The words before a command that is to run in it."""
        return ("nsenter", f"--target={self.pid}", "--net", "--mount", "--pid", "--")

    def call(self, *command: str) -> str:
        """Run a program in it. Raises `CalledProcessError`."""
        return subprocess.run((*self.through, *command), check=True, capture_output=True, text=True, timeout=60).stdout

    def plug_in(self) -> None:
        """A link with an address and a default route; nobody is at its other end."""
        for words in (
            ("link", "add", LINK, "type", "veth", "peer", "name", f"{LINK}far"),
            ("link", "set", f"{LINK}far", "up"),
            ("address", "add", f"{ADDRESS}/24", "dev", LINK),
            ("link", "set", LINK, "up"),
            ("route", "add", "default", "via", "192.0.2.1"),
        ):
            self.call("ip", *words)

    def unplug(self) -> None:
        """Only the loopback is left, and what the installation made."""
        self.call("ip", "link", "delete", LINK)


@contextmanager
def boot() -> Iterator[Machine]:
    """A machine, until its power fails at the end of the context."""
    command = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c", BOOT)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL) as unshare:
        pid = 0
        try:
            pid = eventually(lambda: _child(unshare.pid), within=10)
            machine = Machine(pid)
            eventually(lambda: Path(f"/proc/{pid}/root/run/booted").exists(), within=10)
            yield machine
        finally:
            if pid:
                os.kill(pid, signal.SIGKILL)
            unshare.kill()
    deadline = time.monotonic() + 10
    while pid and Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
        time.sleep(0.02)


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0
