"""A daemon as a step: it runs and answers; taken back, it has ended."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from octoedge.errors import ConfigError, InstallError
from octoedge.keadm.processes import Daemon

READY = 60.0
"""Seconds that a daemon gets until it serves; generous, for slow cards and busy machines."""
PATIENCE = 10.0
"""Seconds that a daemon which runs but does not serve gets before it is started anew."""
GRACE = 15.0
"""Seconds that a daemon gets to end by itself."""


@dataclass(frozen=True, slots=True)
class Running:
    """A daemon that runs and answers."""

    title: str
    daemon: Daemon
    ready: Callable[[], bool]
    settings: Path | None = None
    """A file that it reads when it starts: one that began before the file changed is started anew."""
    judge: Callable[[Path], object] = lambda _: None
    """Raises `ConfigError` when the settings will not do."""

    def check(self) -> bool:
        return self.daemon.pid() is not None and not self._is_outdated() and self.ready()

    def do(self) -> str:
        why = f"{self.settings} has changed, " if self._is_outdated() else ""
        if why and self.settings is not None:
            self._judge(self.settings)
        if why or not self._recovers():
            self.daemon.stop(GRACE)
            self.daemon.start()
            self.daemon.await_ready(self.ready, READY)
        return f"{why}pid {self.daemon.pid()}, log {self.daemon.log}"

    def _judge(self, settings: Path) -> None:
        """Nobody is stopped for settings with which nobody can start."""
        try:
            self.judge(settings)
        except ConfigError as error:
            raise InstallError(f"{error}. {self.daemon.name} goes on with what it read before.") from error

    def _is_outdated(self) -> bool:
        if self.settings is None or self.daemon.pid() is None:
            return False
        try:
            return self.settings.stat().st_mtime_ns > self.daemon.pidfile.stat().st_mtime_ns
        except FileNotFoundError:
            return False

    def _recovers(self) -> bool:
        """Whether one that runs already comes to serve; one that does not is started anew."""
        try:
            if self.daemon.pid() is not None:
                self.daemon.await_ready(self.ready, PATIENCE)
                return True
        except InstallError:
            pass
        return False

    def undo(self) -> None:
        self.daemon.stop(GRACE)
