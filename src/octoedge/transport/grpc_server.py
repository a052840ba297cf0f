"""A gRPC server on a unix socket: unary calls, bytes in and bytes out.

    async with serving(path, mode, {"/v1beta1.Registration/Register": handler}): …

A handler gets the request and returns the reply, or raises `GrpcError`; each call is a task of the server's group and
is cancelled when its client goes away or its deadline passes. What one peer may hold open is bounded: connections,
calls on each, bytes of each request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import stat
import urllib.parse
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import msgspec

from octoedge.errors import ConfigError, OctoedgeError, ProtocolError
from octoedge.transport.grpc import DEADLINE_EXCEEDED, INTERNAL, GrpcError
from octoedge.transport.http2 import Data, Event, GoAway, Headers, Http2Server, Reset

log = logging.getLogger(__name__)

Handler = Callable[[bytes], Awaitable[bytes]]

MAX_REQUEST = 4 << 20
"""Bytes of one request, as gRPC's own default."""
MAX_CONNECTIONS = 128
CALL_SECONDS = 60.0
"""The deadline of a call whose client names none, and the longest that one may name."""
UNKNOWN, RESOURCE_EXHAUSTED, UNIMPLEMENTED = 2, 8, 12

_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}
_HEADERS = ((":status", "200"), ("content-type", "application/grpc"))


class _Call(msgspec.Struct):
    """One call while its request comes in, then while it is answered."""

    path: str
    seconds: float
    request: bytearray = msgspec.field(default_factory=bytearray)
    task: asyncio.Task[None] | None = None


class _Server:
    """What the connections of one socket share."""

    def __init__(self, methods: Mapping[str, Handler], group: asyncio.TaskGroup) -> None:
        self.methods = methods
        self.group = group
        self.wires: set[_Wire] = set()
        self.closed = False
        """A connection that was accepted at the last moment is ended as soon as it is made."""


