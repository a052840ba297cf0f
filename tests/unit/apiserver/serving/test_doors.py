"""The doors: silent connections are dropped, those beyond the limit refused, requests beyond the limit told to wait."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

pytest.importorskip("aiohttp")

from aiohttp import web

from octoedge.apiserver.serving.doors import Doors, Turns
from octoedge.errors import ApiError

REQUEST = b"GET / HTTP/1.1\r\nHost: here\r\n\r\n"


@asynccontextmanager
async def listening(**limits: float) -> AsyncIterator[int]:
    """A server behind doors; its port."""

    async def handle(http: web.BaseRequest) -> web.Response:
        doors.asked(http.protocol)
        return web.Response(text="hello")

    server = web.Server(handle)
    doors = Doors(server, **limits)  # type: ignore[arg-type]
    opened = await asyncio.get_running_loop().create_server(doors, "127.0.0.1", 0)
    try:
        yield opened.sockets[0].getsockname()[1]
    finally:
        opened.close()
        await server.shutdown(0.1)


async def until_ended(reader: asyncio.StreamReader) -> None:
    """Wait for the end of a connection, or its reset."""
    with contextlib.suppress(ConnectionError):
        assert await reader.read() == b""


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost: he"])
def test_who_asks_nothing_in_time_is_dropped(said: bytes) -> None:
    async def main() -> None:
        async with listening(silence=0.05) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(said)
            await until_ended(reader)
            writer.close()

    asyncio.run(main())


def test_who_has_asked_may_wait() -> None:
    async def main() -> None:
        async with listening(silence=0.05) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            silent, other = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            assert b"hello" in await reader.readuntil(b"hello")
            await until_ended(silent)  # by now the time of both is over
            writer.write(REQUEST)
            assert b"hello" in await reader.readuntil(b"hello")
            writer.close()
            other.close()

    asyncio.run(main())


def test_connections_beyond_the_limit_are_refused() -> None:
    async def main() -> None:
        async with listening(most=1) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
            refused, other = await asyncio.open_connection("127.0.0.1", port)
            await until_ended(refused)
            writer.write(REQUEST)
            await reader.readuntil(b"hello")
            writer.close()
            other.close()

    asyncio.run(main())


def test_reading_does_not_use_up_the_turns_of_writing() -> None:
    turns = Turns(reading=1, writing=1)
    with turns.taken("GET"):
        with turns.taken("POST"), pytest.raises(ApiError) as told, turns.taken("PATCH"):
            pass
        assert (told.value.code, told.value.reason) == (429, "TooManyRequests")
        with pytest.raises(ApiError), turns.taken("HEAD"):
            pass
    with turns.taken("GET"), turns.taken("DELETE"):
        pass
