"""The channel without a network."""

from __future__ import annotations

import asyncio

import pytest

from octoedge.errors import ConnectionClosed
from octoedge.testing.clock import run
from octoedge.transport.connection import Peer
from octoedge.transport.memory import pair


def test_each_end_hears_the_other_in_order_and_knows_who_it_is() -> None:
    async def main() -> None:
        edge, cloud = pair(Peer(node="edge-1"), Peer(address="cloud"))
        assert (cloud.peer.node, edge.peer.address) == ("edge-1", "cloud")
        for number in range(3):
            await edge.send(b"up %d" % number)
            await cloud.send(b"down %d" % number)
        assert [await cloud.receive() for _ in range(3)] == [b"up 0", b"up 1", b"up 2"]
        assert [await edge.receive() for _ in range(3)] == [b"down 0", b"down 1", b"down 2"]

    run(main())


@pytest.mark.parametrize("closer", [0, 1])
def test_closing_one_end_ends_both_after_what_was_under_way(closer: int) -> None:
    async def main() -> None:
        ends = pair(Peer())
        await ends[closer].send(b"last words")
        await ends[closer].close()
        await ends[closer].close()
        other = ends[1 - closer]
        assert await other.receive() == b"last words"
        for end in ends:
            with pytest.raises(ConnectionClosed):
                await end.receive()
            with pytest.raises(ConnectionClosed):
                await end.send(b"x")

    run(main())


def test_a_sender_waits_while_the_other_end_is_behind() -> None:
    async def main() -> None:
        edge, cloud = pair(Peer(), capacity=2)
        await edge.send(b"1")
        await edge.send(b"2")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(edge.send(b"3"), 60)
        assert await cloud.receive() == b"1"
        await edge.send(b"3")

    run(main())
