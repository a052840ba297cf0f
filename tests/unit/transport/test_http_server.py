"""The small HTTP server on real sockets: whole and streamed answers, limits, and clients that misbehave or go away."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, Awaitable, Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.transport.http_server import LIMITS, MAX_HEAD, Answer, HttpServer, Limits, Request

Test = Callable[[int, HttpServer], Awaitable[None]]


class Echo:
    """Answers with what was asked; `/stream` counts for ever."""

    def __init__(self) -> None:
        self.closed = 0
        self.seen: list[Request] = []

    async def __call__(self, request: Request) -> Answer:
        self.seen.append(request)
        if request.path == "/stream":
            return Answer(200, self._count(), {"Content-Type": "text/plain"})
        return Answer(200, f"{request.method} {request.path} {dict(request.query)} ".encode() + request.body)

    async def _count(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"first"
            await asyncio.Event().wait()
        finally:
            self.closed += 1


def play(test: Test, handler: Echo | None = None, limits: Limits = LIMITS) -> None:
    async def main() -> None:
        http = HttpServer(handler or Echo(), limits)
        server = await asyncio.start_server(http.accept, "127.0.0.1", 0, limit=MAX_HEAD)
        async with server:
            await asyncio.wait_for(test(server.sockets[0].getsockname()[1], http), 20)
            http.close()
        await nobody_left(http)

    asyncio.run(main())


async def nobody_left(http: HttpServer) -> None:
    """Return when every connection has ended."""
    for _ in range(100_000):
        if not http.connections:
            await asyncio.sleep(0)  # for the transports, which close in a turn of their own
            return
        await asyncio.sleep(0)
    raise AssertionError(f"{http.connections} connections are left")


async def closed(writer: asyncio.StreamWriter) -> None:
    """Close our end; the server may have done so before."""
    writer.close()
    with contextlib.suppress(OSError):
        await writer.wait_closed()


async def said(port: int, *parts: bytes) -> bytes:
    """Everything that the server says to these bytes, until it ends the connection or we have heard enough."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in parts:
        writer.write(part)
    writer.write_eof()
    answer = await reader.read()
    await closed(writer)
    return answer


def test_requests_follow_each_other_on_one_connection() -> None:
    async def test(port: int, _: HttpServer) -> None:
        answer = await said(
            port,
            b"GET /a%20b?x=%2F HTTP/1.1\r\nHost: h\r\n\r\n",
            b"POST /c HTTP/1.1\r\nContent-Length: 3\r\n\r\nxyz",
            b"PUT /d HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        )
        assert b"GET /a b {'x': '/'} " in answer
        assert b"POST /c {} xyz" in answer
        assert b"PUT /d {} abc" in answer
        assert answer.count(b"200 OK") == 3

    play(test)


def test_a_client_that_goes_away_ends_its_stream() -> None:
    echo = Echo()

    async def test(port: int, http: HttpServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"first")
        counts = [echo.closed]
        await closed(writer)
        await nobody_left(http)
        assert [*counts, echo.closed] == [0, 1]

    play(test, echo)


def test_a_thousand_watches_that_come_and_go_leave_nothing() -> None:
    echo = Echo()

    async def one(port: int) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"first")
        await closed(writer)

    async def test(port: int, http: HttpServer) -> None:
        for _ in range(10):
            await asyncio.gather(*(one(port) for _ in range(100)))
        await nobody_left(http)
        assert echo.closed == 1000

    play(test, echo)


def test_more_connections_than_there_may_be_are_refused() -> None:
    async def test(port: int, http: HttpServer) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /stream HTTP/1.1\r\n\r\n")
        await reader.readuntil(b"first")
        assert b"503" in await said(port, b"GET / HTTP/1.1\r\n\r\n")
        await closed(writer)

    play(test, limits=Limits(connections=1))


def test_a_crowd_that_came_and_went_between_two_looks_is_known() -> None:
    async def test(port: int, http: HttpServer) -> None:
        writers = [(await asyncio.open_connection("127.0.0.1", port))[1] for _ in range(5)]
        for writer in writers:
            await closed(writer)
        await nobody_left(http)
        assert http.peak() > 0
        assert http.peak() == 0

    play(test)


@pytest.mark.parametrize(
    ("request_", "status"),
    [
        (b"nonsense\r\n\r\n", b"400"),
        (b"GET http://x/ HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nbroken\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: -1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nContent-Length: 99999999\r\n\r\n", b"413"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", b"400"),
        (b"GET / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\n", b"413"),
        (b"GET /%ff HTTP/1.1\r\n\r\n", b"400"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n", b"431"),
    ],
)
def test_what_is_no_request_is_refused_and_the_connection_ends(request_: bytes, status: bytes) -> None:
    async def test(port: int, _: HttpServer) -> None:
        answer = await said(port, request_)
        assert answer.startswith(b"HTTP/1.1 " + status), answer[:200]
        assert b"Connection: close" in answer

    play(test)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_break_it(data: bytes) -> None:
    async def test(port: int, _: HttpServer) -> None:
        await said(port, data + b"\r\n\r\n")
        assert b"200 OK" in await said(port, b"GET / HTTP/1.1\r\n\r\n")

    play(test)
