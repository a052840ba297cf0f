"""A connection of the channel as both sessions use it: counts what it carries, and packs it where both ends agreed.

One message at a time may be under way in `send`: what is packed must go out in that order. A `send` that is given up
half way ends a packed connection, since the other end could not read on.
"""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from octoedge.errors import ConnectionClosed, MessageError
from octoedge.protocol.packing import Packer, Unpacker
from octoedge.protocol.routes import Direction
from octoedge.protocol.usage import framed
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.tap import Tap, Way


@runtime_checkable
class Binary(Protocol):
    """A connection that tells text from bytes."""

    async def send_binary(self, data: bytes) -> None:
        """As `send`, in a frame of its own kind."""
        ...


class PackedConnection:
    """One end; `sends` is the direction of what this end sends. What it carries can be heard at `tap`."""

    def __init__(self, inner: Connection, sends: Direction, *, packed: bool, tap: Tap | None = None) -> None:
        receives = Direction.UP if sends is Direction.DOWN else Direction.DOWN
        self.inner = inner
        self._sends, self._receives = sends, receives
        self._packer = Packer(sends) if packed else None
        self._unpacker = Unpacker(receives) if packed else None
        self._broken = False
        self._tap = tap
        self._way: Way | None = None
        """Known to the tap from the first message on."""
        self.sent = 0
        """Bytes of the frames that were sent."""
        self.received = 0
        """Bytes of the frames that came."""

    @property
    def peer(self) -> Peer:
        return self.inner.peer

    async def send(self, data: bytes) -> None:
        if self._packer is None:
            self.sent += framed(len(data), self._sends)
            self._tell(self._sends, data, len(data))
            await self.inner.send(data)
            return
        if self._broken:
            raise ConnectionClosed(f"the connection to {self.peer.address} is over: a message was given up half way")
        packed = self._packer.pack(data)
        self.sent += framed(len(packed), self._sends)
        self._tell(self._sends, data, len(packed))
        self._broken = True
        await (self.inner.send_binary(packed) if isinstance(self.inner, Binary) else self.inner.send(packed))
        self._broken = False

    async def receive(self) -> bytes:
        data = await self.inner.receive()
        self.received += framed(len(data), self._receives)
        message = data if self._unpacker is None else self._unpacked(self._unpacker, data)
        self._tell(self._receives, message, len(data))
        return message

    async def close(self) -> None:
        if self._tap is not None and self._way is not None:
            self._tap.close(self._way)
        self._tap = None
        await self.inner.close()

    def _unpacked(self, unpacker: Unpacker, data: bytes) -> bytes:
        try:
            return unpacker.unpack(data)
        except MessageError as error:
            raise ConnectionClosed(f"{self.peer.address} sent what cannot be read: {error}") from error

    def _tell(self, direction: Direction, message: bytes, length: int) -> None:
        if self._tap is None:
            return
        if self._way is None:
            self._way = self._tap.open(self.inner.peer)
        for listener in self._tap.listeners:
            listener.heard(self._way, direction, message, framed(length, direction))
