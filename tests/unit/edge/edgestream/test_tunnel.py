"""The edge's end of the tunnel, spoken to message by message, as a Go cloud and as one of ours."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from octoedge.edge.edgestream.kubelet import requests
from octoedge.edge.edgestream.tunnel import GO_FIRST_SECONDS, MAX_STREAMS, Tunnel
from octoedge.edge.ports import LogRequest
from octoedge.errors import ConnectionClosed, bad_request
from octoedge.protocol.tunnel import (
    CHUNK,
    NOTICED_SECONDS,
    PINGS,
    RARELY,
    WINDOW,
    Answer,
    Connector,
    Frame,
    Kind,
    decode,
    decode_answer,
    encode,
    encode_connector,
    uvarint,
)
from octoedge.testing.clock import run
from octoedge.testing.streaming import StreamsAt
from octoedge.transport.connection import Peer
from octoedge.transport.memory import MemoryConnection, pair

OURS = {"octoedge-stream": "1"}
LOG = "/containerLogs/shop/cart/app"


@dataclass
class FakeLogs(StreamsAt):
    """Containers that say what they are told to."""

    chunks: list[bytes] = field(default_factory=lambda: [b"one\n"])
    then: Callable[[], Awaitable[None]] | None = None
    open_bodies: int = 0

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        if request.container == "nope":
            raise bad_request('container "nope" is not available')
        if request.container == "broken":
            raise RuntimeError("a bug")
        return self._body(request.follow)

    async def _body(self, follow: bool) -> AsyncIterator[bytes]:
        self.open_bodies += 1
        try:
            for chunk in self.chunks:
                yield chunk
            if follow:
                await asyncio.Event().wait()
            if self.then is not None:
                await self.then()
        finally:
            self.open_bodies -= 1


@dataclass
class Cloud:
    """The other end."""

    connection: MemoryConnection
    tunnel: Tunnel
    logs: FakeLogs

    async def open(self, number: int, kind: Kind = Kind.LOGS, path: str = LOG, query: str = "") -> None:
        data = encode_connector(number, Connector(path, query, "POST" if kind is Kind.EXEC else ""))
        await self.connection.send(encode(number, kind, data))

    async def send(self, number: int, kind: Kind, data: bytes = b"") -> None:
        await self.connection.send(encode(number, kind, data))

    async def next(self) -> Frame:
        return decode(await self.connection.receive())

    async def until_removed(self, number: int) -> list[Frame]:
        """Everything that comes on a stream until its REMOVE."""
        frames: list[Frame] = []
        while True:
            frame = await self.next()
            assert frame.stream == number
            if frame.kind is Kind.REMOVE:
                return frames
            frames.append(frame)

    async def silent(self) -> None:
        """Nothing comes for a minute."""
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(60):
                raise AssertionError(f"unexpected {await self.next()}")


def in_tunnel(test: Callable[[Cloud], Awaitable[None]], *, ours: bool = True) -> None:
    async def main() -> None:
        edge_end, cloud_end = pair(Peer(), Peer(headers=OURS if ours else {}, address="cloud:10004"))
        logs = FakeLogs()
        tunnel = Tunnel(edge_end, requests(logs))

        async def serve() -> None:
            with contextlib.suppress(ConnectionClosed):
                await tunnel.run()

        async with asyncio.TaskGroup() as group:
            group.create_task(serve())
            await test(Cloud(cloud_end, tunnel, logs))
            await cloud_end.close()
        assert logs.open_bodies == 0
        assert len(tunnel) == 0

    run(main())


def test_to_one_of_ours_the_status_goes_first() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(7)
        answer, data = await cloud.until_removed(7)
        assert (answer.kind, decode_answer(answer.data)) == (Kind.ANSWER, Answer(200, {"Content-Type": "text/plain"}))
        assert data == Frame(7, Kind.DATA, b"one\n")

    in_tunnel(test)


def test_to_a_go_cloud_only_data_goes() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(7)
        assert await cloud.until_removed(7) == [Frame(7, Kind.DATA, b"one\n")]
        await cloud.open(8, path="/containerLogs/shop/cart/nope")
        assert await cloud.until_removed(8) == [Frame(8, Kind.DATA, b'container "nope" is not available')]

    in_tunnel(test, ours=False)


@pytest.mark.parametrize(
    ("kind", "path", "status", "text"),
    [
        (Kind.LOGS, "/containerLogs/shop/cart/nope", 400, 'container "nope" is not available'),
        (Kind.LOGS, "/containerLogs/shop/cart/broken", 500, "the node could not serve this request; its log says why"),
        (Kind.LOGS, "/pods", 404, "/pods is not served by this node"),
        (Kind.LOGS, "/../containerLogs/a/b/c", 404, "/.. is not served by this node"),
        (Kind.METRICS, "/stats/summary", 404, "/stats/summary is not served by this node"),
        (Kind.METRICS, "/containerLogs/shop/cart/app", 404, "/containerLogs is not served by this node"),
    ],
)
def test_errors_have_their_status_and_text_and_end_the_stream(kind: Kind, path: str, status: int, text: str) -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(3, kind, path)
        answer, data = await cloud.until_removed(3)
        assert decode_answer(answer.data).status == status
        assert data.data.decode() == text

    in_tunnel(test)


@pytest.mark.parametrize("kind", [Kind.EXEC, Kind.ATTACH])
def test_what_is_piped_raw_is_refused_in_http(kind: Kind) -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(3, kind, "/exec/shop/cart/app")
        (data,) = await cloud.until_removed(3)
        assert data.data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert data.data.endswith(b"Upgrade request required\n")

    in_tunnel(test)


def test_a_request_that_cannot_be_read_is_answered() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.send(3, Kind.LOGS, b"{")
        answer, _ = await cloud.until_removed(3)
        assert decode_answer(answer.data).status == 400

    in_tunnel(test)


def test_the_cloud_ends_a_stream_and_is_answered_once() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(7, query="follow=true")
        assert (await cloud.next()).kind is Kind.ANSWER
        assert (await cloud.next()).data == b"one\n"
        for _ in range(1000):
            # A Go cloud repeats itself thousands of times.
            await cloud.send(7, Kind.REMOVE)
        assert await cloud.next() == Frame(7, Kind.REMOVE)
        assert cloud.logs.open_bodies == 0
        await cloud.silent()

    in_tunnel(test)


def test_messages_for_streams_that_are_over_are_left_alone() -> None:
    async def test(cloud: Cloud) -> None:
        for kind in (Kind.DATA, Kind.REMOVE, Kind.CREDIT, Kind.ANSWER):
            await cloud.send(99, kind, uvarint(5))
        await cloud.connection.send(b"")
        await cloud.connection.send(b"\x01\x63")
        await cloud.silent()
        await cloud.open(1)
        assert len(await cloud.until_removed(1)) == 2

    in_tunnel(test)


def test_data_for_a_log_and_a_second_opening_change_nothing() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(7, query="follow=true")
        await cloud.next()
        await cloud.next()
        await cloud.send(7, Kind.DATA, b"typed")
        await cloud.open(7)
        await cloud.silent()
        assert len(cloud.tunnel) == 1

    in_tunnel(test)


def test_the_edge_sends_no_more_than_it_was_given_credit_for() -> None:
    async def test(cloud: Cloud) -> None:
        cloud.logs.chunks = [b"x" * 100_000] * 10
        await cloud.open(7)
        assert (await cloud.next()).kind is Kind.ANSWER
        size = 0
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(60):
                    frame = await cloud.next()
                assert len(frame.data) <= CHUNK
                size += len(frame.data)
        assert WINDOW - CHUNK < size <= WINDOW
        while size < 1_000_000:
            await cloud.send(7, Kind.CREDIT, uvarint(50_000))
            with contextlib.suppress(TimeoutError):
                while size < 1_000_000:
                    async with asyncio.timeout(1):
                        size += len((await cloud.next()).data)
        assert size == 1_000_000
        assert await cloud.next() == Frame(7, Kind.REMOVE)

    in_tunnel(test)


def test_a_stalled_stream_does_not_hold_up_another() -> None:
    async def test(cloud: Cloud) -> None:
        cloud.logs.chunks = [b"x" * WINDOW, b"y"]
        await cloud.open(1)
        await cloud.next()
        for _ in range(WINDOW // CHUNK):
            await cloud.next()
        await cloud.silent()
        cloud.logs.chunks = [b"quick"]
        await cloud.open(2)
        _, data = await cloud.until_removed(2)
        assert data.data == b"quick"

    in_tunnel(test)


def test_too_many_streams_are_refused() -> None:
    async def test(cloud: Cloud) -> None:
        for number in range(MAX_STREAMS):
            await cloud.open(number, query="follow=true")
            await cloud.next()
            await cloud.next()
        await cloud.open(9000)
        answer, _ = await cloud.until_removed(9000)
        assert decode_answer(answer.data).status == 503
        await cloud.send(5, Kind.REMOVE)
        await cloud.until_removed(5)
        await cloud.open(9001)
        answer, _ = await cloud.until_removed(9001)
        assert decode_answer(answer.data).status == 200

    in_tunnel(test)


def test_the_cloud_can_end_the_tunnel_with_a_reason() -> None:
    async def main() -> None:
        edge_end, cloud_end = pair(Peer(), Peer(headers=OURS))
        tunnel = Tunnel(edge_end, requests(FakeLogs()))
        await cloud_end.send(encode(0, Kind.CLOSE, b"failed to Update KubeletEndpoint Port"))
        with pytest.raises(ConnectionClosed, match="failed to Update KubeletEndpoint Port"):
            await tunnel.run()

    run(main())


def test_a_tunnel_that_takes_nothing_is_given_up() -> None:
    async def main() -> None:
        edge_end, cloud_end = pair(Peer(), Peer(headers=OURS), capacity=1)
        logs = FakeLogs(chunks=[b"x"] * 10)
        await cloud_end.send(encode(1, Kind.LOGS, encode_connector(1, Connector(LOG))))
        with pytest.raises(ConnectionClosed, match="took nothing for 15 s"):
            await Tunnel(edge_end, requests(logs)).run()
        assert logs.open_bodies == 0

    run(main())


@dataclass
class Silent:
    """A connection whose other end answers only so many pings."""

    peer: Peer
    answered: int = 0
    waited: list[float] = field(default_factory=list)

    async def receive(self) -> bytes:
        await asyncio.Event().wait()
        return b""

    async def send(self, data: bytes) -> None:
        del data

    async def close(self) -> None:
        pass

    async def ping(self, timeout: float) -> None:
        self.waited.append(timeout)
        if len(self.waited) > self.answered:
            await asyncio.sleep(timeout)
            raise ConnectionClosed(f"no answer within {timeout:.0f} s")


@pytest.mark.parametrize(
    ("headers", "answered", "waited"),
    [
        (OURS, 0, [10.0]),
        ({}, 0, [GO_FIRST_SECONDS]),
        ({}, 2, [GO_FIRST_SECONDS, 10.0, 10.0]),
    ],
)
def test_a_go_cloud_may_take_its_time_until_the_first_answer(
    headers: dict[str, str], answered: int, waited: list[float]
) -> None:
    async def main() -> None:
        connection = Silent(Peer(headers=headers), answered)
        with pytest.raises(ConnectionClosed, match="no answer"):
            await Tunnel(connection, {}, silence_seconds=15.0).run()
        assert connection.waited == waited

    run(main())


def pinged(headers: dict[str, str], seconds: float, news: Callable[[], int] = lambda: 0) -> list[float]:
    """When the tunnel asked for a sign of life, in so many seconds."""
    times: list[float] = []

    class Answering(Silent):
        async def ping(self, timeout: float) -> None:
            times.append(asyncio.get_running_loop().time())

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await Tunnel(Answering(Peer(headers=headers)), {}, news=news).run()
        times[:] = [round(at - began, 3) for at in times]

    run(main())
    return times


def test_a_cloud_of_ours_is_pinged_rarely_and_a_go_cloud_as_by_a_go_edge() -> None:
    rarely = OURS | {PINGS.lower(): f"{RARELY:g}"}
    assert pinged(rarely, 200) == [60, 120, 180]
    assert pinged(OURS, 21) == pinged({}, 21) == [5, 10, 15, 20]
    assert RARELY + 10 < NOTICED_SECONDS, "the cloud gives a tunnel up after the edge has asked in vain"


def test_a_channel_that_began_anew_is_a_reason_to_ask_in_the_tunnel_too() -> None:
    news = itertools.chain([1, 1, 1, 2], itertools.repeat(2))
    assert pinged(OURS | {PINGS.lower(): f"{RARELY:g}"}, 20, lambda: next(news)) == [15]
