"""Daemons of the local installation: started detached, found again, stopped; never someone else's.

A daemon is known by `run/NAME.pid`, which holds its pid, the time when the kernel started it, and the boot it belongs
to. Only a process that matches all three is ours, so a pid that was given out again is never taken for the daemon.
Where there is no such note, since the command that started the daemon was killed before it wrote one, the daemon is
known by its whole command line, in which the installation's home stands.
"""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from octoedge.errors import InstallError
from octoedge.store import durable

LOG_KEPT = 10 << 20
"""Bytes after which a log is set aside as NAME.log.1 when its daemon is started."""

SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
"""Where the field's own daemons live; not on the PATH of everyone who may use sudo."""


@dataclass(frozen=True, slots=True)
class Daemon:
    """A program that goes on when the command that started it has ended."""

    name: str
    command: tuple[str, ...]
    run: Path
    logs: Path
    environment: Mapping[str, str] = field(default_factory=dict)
    through: tuple[str, ...] = ()
    """A program that becomes this one after it has changed its surroundings, as nsenter does."""

    @property
    def log(self) -> Path:
        return self.logs / f"{self.name}.log"

    @property
    def pidfile(self) -> Path:
        return self.run / f"{self.name}.pid"

    def pid(self) -> int | None:
        """The pid of the running daemon, or None."""
        return self._noted() or next(iter(find_by_arguments(self.command)), None)

    def _noted(self) -> int | None:
        try:
            pid, started, boot = self.pidfile.read_text().split()
        except (FileNotFoundError, ValueError):
            return None
        if boot != boot_id() or start_time(int(pid)) != started:
            return None
        return int(pid)

    def start(self) -> int:
        """Start it in a session of its own, with its output in its log."""
        for folder in (self.run, self.logs):  # somebody may have deleted them since the installation was made
            folder.mkdir(parents=True, exist_ok=True)
        self._set_log_aside()
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                (*self.through, *self.command),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd="/",
                env=clean_environment(os.environ, self.environment),
                start_new_session=True,
            )
        # Nobody here will wait for it: without this, the interpreter warns about a child that outlives it.
        child.returncode = 0
        self._remember(child.pid)
        return child.pid

    def stop(self, grace: float) -> None:
        """Ask it to end, insist when `grace` seconds are over. Raises `InstallError` when even that fails."""
        while (pid := self.pid()) and (started := start_time(pid)):
            if not _end_or_kill(pid, started, grace):
                raise InstallError(f"{self.name} (pid {pid}) did not end even by SIGKILL; look at its kernel state.")
            # There may be another one, that no note tells of.
            self.pidfile.unlink(missing_ok=True)
        self.pidfile.unlink(missing_ok=True)

    def kill(self) -> None:
        """End it at once, as a crash would; only tests and measurements do that."""
        pid = self.pid()
        started = start_time(pid) if pid else None
        if pid and started and not _end(pid, started, signal.SIGKILL, 10):
            raise InstallError(f"{self.name} (pid {pid}) survived SIGKILL; look at its kernel state.")

    def last_words(self, lines: int = 5) -> str:
        """The end of its log, for an error message."""
        try:
            with self.log.open("rb") as log:
                log.seek(max(0, self.log.stat().st_size - 4096))
                text = log.read().decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def await_ready(self, ready: Callable[[], bool], seconds: float) -> None:
        """Wait until `ready()`; raises `InstallError` at once when the daemon ends, or when the time is over."""
        deadline = time.monotonic() + seconds
        while not ready():
            if self.pid() is None:
                raise InstallError(f"{self.name} ended after its start. {self.log} ends with:\n{self.last_words()}")
            if time.monotonic() > deadline:
                raise InstallError(
                    f"{self.name} runs but did not become ready in {seconds:.0f} s. {self.log} ends with:\n"
                    f"{self.last_words()}"
                )
            time.sleep(0.03)

    def _remember(self, pid: int) -> None:
        durable.write(self.pidfile, f"{pid} {start_time(pid)} {boot_id()}\n".encode(), 0o644)

    def _set_log_aside(self) -> None:
        if self.log.exists() and self.log.stat().st_size > LOG_KEPT:
            self.log.replace(self.log.with_suffix(".log.1"))


