"""exec, attach and port-forward of Pods: from the client's connection to the kubelet-like API, whatever each speaks.

    client speaks                              the node is asked for
    SPDY/3.1, WebSocket up to v4               the same; bytes pass as they are
    WebSocket v5 (exec, attach)                SPDY/3.1, translated   (`translation`)
    WebSocket SPDY/3.1+portforward             SPDY/3.1, unwrapped

The node is asked first: a client whose node is away gets an HTTP error, not an open connection that dies.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode

import msgspec
from aiohttp import WSMsgType, web

from octoedge.apiserver.nodes.kubelet import CHUNK, Kubelet, Pipe
from octoedge.apiserver.nodes.translation import COMMAND, PORT_FORWARD, Command, Translation, Tunnelled
from octoedge.apiserver.serving.requests import Request, Response, Takeover
from octoedge.apiserver.writing.rest import Place
from octoedge.errors import ApiError, ConnectionClosed, ProtocolError, bad_request, not_found
from octoedge.kube.read import Reader
from octoedge.transport.hijack import hijack, hijacked
from octoedge.transport.outcome import BROKEN, Watched, is_command

log = logging.getLogger(__name__)

Json = dict[str, Any]
Handler = Callable[[Request, Place], Awaitable[Response]]
ChooseContainer = Callable[[Json, str], str]

CONNECTS = ("exec", "attach", "portforward")
"""Subresources that are connected to; whoever does must be allowed to *create* them, by whatever method."""
_FIELDS = {"stdin": "input", "stdout": "output", "stderr": "error", "tty": "tty"}
"""Names in the API, and in the kubelet's."""
_TRUE = ("1", "true", "True", "TRUE", "t", "T")
_MAX_FIELDS = 4096
_PASSED_ON = (
    "Connection", "Upgrade", "User-Agent", "X-Stream-Protocol-Version", "Sec-WebSocket-Key", "Sec-WebSocket-Version",
    "Sec-WebSocket-Protocol", "Sec-WebSocket-Extensions", "Origin",
)  # fmt: skip
_COMMAND_SPDY = (
    ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "v4.channel.k8s.io"),
)  # fmt: skip
_PORTS_SPDY = (
    ("Connection", "Upgrade"), ("Upgrade", "SPDY/3.1"), ("X-Stream-Protocol-Version", "portforward.k8s.io"),
)  # fmt: skip
_MAX_MESSAGE = 4 * 1024 * 1024
_CLOSE_SECONDS = 2.0
_LAST_WORDS_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class _Way:
    """How a WebSocket client is served."""

    protocol: str
    headers: Sequence[tuple[str, str]]
    """What the node is asked for."""
    translation: Translation


class Streams:
    """Handlers of the subresources that are connected to."""

    def __init__(self, reader: Reader, kubelet: Kubelet, choose: ChooseContainer) -> None:
        self._reader = reader
        self._kubelet = kubelet
        self._choose = choose

    def handlers(self) -> dict[tuple[str, str], Handler]:
        """The table for the API's dispatch."""
        return {(name, "create"): self._connect for name in CONNECTS}

    async def _connect(self, request: Request, place: Place) -> Response:
        fields = _fields(request.raw_query)
        pod = self._pod(place)
        target = self._target(place, pod, fields)
        if "upgrade" not in request.headers.get("Connection", "").lower():
            raise bad_request("Upgrade request required")
        node = pod["spec"]["nodeName"]
        way = _way(request.headers, place.subresource, fields)

        async def talk(http: web.BaseRequest) -> web.StreamResponse:
            if way is None:
                return await self._raw(http, node, target)
            return await self._translated(http, node, target, way)

        return Takeover(talk)

    def _pod(self, place: Place) -> Json:
        item = self._reader.get(place.kind.resource, place.namespace, place.name)
        if item is None:
            raise not_found("pods", place.name)
        pod: Json = msgspec.json.decode(item.data)
        if not pod["spec"].get("nodeName"):
            raise bad_request(f"pod {place.name} does not have a host assigned")
        return pod

    def _target(self, place: Place, pod: Json, fields: Mapping[str, list[str]]) -> str:
        """Path and query at the kubelet."""
        if place.subresource == "portforward":
            ports = [("port", port) for port in fields.get("ports", ())]
            return _path("portForward", place.namespace, place.name) + _query(ports)
        container = self._choose(pod, fields.get("container", [""])[0])
        query = [("command", word) for word in fields.get("command", ())]
        query += [(theirs, "1") for ours, theirs in _FIELDS.items() if _flag(fields, ours)]
        if not any(name in ("input", "output", "error") for name, _ in query):
            raise bad_request("you must specify at least 1 of stdin, stdout, stderr")
        if place.subresource == "exec" and not fields.get("command"):
            raise bad_request("you must specify a command")
        return _path(place.subresource, place.namespace, place.name, container) + _query(query)

    async def _raw(self, http: web.BaseRequest, node: str, target: str) -> web.StreamResponse:
        headers = [(name, value) for name in _PASSED_ON for value in http.headers.getall(name, ())]
        async with self._kubelet.upgraded(node, http.method, target, headers) as pipe:
            _notice_death(http)
            with hijack(http) as (reader, writer):
                writer.write(pipe.head + b"\r\n\r\n")
                async with asyncio.TaskGroup() as group:
                    outward = group.create_task(_copy(reader, pipe.writer), name="client to node")
                    outward.add_done_callback(lambda _: pipe.writer.close())
                    await _watched_copy(pipe, writer)
                    outward.cancel()
        return hijacked()

    async def _translated(self, http: web.BaseRequest, node: str, target: str, way: _Way) -> web.StreamResponse:
        async with self._kubelet.upgraded(node, "POST", target, way.headers) as pipe:
            client = web.WebSocketResponse(
                protocols=(way.protocol,), timeout=_CLOSE_SECONDS, max_msg_size=_MAX_MESSAGE, compress=False
            )
            await client.prepare(http)
            _notice_death(http)
            pipe.writer.write(way.translation.begin())
            async with asyncio.TaskGroup() as group:
                outward = group.create_task(_to_node(client, way.translation, pipe), name="client to node")
                outward.add_done_callback(lambda _: pipe.writer.close())
                with contextlib.suppress(OSError):
                    await _to_client(client, way.translation, pipe)
                outward.cancel()
            await client.close()
        return client


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError, ConnectionClosed):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()


