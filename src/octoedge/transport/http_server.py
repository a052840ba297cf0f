"""A small HTTP/1.1 server on asyncio streams: requests one after the other on a connection, answers whole or streamed.

    bytes ──► Request ──► handler ──► Answer: bytes (the connection lives on) or chunks (it ends with the last)

Everything is limited: head, body, how long a client may take, how many connections there are. While an answer is
streamed the client is watched, so that one who goes away is let go at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import urllib.parse
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from octoedge.transport.abort import abort

log = logging.getLogger(__name__)

MAX_HEAD = 32 * 1024
_MAX_BODY = 3 * 1024 * 1024
_MAX_HEADERS = 100
_REFUSAL_SECONDS = 1.0
_PHRASES = {
    200: "OK", 201: "Created", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
    405: "Method Not Allowed", 409: "Conflict", 410: "Gone", 413: "Request Entity Too Large",
    422: "Unprocessable Entity", 429: "Too Many Requests", 500: "Internal Server Error", 503: "Service Unavailable",
    504: "Gateway Timeout",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Limits:
    """How long and how much."""

    connections: int = 512
    idle_seconds: float = 90.0
    """Until a connection on which nothing is asked is closed."""
    head_seconds: float = 15.0
    body_seconds: float = 30.0
    write_seconds: float = 30.0
    max_body: int = _MAX_BODY


LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Request:
    """One request; names of headers are in small letters, path and query are percent-decoded."""

    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes = b""
    certificate: Mapping[str, Any] | None = None
    """What the TLS library says of the client's verified certificate."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; a generator's chunks are sent as they come, and then the connection ends."""

    status: int
    body: bytes | AsyncGenerator[bytes, None] = b""
    headers: Mapping[str, str] = field(default_factory=dict)


Handler = Callable[[Request], Awaitable[Answer]]


class _Refused(Exception):
    """The request cannot be read."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


