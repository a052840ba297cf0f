"""exec, attach and port-forward: the container runtime's streaming server at the other end of a raw stream.

    cloud ⇄ stream (bytes of one HTTP connection) ⇄ TCP ⇄ the URL that the runtime gave for just this request

The request is written as the cloud sent it, the answer is not looked at: SPDY and WebSocket pass alike. Only the paths
below, and only the URL of our own runtime, are ever dialled.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import parse_qsl, urlsplit

from octoedge.edge.edgestream.starts import Starts
from octoedge.edge.edgestream.stream import Stream
from octoedge.edge.edgestream.tunnel import Handler
from octoedge.edge.ports import ContainerStreams, StreamAction, StreamRequest
from octoedge.errors import ApiError, bad_request
from octoedge.protocol.tunnel import CHUNK, Connector

_DIAL_SECONDS = 10.0
_UNBLOCK_SECONDS = 0.5
_UNBLOCK_BYTES = 64 * 1024
"""Less input than that finds room in a pipe, whether it is read or not."""
_MAX_FIELDS = 4096
"""Each word of a command is a field."""
_METHODS = frozenset({"GET", "POST"})
_HOP = frozenset({"host", "content-length", "transfer-encoding", "expect", "te", "trailer"})
"""Headers that belong to the connection between API server and cloud; a request to upgrade has no body."""

Unblock = Callable[[], Awaitable[None]]
_Parts = tuple[asyncio.StreamReader, socket.socket]


def raw_streams(streams: ContainerStreams) -> Handler:
    """The handler for streams that are HTTP connections."""

    starts = Starts()

    async def handle(connector: Connector, stream: Stream) -> None:
        request = stream_request(connector)
        async with contextlib.AsyncExitStack() as stack:
            begun = await stack.enter_async_context(starts.turn()) if request.action is StreamAction.EXEC else None
            url = await streams.stream_url(request)
            reader, sending = await stack.enter_async_context(_connection(url, _head(connector, url)))
            if begun is not None:
                begun()
            unblock = functools.partial(streams.unblock, request) if begun is not None and request.stdin else None
            await _pump(stream, reader, sending, unblock)

    return handle


def stream_request(connector: Connector) -> StreamRequest:
    """What a path and query ask for; `ApiError` with the kubelet's texts."""
    segments = connector.segments
    try:
        action = StreamAction(segments[0])
    except ValueError as error:
        raise ApiError(404, "NotFound", f"/{segments[0][:100]} is not served by this node") from error
    if (connector.method or "GET") not in _METHODS:
        raise ApiError(405, "MethodNotAllowed", "405: Method Not Allowed")
    if not _wants_upgrade(connector):
        raise bad_request("Upgrade request required")
    fields = _fields(connector.query)
    place = _place(action, segments[1:])
    stdin, stdout, stderr, tty = (fields.get(name, [""])[0] == "1" for name in _FLAGS.values())
    if action is not StreamAction.PORT_FORWARD and not (stdin or stdout or stderr):
        raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
    command = tuple(fields.get("command", ()))
    return StreamRequest(action, *place, command, stdin, stdout, stderr, tty, _ports(fields))


_FLAGS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}


def _place(action: StreamAction, names: tuple[str, ...]) -> tuple[str, str, str, str]:
    """(namespace, pod, uid, container); the uid may be left out, a port-forward has no container."""
    if action is StreamAction.PORT_FORWARD:
        names = (*names, "") if len(names) == 3 else (*names, "", "")
    elif len(names) == 3:
        names = (names[0], names[1], "", names[2])
    if len(names) != 4 or not all(names[:2]):
        raise ApiError(404, "NotFound", "404 page not found")
    return names[0], names[1], names[2], names[3]


def _fields(query: str) -> dict[str, list[str]]:
    """All values of each field; `stdin` is another name of `input`, and so on."""
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise bad_request("the query cannot be read") from error
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        if name in _FLAGS and name != _FLAGS[name]:
            name, value = _FLAGS[name], "1" if value in ("1", "true") else ""
        fields.setdefault(name, []).append(value)
    return fields


