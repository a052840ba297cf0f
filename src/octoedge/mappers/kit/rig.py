"""A device to test a mapper with: what it is described as, what it really has, and how it is spoilt."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar

_CHUNK = 64 * 1024


@dataclass(frozen=True, slots=True)
class Point:
    """One property of the device, as its DeviceModel and Device name it."""

    name: str
    type: str
    """INT, FLOAT, DOUBLE, STRING, BOOLEAN or BYTES."""
    visitor: Mapping[str, Any] = field(default_factory=dict)
    writable: bool = False
    minimum: str = ""
    maximum: str = ""
    wishes: tuple[str, ...] = ()
    """Two or more values that it may be set to; empty: the kit does not set it."""


class Rig:
    """Subclass it with `protocol=`; this one is a device that cannot be spoilt."""

    protocol: ClassVar[str] = ""
    points: tuple[Point, ...] = ()
    spoils: ClassVar[frozenset[str]] = frozenset()
    """Of slow, absent, nonsense, deaf: what it can do."""
    many: int = 1000
    """So many devices the check of a thousand uses; say why when fewer."""
    most: int | None = None
    """So many of them can be connected at a time, where a radio or a gateway sets a limit; the others must be said to
    be offline. None: all."""

    def __init_subclass__(cls, protocol: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.protocol = protocol or cls.protocol

    def settings(self, number: int) -> dict[str, Any]:  # noqa: ARG002 - for those who need it
        """`protocol.configData` of the device of this number; devices may be one and the same."""
        return {}

    def environment(self) -> dict[str, str]:
        """What the mapper's process gets on top of the environment."""
        return {}

    async def run(self, ready: asyncio.Event) -> None:
        """Play the device until cancelled."""
        ready.set()
        await asyncio.Event().wait()

    async def value(self, name: str) -> str | None:
        """What the device really has; None: nobody knows."""
        del name
        return None

    async def there(self, there: bool) -> None:
        """Be reachable or not (`absent`)."""
        raise NotImplementedError

    def late(self, seconds: float) -> None:
        """Answer so late (`slow`)."""
        raise NotImplementedError

    def wrong(self, wrong: bool) -> None:
        """Answer nonsense (`nonsense`)."""
        raise NotImplementedError

    def deaf(self, deaf: bool) -> None:
        """Take what is written, and ignore it (`deaf`)."""
        raise NotImplementedError


class TcpRig(Rig):
    """A device behind a TCP port, with weather before it: what it sends is late, wrong, or does not come at all."""

    spoils = frozenset({"slow", "absent", "nonsense"})

    def __init__(self) -> None:
        self.port, self._hidden = free_port(), free_port()
        self._delay = 0.0
        self._changed = asyncio.Event()
        self._wrong = False
        self._listening: asyncio.Server | None = None
        self._group: asyncio.TaskGroup | None = None
        self._connections: set[asyncio.Task[None]] = set()

    async def serve(self, port: int, ready: asyncio.Event) -> None:
        """Play the device at this port of the loopback until cancelled."""
        raise NotImplementedError

    async def run(self, ready: asyncio.Event) -> None:
        """Play the device, and the weather."""
        inside = asyncio.Event()
        async with asyncio.TaskGroup() as self._group:
            self._group.create_task(self.serve(self._hidden, inside), name="device")
            await inside.wait()
            await self.there(True)
            ready.set()
            try:
                await asyncio.Event().wait()
            finally:
                await self.there(False)

    async def there(self, there: bool) -> None:
        """Listen, or refuse and end what is open."""
        if there and self._listening is None:
            self._listening = await asyncio.start_server(self._carry, "127.0.0.1", self.port)
        elif not there and self._listening is not None:
            self._listening.close()
            self._listening = None
            for task in list(self._connections):
                task.cancel()

    def late(self, seconds: float) -> None:
        """Everything takes so long more."""
        self._delay = seconds
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def wrong(self, wrong: bool) -> None:
        """Random bytes go back in place of the device's."""
        self._wrong = wrong

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._group is None or self._listening is None:
            writer.close()
            return
        task = self._group.create_task(self._connection(reader, writer), name="weather")
        self._connections.add(task)
        task.add_done_callback(self._connections.discard)

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.closing(writer), contextlib.suppress(OSError):
            inner_reader, inner = await asyncio.open_connection("127.0.0.1", self._hidden)
            with contextlib.closing(inner):
                async with asyncio.TaskGroup() as group:
                    ways = (self._copy(reader, inner, back=False), self._copy(inner_reader, writer, back=True))
                    tasks = [group.create_task(way, name="weather one way") for way in ways]
                    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
                    for task in tasks:
                        task.cancel()

    async def _copy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, back: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._wait()
                writer.write(os.urandom(len(data)) if back and self._wrong else data)
                await writer.drain()

    async def _wait(self) -> None:
        """Until what was read is old enough; a delay that is taken back counts at once."""
        began = asyncio.get_running_loop().time()
        while (left := self._delay - (asyncio.get_running_loop().time() - began)) > 0:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._changed.wait()


def free_port() -> int:
    """A port of the loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
