"""Messages to a D-Bus one after the other, each when its socket has room: dbus-fast gives up a bus that is full."""

from __future__ import annotations

import asyncio
import select
from collections import deque

from dbus_fast import Message
from dbus_fast.aio import MessageBus

MAX_WAITING = 20_000
"""Messages; then the oldest is dropped."""
_LOOK_SECONDS = 0.01
_WRITE_SECONDS = 30.0


class Paced:
    """What one program sends on a bus."""

    def __init__(self, bus: MessageBus) -> None:
        self._bus = bus
        self._waiting: deque[Message] = deque(maxlen=MAX_WAITING)
        self._came = asyncio.Event()
        self._room = select.poll()
        assert bus._sock is not None
        self._room.register(bus._sock, select.POLLOUT)

    def put(self, message: Message) -> None:
        """Send it, after those that wait."""
        self._waiting.append(message)
        self._came.set()

    async def run(self) -> None:
        """Send until cancelled, or until the bus is gone: `OSError`, `EOFError`."""
        while True:
            await self._came.wait()
            self._came.clear()
            while self._waiting:
                if not self._room.poll(0):
                    await asyncio.sleep(_LOOK_SECONDS)
                    continue
                # A message that went out in part is whole before the next one begins.
                async with asyncio.timeout(_WRITE_SECONDS):
                    await self._bus.send(self._waiting.popleft())
