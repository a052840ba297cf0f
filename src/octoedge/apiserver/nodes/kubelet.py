"""The kubelet-like API of a node: where it is asked, and how a client that leaves HTTP speaks with it (exec, attach …).

`Direct`: all nodes are behind one CloudCore, which is asked at its 10003. `ByNode`: what the Node object says, as a
kube-apiserver does it; what is there is a kubelet, or a CloudCore that stands in for the node.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

import msgspec

from octoedge.apiserver.access.credentials import Pair
from octoedge.errors import ApiError, ProtocolError, not_found
from octoedge.kube.read import Reader
from octoedge.transport.abort import abort
from octoedge.transport.rfc6455 import Upgraded

CHUNK = 64 * 1024
_DIAL_SECONDS = 10.0
_ANSWER_SECONDS = 45.0
"""CloudCore gives a node 30 s to answer."""
_MAX_HEAD = 16 * 1024
_MAX_ERROR = 64 * 1024
_SWITCHING = 101
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}


class Route(Protocol):
    """Where nodes' kubelets are asked."""

    def to(self, node: str) -> str:
        """`https://host:port`; `ApiError` when the node is not known or has no address."""
        ...


@dataclass(frozen=True, slots=True)
class Direct:
    """One door for all nodes."""

    endpoint: str

    def to(self, _node: str) -> str:
        """The door."""
        return self.endpoint.rstrip("/")


class _Address(msgspec.Struct, frozen=True):
    type: str = ""
    address: str = ""


class _Port(msgspec.Struct, frozen=True):
    Port: int = 0


class _Daemons(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_endpoint: _Port = _Port()


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    addresses: tuple[_Address, ...] = ()
    daemon_endpoints: _Daemons = _Daemons()


class _Node(msgspec.Struct, frozen=True):
    status: _Status = _Status()


@dataclass(frozen=True, slots=True)
class ByNode:
    """Each node's own address and port, from the Node object."""

    reader: Reader

    def to(self, node: str) -> str:
        """What a kube-apiserver with its own defaults would dial."""
        item = self.reader.get("nodes", "", node)
        if item is None:
            raise not_found("nodes", node)
        status = msgspec.json.decode(item.data, type=_Node).status
        known = {one.type: one.address for one in reversed(status.addresses) if one.address}
        host = next((known[kind] for kind in _PREFERRED if kind in known), "")
        if not host:
            raise ApiError(500, "InternalError", f"node {node} has no address of the types {', '.join(_PREFERRED)}")
        port = status.daemon_endpoints.kubelet_endpoint.Port or _KUBELET_PORT
        return f"https://[{host}]:{port}" if ":" in host else f"https://{host}:{port}"


_PREFERRED = ("Hostname", "InternalDNS", "InternalIP", "ExternalDNS", "ExternalIP")
"""kube-apiserver's --kubelet-preferred-address-types."""
_KUBELET_PORT = 10250


class Way:
    """The way to nodes' kubelets: where each is, and TLS towards it, made when it is first needed."""

    def __init__(self, route: Route, client: Pair, ca: Path | None) -> None:
        self._client = client
        self._ca = ca
        self.to = route.to

    @functools.cached_property
    def tls(self) -> ssl.SSLContext:
        """As a kube-apiserver does it; another one after `show`."""
        return self._context()

    def show(self) -> None:
        """Use client certificate and CA as they are in their files, from the next connection on."""
        if "tls" in vars(self):
            # Not loaded into the old one: connections that are kept know by it that they are not to be used again.
            self.tls = self._context()

    def _context(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
        context.check_hostname = False
        if self._ca is None:
            # As a kube-apiserver without --kubelet-certificate-authority: our own certificate is what counts there.
            context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self._client.certificate, self._client.key)
        return context


def refused(code: int, body: bytes) -> ApiError:
    """The error that the other side told of, a metav1.Status or a text."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        value = None
    if isinstance(value, dict) and value.get("kind") == "Status":
        return ApiError.from_status({"code": code, **value})
    text = value.get("message") if isinstance(value, dict) else None
    message = str(text or body.decode(errors="replace").strip() or f"the kubelet answered {code}")
    return ApiError(code, _REASONS.get(code, "InternalError"), message)


@dataclass(frozen=True, slots=True)
class Pipe:
    """A connection that has left HTTP."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    head: bytes
    """The answer 101 as it came, without the empty line at its end."""


class Kubelet:
    """A client of nodes' kubelets."""

    def __init__(self, way: Way) -> None:
        self._way = way

    @contextlib.asynccontextmanager
    async def upgraded(
        self, node: str, method: str, target: str, headers: Iterable[tuple[str, str]]
    ) -> AsyncIterator[Pipe]:
        """Ask for `target` (path and query, as they stand in a URL) and leave HTTP; `ApiError` when that is refused."""
        url = urlsplit(self._way.to(node))
        where = url.netloc
        try:
            async with asyncio.timeout(_DIAL_SECONDS):
                reader, writer = await asyncio.open_connection(
                    url.hostname, url.port or 443, ssl=self._way.tls, limit=CHUNK, server_hostname=""
                )
        except (OSError, TimeoutError) as error:
            text = f"error dialing backend: {where}: {str(error) or 'no answer in time'}"
            raise ApiError(502, "BadGateway", text) from error
        try:
            lines = [f"{method} {target} HTTP/1.1", f"Host: {where}", *(f"{name}: {value}" for name, value in headers)]
            writer.write(("\r\n".join([*lines, "Content-Length: 0"]) + "\r\n\r\n").encode("latin-1"))
            yield Pipe(reader, writer, await _switched(reader, where))
        finally:
            abort(writer)


async def _switched(reader: asyncio.StreamReader, where: str) -> bytes:
    """The head of the answer 101; `ApiError` for any other answer."""
    try:
        async with asyncio.timeout(_ANSWER_SECONDS):
            head = (await reader.readuntil(b"\r\n\r\n")).removesuffix(b"\r\n\r\n")
            answer = Upgraded.parse(head)
            if answer.status == _SWITCHING:
                return head
            size = answer.headers.get("content-length", "")
            body = await _body(reader, min(int(size), _MAX_ERROR) if size.isdecimal() else _MAX_ERROR)
    except (OSError, EOFError, asyncio.LimitOverrunError, ProtocolError, TimeoutError) as error:
        text = f"error dialing backend: {where}: {str(error) or 'no answer in time'}"
        raise ApiError(502, "BadGateway", text) from error
    raise refused(answer.status, body)


async def _body(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        return error.partial