async def _watched_copy(pipe: Pipe, writer: asyncio.StreamWriter) -> None:
    """To a client that speaks as the node does; one that waits for a command's outcome is told if none comes."""
    if not is_command(pipe.head):
        await _copy(pipe.reader, writer)
        return
    watched = Watched()
    with contextlib.suppress(OSError):
        while data := await pipe.reader.read(CHUNK):
            watched.see(data)
            writer.write(data)
            await writer.drain()
    writer.write(watched.broken(BROKEN))


async def _to_node(client: web.WebSocketResponse, translation: Translation, pipe: Pipe) -> None:
    """Until the client leaves."""
    with contextlib.suppress(OSError):
        async for message in client:
            if message.type is WSMsgType.BINARY:
                pipe.writer.write(translation.to_node(message.data))
                await pipe.writer.drain()


async def _to_client(client: web.WebSocketResponse, translation: Translation, pipe: Pipe) -> None:
    """Until everything was said, or the node's connection is over."""
    why = BROKEN
    try:
        while not translation.over and (data := await pipe.reader.read(CHUNK)):
            messages, back = translation.to_client(data)
            if back:
                pipe.writer.write(back)
            for message in messages:
                await client.send_bytes(message)
    except ProtocolError as error:
        why = f"the node's answer cannot be understood: {error}"
    except OSError as error:
        log.debug("= the node's connection broke: %s", error)
    async with asyncio.timeout(_LAST_WORDS_SECONDS):
        for message in translation.broken(why):
            await client.send_bytes(message)


def _way(headers: Mapping[str, str], subresource: str, fields: Mapping[str, list[str]]) -> _Way | None:
    """How a WebSocket client is served; None when its bytes pass as they are."""
    if headers.get("Upgrade", "").lower() != "websocket":
        return None
    offered = [one.strip() for one in headers.get("Sec-WebSocket-Protocol", "").split(",")]
    if subresource == "portforward":
        return _Way(PORT_FORWARD, _PORTS_SPDY, Tunnelled()) if PORT_FORWARD in offered else None
    if COMMAND not in offered:
        return None
    stdin, stdout, stderr, tty = (_flag(fields, name) for name in _FIELDS)
    return _Way(COMMAND, _COMMAND_SPDY, Command(stdin=stdin, stdout=stdout, stderr=stderr, tty=tty))


def _fields(query: str) -> dict[str, list[str]]:
    try:
        pairs = parse_qsl(query, keep_blank_values=True, max_num_fields=_MAX_FIELDS, errors="strict")
    except ValueError as error:
        raise bad_request("the query cannot be read") from error
    fields: dict[str, list[str]] = {}
    for name, value in pairs:
        fields.setdefault(name, []).append(value)
    return fields


def _flag(fields: Mapping[str, list[str]], name: str) -> bool:
    return fields.get(name, [""])[0] in _TRUE


def _path(*parts: str) -> str:
    return "".join("/" + quote(part, safe="") for part in parts)


def _query(pairs: Sequence[tuple[str, str]]) -> str:
    return "?" + urlencode(pairs) if pairs else ""


def _notice_death(http: web.BaseRequest) -> None:
    """An idle client that vanished without a word is noticed within a minute, not after two hours."""
    sock = http.transport.get_extra_info("socket") if http.transport is not None else None
    if sock is None:
        raise ApiError(499, "ClientClosedRequest", "the client has left")
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
