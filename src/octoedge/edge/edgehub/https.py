"""One small HTTPS/1.1 request on asyncio streams, for enrolment only: `/ca.crt` and `/edge.crt`.

GET with a body, as KubeEdge has it; a new connection per request; everything limited in size and time. A full HTTP
client would cost the agent 10 MiB for two requests in its life.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import urllib.parse
from collections.abc import Mapping

import msgspec

from octoedge.errors import ConfigError, ConnectError
from octoedge.transport.abort import abort
from octoedge.transport.reach import reach
from octoedge.transport.websocket import tls_name

_MAX_HEAD = 16 * 1024
_MAX_LINES = 100
_DEFAULT_PORT = 443


class Answer(msgspec.Struct, frozen=True):
    """Status and body of an answer."""

    status: int
    body: bytes

    @property
    def text(self) -> str:
        """The body for people, cut short."""
        return self.body[:600].decode(errors="replace").strip()


class Limits(msgspec.Struct, frozen=True):
    """How long and how large an answer may be."""

    seconds: float = 30.0
    max_body: int = 1024 * 1024


LIMITS = Limits()


async def get(
    url: str,
    context: ssl.SSLContext,
    *,
    body: bytes = b"",
    headers: Mapping[str, str] | None = None,
    limits: Limits = LIMITS,
) -> Answer:
    """GET `url`; raises `ConnectError` when no whole answer comes in time. Redirects are not followed."""
    host, port, path = _parts(url)
    try:
        async with asyncio.timeout(limits.seconds):
            reader, writer = await asyncio.open_connection(
                sock=await reach(host, port),
                ssl=context,
                server_hostname=tls_name(host),
                limit=_MAX_HEAD,
                ssl_shutdown_timeout=1.0,
            )
            try:
                return await _exchange(reader, writer, _request(host, port, path, body, headers or {}), limits)
            finally:
                abort(writer)
    except TimeoutError as error:
        raise ConnectError(f"{url} gave no answer within {limits.seconds:.0f} s") from error
    except ssl.SSLCertVerificationError as error:
        raise ConnectError(f"{url} shows a certificate that cannot be trusted: {error.verify_message}") from error
    except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError) as error:
        raise ConnectError(f"cannot get {url}: {error}; is CloudCore running and reachable?") from error


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes, limits: Limits
) -> Answer:
    with contextlib.suppress(OSError):  # the cloud may refuse before it has read the body; its answer counts
        writer.write(request)
        await writer.drain()
    status = _status((await reader.readline()).decode("latin-1"))
    headers = await _headers(reader)
    if headers.get("transfer-encoding", "").lower() == "chunked":
        return Answer(status, await _chunks(reader, limits.max_body))
    length = headers.get("content-length")
    if length is None:
        return Answer(status, await _until_end(reader, limits.max_body))
    if not length.isdigit() or int(length) > limits.max_body:
        raise ValueError(f"an answer of {length[:20]} bytes is larger than the limit of {limits.max_body}")
    return Answer(status, await reader.readexactly(int(length)))


def _parts(url: str) -> tuple[str, int, str]:
    split = urllib.parse.urlsplit(url)
    try:
        port = split.port or _DEFAULT_PORT
    except ValueError as error:
        raise ConfigError(f"{url!r} is no https URL: {error}") from error
    if split.scheme != "https" or not split.hostname:
        raise ConfigError(f"{url!r} is no https URL; edgeHub.httpServer is of the form https://HOST:10002")
    return split.hostname, port, split.path or "/"


def _request(host: str, port: int, path: str, body: bytes, headers: Mapping[str, str]) -> bytes:
    shown = f"[{host}]" if ":" in host else host
    lines = [f"GET {path} HTTP/1.1", f"Host: {shown}:{port}", "Connection: close", f"Content-Length: {len(body)}"]
    for name, value in headers.items():
        if any(ord(char) < 0x20 or ord(char) > 0x7E for char in name + value):
            raise ConfigError(f"the value for the HTTP header {name!r} holds characters that a header must not have")
        lines.append(f"{name}: {value}")
    return "\r\n".join([*lines, "", ""]).encode("ascii") + body


def _status(line: str) -> int:
    words = line.split(maxsplit=2)
    if len(words) < 2 or not words[0].startswith("HTTP/1.") or not (words[1].isdigit() and len(words[1]) == 3):
        raise ValueError(f"the answer begins with {line[:80]!r}, which is not HTTP")
    return int(words[1])


async def _headers(reader: asyncio.StreamReader) -> dict[str, str]:
    headers: dict[str, str] = {}
    for _ in range(_MAX_LINES):
        line = (await reader.readline()).decode("latin-1")
        if not line.endswith("\n"):
            raise ValueError("the answer ends within its headers")
        if not line.strip():
            return headers
        name, _, value = line.partition(":")
        headers[name.strip().lower()] = value.strip()
    raise ValueError(f"the answer has more than {_MAX_LINES} headers")


async def _chunks(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while True:
        size = int((await reader.readline()).split(b";")[0], 16)
        if size < 0 or len(body) + size > limit:
            raise ValueError(f"the answer is larger than the limit of {limit} bytes")
        if size == 0:
            return bytes(body)
        body += await reader.readexactly(size)
        await reader.readexactly(2)


async def _until_end(reader: asyncio.StreamReader, limit: int) -> bytes:
    body = bytearray()
    while data := await reader.read(64 * 1024):
        body += data
        if len(body) > limit:
            raise ValueError(f"the answer is larger than the limit of {limit} bytes")
    return bytes(body)
