"""Raw streams at the edge: what is asked for, and bytes to and from a real socket."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edgestream.exec import raw_streams, stream_request
from octoedge.edge.edgestream.tunnel import Tunnel
from octoedge.edge.ports import StreamAction, StreamRequest
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.protocol.tunnel import (
    AGREEMENT,
    CHUNK,
    VERSION,
    WINDOW,
    Connector,
    Frame,
    Kind,
    decode,
    encode,
    encode_connector,
    read_uvarint,
    uvarint,
)
from octoedge.testing.streaming import StreamingServer, StreamsAt
from octoedge.transport.connection import Peer
from octoedge.transport.memory import MemoryConnection, pair

UPGRADE: dict[str, tuple[str, ...]] = {"Connection": ("Upgrade",), "Upgrade": ("raw",)}
EXEC = "/exec/shop/cart/app"


def asked(path: str, query: str = "output=1", method: str = "POST") -> StreamRequest:
    return stream_request(Connector(path, query, method, UPGRADE))


@pytest.mark.parametrize(
    ("path", "query", "request_"),
    [
        (
            EXEC, "command=sh&command=-c&command=echo+%26&input=1&output=1&tty=1",
            StreamRequest(
                StreamAction.EXEC, "shop", "cart", container="app", command=("sh", "-c", "echo &"), stdin=True,
                stdout=True, tty=True,
            ),
        ),
        (
            "/exec/shop/cart/u-1/app", "command=&output=1&error=1",
            StreamRequest(StreamAction.EXEC, "shop", "cart", "u-1", "app", ("",), stdout=True, stderr=True),
        ),
        (
            "/attach/shop/cart/app", "stdout=true&stdin=false",
            StreamRequest(StreamAction.ATTACH, "shop", "cart", container="app", stdout=True),
        ),
        ("/portForward/shop/cart", "", StreamRequest(StreamAction.PORT_FORWARD, "shop", "cart")),
        (
            "/portForward/shop/cart/u-1", "port=80&port=81,82",
            StreamRequest(StreamAction.PORT_FORWARD, "shop", "cart", "u-1", ports=(80, 81, 82)),
        ),
    ],
)  # fmt: skip
def test_paths_and_queries_are_read_as_the_kubelet_reads_them(path: str, query: str, request_: StreamRequest) -> None:
    assert asked(path, query) == request_


@pytest.mark.parametrize(
    ("path", "query", "method", "code", "text"),
    [
        ("/run/shop/cart/app", "output=1", "POST", 404, "/run is not served by this node"),
        ("/exec/shop/cart", "output=1", "POST", 404, "404 page not found"),
        ("/exec/shop/cart/u/app/more", "output=1", "POST", 404, "404 page not found"),
        ("/portForward/shop", "", "POST", 404, "404 page not found"),
        (EXEC, "", "POST", 400, "you must specify at least 1 of stdin, stdout, stderr"),
        (EXEC, "output=1", "DELETE", 405, "405: Method Not Allowed"),
        ("/portForward/shop/cart", "port=0", "POST", 400, "a port must be a number from 1 to 65535"),
        ("/portForward/shop/cart", "port=99999999999999999", "POST", 400, "a port must be"),
        (EXEC, "output=1&" + "command=x&" * 5000, "POST", 400, "the query cannot be read"),
    ],
)
def test_what_cannot_be_served_is_refused(path: str, query: str, method: str, code: int, text: str) -> None:
    with pytest.raises(ApiError, match=text) as caught:
        asked(path, query, method)
    assert caught.value.code == code


def test_a_request_that_stays_http_is_refused() -> None:
    with pytest.raises(ApiError, match="Upgrade request required"):
        stream_request(Connector(EXEC, "output=1", "POST", {}))


@given(st.text(max_size=60), st.text(max_size=60))
def test_any_path_and_query_are_read_or_refused(path: str, query: str) -> None:
    with contextlib.suppress(ApiError):
        asked("/" + path.replace("%", ""), query)


# ---- with a tunnel and a runtime -----------------------------------------------------------------------------------


@dataclass
class Cloud:
    """The other end of the tunnel."""

    connection: MemoryConnection
    tunnel: Tunnel
    streams: StreamsAt
    server: StreamingServer

    async def open(self, number: int = 7, path: str = EXEC, headers: dict[str, tuple[str, ...]] = UPGRADE) -> None:
        connector = Connector(path, "output=1&input=1&command=cat", "POST", headers)
        await self.connection.send(encode(number, Kind.EXEC, encode_connector(number, connector)))

    async def send(self, number: int, kind: Kind, data: bytes = b"") -> None:
        await self.connection.send(encode(number, kind, data))

    async def next(self) -> Frame:
        return decode(await self.connection.receive())

    async def data(self, size: int, *, credit: bool = True) -> bytes:
        """So many bytes of DATA; each is allowed again."""
        got = b""
        while len(got) < size:
            frame = await self.next()
            if frame.kind is Kind.CREDIT:
                continue
            assert frame.kind is Kind.DATA, frame
            got += frame.data
            if credit:
                await self.send(frame.stream, Kind.CREDIT, uvarint(len(frame.data)))
        return got


SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n"


def in_tunnel(
    test: Callable[[Cloud], Awaitable[None]], *, ours: bool = True, server: StreamingServer | None = None
) -> None:
    async def main() -> None:
        agreement = {AGREEMENT.lower(): VERSION} if ours else {}
        edge_end, cloud_end = pair(Peer(), Peer(headers=agreement, address="cloud:10004"))
        async with (server or StreamingServer()).running() as runtime:
            streams = StreamsAt(runtime)
            raw = raw_streams(streams)
            tunnel = Tunnel(edge_end, {Kind.EXEC: raw, Kind.ATTACH: raw})

            async def serve() -> None:
                with contextlib.suppress(ConnectionClosed):
                    await tunnel.run()

            async with asyncio.timeout(20), asyncio.TaskGroup() as group:
                group.create_task(serve())
                await test(Cloud(cloud_end, tunnel, streams, runtime))
                await cloud_end.close()
            assert len(tunnel) == 0
            await runtime.until_open(0)

    asyncio.run(main())


@pytest.mark.parametrize("ours", [True, False])
def test_every_byte_goes_in_and_comes_out(ours: bool) -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open()
        assert await cloud.data(len(SWITCHED)) == SWITCHED
        every = bytes(range(256)) * 16
        await cloud.send(7, Kind.DATA, every)
        assert await cloud.data(len(every)) == every
        await cloud.send(7, Kind.REMOVE)
        while (frame := await cloud.next()).kind is not Kind.REMOVE:
            assert frame.kind is Kind.CREDIT

    in_tunnel(test, ours=ours)


def test_the_request_reaches_the_runtime_as_it_was_made() -> None:
    async def test(cloud: Cloud) -> None:
        protocols = ("v5.channel.k8s.io", "v4.channel.k8s.io")
        head = {**UPGRADE, "X-Stream-Protocol-Version": protocols, "Host": ("elsewhere",), "Content-Length": ("0",)}
        await cloud.open(headers=head)
        await cloud.data(len(SWITCHED))
        lines = cloud.server.heads[0].split("\r\n")
        assert lines[:2] == ["POST /exec/token HTTP/1.1", f"Host: 127.0.0.1:{cloud.server.port}"]
        assert [line for line in lines if "channel" in line] == [f"X-Stream-Protocol-Version: {p}" for p in protocols]
        assert not any("Content-Length" in line or "elsewhere" in line for line in lines)

    in_tunnel(test)


def test_a_header_cannot_smuggle_a_line() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(headers={**UPGRADE, "Origin": ("x\r\nEvil: yes",)})
        assert (await cloud.next()).data.startswith(b"HTTP/1.1 400 Bad Request\r\n")
        assert (await cloud.next()).kind is Kind.REMOVE
        assert cloud.server.heads == []

    in_tunnel(test)


def test_what_the_kubelet_would_refuse_is_an_http_answer_among_the_bytes() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(path="/exec/shop/none/app")
        frame = await cloud.next()
        assert frame.data.startswith(b"HTTP/1.1 404 Not Found\r\n")
        assert frame.data.endswith(b"\r\n\r\npod does not exist\n")
        assert (await cloud.next()).kind is Kind.REMOVE

    in_tunnel(test)


def test_a_runtime_that_is_not_there_is_a_bad_gateway() -> None:
    async def test(cloud: Cloud) -> None:
        cloud.streams.server = StreamingServer(port=1)
        await cloud.open()
        assert (await cloud.next()).data.startswith(b"HTTP/1.1 502 Bad Gateway\r\n")
        assert (await cloud.next()).kind is Kind.REMOVE

    in_tunnel(test)


def test_the_runtimes_end_is_the_streams_end_after_its_last_byte() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open()
        await cloud.data(len(SWITCHED))
        await cloud.send(7, Kind.DATA, b"x" * 100)
        assert await cloud.data(100) == b"x" * 100
        assert (await cloud.next()).kind is Kind.REMOVE

    in_tunnel(test, server=StreamingServer(closes_after=100))


def test_without_credit_no_more_than_the_window_is_sent_and_others_are_served() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(7)
        got = await cloud.data(WINDOW - CHUNK, credit=False)
        cloud.server.flood = False
        await cloud.open(8)
        rest = b""
        while (frame := await cloud.next()).stream == 7:
            rest += frame.data
        assert len(got) + len(rest) <= WINDOW
        assert frame.data == SWITCHED
        await cloud.send(7, Kind.CREDIT, uvarint(100_000))
        assert len(await cloud.data(90_000, credit=False)) <= 100_000

    in_tunnel(test, server=StreamingServer(flood=True))


def test_input_is_allowed_again_only_when_the_container_has_taken_it() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open()
        await cloud.data(len(SWITCHED))
        credit = sent = 0
        for _ in range(WINDOW // CHUNK):
            await cloud.send(7, Kind.DATA, b"x" * CHUNK)
            sent += CHUNK
        while credit < sent:
            frame = await cloud.next()
            assert frame.kind is Kind.CREDIT
            credit += read_uvarint(frame.data)[0]
        assert credit == WINDOW

    in_tunnel(test, server=StreamingServer(sinks=True))


def test_a_cloud_that_sends_more_than_it_may_loses_the_stream_only() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open(7)
        await cloud.data(len(SWITCHED))
        for _ in range(16):
            await cloud.send(7, Kind.DATA, b"x" * 1_000_000)
        while (frame := await cloud.next()).kind is Kind.CREDIT:
            assert frame.stream == 7
        assert frame == Frame(7, Kind.REMOVE)
        cloud.server.speak()
        await cloud.open(8)
        assert await cloud.data(len(SWITCHED)) == SWITCHED

    in_tunnel(test, server=StreamingServer(silent=True))


def test_messages_for_a_stream_that_is_over_hurt_nobody() -> None:
    async def test(cloud: Cloud) -> None:
        for kind in (Kind.DATA, Kind.REMOVE, Kind.CREDIT, Kind.ANSWER):
            await cloud.send(99, kind, b"\x01")
        await cloud.open(7)
        assert await cloud.data(len(SWITCHED)) == SWITCHED
        for _ in range(1000):
            await cloud.send(7, Kind.REMOVE)
        assert (await cloud.next()) == Frame(7, Kind.REMOVE)
        await cloud.open(8)
        assert (await cloud.next()).stream == 8

    in_tunnel(test)


def test_a_thousand_idle_streams_at_once() -> None:
    async def test(cloud: Cloud) -> None:
        for number in range(1, 1001):
            await cloud.open(number, "/portForward/shop/cart")  # commands start slowly, see `starts`
            assert (await cloud.next()).data == SWITCHED
        assert len(cloud.tunnel) == 1000
        await cloud.send(500, Kind.DATA, b"still there?")
        assert (await cloud.next()) == Frame(500, Kind.DATA, b"still there?")

    in_tunnel(test)


def test_a_command_whose_input_goes_on_is_looked_after_in_case_it_has_ended_already() -> None:
    async def test(cloud: Cloud) -> None:
        await cloud.open()
        await cloud.data(len(SWITCHED))
        for _ in range(3):
            await cloud.send(7, Kind.DATA, bytes(CHUNK))
        await cloud.streams.unblocked.wait()
        await cloud.send(7, Kind.REMOVE)

    in_tunnel(test, server=StreamingServer(sinks=True))


def test_the_last_words_of_a_runtime_that_resets_the_connection_arrive() -> None:
    """As it does when it closes while input is unread."""
    words = b"the outcome" * 1000

    async def main() -> None:
        edge_end, cloud_end = pair(Peer(), Peer(headers={AGREEMENT.lower(): VERSION}))
        told = asyncio.Event()

        async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            await told.wait()
            writer.write(words)
            await writer.drain()
            linger = struct.pack("ii", 1, 0)
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            writer.close()

        async with asyncio.timeout(20), await asyncio.start_server(answer, "127.0.0.1", 0) as server:
            streams = StreamsAt(StreamingServer(port=server.sockets[0].getsockname()[1]))
            tunnel = Tunnel(edge_end, {Kind.EXEC: raw_streams(streams)})
            async with asyncio.TaskGroup() as group:
                serving = group.create_task(tunnel.run())
                cloud = Cloud(cloud_end, tunnel, streams, StreamingServer())
                await cloud.open()
                for _ in range(4):
                    await cloud.send(7, Kind.DATA, bytes(CHUNK))
                told.set()
                assert await cloud.data(len(words)) == words
                serving.cancel()

    asyncio.run(main())