class HttpServer:
    """Hand `accept` to `asyncio.start_server`, with `limit=MAX_HEAD`."""

    def __init__(self, handler: Handler, limits: Limits = LIMITS) -> None:
        self._handler = handler
        self._limits = limits
        self._open: set[asyncio.Task[None]] = set()
        self._peak = 0

    def peak(self) -> int:
        """The most connections that there were at once since this was last asked."""
        peak, self._peak = self._peak, len(self._open)
        return peak

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._open)

    def close(self) -> None:
        """End every connection."""
        for task in self._open:
            task.cancel()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection until it ends."""
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        self._peak = max(self._peak, len(self._open))
        try:
            if len(self._open) > self._limits.connections:
                async with asyncio.timeout(_REFUSAL_SECONDS):
                    await reader.read(MAX_HEAD)  # what is not read when a connection ends takes the answer along
                await self._send(writer, _refusal(503, "too many connections at once"), last=True)
                return
            while await self._one(reader, writer):
                pass
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("= a client is gone: %s", str(error) or "too slow")
        except asyncio.CancelledError:
            # Ends here: asyncio made this task for the connection, and until 3.12 takes its cancellation for an error.
            abort(writer)
        finally:
            self._open.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Answer one request; whether another one may follow."""
        try:
            request = await self._read(reader, writer)
        except _Refused as refused:
            await self._send(writer, _refusal(refused.status, str(refused)), last=True)
            return False
        if request is None:
            return False
        answer = await self._handler(request)
        last = request.headers.get("connection", "").lower() == "close"
        if isinstance(answer.body, bytes):
            await self._send(writer, answer, last=last, head_only=request.method == "HEAD")
            return not last
        await self._stream(reader, writer, answer, answer.body)
        return False

    async def _read(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request | None:
        try:
            async with asyncio.timeout(self._limits.idle_seconds):
                first = await reader.readexactly(1)
            async with asyncio.timeout(self._limits.head_seconds):
                head = first + await reader.readuntil(b"\r\n\r\n")
        except asyncio.LimitOverrunError as error:
            raise _Refused(431, f"the head of the request is longer than {MAX_HEAD} bytes") from error
        except asyncio.IncompleteReadError:
            return None
        method, target, headers = _parse(head)
        path, _, query = target.partition("?")
        try:
            decoded = urllib.parse.unquote(path, errors="strict")
            pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, errors="strict", max_num_fields=100)
        except (UnicodeDecodeError, ValueError) as error:
            raise _Refused(400, "the path or the query is not UTF-8, or has too many parts") from error
        if headers.get("expect", "").lower() == "100-continue":
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        async with asyncio.timeout(self._limits.body_seconds):
            body = await self._body(reader, headers)
        return Request(method, decoded, dict(pairs), headers, body, writer.get_extra_info("peercert"))

    async def _body(self, reader: asyncio.StreamReader, headers: Mapping[str, str]) -> bytes:
        coding, length = headers.get("transfer-encoding", "").lower(), headers.get("content-length", "")
        if coding:
            if coding != "chunked" or length:
                raise _Refused(400, f"the transfer encoding {coding[:40]!r} is not understood")
            return await self._chunks(reader)
        if not length:
            return b""
        if not (length.isascii() and length.isdigit()):
            raise _Refused(400, f"the content length {length[:40]!r} is no number")
        if int(length[:20]) > self._limits.max_body:
            raise _Refused(413, f"the body is longer than {self._limits.max_body} bytes")
        return await reader.readexactly(int(length))

    async def _chunks(self, reader: asyncio.StreamReader) -> bytes:
        body = bytearray()
        while True:
            line = await reader.readuntil(b"\r\n")
            try:
                size = int(line.split(b";")[0].strip()[:16], 16)
            except ValueError as error:
                raise _Refused(400, "the body has a chunk without a size") from error
            if size < 0 or len(body) + size > self._limits.max_body:
                raise _Refused(413, f"the body is longer than {self._limits.max_body} bytes")
            if size == 0:
                while await reader.readuntil(b"\r\n") != b"\r\n":
                    pass
                return bytes(body)
            body += await reader.readexactly(size)
            await reader.readexactly(2)

    async def _send(self, writer: asyncio.StreamWriter, answer: Answer, *, last: bool, head_only: bool = False) -> None:
        assert isinstance(answer.body, bytes)
        headers = {**answer.headers, "Content-Length": str(len(answer.body))}
        head = _head(answer.status, {**headers, "Connection": "close"} if last else headers)
        writer.write(head if head_only else head + answer.body)
        async with asyncio.timeout(self._limits.write_seconds):
            await writer.drain()

    async def _stream(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        answer: Answer,
        body: AsyncGenerator[bytes, None],
    ) -> None:
        headers = {**answer.headers, "Transfer-Encoding": "chunked", "Connection": "close"}
        writer.write(_head(answer.status, headers))
        try:
            async with asyncio.TaskGroup() as group:
                gone = group.create_task(_until_gone(reader), name="client goes away")
                await self._pass_on(writer, body)
                gone.cancel()
        except* (OSError, TimeoutError) as errors:
            log.debug("= a client is gone: %s", errors.exceptions[0])

    async def _pass_on(self, writer: asyncio.StreamWriter, body: AsyncGenerator[bytes, None]) -> None:
        async with contextlib.aclosing(body):
            await self._drained(writer)
            async for chunk in body:
                if chunk:
                    writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                    await self._drained(writer)
        writer.write(b"0\r\n\r\n")
        await self._drained(writer)

    async def _drained(self, writer: asyncio.StreamWriter) -> None:
        async with asyncio.timeout(self._limits.write_seconds):
            await writer.drain()


async def _until_gone(reader: asyncio.StreamReader) -> None:
    """Raises when the client has ended the connection; what else it says is not heard any more."""
    while await reader.read(1024):
        pass
    raise ConnectionResetError("it ended the connection")


def _parse(head: bytes) -> tuple[str, str, dict[str, str]]:
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/") or not words[0].isalpha():
        raise _Refused(400, "this is no HTTP/1.1 request")
    if len(lines) > _MAX_HEADERS:
        raise _Refused(431, f"the request has more than {_MAX_HEADERS} headers")
    headers: dict[str, str] = {}
    for line in lines[1:-2]:
        name, colon, value = line.partition(":")
        name = name.lower()
        if not colon or not name or name != name.strip() or (name in _ONCE and name in headers):
            raise _Refused(400, f"{line[:80]!r} is no header")
        headers[name] = value.strip()
    return words[0], words[1], headers


_ONCE = frozenset(("content-length", "transfer-encoding", "host", "authorization"))


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [f"HTTP/1.1 {status} {_PHRASES.get(status, 'Answer')}"]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return "\r\n".join([*lines, "", ""]).encode("latin-1", "replace")


def _refusal(status: int, text: str) -> Answer:
    return Answer(status, text.encode() + b"\n", {"Content-Type": "text/plain; charset=utf-8"})
