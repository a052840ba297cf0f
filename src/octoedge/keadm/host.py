"""Is this machine fit? Everything is looked at before anything is changed, and all that is wrong is said at once."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import socket
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from octoedge.keadm.layout import Layout

NEEDED_SPACE = 1 << 30
"""Bytes that packages, images and databases may take together; measured: 0.4 GiB."""
PYTHON = (3, 11)


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that keeps the installation from going on."""

    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.what}\n    → {self.remedy}"


@dataclass(frozen=True, slots=True)
class Listener:
    """A port that a daemon of ours needs, on TCP."""

    port: int
    daemon: str
    address: str = "0.0.0.0"  # noqa: S104 - asked for, not listened on


def listeners(layout: Layout) -> list[Listener]:
    """What the installation will listen on; the broker is left out, since one that is there is used."""
    ports = layout.ports
    return [
        Listener(ports.apiserver, "apiserver"),
        Listener(ports.cloudhub, "cloudcore"),
        Listener(ports.certificates, "cloudcore"),
        Listener(ports.stream, "cloudcore"),
        Listener(ports.tunnel, "cloudcore"),
        Listener(ports.monitor, "cloudcore", "127.0.0.1"),
    ]


def check_system() -> list[Problem]:
    """The kind of system, and who we are on it."""
    found = []
    if platform.system() != "Linux":
        found.append(
            Problem(f"this is {platform.system()}", "an edge node needs Linux; use a Debian or Ubuntu machine")
        )
    if sys.version_info < PYTHON:
        found.append(Problem(f"Python is {platform.python_version()}", "install Python 3.11 or newer"))
    if os.geteuid() != 0 and shutil.which("sudo") is None:
        found.append(Problem("you are not root, and there is no sudo", "run it as root, or install sudo"))
    return found


def check_space(layout: Layout) -> list[Problem]:
    """Room for the data, below the nearest folder that exists."""
    folder = next(parent for parent in (layout.home, *layout.home.parents) if parent.exists())
    if not os.access(folder, os.W_OK) and os.geteuid() == 0:
        return [Problem(f"{folder} cannot be written", "set OCTOEDGE_HOME to a folder on a writable disk")]
    free = shutil.disk_usage(folder).free
    if free >= NEEDED_SPACE or layout.settings.exists():
        return []
    return [
        Problem(
            f"{folder} has {free >> 20} MiB left; {NEEDED_SPACE >> 20} MiB are needed",
            "make room, or set OCTOEDGE_HOME to a folder on a larger disk",
        )
    ]


def check_ports(layout: Layout, running: Iterable[str]) -> list[Problem]:
    """Every port is free, or held by the daemon of ours that is to have it."""
    ours = set(running)
    wanted = [listener for listener in listeners(layout) if listener.daemon not in ours]
    return [
        Problem(
            f"port {listener.port} ({listener.daemon}) is taken{holder(listener.port)}",
            "stop what holds it, or shift all ports: `octoedge up --port-offset 1000`",
        )
        for listener in wanted
        if not is_free(listener)
    ]


def is_free(listener: Listener) -> bool:
    """Whether the port could be listened on right now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.address, listener.port))
        except OSError:
            return False
    return True


def holder(port: int) -> str:
    """` by NAME (pid N)`, as far as we are allowed to see."""
    inodes = _listening_inodes(port)
    for entry in filter(str.isdecimal, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            if inodes & set(_open_files(entry)):
                return f" by {Path(f'/proc/{entry}/comm').read_text().strip()} (pid {entry})"
    return ""


def _open_files(pid: str) -> Iterator[str]:
    for number in os.listdir(f"/proc/{pid}/fd"):
        with contextlib.suppress(FileNotFoundError):
            yield os.readlink(f"/proc/{pid}/fd/{number}")


def _listening_inodes(port: int) -> set[str]:
    inodes = set()
    for table in ("/proc/net/tcp", "/proc/net/tcp6"):
        for line in Path(table).read_text().splitlines()[1:]:
            fields = line.split()
            if fields[3] == "0A" and int(fields[1].rpartition(":")[2], 16) == port:
                inodes.add(f"socket:[{fields[9]}]")
    return inodes
