"""A Kubernetes API client that leaves objects as the bytes they are.

`Access` (how to reach the server) → `Client` (one method per verb) → bytes, or `ApiError` with what the server said, or
`ConnectError` when there was no answer (said once in the log, and once when it is over). Every wait has a deadline and
every read a limit.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
import ssl
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from octoedge.errors import ApiError, ConfigError, ConnectError, bad_request, gone
from octoedge.kube.access import Access
from octoedge.kube.kinds import Kind
from octoedge.runtime.logs import SaidOnce
from octoedge.version import VERSION

log = logging.getLogger(__name__)

MERGE = "application/merge-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
JSON_PATCH = "application/json-patch+json"

T = TypeVar("T")

_JSON = "application/json"
_REQUEST_SECONDS = 30.0
_CONNECT_SECONDS = 10.0
_MAX_BODY = 256 * 1024 * 1024
_MAX_EVENT = 16 * 1024 * 1024
_PARALLEL = 64
_TOKEN_SECONDS = 60.0
_LOOK_SECONDS = 600.0
"""Between two looks at a kubeconfig, whose client certificate is renewed weeks before its end."""


@dataclass(frozen=True, slots=True)
class Listing:
    """All objects of a kind at one resourceVersion. Items of the bytes come without kind and apiVersion."""

    version: str
    items: list[bytes]


@dataclass(frozen=True, slots=True)
class SpeakingAs:
    """In whose name a request is made (impersonation), where it is not our own."""

    user: str
    groups: tuple[str, ...] = ()


class WatchEvent(msgspec.Struct, frozen=True):
    """One line of a watch: ADDED, MODIFIED, DELETED or BOOKMARK, and the object."""

    type: str
    object: msgspec.Raw


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")


class _List(msgspec.Struct, frozen=True):
    metadata: _ListMeta = _ListMeta()
    items: list[msgspec.Raw] | None = None


class Client:
    """Asks one API server. An async context manager; safe to use from many tasks."""

    def __init__(self, access: Access) -> None:
        self.access = access
        self._slots = asyncio.Semaphore(_PARALLEL)
        self._session: aiohttp.ClientSession | None = None
        self._token = access.token
        self._token_read = float("-inf")
        self._looked = float("-inf")
        self._said = SaidOnce(log)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections; the client opens new ones when used again."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def get(self, kind: Kind, namespace: str, name: str, *, sub: str = "") -> bytes:
        """One object."""
        return await self.request("GET", path(kind, namespace, name, sub))

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", page: int = 500
    ) -> Listing:
        """All objects, fetched page by page; an error on any page gives no list at all."""
        query = _query(labelSelector=labels, fieldSelector=fields, limit=str(page) if page else "")
        items: list[bytes] = []
        while True:
            body = await self.request("GET", path(kind, namespace), query=query)
            got = _decode(body, _List, f"the list of {kind.plural}")
            items += [bytes(item) for item in got.items or []]
            if not got.metadata.continue_:
                return Listing(got.metadata.resource_version, items)
            query["continue"] = got.metadata.continue_

    async def watch(
        self, kind: Kind, namespace: str = "", *, version: str, labels: str = "", fields: str = "", seconds: int = 300
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `version`, until the server ends the watch (after about `seconds`).

        Raises `ApiError` 410 when `version` is too old: list again.
        """
        query = _query(labelSelector=labels, fieldSelector=fields)
        query |= {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": version,
            "timeoutSeconds": str(seconds),
        }
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=seconds + 30)
        async with self._answer("GET", path(kind, namespace), query, None, _JSON, timeout) as response:
            async for line in _lines(response):
                event = _decode(line, WatchEvent, f"a watch event of {kind.plural}")
                if event.type == "ERROR":
                    raise _as_error(500, bytes(event.object))
                yield event

    async def create(self, kind: Kind, namespace: str, body: bytes, *, name: str = "", sub: str = "") -> bytes:
        """Create an object, or post to a subresource (`name` and `sub`) such as a token; gives what was created."""
        return await self.request("POST", path(kind, namespace, name, sub), body=body)

    async def update(self, kind: Kind, namespace: str, name: str, body: bytes, *, sub: str = "") -> bytes:
        """Replace an object; 409 when its resourceVersion is no longer the current one."""
        return await self.request("PUT", path(kind, namespace, name, sub), body=body)

    async def patch(
        self, kind: Kind, namespace: str, name: str, body: bytes, *, how: str = MERGE, sub: str = ""
    ) -> bytes:
        """Change parts of an object; `how` is MERGE, STRATEGIC or JSON_PATCH."""
        return await self.request("PATCH", path(kind, namespace, name, sub), body=body, content_type=how)

    async def delete(self, kind: Kind, namespace: str, name: str, options: bytes | None = None) -> bytes:
        """Delete an object; `options` is a DeleteOptions document."""
        return await self.request("DELETE", path(kind, namespace, name), body=options)

    async def request(
        self,
        method: str,
        where: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = _JSON,
        speaking_as: SpeakingAs | None = None,
    ) -> bytes:
        """Any request; the body of a successful answer."""
        timeout = aiohttp.ClientTimeout(total=_REQUEST_SECONDS, sock_connect=_CONNECT_SECONDS)
        answer = self._answer(method, where, query or {}, body, content_type, timeout, speaking_as)
        async with self._slots, answer as response:
            return await _body(response, _MAX_BODY)

    @asynccontextmanager
    async def _answer(
        self,
        method: str,
        where: str,
        query: Mapping[str, str],
        body: bytes | None,
        content_type: str,
        timeout: aiohttp.ClientTimeout,
        speaking_as: SpeakingAs | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        await self._look()
        url = URL(self.access.server + where, encoded=True).update_query(query)
        headers = [("Accept", _JSON), *(await self._authorization()).items()]
        if body is not None:
            headers.append(("Content-Type", content_type))
        if speaking_as is not None:
            headers += [("Impersonate-User", speaking_as.user)]
            headers += [("Impersonate-Group", group) for group in speaking_as.groups]
        try:
            async with self._connected().request(
                method,
                url,
                data=body,
                headers=headers,
                timeout=timeout,
                allow_redirects=False,
                server_hostname=self.access.server_hostname,
            ) as response:
                self._said.over("API server", f"{self.access.server} answers again")
                try:
                    if response.status >= 300:
                        raise _as_error(response.status, await _body(response, _MAX_EVENT))
                    yield response
                finally:
                    _cut_off(response)
        except aiohttp.ClientPayloadError as error:
            raise ConnectError(f"{method} {where}: the API server ended its answer in the middle") from error
        except (aiohttp.ClientError, OSError, ssl.SSLError) as error:
            why = f"the API server at {self.access.server} {_why(error)}"
            self._said.trouble("API server", f"{why}; trying again")
            raise ConnectError(f"{method} {where}: {why}") from error

    def _connected(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                limit=0,
                ssl=self.access.tls if self.access.tls is not None else True,
                socket_factory=_socket,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                headers={"User-Agent": f"octoedge/{VERSION}"},
                read_bufsize=2**18,
            )
        return self._session

    async def _look(self) -> None:
        """Take up a renewed client certificate; one that is of no use is told of, and the old one goes on."""
        look = self.access.look
        if look is None or time.monotonic() - self._looked <= _LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        try:
            if await asyncio.to_thread(look):
                log.info("the certificates in %s are new; new connections use them", self.access.origin)
            self._said.over("credentials", "they can be read again")
        except ConfigError as error:
            self._said.trouble("credentials", f"{error}; going on with those from before")

    async def _authorization(self) -> dict[str, str]:
        file = self.access.token_file
        if file is not None and time.monotonic() - self._token_read > _TOKEN_SECONDS:
            try:
                self._token = (await asyncio.to_thread(file.read_text)).strip()
            except OSError as error:
                raise ConnectError(f"cannot read the token file {file}: {error.strerror}") from error
            self._token_read = time.monotonic()
        return {"Authorization": f"Bearer {self._token}"} if self._token else {}


def path(kind: Kind, namespace: str = "", name: str = "", sub: str = "") -> str:
    """The path of an object, of all in a namespace, or of all; `ApiError` 400 for names that would change the path."""
    parts = [kind.root]
    if kind.namespaced and namespace:
        parts += ["namespaces", _segment(namespace)]
    elif kind.namespaced and name:
        raise bad_request(f"{kind.plural} {name!r}: an object of this kind needs a namespace")
    parts.append(kind.plural)
    if name:
        parts.append(_segment(name))
    if sub:
        parts.append(sub)
    return "/".join(parts)


def _segment(text: str) -> str:
    if text in (".", "..") or "/" in text or "%" in text or len(text) > 253:
        raise bad_request(f"{text[:60]!r} is not a name of a Kubernetes object")
    return quote(text, safe="")


def _query(**values: str) -> dict[str, str]:
    return {key: value for key, value in values.items() if value}


def _decode(body: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(502, "InternalError", f"{what} cannot be read: {error}") from error


def _as_error(code: int, body: bytes) -> ApiError:
    try:
        status: Any = msgspec.json.decode(body)
    except (msgspec.DecodeError, RecursionError):
        status = None
    if isinstance(status, dict) and status.get("kind") == "Status":
        return ApiError.from_status({"code": code, **status})
    if code == 410:
        return gone("the resourceVersion is too old")
    text = body[:300].decode(errors="replace").strip()
    return ApiError(code, _REASONS.get(code, "InternalError"), f"the API server answered {code}: {text or 'no text'}")


_REASONS = {
    400: "BadRequest",
    401: "Unauthorized",
    403: "Forbidden",
    404: "NotFound",
    409: "Conflict",
    422: "Invalid",
    429: "TooManyRequests",
    503: "ServiceUnavailable",
    504: "Timeout",
}


def _cut_off(response: aiohttp.ClientResponse) -> None:
    """Let go at once of a connection whose answer is not at its end.

    TLS would say goodbye and wait for the server's, which may hang, and which nobody sees any more when the event loop
    ends: the connection would stay open.
    """
    held = response.connection
    if held is not None and held.transport is not None:
        held.transport.abort()


async def _body(response: aiohttp.ClientResponse, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    async for part in response.content.iter_any():
        size += len(part)
        if size > limit:
            raise ApiError(502, "InternalError", f"an answer of the API server is larger than {limit} bytes")
        parts.append(part)
    return b"".join(parts)


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    rest = b""
    async for part in response.content.iter_any():
        *lines, rest = (rest + part).split(b"\n")
        for line in lines:
            if line.strip():
                yield line
        if len(rest) > _MAX_EVENT:
            raise ApiError(502, "InternalError", f"a watch event is larger than {_MAX_EVENT} bytes")


def _why(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "gave no answer in time"
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return f"shows a certificate that the kubeconfig's CA did not sign: {error.certificate_error}"
    if isinstance(error, aiohttp.ClientConnectorError):
        code = error.os_error.errno
        return f"cannot be reached: {os.strerror(code) if code else error.os_error}"
    return f"cannot be reached: {str(error) or type(error).__name__}"


def _socket(address: tuple[Any, ...]) -> socket.socket:
    """A socket that notices within a minute when the other side is gone without a word."""
    family, kind, protocol = address[:3]
    made = socket.socket(family, kind, protocol)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, 20)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, 10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, 4)
    return made
