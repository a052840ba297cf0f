"""How responses leave: in pieces, compressed when asked for, and never further than the client reads."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import asynccontextmanager

import pytest

aiohttp = pytest.importorskip("aiohttp")

from aiohttp import web  # noqa: E402

from octoedge.apiserver.serving.requests import Answer, Pieces, Stream  # noqa: E402
from octoedge.apiserver.serving.sending import send, wants_gzip  # noqa: E402
from octoedge.kube.read import Shortcut  # noqa: E402

ITEM = b'{"name":"an object of some length"},'
LARGE = [ITEM] * 20_000


@asynccontextmanager
async def serving(response: Answer | Pieces | Stream) -> AsyncIterator[str]:
    """A server that gives one response; its URL."""

    async def handle(http: web.BaseRequest) -> web.StreamResponse:
        return await send(http, response)

    server = web.Server(handle)
    opened = await asyncio.get_running_loop().create_server(server, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{opened.sockets[0].getsockname()[1]}/"
    finally:
        opened.close()
        await server.shutdown(0.1)


def got(response: Answer | Pieces | Stream, accepted: str) -> tuple[bytes, dict[str, str]]:
    """Body as it is on the wire, and headers."""

    async def main() -> tuple[bytes, dict[str, str]]:
        async with (
            serving(response) as url,
            aiohttp.ClientSession(auto_decompress=False) as session,
            session.get(url, headers={"Accept-Encoding": accepted}) as answer,
        ):
            return await answer.read(), dict(answer.headers)

    return asyncio.run(main())


def test_pieces_come_as_one_body_of_known_length() -> None:
    whole = b"".join(LARGE)
    body, headers = got(Pieces(LARGE, len(whole)), "identity")
    assert body == whole
    assert headers["Content-Length"] == str(len(whole))
    assert "Content-Encoding" not in headers


@pytest.mark.parametrize("response", [Pieces(LARGE, len(ITEM) * len(LARGE)), Answer(b"".join(LARGE))])
def test_what_is_large_is_compressed_for_who_wants_it(response: Answer | Pieces) -> None:
    body, headers = got(response, "deflate, gzip")
    assert headers["Content-Encoding"] == "gzip"
    assert len(body) < len(ITEM) * len(LARGE) // 10
    assert gzip.decompress(body) == b"".join(LARGE)


def test_what_is_small_is_not_compressed() -> None:
    body, headers = got(Answer(b"{}"), "gzip")
    assert (body, headers.get("Content-Encoding")) == (b"{}", None)


@pytest.mark.parametrize(
    ("accepted", "wanted"),
    [("gzip", True), ("br, GZIP;q=0.5", True), ("*", True), ("", False), ("gzip;q=0", False), ("br", False)],
)
def test_the_header_is_read(accepted: str, wanted: bool) -> None:
    assert wants_gzip(accepted) is wanted


def test_nothing_is_made_ahead_of_a_client_that_does_not_read() -> None:
    made = 0

    def pieces() -> Iterator[bytes]:
        nonlocal made
        for _ in range(1000):
            made += 1
            yield bytes(64 * 1024)

    async def main() -> None:
        async with serving(Pieces(pieces(), 1000 * 64 * 1024)) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].strip("/")), limit=1024)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await reader.readline()
            before = -1
            while before != made:  # until it stands still
                before = made
                await asyncio.sleep(0.05)
            assert made < 500
            writer.transport.abort()

    asyncio.run(main())


def test_a_stream_ends_when_its_client_goes() -> None:
    closed = asyncio.Event()

    async def chunks() -> AsyncGenerator[bytes, None]:
        try:
            while True:
                yield bytes(64 * 1024)
        finally:
            closed.set()

    async def main() -> None:
        async with serving(Stream(chunks())) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].strip("/")))
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await reader.readline()
            writer.transport.abort()
            async with asyncio.timeout(30):
                await closed.wait()

    asyncio.run(main())


def test_a_shortcut_takes_lines_until_its_client_stops_reading_and_they_come_in_order() -> None:
    line = b"x" * 8191 + b"\n"

    async def main() -> None:
        shortcut, go, taken = Shortcut(), asyncio.Event(), 0

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield b"first\n"
            await go.wait()
            yield b"last\n"

        async with serving(Stream(chunks(), shortcut=shortcut)) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].strip("/")), limit=1024)
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n")
            await reader.readuntil(b"first\n\r\n")
            while shortcut.write(line):
                taken += 1
                assert taken < 5000, "what a client does not read is held without an end"
                await asyncio.sleep(0)
            go.set()
            assert await reader.read(-1) == b"2000\r\n%b\r\n" % line * taken + b"5\r\nlast\n\r\n0\r\n\r\n"
            writer.transport.abort()

    asyncio.run(main())


def test_a_shortcut_takes_nothing_for_a_client_that_is_gone() -> None:
    async def main() -> None:
        shortcut, gone = Shortcut(), asyncio.Event()

        async def chunks() -> AsyncGenerator[bytes, None]:
            yield b"first\n"
            while True:
                if not shortcut.write(b"more\n"):
                    gone.set()
                await asyncio.sleep(0)

        async with serving(Stream(chunks(), shortcut=shortcut)) as url:
            reader, writer = await asyncio.open_connection("127.0.0.1", int(url.split(":")[2].strip("/")))
            writer.write(b"GET / HTTP/1.1\r\nHost: here\r\n\r\n")
            await reader.readuntil(b"first\n\r\n")
            writer.transport.abort()
            async with asyncio.timeout(30):
                await gone.wait()

    asyncio.run(main())
