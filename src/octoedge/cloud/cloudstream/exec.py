"""exec, attach and port-forward at 10003: the API server's connection becomes a raw stream to the node.

The edge's first bytes are an HTTP answer (101, or an error) and are passed on as they are; until they come, what goes
wrong here is answered like everything else.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncGenerator

from aiohttp import web

from octoedge.cloud.cloudstream.stream import Stream
from octoedge.errors import ApiError, ConnectionClosed, bad_request
from octoedge.protocol.tunnel import CHUNK, Connector, Kind
from octoedge.transport.hijack import hijack, hijacked
from octoedge.transport.outcome import BROKEN, WatchedAnswer

log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
_DRAIN_SECONDS = 10.0
_SILENT_SECONDS, _PATIENCE_SECONDS = 0.05, 2.0
_PASSED_ON = (
    "Connection", "Upgrade", "User-Agent", "X-Stream-Protocol-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin",
)  # fmt: skip
_KINDS = {"exec": Kind.EXEC, "attach": Kind.ATTACH, "portForward": Kind.EXEC}
"""KubeEdge has no kind for port-forward; its edge dials whatever path an EXEC names, so that serves there too."""

PATHS = (
    "/exec/{namespace}/{pod}/{container}",
    "/exec/{namespace}/{pod}/{uid}/{container}",
    "/attach/{namespace}/{pod}/{container}",
    "/attach/{namespace}/{pod}/{uid}/{container}",
    "/portForward/{namespace}/{pod}",
    "/portForward/{namespace}/{pod}/{uid}",
)


def wanted(request: web.Request) -> tuple[Kind, Connector]:
    """The stream that a request asks for; `ApiError` 400 unless it wants to leave HTTP."""
    if "upgrade" not in ",".join(request.headers.getall("Connection", ())).lower():
        raise bad_request("Upgrade request required")
    url = request.rel_url
    headers = {name: tuple(request.headers.getall(name)) for name in _PASSED_ON if name in request.headers}
    kind = _KINDS[request.path.split("/")[1]]
    return kind, Connector(url.raw_path, url.raw_query_string, request.method, headers)


async def pipe(request: web.Request, node: str, stream: Stream) -> web.StreamResponse:
    """Carry bytes both ways until either end is through."""
    async with contextlib.aclosing(stream.chunks()) as chunks:
        first = await _first(node, chunks)
        with hijack(request) as (reader, writer):
            async with asyncio.TaskGroup() as group:
                outward = group.create_task(_outward(reader, stream), name=f"input of stream {stream.number}")
                await _inward(node, first, chunks, writer)
                outward.cancel()
                await asyncio.wait([outward])
                await _until_silent(reader)
        log.debug("= stream %d of node %s is over", stream.number, node)
    return hijacked()


async def _first(node: str, chunks: AsyncGenerator[bytes, None]) -> bytes:
    try:
        async with asyncio.timeout(ANSWER_SECONDS):
            return await anext(chunks)
    except TimeoutError as error:
        raise ApiError(504, "Timeout", f"node {node} did not answer within {ANSWER_SECONDS:.0f} s") from error
    except StopAsyncIteration as error:
        raise ApiError(502, "BadGateway", f"node {node} ended the request without an answer") from error


async def _inward(node: str, first: bytes, chunks: AsyncGenerator[bytes, None], writer: asyncio.StreamWriter) -> None:
    """From the edge to the client, everything that the edge sent before it ended the stream, or went away."""
    watched, why = WatchedAnswer(), BROKEN
    with contextlib.suppress(OSError):
        try:
            await _write(first, watched, writer)
            async for chunk in chunks:
                await _write(chunk, watched, writer)
        except ConnectionClosed as error:
            why = f"{BROKEN} (node {node}: {error})"
        writer.write(watched.broken(why))
        async with asyncio.timeout(_DRAIN_SECONDS):
            await writer.drain()


async def _write(chunk: bytes, watched: WatchedAnswer, writer: asyncio.StreamWriter) -> None:
    watched.see(chunk)
    writer.write(chunk)
    await writer.drain()


async def _until_silent(reader: asyncio.StreamReader) -> None:
    """Throw away what the client still says: what it says to a closed connection could cost it its last answer."""
    with contextlib.suppress(TimeoutError, OSError):
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while await asyncio.wait_for(reader.read(CHUNK), _SILENT_SECONDS):
                pass


async def _outward(reader: asyncio.StreamReader, stream: Stream) -> None:
    """From the client to the edge, until the client leaves."""
    with contextlib.suppress(OSError, ConnectionClosed):
        while data := await reader.read(CHUNK):
            await stream.write(data)
    stream.leave()
