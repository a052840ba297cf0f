"""The kubelet-like API (CloudCore's 10003) as a client that leaves HTTP sees it: exec, attach, port-forward."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from octoedge.apiserver.credentials import Pair
from octoedge.errors import ApiError, ProtocolError
from octoedge.transport.rfc6455 import Upgraded

CHUNK = 64 * 1024
_ANSWER_SECONDS = 45.0
"""CloudCore gives a node 30 s to answer."""
_MAX_HEAD = 16 * 1024
_MAX_ERROR = 64 * 1024
_SWITCHING = 101
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}


def client_context(client: Pair, ca: Path | None) -> ssl.SSLContext:
    """TLS towards kubelets, as a kube-apiserver does it."""
    context = ssl.create_default_context(cafile=str(ca) if ca else None)
    context.check_hostname = False
    if ca is None:
        # As a kube-apiserver without --kubelet-certificate-authority: our own certificate is what counts there.
        context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(client.certificate, client.key)
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
    """A client of one kubelet-like API."""

    def __init__(self, endpoint: str, client: Pair, ca: Path | None) -> None:
        where = urlsplit(endpoint)
        self._host = where.hostname or ""
        self._port = where.port or 443
        self._client = client
        self._ca = ca
        self._context: ssl.SSLContext | None = None

    @contextlib.asynccontextmanager
    async def upgraded(self, method: str, target: str, headers: Iterable[tuple[str, str]]) -> AsyncIterator[Pipe]:
        """Ask for `target` (path and query, as they stand in a URL) and leave HTTP; `ApiError` when that is refused."""
        if self._context is None:
            self._context = client_context(self._client, self._ca)
        where = f"{self._host}:{self._port}"
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                reader, writer = await asyncio.open_connection(
                    self._host, self._port, ssl=self._context, limit=CHUNK, server_hostname=""
                )
        except (OSError, TimeoutError) as error:
            text = f"error dialing backend: {where}: {error or 'no answer in time'}"
            raise ApiError(502, "BadGateway", text) from error
        try:
            lines = [f"{method} {target} HTTP/1.1", f"Host: {where}", *(f"{name}: {value}" for name, value in headers)]
            writer.write(("\r\n".join([*lines, "Content-Length: 0"]) + "\r\n\r\n").encode("latin-1"))
            yield Pipe(reader, writer, await _switched(reader, where))
        finally:
            writer.transport.abort()


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
        text = f"error dialing backend: {where}: {error or 'no answer in time'}"
        raise ApiError(502, "BadGateway", text) from error
    raise refused(answer.status, body)


async def _body(reader: asyncio.StreamReader, size: int) -> bytes:
    try:
        return await reader.readexactly(size)
    except asyncio.IncompleteReadError as error:
        return error.partial
