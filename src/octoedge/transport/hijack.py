"""The byte stream below an HTTP request that aiohttp has read: for protocols that only begin as HTTP (SPDY, raw pipes).

with hijack(request) as (reader, writer): …        nothing is written that was not written to `writer`
return hijacked()
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from typing import Any

from aiohttp import web

from octoedge.errors import ConnectionClosed

_CLOSE_SECONDS = 2.0
_LIMIT = 64 * 1024
"""Bytes that wait for the reader; twice as many at most before the client is held up."""


class _Hijacked(web.StreamResponse):
    """What the handler returns: aiohttp writes nothing and closes the connection."""

    async def prepare(self, request: web.BaseRequest) -> None:  # noqa: ARG002 - aiohttp's interface
        return None

    async def write_eof(self, data: bytes = b"") -> None:  # noqa: ARG002 - aiohttp's interface
        return None


class _Protocol(asyncio.StreamReaderProtocol):
    """Takes over from aiohttp's own, and tells it of the end, so that its handler is cancelled and forgotten."""

    def __init__(self, reader: asyncio.StreamReader, before: asyncio.BaseProtocol) -> None:
        super().__init__(reader)
        self._before = before

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._before.connection_lost(exc)


@contextlib.contextmanager
def hijack(request: web.BaseRequest) -> Iterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    """The connection, from behind the request's head on; `ConnectionClosed` when the client has left already.

    At the end it is closed, after what was written; a client that does not take it in time is cut off.
    """
    transport = request.transport
    if transport is None or transport.is_closing():
        raise ConnectionClosed("the client has left")
    reader = asyncio.StreamReader(limit=_LIMIT)
    protocol = _Protocol(reader, request.protocol)
    transport.set_protocol(protocol)
    protocol.connection_made(transport)
    writer = asyncio.StreamWriter(_write_transport(transport), protocol, reader, asyncio.get_running_loop())
    try:
        yield reader, writer
    finally:
        writer.close()
        # TLS ends by a word of the other side, which it may never say.
        asyncio.get_running_loop().call_later(_CLOSE_SECONDS, writer.transport.abort)


def hijacked() -> web.StreamResponse:
    """The answer of a handler that has hijacked its request."""
    return _Hijacked()


def _write_transport(transport: Any) -> asyncio.WriteTransport:
    return transport  # type: ignore[no-any-return]
