"""A system install as KubeEdge lays it out: /etc/kubeedge, /var/lib/kubeedge, /var/log/kubeedge, and units.

Everything may lie below another root (`--root DIR`), for tests and for several nodes on one machine; there, and where
no systemd runs, daemons are started detached instead of as units.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from octoedge.errors import InstallError
from octoedge.keadm.files import write
from octoedge.keadm.processes import Daemon, call, program

MOVED = ("/etc/kubeedge", "/var/lib/kubeedge", "/var/lib/kubelet", "/var/log/")
"""Where the paths begin that follow the root."""
SYSTEMD = Path("/run/systemd/system")


@dataclass(frozen=True, slots=True)
class Root:
    """Where a system install lives."""

    prefix: Path = Path("/")

    @property
    def is_system(self) -> bool:
        return self.prefix == Path("/")

    @property
    def etc(self) -> Path:
        return self.under("/etc/kubeedge")

    @property
    def edgecore_file(self) -> Path:
        return self.etc / "config" / "edgecore.yaml"

    @property
    def cloudcore_file(self) -> Path:
        return self.etc / "config" / "cloudcore.yaml"

    @property
    def kubeconfig(self) -> Path:
        """The administrator's, when the API is the embedded one."""
        return self.etc / "kubeconfig"

    @property
    def lib(self) -> Path:
        return self.under("/var/lib/kubeedge")

    @property
    def apiserver_data(self) -> Path:
        return self.lib / "apiserver"

    @property
    def log(self) -> Path:
        return self.under("/var/log/kubeedge")

    @property
    def run(self) -> Path:
        return self.under("/run/kubeedge")

    @property
    def has_systemd(self) -> bool:
        return self.is_system and SYSTEMD.is_dir()

    def under(self, path: str) -> Path:
        return self.prefix / path.lstrip("/")

    def moved(self, value: Any) -> Any:
        """Configuration with every path of KubeEdge's below this root."""
        if isinstance(value, dict):
            return {key: self.moved(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.moved(inner) for inner in value]
        if not isinstance(value, str) or self.is_system:
            return value
        scheme, found, path = value.rpartition("unix://")
        if not path.startswith(MOVED):
            return value
        end = "/" if path.endswith("/") else ""
        return f"{scheme}{found}{self.under(path)}{end}"

    def make_folders(self) -> str:
        """For root only: tokens, keys and Secrets will lie in them. Returns which there are."""
        for folder in (self.etc, self.etc / "config", self.lib, self.log, self.run):
            folder.mkdir(parents=True, exist_ok=True)
            folder.chmod(0o700)
        return f"{self.etc} {self.lib} {self.log}"


@dataclass(frozen=True, slots=True)
class Service:
    """A daemon of a system install: a unit where systemd runs, else a detached process."""

    name: str
    command: tuple[str, ...]
    root: Root

    @property
    def daemon(self) -> Daemon:
        return Daemon(self.name, self.command, self.root.run, self.root.log)

    @property
    def unit(self) -> Path:
        return Path("/etc/systemd/system", f"{self.name}.service")

    def runs(self) -> bool:
        if not self.root.has_systemd:
            return self.daemon.pid() is not None
        return call(("systemctl", "show", "--property=ActiveState", "--value", self.name)).strip() == "active"

    def start(self) -> str:
        """Start it, now and where possible at each boot; returns what there is to tell. Raises `InstallError`."""
        if not self.root.has_systemd:
            self.root.make_folders()
            self.daemon.stop(10)
            pid = self.daemon.start()
            return f"pid {pid}, log {self.daemon.log}; without systemd it must be started at boot by: {self.line()}"
        write(self.unit, unit(self.name, self.line()))
        self.unit.chmod(0o644)
        call(("systemctl", "daemon-reload"))
        call(("systemctl", "enable", "--quiet", self.name))
        call(("systemctl", "restart", self.name))
        return f"unit {self.unit}; `journalctl -u {self.name}` shows its log"

    def stop(self) -> None:
        """End it for good; fine when it does not run. Raises `InstallError`."""
        if not self.root.has_systemd:
            self.daemon.stop(10)
        elif self.unit.exists():
            call(("systemctl", "disable", "--quiet", "--now", self.name), 60)
            self.unit.unlink()
            call(("systemctl", "daemon-reload"))

    def await_ready(self, ready: Callable[[], bool], seconds: float, what: str) -> None:
        """Wait for it. Raises `InstallError` with the last words: when time is over, or it is known to have ended."""
        deadline = time.monotonic() + seconds
        while not ready():
            # A unit is started again and again; a detached process is not.
            if not self.root.has_systemd and not self.runs():
                raise InstallError(f"{self.name} ended. Its log ends with:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise InstallError(f"{what} after {seconds:.0f} s. The log ends with:\n{self.last_words()}")
            time.sleep(0.05)

    def line(self) -> str:
        return " ".join(self.command)

    def last_words(self) -> str:
        """The end of its log, for an error message."""
        if not self.root.has_systemd:
            warnings = [line for line in self.daemon.last_words(200).splitlines() if " W " in line or " E " in line]
            return "\n".join([*warnings[-1:], self.daemon.last_words()])
        try:
            return call(("journalctl", "--no-pager", "-n", "5", "-o", "cat", "-u", self.name)).strip()
        except InstallError as problem:
            return str(problem)


def edgecore(root: Root) -> Service:
    return Service("edgecore", (program("edgecore"), "--config", str(root.edgecore_file)), root)


def cloudcore(root: Root) -> Service:
    return Service("cloudcore", (program("cloudcore"), "--config", str(root.cloudcore_file)), root)


def apiserver(root: Root, *options: str) -> Service:
    """The embedded API."""
    command = (program("octoedge"), "apiserver", "--data-dir", str(root.apiserver_data), *options)
    return Service("octoedge-apiserver", command, root)


def unit(name: str, line: str) -> str:
    """As KubeEdge's, section 11: pods outlive a restart of their agent (`KillMode=process`)."""
    return (
        f"[Unit]\nDescription={name}.service\n\n"
        f"[Service]\nType=simple\nExecStart={line}\nRestart=always\nRestartSec=10\nKillMode=process\n\n"
        "[Install]\nWantedBy=multi-user.target\n"
    )
