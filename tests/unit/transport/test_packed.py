"""A packed connection: counts, packs, ends when the order of the stream is lost."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from octoedge.errors import ConnectionClosed
from octoedge.protocol.routes import Direction
from octoedge.testing.clock import run
from octoedge.transport.connection import Peer
from octoedge.transport.memory import pair
from octoedge.transport.packed import PackedConnection


def _ends(*, packed: bool, capacity: int = 16) -> tuple[PackedConnection, PackedConnection]:
    edge, cloud = pair(Peer(node="edge-1"), capacity=capacity)
    return (
        PackedConnection(edge, Direction.UP, packed=packed),
        PackedConnection(cloud, Direction.DOWN, packed=packed),
    )


@pytest.mark.parametrize("packed", [True, False])
def test_both_ends_count_the_same(packed: bool) -> None:
    async def main() -> None:
        edge, cloud = _ends(packed=packed)
        for _ in range(3):
            await edge.send(b'{"hello": "hello hello hello hello hello"}')
            assert await cloud.receive() == b'{"hello": "hello hello hello hello hello"}'
        await cloud.send(b"{}")
        assert await edge.receive() == b"{}"
        assert (edge.sent, edge.received) == (cloud.received, cloud.sent)
        assert (edge.sent < 100) is packed

    run(main())


def test_what_is_no_stream_ends_the_connection() -> None:
    async def main() -> None:
        edge, cloud = _ends(packed=True)
        await edge.inner.send(b'{"plain": true}')
        with pytest.raises(ConnectionClosed, match="cannot be read"):
            await cloud.receive()

    run(main())


def test_a_message_that_was_given_up_half_way_ends_a_packed_connection() -> None:
    async def main() -> None:
        edge, _ = _ends(packed=True, capacity=1)
        await edge.send(b"one")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(1):
                await edge.send(b"two")
        with pytest.raises(ConnectionClosed, match="half way"):
            await edge.send(b"three")

    run(main())