def _ports(fields: dict[str, list[str]]) -> tuple[int, ...]:
    """The ports that WebSocket clients name in the query, SPDY clients for each connection."""
    words = [word for value in fields.get("port", ()) for word in value.split(",") if word]
    if any(not (word.isascii() and word.isdigit() and 0 < int(word[:6]) < 65536) for word in words):
        raise bad_request("a port must be a number from 1 to 65535")
    return tuple(int(word) for word in words)


def _wants_upgrade(connector: Connector) -> bool:
    values = [value for name, all_ in connector.headers.items() if name.lower() == "connection" for value in all_]
    return "upgrade" in ",".join(values).lower()


def _head(connector: Connector, url: str) -> bytes:
    """The request as the runtime's server reads it."""
    where = urlsplit(url)
    target = where.path + (f"?{where.query}" if where.query else "")
    lines = [f"{connector.method or 'GET'} {target} HTTP/1.1", f"Host: {where.netloc}"]
    for name, values in connector.headers.items():
        if name.lower() not in _HOP:
            lines += [f"{name}: {value}" for value in values]
    if any("\r" in line or "\n" in line or "\0" in line for line in lines):
        raise bad_request("a header holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1", errors="replace")


@contextlib.asynccontextmanager
async def _connection(url: str, head: bytes) -> AsyncIterator[_Parts]:
    """A connection to the runtime's streaming server, asked by `head`; it is gone at the end, whatever happens."""
    where = urlsplit(url)
    try:
        if where.scheme != "http" or where.hostname is None or where.port is None:
            raise ApiError(502, "BadGateway", f"the container runtime streams at {url}, which is not understood here")
        async with asyncio.timeout(_DIAL_SECONDS):
            reader = asyncio.StreamReader(limit=CHUNK)
            make = functools.partial(_Reading, reader)
            transport, _ = await asyncio.get_running_loop().create_connection(make, where.hostname, where.port)
    except (OSError, TimeoutError, ValueError) as error:
        why = str(error) or "no answer in time"
        raise ApiError(502, "BadGateway", f"the container runtime does not stream at {url}: {why}") from error
    try:
        with transport.get_extra_info("socket").dup() as sending:
            sending.setblocking(False)
            with contextlib.suppress(OSError):  # reading tells why
                await _send(sending, head)
            yield reader, sending
    finally:
        transport.abort()


class _Reading(asyncio.StreamReaderProtocol):
    """Reads to the end. A runtime that ends a command with input unread resets the connection: asyncio would then
    throw away what has come, the outcome too, so nothing is sent through this transport, and a reset is an end."""

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's interface
        super().connection_lost(None)


async def _send(sending: socket.socket, data: bytes) -> None:
    await asyncio.get_running_loop().sock_sendall(sending, data)


async def _pump(stream: Stream, reader: asyncio.StreamReader, sending: socket.socket, unblock: Unblock | None) -> None:
    """Carry bytes both ways until the runtime ends the connection; the cloud's end comes as cancellation."""
    async with asyncio.TaskGroup() as group:
        inward = group.create_task(_inward(stream, sending), name=f"input of stream {stream.number}")
        unblocking = group.create_task(_unblock(stream, unblock), name=f"unread input of stream {stream.number}")
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK):
                await stream.write(data)
        inward.cancel()
        unblocking.cancel()


async def _unblock(stream: Stream, unblock: Unblock | None) -> None:
    """A command may end without having read all, and a runtime then wait for ever for somebody who does."""
    while unblock is not None:
        await asyncio.sleep(_UNBLOCK_SECONDS)
        if stream.taken > _UNBLOCK_BYTES:
            await unblock()


async def _inward(stream: Stream, sending: socket.socket) -> None:
    with contextlib.suppress(OSError):  # the other direction sees the end too, after what is left to read
        while True:
            data = await stream.read()
            await _send(sending, data)
            await stream.done(len(data))