def start_time(pid: int) -> str | None:
    """The kernel's clock ticks at which the process began; None when there is none, or only its remains."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat[stat.rindex(")") + 2 :].split()
    return None if fields[0] in "ZX" else fields[19]


def boot_id() -> str:
    """Names this boot of the kernel."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def clean_environment(outer: Mapping[str, str], added: Mapping[str, str]) -> dict[str, str]:
    """What a daemon gets to see: no interpreter settings, no secrets of the shell that happened to start it."""
    kept = {name: outer[name] for name in ("HOME", "LANG", "LC_ALL", "TZ", "TMPDIR") if name in outer}
    path = outer.get("PATH", "/usr/local/bin:/usr/bin:/bin")
    return {**kept, "PATH": f"{path}:{SBIN}", "PYTHONUNBUFFERED": "1", **added}


def find_program(name: str) -> str | None:
    """The path of a program, looked for where daemons live too."""
    for folder in (os.environ.get("PATH", "") + ":" + SBIN + ":/usr/bin:/bin").split(":"):
        candidate = Path(folder or ".") / name
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return str(candidate)
    return None


def program(name: str) -> str:
    """One of our commands: beside the interpreter that runs this one."""
    return str(Path(sys.executable).parent / name)


def call(command: Sequence[str], timeout: float = 30) -> str:
    """Run a program to its end and return what it printed. Raises `InstallError` with its own words."""
    try:
        done = subprocess.run(
            [find_program(command[0]) or command[0], *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
    except FileNotFoundError as missing:
        raise InstallError(f"the program {command[0]} is not on this machine; `make up` installs it.") from missing
    except subprocess.TimeoutExpired as late:
        raise InstallError(f"`{' '.join(command)}` gave no answer in {timeout:.0f} s.") from late
    if done.returncode:
        words = (done.stderr or done.stdout).strip()
        raise InstallError(f"`{' '.join(command)}` failed with status {done.returncode}: {words}")
    return done.stdout


def kill_leftovers(mark: Sequence[str], grace: float = 2) -> int:
    """End every process whose arguments hold `mark` in a row (`-address SOCKET`); returns how many there were."""
    found = [(pid, start_time(pid)) for pid in find_by_arguments(mark)]
    for pid, started in found:
        if started:
            _end_or_kill(pid, started, grace)
    return len(found)


def find_by_arguments(mark: Sequence[str]) -> list[int]:
    """The processes whose arguments hold `mark` in a row."""
    return [pid for pid in _pids() if _has(_arguments(pid), list(mark)) and start_time(pid)]


def working_below(folder: Path) -> list[int]:
    """The processes, this one left out, whose arguments name something below a folder."""
    sign = f"{folder}/"
    return [pid for pid in _pids() if any(word.startswith(sign) for word in _arguments(pid)) and start_time(pid)]


def _pids() -> list[int]:
    return [int(entry) for entry in os.listdir("/proc") if entry.isdecimal() and int(entry) != os.getpid()]


def _arguments(pid: int) -> list[str]:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")
    except (FileNotFoundError, ProcessLookupError):
        return []


def _has(arguments: list[str], mark: list[str]) -> bool:
    return bool(mark) and any(arguments[at : at + len(mark)] == mark for at in range(len(arguments)))


def _end_or_kill(pid: int, started: str, grace: float) -> bool:
    return _end(pid, started, signal.SIGTERM, grace) or _end(pid, started, signal.SIGKILL, 5)


def _end(pid: int, started: str, how: signal.Signals, seconds: float) -> bool:
    """Signal the process that began at `started`, by a handle that stays its own, and wait for its end."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        if start_time(pid) != started:
            return True
        signal.pidfd_send_signal(handle, how)
        readable, _, _ = select.select([handle], [], [], seconds)
        return bool(readable)
    except ProcessLookupError:
        return True
    finally:
        os.close(handle)
