"""Two connected ends in one process: the channel without a network, for tests and rehearsals with many nodes."""

from __future__ import annotations

from octoedge.errors import ConnectionClosed
from octoedge.runtime.channel import ChannelClosed, Receiver, Sender, channel
from octoedge.transport.connection import Peer


class MemoryConnection:
    """One end of a pair."""

    def __init__(self, peer: Peer, sender: Sender[bytes], receiver: Receiver[bytes]) -> None:
        self._peer = peer
        self._sender = sender
        self._receiver = receiver

    @property
    def peer(self) -> Peer:
        return self._peer

    async def send(self, data: bytes) -> None:
        try:
            await self._sender.send(data)
        except ChannelClosed as error:
            raise ConnectionClosed("the other end closed the connection") from error

    async def receive(self) -> bytes:
        try:
            return await self._receiver.receive()
        except ChannelClosed as error:
            raise ConnectionClosed("the connection is closed") from error

    async def close_here(self) -> None:
        """End this end only: the other one is not told, as when the network between them is dead."""
        await self._receiver.close()

    async def close(self) -> None:
        await self._sender.close()
        await self._receiver.close()


def pair(edge: Peer, cloud: Peer | None = None, *, capacity: int = 256) -> tuple[MemoryConnection, MemoryConnection]:
    """(the edge's end, the cloud's end); `edge` is what the cloud sees as its peer."""
    up: tuple[Sender[bytes], Receiver[bytes]] = channel("memory up", capacity)
    down: tuple[Sender[bytes], Receiver[bytes]] = channel("memory down", capacity)
    up_sender, up_receiver = up
    down_sender, down_receiver = down
    edge_end = MemoryConnection(cloud or Peer(address="memory"), up_sender, down_receiver)
    cloud_end = MemoryConnection(edge, down_sender, up_receiver)
    return edge_end, cloud_end