class _Wire(asyncio.Protocol):
    """One connection."""

    def __init__(self, server: _Server) -> None:
        self._server = server
        self._http2 = Http2Server()
        self._calls: dict[int, _Call] = {}
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        if self._server.closed:
            transport.abort()
            return
        if len(self._server.wires) >= MAX_CONNECTIONS:
            log.warning("a gRPC connection is refused: there are %d already", MAX_CONNECTIONS)
            transport.abort()
            return
        self._server.wires.add(self)
        self._transport = transport
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            for event in self._http2.receive(data):
                self._dispatch(event)
        except ProtocolError as error:
            log.warning("a gRPC client broke HTTP/2 and is cut off: %s", error)
            self.close()
            return
        self._flush()

    def connection_lost(self, _error: Exception | None) -> None:
        self.close()

    def close(self) -> None:
        """End the connection and every call on it."""
        self._server.wires.discard(self)
        calls, self._calls = self._calls, {}
        for call in calls.values():
            if call.task is not None:
                call.task.cancel()
        if self._transport is not None:
            self._transport.abort()

    def _dispatch(self, event: Event) -> None:
        if isinstance(event, Headers):
            self._opened(event)
        elif isinstance(event, Data):
            self._received(event)
        elif isinstance(event, Reset):
            call = self._calls.pop(event.stream, None)
            if call is not None and call.task is not None:
                call.task.cancel()
        elif isinstance(event, GoAway) and not self._calls:
            self.close()

    def _opened(self, event: Headers) -> None:
        if event.stream in self._calls:
            return  # trailers of a request say nothing to us
        fields = dict(event.fields)
        call = self._calls[event.stream] = _Call(fields.get(":path", ""), _deadline(fields.get("grpc-timeout", "")))
        if event.last:
            self._begin(event.stream, call)

    def _received(self, event: Data) -> None:
        call = self._calls.get(event.stream)
        if call is None or call.task is not None:
            return
        call.request += event.data
        if len(call.request) > MAX_REQUEST + 5:
            text = f"a request is larger than {MAX_REQUEST} bytes"
            self._answer(event.stream, b"", GrpcError(RESOURCE_EXHAUSTED, text))
            return
        self._http2.consumed(event.stream, len(event.data))
        if event.last:
            self._begin(event.stream, call)

    def _begin(self, stream: int, call: _Call) -> None:
        call.task = self._server.group.create_task(self._work(stream, call), name=f"gRPC {call.path}")

    async def _work(self, stream: int, call: _Call) -> None:
        reply, error = b"", None
        try:
            reply = await self._reply(call)
        except GrpcError as refused:
            error = refused
        except TimeoutError:
            error = GrpcError(DEADLINE_EXCEEDED, f"{call.path} took longer than {call.seconds:.1f} s")
        except OctoedgeError as failed:
            error = GrpcError(UNKNOWN, str(failed))
        except Exception as failed:
            log.exception("%s failed", call.path)
            error = GrpcError(INTERNAL, f"{call.path} failed: {failed}")
        self._answer(stream, reply, error)
        self._flush()

    async def _reply(self, call: _Call) -> bytes:
        handler = self._server.methods.get(call.path)
        if handler is None:
            raise GrpcError(UNIMPLEMENTED, f"there is no method {call.path[:200]!r} here")
        request = bytes(call.request)
        if len(request) < 5 or request[0] or int.from_bytes(request[1:5], "big") != len(request) - 5:
            raise GrpcError(INTERNAL, f"{call.path}: the request is not one uncompressed message")
        async with asyncio.timeout(call.seconds):
            return await handler(request[5:])

    def _answer(self, stream: int, reply: bytes, error: GrpcError | None) -> None:
        self._calls.pop(stream, None)
        if error is None:
            body = b"\0" + len(reply).to_bytes(4, "big") + reply
            self._http2.respond(stream, _HEADERS, body, (("grpc-status", "0"),))
        else:
            message = urllib.parse.quote(error.message[:1000])
            self._http2.respond(stream, _HEADERS, b"", (("grpc-status", str(error.code)), ("grpc-message", message)))

    def _flush(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            data = self._http2.data_to_send()
            if data:
                self._transport.write(data)


@contextlib.asynccontextmanager
async def serving(path: Path, mode: int, methods: Mapping[str, Handler]) -> AsyncIterator[None]:
    """Answer calls on the unix socket `path`, which has `mode` from its first moment; removed at the end.

    A socket that an earlier process left is replaced; anything else under that name raises `ConfigError`.
    """
    listening = _bound(path, mode)
    loop = asyncio.get_running_loop()
    async with asyncio.TaskGroup() as group:
        server = _Server(methods, group)
        accepting = await loop.create_unix_server(lambda: _Wire(server), sock=listening)
        try:
            yield
        finally:
            server.closed = True
            try:
                # asyncio forgets a connection, open, whose server closes in the turn in which it was accepted.
                loop.remove_reader(listening)
                await asyncio.sleep(0)
            finally:
                accepting.close()
                for wire in list(server.wires):
                    wire.close()
                _remove(path)


def _bound(path: Path, mode: int) -> socket.socket:
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        _make_room(path)
        listening.bind(str(path))
        # Nobody can connect before `listen`, so nobody has met another mode.
        path.chmod(mode)
    except OSError as error:
        listening.close()
        raise ConfigError(f"cannot listen on {path}: {error}") from error
    except ConfigError:
        listening.close()
        raise
    return listening


def _make_room(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        found = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found):
        raise ConfigError(f"cannot listen on {path}: there is something else under that name; remove it")
    _remove(path)


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _deadline(text: str) -> float:
    """Seconds that the header grpc-timeout gives (`100m`, `5S`)."""
    number, unit = text[:-1], _UNITS.get(text[-1:])
    if unit is None or not number.isdecimal() or len(number) > 8:
        return CALL_SECONDS
    return min(int(number) * unit, CALL_SECONDS)
