"""A mapper put together: its socket for EdgeCore, its devices, its reports, its REST door."""

from __future__ import annotations

import asyncio
import importlib.util
import logging
import re
import sys
from dataclasses import dataclass
from importlib.machinery import SourceFileLoader
from importlib.metadata import entry_points
from pathlib import Path
from types import CodeType
from typing import Self, TypeVar

from octoedge.dmi import messages as m
from octoedge.dmi.services import mapper_methods
from octoedge.errors import ConfigError, StoreError, first_of
from octoedge.mappers.framework.edgecore import EdgeCore
from octoedge.mappers.framework.mapper import ENTRY_POINTS, Mapper, protocol
from octoedge.mappers.framework.panel import Panel
from octoedge.runtime.clock import Clock, SystemClock
from octoedge.store.lock import Lock
from octoedge.transport.grpc_server import serving
from octoedge.version import VERSION

T = TypeVar("T")

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0
"""How often the mapper's file is looked at."""
TURN_SECONDS = 0.5
"""How often a mapper whose place is taken tries again."""
_SOCKET_MODE = 0o600
_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,62}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Settings:
    """How a mapper runs on this machine."""

    edgecore: Path = Path("/etc/kubeedge/dmi.sock")
    socket: Path | None = None
    """Where EdgeCore finds the mapper; beside EdgeCore's own socket when not set."""
    name: str = ""
    """Under which EdgeCore knows it; `<protocol>-mapper` when empty."""
    http_host: str = "127.0.0.1"
    http_port: int = 7777
    """Of the REST door; 0: none."""
    file: Path | None = None
    """The mapper's own; it is loaded again when it changes. None: it does not change."""


async def serve(mapper: Mapper, settings: Settings, clock: Clock | None = None) -> None:
    """Run a mapper until cancelled. Raises `ConfigError`."""
    clock = clock or SystemClock()
    if not mapper.protocol:
        raise ConfigError(
            f'{type(mapper).__name__} names no protocol: class {type(mapper).__name__}(Mapper, protocol="…")'
        )
    name = settings.name or f"{mapper.protocol}-mapper"
    if not _NAME.fullmatch(name):
        raise ConfigError(f"the mapper's name {name[:80]!r} is not 1 to 63 letters, digits and the signs - _ .")
    socket = (settings.socket or settings.edgecore.with_name(f"{name}.sock")).absolute()
    info = m.MapperInfo(name, f"octoedge {VERSION}", "v1beta1", mapper.protocol, str(socket).encode(), "ok")
    panel = Panel(mapper, clock)
    edgecore = EdgeCore(settings.edgecore, info, panel.take)
    why: BaseException | None = None
    try:
        with _Place(socket) as place:
            async with asyncio.TaskGroup() as group:
                if settings.http_port:
                    group.create_task(_door(panel, edgecore, clock, settings, patient=not place.taken), name="REST")
                group.create_task(_work(place, panel, edgecore, settings.file), name="mapper")
    except* ConfigError as errors:
        why = first_of(errors)  # Python 3.11.2 wraps what is raised in here
    if why is not None:
        raise why from None


class _Place:
    """Of two mappers with one socket the first works; the other waits until it ends, in whatever way."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._lock = Lock(socket.with_suffix(".lock"))
        self.taken = self._take()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._lock.release()

    async def take(self) -> None:
        """Return when it is this mapper's turn. Raises `ConfigError`."""
        if not self.taken:
            log.warning("another mapper serves %s; this one waits until it ends", self.socket)
        while not self.taken:
            await asyncio.sleep(TURN_SECONDS)
            self.taken = self._take()

    def _take(self) -> bool:
        try:
            self._lock.take()
        except StoreError:
            return False
        except OSError as error:
            raise ConfigError(f"cannot listen on {self.socket}: {error}") from error
        return True


async def _work(place: _Place, panel: Panel, edgecore: EdgeCore, file: Path | None) -> None:
    await place.take()
    async with serving(place.socket, _SOCKET_MODE, mapper_methods(panel)), asyncio.TaskGroup() as group:
        group.create_task(panel.run(edgecore, edgecore.forget), name="devices")
        group.create_task(edgecore.run(), name="EdgeCore")
        if file is not None:
            group.create_task(_reload(file, panel), name="reload")


async def _door(panel: Panel, edgecore: EdgeCore, clock: Clock, settings: Settings, *, patient: bool) -> None:
    """REST, also for a mapper that waits for its place; its port may be the other's, so that one is patient."""
    from octoedge.mappers.framework.rest import Rest

    while True:
        try:
            await Rest(panel, edgecore, clock).serve(settings.http_host, settings.http_port)
        except ConfigError:
            if not patient:
                raise
        await asyncio.sleep(TURN_SECONDS)


async def _reload(file: Path, panel: Panel) -> None:
    """Whenever the file changes the devices go on with what it holds then, unless that is no mapper."""
    seen = _written(file)
    while True:
        await asyncio.sleep(LOOK_SECONDS)
        now = _written(file)
        if now in (seen, None):
            continue
        seen = now
        try:
            mapper = load(str(file))
            if mapper.protocol != panel.protocol:
                raise ConfigError(f"it is for {mapper.protocol} now, not for {panel.protocol}; start the mapper again")
        except ConfigError as error:
            log.error("%s changed; the mapper goes on as it was: %s", file, error)
        else:
            log.info("%s changed; all devices go on with it", file)
            panel.swap(mapper)


def _written(file: Path) -> tuple[int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size


def load(what: str) -> Mapper:
    """The mapper in a Python file, or the one that an installed protocol makes by itself. Raises `ConfigError`."""
    path = Path(what)
    if path.suffix != ".py":
        if protocol(what) is None:
            names = ", ".join(sorted({entry.name for entry in entry_points(group=ENTRY_POINTS)}))
            raise ConfigError(f"{what!r} is neither a Python file nor an installed protocol ({names})")
        made: type[Mapper] = type(what.capitalize(), (Mapper,), {"protocol": what})
        return made()
    found = [one for one in subclasses(path, Mapper) if one.protocol]
    if len(found) != 1:
        names = ", ".join(one.__name__ for one in found) or "none"
        raise ConfigError(f"{path} must hold one subclass of Mapper with a protocol; it holds {names}")
    try:
        return found[0]()
    except Exception as error:
        raise ConfigError(f"{path} cannot be used: {found[0].__name__}(): {type(error).__name__}: {error}") from error


class _Fresh(SourceFileLoader):
    """Compiles each time: Python's cache takes two versions of one second and one length for the same, for good."""

    def get_code(self, fullname: str) -> CodeType:  # noqa: ARG002 - the name is importlib's
        return self.source_to_code(self.get_data(self.path), self.path)


def subclasses(path: Path, of: type[T]) -> list[type[T]]:
    """Those that a Python file defines itself. Raises `ConfigError` when it cannot be loaded."""
    name = f"octoedge_mapper_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path, loader=_Fresh(name, str(path)))
    if spec is None or spec.loader is None or not path.is_file():
        raise ConfigError(f"there is no Python file {path}")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ConfigError(f"{path} cannot be loaded: {type(error).__name__}: {error}") from error
    own = [one for one in vars(module).values() if isinstance(one, type) and one.__module__ == spec.name]
    return [one for one in own if issubclass(one, of)]
