"""Many watchers in one process, as cheap as they can be: they count lines and note when each came."""

from __future__ import annotations

import asyncio
import time
import urllib.parse
from dataclasses import dataclass, field
from typing import cast

from octoedge.commands.bench.world import DEADLINE
from octoedge.errors import DeadlineError
from octoedge.kube.access import Access


@dataclass(slots=True)
class Audience:
    """What all watchers have seen together."""

    size: int
    answered: int = 0
    lines: int = 0
    moments: list[float] = field(default_factory=list)
    """When each line came, by the monotonic clock."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def until(self, lines: int) -> None:
        """Wait until so many lines came in total."""
        try:
            async with asyncio.timeout(DEADLINE):
                while self.lines < lines or self.answered < self.size:
                    self.changed.clear()
                    await self.changed.wait()
        except TimeoutError as error:
            text = f"{self.size} watchers saw {self.lines} of {lines} events in {DEADLINE:.0f} s"
            raise DeadlineError(text) from error


class Watcher(asyncio.Protocol):
    """One watch on a connection of its own; its lines are counted, not read."""

    def __init__(self, audience: Audience, request: bytes) -> None:
        self._audience = audience
        self._request = request
        self._answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports are no subclasses of asyncio's.
        cast(asyncio.WriteTransport, transport).write(self._request)

    def data_received(self, data: bytes) -> None:
        audience = self._audience
        if not self._answered:
            self._answered = True
            audience.answered += 1
            _, _, data = data.partition(b"\r\n\r\n")
        # A JSON text has no line feed of its own; each event ends with one, each HTTP chunk with a carriage return too.
        came = data.count(b"}\n")
        if came:
            audience.lines += came
            audience.moments += [time.monotonic()] * came
        audience.changed.set()


async def gather(access: Access, path: str, size: int) -> tuple[Audience, list[asyncio.Transport]]:
    """Open `size` watches of `path` (with its query); returns when all are answered."""
    url = urllib.parse.urlsplit(access.server)
    request = f"GET {path} HTTP/1.1\r\nHost: {url.netloc}\r\nAccept: application/json\r\n\r\n".encode()
    audience = Audience(size)
    loop, host, port = asyncio.get_running_loop(), url.hostname or "127.0.0.1", url.port or 443
    doors = asyncio.Semaphore(32)

    async def open_one() -> asyncio.Transport:
        async with doors:
            made = await loop.create_connection(
                lambda: Watcher(audience, request), host, port, ssl=access.tls, server_hostname=host
            )
            return made[0]

    transports = await asyncio.gather(*[open_one() for _ in range(size)])
    await audience.until(0)
    return audience, transports
