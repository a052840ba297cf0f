"""A gRPC client on a unix socket or a TCP port: unary calls and server streams, bytes in and bytes out.

    await channel.unary(path, request, timeout) → reply
    async for reply in channel.stream(path, request): …

One connection, opened by the first call and again after it broke. There is no task: what the socket brings is handed to
the waiting calls by the protocol's callbacks. It exists because of the agent's memory budget;
`docs/decisions/0003-own-grpc-client.md` has the figures.
"""

from __future__ import annotations

import asyncio
import urllib.parse
from collections import deque
from collections.abc import AsyncIterator

from octoedge.errors import ConnectError, ConnectionClosed, DeadlineError, OctoedgeError, ProtocolError
from octoedge.transport.http2 import Data, Event, GoAway, Headers, Http2Client, Reset

MAX_MESSAGE = 64 << 20
"""Bytes of one reply."""
MAX_CALLS = 64
"""Calls at once; further ones wait."""
MAX_WAITING = 64
"""Replies of a stream that wait to be taken before the server is held back."""
CONNECT_SECONDS = 5.0

NOT_FOUND, UNAVAILABLE, DEADLINE_EXCEEDED, INTERNAL = 5, 14, 4, 13


class GrpcError(OctoedgeError):
    """The server answered with a status other than OK; `code` is gRPC's number."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(f"{message} (gRPC code {code})")
        self.code = code
        self.message = message


class _Call:
    """What has come for one call."""

    def __init__(self) -> None:
        self.messages: deque[bytes] = deque()
        self.owed = 0
        """Bytes received that the server has not been allowed to replace yet."""
        self.over = False
        self.error: OctoedgeError | None = None
        self.changed = asyncio.Event()
        self._partial = bytearray()

    def headers(self, event: Headers) -> None:
        """Headers, or trailers with the outcome."""
        fields = dict(event.fields)
        if fields.get(":status", "200") != "200":
            self.end(GrpcError(UNAVAILABLE, f"the server answered HTTP {fields[':status']}"))
        elif event.last or "grpc-status" in fields:
            code = fields.get("grpc-status", "")
            number = int(code) if code.isdecimal() and len(code) < 4 else INTERNAL
            message = urllib.parse.unquote(fields.get("grpc-message", ""))
            self.end(GrpcError(number, message) if number else None)

    def data(self, event: Data) -> None:
        """A piece of the replies: each has five bytes of head, whether it is compressed (never) and its length."""
        self._partial += event.data
        while len(self._partial) >= 5:
            size = int.from_bytes(self._partial[1:5], "big")
            if self._partial[0] or size > MAX_MESSAGE:
                self.end(GrpcError(INTERNAL, f"a reply of {size} bytes is compressed or larger than {MAX_MESSAGE}"))
                return
            if len(self._partial) < 5 + size:
                break
            self.messages.append(bytes(self._partial[5 : 5 + size]))
            del self._partial[: 5 + size]
        if event.last:
            self.end(GrpcError(INTERNAL, "the server ended a call without a status"))
        self.changed.set()

    def end(self, error: OctoedgeError | None) -> None:
        """Nothing more will come; the first reason counts."""
        if not self.over:
            self.over = True
            self.error = error
        self.changed.set()

    async def next(self) -> bytes | None:
        """The next reply, None after the last one; raises what the call ended with."""
        while not self.messages:
            if self.error is not None:
                raise self.error
            if self.over:
                return None
            self.changed.clear()
            await self.changed.wait()
        return self.messages.popleft()


class _Wire(asyncio.Protocol):
    """One connection: the socket's callbacks on one side, calls on the other."""

    def __init__(self) -> None:
        self._http2 = Http2Client()
        self._calls: dict[int, _Call] = {}
        self._transport: asyncio.Transport | None = None
        self.usable = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._http2.receive(data):
                self._dispatch(event)
        except ProtocolError as error:
            self.close(ConnectionClosed(f"the server broke HTTP/2: {error}"))
            return
        self._flush()

    def connection_lost(self, error: Exception | None) -> None:
        why = f": {error}" if error else ""
        self.close(ConnectionClosed(f"the connection ended{why}"))

    def close(self, reason: OctoedgeError) -> None:
        """End the connection and every call on it."""
        self.usable = False
        calls, self._calls = self._calls, {}
        for call in calls.values():
            call.end(reason)
        if self._transport is not None:
            self._transport.abort()

    def begin(self, path: str, request: bytes) -> tuple[int, _Call]:
        """Send a request."""
        fields = (
            (":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "localhost"),
            ("te", "trailers"), ("content-type", "application/grpc"), ("user-agent", "octoedge"),
        )  # fmt: skip
        stream = self._http2.request(fields, b"\0" + len(request).to_bytes(4, "big") + request)
        call = self._calls[stream] = _Call()
        self._flush()
        self.usable = self.usable and not self._http2.exhausted
        return stream, call

    def finish(self, stream: int, call: _Call) -> None:
        """Nobody waits for this call any more."""
        if self._calls.pop(stream, None) is not None and not call.over:
            self._http2.cancel(stream)
            self._flush()

    def open_window(self, stream: int, call: _Call) -> None:
        """Let the server send more, unless replies wait here to be taken."""
        if call.owed and len(call.messages) < MAX_WAITING and not call.over:
            self._http2.consumed(stream, call.owed)
            call.owed = 0
            self._flush()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, GoAway):
            self.usable = False
            gone = [stream for stream in self._calls if stream > event.last_stream]
            for stream in gone:
                self._calls.pop(stream).end(ConnectionClosed(f"the server is going away: {event.text or event.code}"))
            return
        call = self._calls.get(event.stream)
        if call is None:
            return
        if isinstance(event, Headers):
            call.headers(event)
        elif isinstance(event, Data):
            call.owed += 0 if event.last else len(event.data)
            call.data(event)
            self.open_window(event.stream, call)
        elif isinstance(event, Reset):
            call.end(ConnectionClosed(f"the server gave the call up (HTTP/2 code {event.code})"))

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            data = self._http2.data_to_send()
            if data:
                self._transport.write(data)


