"""How a response leaves: whole, in pieces, or as a stream that is still made; compressed when the client wants it.

A list of thousands of objects is never put together: its pieces go out as fast as the client takes them, so what a
request holds is a piece or two. A write that the client does not take within a minute ends the connection. The lines
of a watch take a shortcut to a client that has taken all before them; for one that has not, its own task waits.
"""

from __future__ import annotations

import asyncio
import logging
import zlib
from collections.abc import AsyncGenerator, Iterable
from contextlib import aclosing
from functools import partial

from aiohttp import web

from octoedge.apiserver.serving.requests import Answer, Pieces, Stream
from octoedge.errors import ApiError
from octoedge.kube.read import gathered

log = logging.getLogger(__name__)

WRITE_SECONDS = 60.0
CHUNK = 64 * 1024
COMPRESSED_FROM = 128 * 1024
"""Smaller bodies are not worth the processor's time; Kubernetes' own limit."""
_GZIP = 16 + zlib.MAX_WBITS
_LEVEL = 1
"""Kubernetes' choice too: nearly as small as the highest, in a third of the time."""


async def send(http: web.BaseRequest, response: Answer | Pieces | Stream) -> web.StreamResponse:
    """Send it; a client that does not read it, or goes away, ends the connection and nothing else."""
    if isinstance(response, Answer):
        if len(response.body) < COMPRESSED_FROM:
            return _whole(response)
        whole = [response.body]
        response = Pieces(whole, len(response.body), response.code, response.content_type, response.headers)
    if isinstance(response, Pieces):
        return await _in_pieces(http, response)
    return await _stream(http, response)


def wants_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header takes gzip."""
    for part in accepted.lower().split(","):
        coding, *words = (word.strip() for word in part.split(";"))
        if coding in ("gzip", "*"):
            return not any(word.replace(" ", "") in ("q=0", "q=0.0", "q=0.00", "q=0.000") for word in words)
    return False


def _whole(answer: Answer) -> web.Response:
    response = web.Response(body=answer.body, status=answer.code, headers=_headers(answer))
    if answer.code in (408, 413):
        response.force_close()
    return response


async def _in_pieces(http: web.BaseRequest, answer: Pieces) -> web.StreamResponse:
    response = web.StreamResponse(status=answer.code, headers={**_headers(answer), "Vary": "Accept-Encoding"})
    zipped = answer.size >= COMPRESSED_FROM and wants_gzip(http.headers.get("Accept-Encoding", ""))
    if zipped:
        response.headers["Content-Encoding"] = "gzip"
        response.enable_chunked_encoding()
    else:
        response.content_length = answer.size
    return await _written(http, response, _zipped(answer.pieces) if zipped else _plain(answer.pieces))


async def _stream(http: web.BaseRequest, stream: Stream) -> web.StreamResponse:
    response = web.StreamResponse(status=stream.code, headers=_headers(stream))
    response.enable_chunked_encoding()
    if stream.shortcut is not None and http.method == "GET":
        stream.shortcut.write = partial(_write_at_once, http)
    return await _written(http, response, stream.chunks)


def _write_at_once(http: web.BaseRequest, lines: bytes) -> bool:
    """Write an HTTP chunk, unless something still waits to be written."""
    transport = http.transport
    if transport is None or transport.is_closing() or transport.get_write_buffer_size():
        return False
    transport.write(b"%x\r\n%b\r\n" % (len(lines), lines))
    return True


async def _written(
    http: web.BaseRequest, response: web.StreamResponse, chunks: AsyncGenerator[bytes, None]
) -> web.StreamResponse:
    try:
        async with aclosing(chunks):
            await response.prepare(http)
            async for chunk in chunks:
                await _write(response, chunk)
        await response.write_eof()
    except (TimeoutError, ConnectionError, ApiError) as error:
        log.debug("= %s ended: %s", http.path, str(error) or type(error).__name__)
        if http.transport is not None:
            http.transport.abort()
    return response


async def _write(response: web.StreamResponse, chunk: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        for at in range(0, len(chunk), CHUNK):
            await response.write(chunk[at : at + CHUNK])


def _headers(answer: Answer | Pieces | Stream) -> dict[str, str]:
    return {"Cache-Control": "no-cache, private", **answer.headers, "Content-Type": answer.content_type}


async def _plain(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    for chunk in gathered(pieces, CHUNK):
        yield chunk


async def _zipped(pieces: Iterable[bytes]) -> AsyncGenerator[bytes, None]:
    """Compressed on a thread, so that a large list holds up nobody."""
    squeeze = zlib.compressobj(_LEVEL, zlib.DEFLATED, _GZIP)
    for chunk in gathered(pieces, CHUNK):
        yield await asyncio.to_thread(squeeze.compress, chunk)
    yield squeeze.flush()
