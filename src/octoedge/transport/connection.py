"""The seam between the channel and the network: one connection carries whole messages, in order, both ways.

Behind it stand a WebSocket client (edge), a WebSocket server (cloud) and a pair in memory (tests). A connection that
dies raises `ConnectionClosed` from `send` and `receive` alike.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Protocol

import msgspec


class Peer(msgspec.Struct, frozen=True):
    """Who is at the other end."""

    node: str = ""
    """The node name that the peer claims (header `node_id`)."""
    certificate_name: str = ""
    """Common name of the peer's verified certificate; empty when there is none."""
    address: str = ""
    """host:port for people and logs."""
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    """Headers of the handshake, names in lower case."""
    certificate_serial: str = ""
    """Serial number of the verified certificate, hexadecimal."""


class Connection(Protocol):
    """An open connection."""

    @property
    def peer(self) -> Peer:
        """Who is at the other end."""
        ...

    async def send(self, data: bytes) -> None:
        """Hand over one message; returns when the transport has taken it. Raises `ConnectionClosed`."""
        ...

    async def receive(self) -> bytes:
        """The next message; raises `ConnectionClosed` when the connection is over."""
        ...

    async def close(self) -> None:
        """End the connection; idempotent, never raises, returns soon."""
        ...


Dial = Callable[[], Awaitable[Connection]]
"""Opens a connection to the cloud; raises `ConnectError` or `ConnectionRefusedByPeer`."""
