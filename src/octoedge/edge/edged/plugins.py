"""Plugins that the kubelet looks for: a driver puts a socket into <root>/plugins_registry and is asked who it is.

    new socket ──GetInfo──► handler of its type (CSIPlugin, DevicePlugin) ──► NotifyRegistrationStatus
    socket gone ──► handler.unregister

A socket that gives no answer is asked again, less and less often.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from octoedge.edge.edged.layout import make_private
from octoedge.errors import OctoedgeError
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce
from octoedge.transport.grpc import Channel

if TYPE_CHECKING:
    from octoedge.edge.edged.csiapi import PluginInfo

log = logging.getLogger(__name__)

_LOOK = 2.0
_SECONDS = 10.0
_FIRST, _LONGEST = 2.0, 120.0


class PluginHandler(Protocol):
    """What takes plugins of one type."""

    async def register(self, name: str, endpoint: Path, versions: tuple[str, ...]) -> None:
        """Take one in, or anew. Raises `OctoedgeError` when it cannot be used; the plugin is told why."""
        ...

    def unregister(self, name: str) -> None:
        """It has left."""
        ...


class _Socket:
    """What is known of one socket."""

    def __init__(self, identity: tuple[int, int]) -> None:
        self.identity = identity
        self.backoff = Backoff(_FIRST, _LONGEST)
        self.next = float("-inf")
        """Loop time from which it is to be asked."""
        self.info: PluginInfo | None = None


class Plugins:
    """Watches the directory of registration sockets."""

    def __init__(self, folder: Path, handlers: Mapping[str, PluginHandler]) -> None:
        self._folder = folder
        self._handlers = handlers
        self._sockets: dict[Path, _Socket] = {}
        self._said = SaidOnce(log)

    async def run(self) -> None:
        """Look for sockets until cancelled."""
        make_private(self._folder)
        while True:
            await self.look()
            await asyncio.sleep(_LOOK)

    async def look(self) -> None:
        """Take in what has come, let go what has left."""
        found = _sockets(self._folder)
        for path in [path for path, known in self._sockets.items() if found.get(path) != known.identity]:
            self._leave(path, self._sockets.pop(path), came_anew=path in found)
        now = asyncio.get_running_loop().time()
        for path, identity in found.items():
            self._sockets.setdefault(path, _Socket(identity))
        due = [(path, one) for path, one in self._sockets.items() if one.info is None and one.next <= now]
        await asyncio.gather(*(self._ask(path, one) for path, one in due))

    def _leave(self, path: Path, known: _Socket, *, came_anew: bool) -> None:
        # A driver that has started again keeps its volumes; its new socket is asked at once.
        if known.info is not None and not came_anew:
            self._handlers[known.info.type].unregister(known.info.name)
        self._said.over(path.name, "is gone")

    async def _ask(self, path: Path, known: _Socket) -> None:
        from octoedge.edge.edged import csiapi as c

        channel = Channel(str(path))
        try:
            info = c.CODEC.decode(await channel.unary(c.GET_INFO, b"", _SECONDS), c.PluginInfo)
            error = await self._take(path, info)
            status = c.RegistrationStatus(not error, error)
            await channel.unary(c.NOTIFY, c.CODEC.encode(status, c.RegistrationStatus), _SECONDS)
            if error:
                raise c.CsiError(error)
        except OctoedgeError as failed:
            known.next = asyncio.get_running_loop().time() + known.backoff.next()
            self._said.trouble(path.name, f"the plugin cannot be registered: {failed}; it is asked again")
            return
        finally:
            channel.close()
        known.info = info
        self._said.over(path.name, f"{info.type} {info.name} is registered")

    async def _take(self, path: Path, info: PluginInfo) -> str:
        """Why the plugin cannot be used; empty when it can."""
        handler = self._handlers.get(info.type)
        if handler is None:
            return f"plugins of type {info.type!r} are not used here, only {', '.join(self._handlers)}"
        if not info.name:
            return "the plugin gives no name"
        try:
            await handler.register(info.name, Path(info.endpoint or path), info.versions)
        except OctoedgeError as error:
            return str(error)
        return ""


def _sockets(folder: Path) -> dict[Path, tuple[int, int]]:
    """Each socket, and what changes when another takes its place."""
    found: dict[Path, tuple[int, int]] = {}
    try:
        names = os.listdir(folder)
    except OSError:
        return found
    for name in sorted(names):
        try:
            about = (folder / name).stat()
        except OSError:
            continue
        if not name.startswith(".") and stat.S_ISSOCK(about.st_mode):
            found[folder / name] = (about.st_ino, about.st_mtime_ns)
    return found