class Channel:
    """Calls to the server at a unix socket with this `path`; given a `port`, in clear over TCP to the host `path`."""

    def __init__(self, path: str, port: int | None = None) -> None:
        self.path = path
        self._port = port
        self._wire: _Wire | None = None
        self._connecting = asyncio.Lock()
        self._slots = asyncio.Semaphore(MAX_CALLS)

    async def unary(self, path: str, request: bytes, timeout: float) -> bytes:
        """One request, one reply, within `timeout` seconds.

        Raises `GrpcError` with the server's status, `DeadlineError`, `ConnectError`, `ConnectionClosed`.
        """
        try:
            async with asyncio.timeout(timeout), self._slots:
                return await self._one(path, request)
        except TimeoutError as error:
            raise DeadlineError(f"{path}: no answer in {timeout:.0f} s") from error

    async def stream(self, path: str, request: bytes) -> AsyncIterator[bytes]:
        """One request, replies as they come; leaving the loop tells the server."""
        wire = await self._connected()
        stream, call = wire.begin(path, request)
        try:
            while (reply := await call.next()) is not None:
                yield reply
                wire.open_window(stream, call)
        finally:
            wire.finish(stream, call)

    def close(self) -> None:
        """End the connection; a later call opens a new one."""
        if self._wire is not None:
            self._wire.close(ConnectionClosed("the connection was closed here"))
            self._wire = None

    async def _one(self, path: str, request: bytes) -> bytes:
        wire = await self._connected()
        stream, call = wire.begin(path, request)
        try:
            reply = await call.next()
            if reply is None:
                raise GrpcError(INTERNAL, "the server answered OK without a reply")
            # What counts is the status that comes after the reply.
            await call.next()
            return reply
        finally:
            wire.finish(stream, call)

    async def _connected(self) -> _Wire:
        async with self._connecting:
            if self._wire is None or not self._wire.usable:
                loop = asyncio.get_running_loop()
                try:
                    async with asyncio.timeout(CONNECT_SECONDS):
                        if self._port is None:
                            _, self._wire = await loop.create_unix_connection(_Wire, self.path)
                        else:
                            _, self._wire = await loop.create_connection(_Wire, self.path, self._port)
                except (OSError, TimeoutError) as error:
                    where = self.path if self._port is None else f"{self.path} port {self._port}"
                    raise ConnectError(f"cannot connect to {where}: {error}") from error
            return self._wire
