"""The cloud's end of a tunnel, with an edge that is played message by message: one of ours, and a Go edge."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from octoedge.cloud.cloudstream.stream import MAX_BUFFER, Stream
from octoedge.cloud.cloudstream.tunnel import Tunnel
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.protocol.tunnel import (
    MAX_DATA,
    WINDOW,
    Answer,
    Connector,
    Frame,
    Kind,
    decode,
    decode_connector,
    encode,
    encode_answer,
    read_uvarint,
)
from octoedge.testing.clock import run
from octoedge.transport.connection import Peer
from octoedge.transport.memory import MemoryConnection, pair

LOG = Connector("/containerLogs/shop/cart/app", "tailLines=5")
OURS = {"octoedge-stream": "1"}


@dataclass
class Edge:
    """The other end, and the tunnel under test."""

    connection: MemoryConnection
    tunnel: Tunnel

    async def next(self) -> Frame:
        return decode(await self.connection.receive())

    async def send(self, number: int, kind: Kind, data: bytes = b"") -> None:
        await self.connection.send(encode(number, kind, data))

    async def opened(self) -> tuple[Stream, int]:
        """A stream that the tunnel opened, and its number."""
        stream = await self.tunnel.open(Kind.LOGS, LOG)
        frame = await self.next()
        assert frame.kind is Kind.LOGS
        return stream, frame.stream

    async def silent(self) -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                raise AssertionError(f"unexpected {await self.next()}")


def in_tunnel(test: Callable[[Edge], Awaitable[None]], *, ours: bool = True) -> None:
    async def main() -> None:
        edge_end, cloud_end = pair(Peer(node="edge-1", headers=OURS if ours else {}), capacity=10_000)
        tunnel = Tunnel("edge-1", cloud_end, itertools.count(1))

        async def serve() -> None:
            with contextlib.suppress(ConnectionClosed):
                await tunnel.run()

        async with asyncio.TaskGroup() as group:
            group.create_task(serve())
            await test(Edge(edge_end, tunnel))
            await edge_end.close()

    run(main())


async def read(stream: Stream) -> bytes:
    return b"".join([chunk async for chunk in stream.chunks()])


async def one(chunks: AsyncIterator[bytes]) -> bytes:
    return await anext(chunks)


def test_a_request_reaches_the_edge_and_its_answer_the_reader() -> None:
    async def test(edge: Edge) -> None:
        stream = await edge.tunnel.open(Kind.LOGS, LOG)
        frame = await edge.next()
        assert (frame.stream, frame.kind) == (1, Kind.LOGS)
        assert decode_connector(frame.data) == LOG
        await edge.send(1, Kind.ANSWER, encode_answer(Answer(404, {"Content-Type": "text/plain"})))
        for data in (b"not ", b"there"):
            await edge.send(1, Kind.DATA, data)
        await edge.send(1, Kind.REMOVE)
        assert (await stream.answer(1)).status == 404
        assert await read(stream) == b"not there"
        await edge.tunnel.close(stream)
        assert len(edge.tunnel) == 0
        await edge.silent()

    in_tunnel(test)


def test_a_go_edge_needs_no_answer() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        assert (await stream.answer(1)).status == 200
        await edge.send(number, Kind.DATA, b"log")
        await edge.send(number, Kind.REMOVE)
        assert await read(stream) == b"log"

    in_tunnel(test, ours=False)


def test_streams_are_numbered_and_kept_apart() -> None:
    async def test(edge: Edge) -> None:
        streams = [await edge.opened() for _ in range(3)]
        assert [number for _, number in streams] == [1, 2, 3]
        for _, number in reversed(streams):
            await edge.send(number, Kind.DATA, str(number).encode())
            await edge.send(number, Kind.REMOVE)
        assert [await read(stream) for stream, _ in streams] == [b"1", b"2", b"3"]

    in_tunnel(test, ours=False)


def test_a_reader_that_leaves_tells_the_edge_once() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        await edge.tunnel.close(stream)
        await edge.tunnel.close(stream)
        assert await edge.next() == Frame(number, Kind.REMOVE)
        await edge.send(number, Kind.DATA, b"late")
        await edge.send(number, Kind.REMOVE)
        await edge.silent()

    in_tunnel(test)


def test_nonsense_from_an_edge_is_left_alone() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        for nonsense in (b"", b"\x01", b"\x01\x63", b"\xff" * 30):
            await edge.connection.send(nonsense)
        for kind in (Kind.LOGS, Kind.CLOSE, Kind.CREDIT):
            await edge.send(number, kind, b"x")
        await edge.send(number, Kind.ANSWER, b"{}")
        await edge.send(77, Kind.DATA, b"x")
        await edge.send(number, Kind.ANSWER, encode_answer(Answer(200)))
        await edge.send(number, Kind.REMOVE)
        assert (await stream.answer(1)).status == 200
        assert await read(stream) == b""

    in_tunnel(test)


def test_only_the_first_answer_counts() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        for status in (403, 200):
            await edge.send(number, Kind.ANSWER, encode_answer(Answer(status)))
        await edge.send(number, Kind.REMOVE)
        assert await read(stream) == b""
        assert (await stream.answer(1)).status == 403

    in_tunnel(test)


def test_an_edge_that_does_not_answer_is_a_gateway_timeout() -> None:
    async def test(edge: Edge) -> None:
        stream, _ = await edge.opened()
        with pytest.raises(ApiError) as caught:
            await stream.answer(30)
        assert caught.value.code == 504
        assert asyncio.get_running_loop().time() == 30

    in_tunnel(test)


def test_an_edge_that_ends_without_an_answer_is_a_bad_gateway() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        await edge.send(number, Kind.REMOVE)
        with pytest.raises(ApiError) as caught:
            await stream.answer(30)
        assert caught.value.code == 502

    in_tunnel(test)


@pytest.mark.parametrize("ours", [True, False])
def test_a_tunnel_that_breaks_ends_its_streams_with_an_error(ours: bool) -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        await edge.send(number, Kind.DATA, b"half a l")
        await edge.connection.close()
        chunks = stream.chunks()
        assert await anext(chunks) == b"half a l"
        with pytest.raises(ConnectionClosed):
            await anext(chunks)
        if ours:
            with pytest.raises(ConnectionClosed):
                await stream.answer(1)
        with pytest.raises(ConnectionClosed):
            await edge.tunnel.open(Kind.LOGS, LOG)
        await edge.tunnel.close(stream)
        assert len(edge.tunnel) == 0

    in_tunnel(test, ours=ours)


def test_what_was_read_is_given_as_credit_in_large_steps() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        for _ in range(8):
            await edge.send(number, Kind.DATA, bytes(WINDOW // 8))
        chunks = stream.chunks()
        for _ in range(8):
            await anext(chunks)
        # The last chunk counts as read when the next is asked for.
        async with asyncio.TaskGroup() as group:
            waiting = group.create_task(one(chunks))
            granted = 0
            while granted < WINDOW:
                frame = await edge.next()
                assert frame.kind is Kind.CREDIT
                granted += read_uvarint(frame.data)[0]
                assert granted % (WINDOW // 2) == 0
            await edge.send(number, Kind.DATA, b"x")
            assert await waiting == b"x"

    in_tunnel(test)


def test_an_edge_of_ours_that_ignores_its_credit_loses_the_stream() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        for _ in range(MAX_BUFFER // MAX_DATA + 1):
            await edge.send(number, Kind.DATA, bytes(MAX_DATA))
        assert await edge.next() == Frame(number, Kind.REMOVE)
        with pytest.raises(ConnectionClosed, match="too slow"):
            await read(stream)

    in_tunnel(test)


def test_a_go_edge_waits_for_a_slow_reader_and_loses_nothing() -> None:
    async def test(edge: Edge) -> None:
        stream, number = await edge.opened()
        sent = [bytes([n]) * MAX_DATA for n in range(5)]
        for data in sent:
            await edge.send(number, Kind.DATA, data)
        await edge.send(number, Kind.REMOVE)
        seen = []
        async for chunk in stream.chunks():
            await asyncio.sleep(4)
            seen.append(chunk)
        assert seen == sent

    in_tunnel(test, ours=False)


def test_a_reader_that_never_reads_holds_up_a_go_edge_for_seconds_only() -> None:
    async def test(edge: Edge) -> None:
        lazy, number = await edge.opened()
        other, second = await edge.opened()
        for _ in range(3):
            await edge.send(number, Kind.DATA, bytes(MAX_DATA))
        await edge.send(second, Kind.DATA, b"quick")
        await edge.send(second, Kind.REMOVE)
        assert await read(other) == b"quick"
        assert asyncio.get_running_loop().time() <= 10
        assert await edge.next() == Frame(number, Kind.REMOVE)
        with pytest.raises(ConnectionClosed, match="too slow"):
            await read(lazy)

    in_tunnel(test, ours=False)


def test_an_edge_that_takes_nothing_loses_its_tunnel() -> None:
    async def main() -> None:
        edge_end, cloud_end = pair(Peer(node="edge-1"), capacity=1)
        tunnel = Tunnel("edge-1", cloud_end, itertools.count(1))
        await tunnel.open(Kind.LOGS, LOG)
        with pytest.raises(ConnectionClosed, match="took nothing for 15 s"):
            await tunnel.open(Kind.LOGS, LOG)
        assert len(tunnel) == 1
        await edge_end.receive()
        with pytest.raises(ConnectionClosed):
            await edge_end.receive()

    run(main())
