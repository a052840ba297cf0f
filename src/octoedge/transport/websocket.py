"""The edge's way to the cloud: a WebSocket over mutual TLS.

    bytes ⇄ asyncio streams (TLS) ⇄ `rfc6455` (no I/O) ⇄ whole messages

Nothing runs in the background: pings of the peer are answered, and pongs noticed, by whoever is in `receive()`, which
the session always is.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
import urllib.parse
from asyncio import sslproto
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import msgspec

from octoedge.errors import ConfigError, ConnectError, ConnectionClosed, ConnectionRefusedByPeer, ProtocolError
from octoedge.protocol.codec import MAX_BYTES
from octoedge.runtime.clock import rfc3339
from octoedge.transport import rfc6455
from octoedge.transport.abort import abort
from octoedge.transport.connection import Peer
from octoedge.transport.leaf import show_alone
from octoedge.transport.reach import reach
from octoedge.transport.rfc6455 import Close, FrameError, FrameReader, Message, Opcode, Ping, Pong, Upgraded

_READ_BYTES = 64 * 1024
_CLOSE_SECONDS = 1.0
_WRONG_NAME = (62, 64)
"""OpenSSL's X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH."""
_WRONG_TIME = (9, 10)
"""X509_V_ERR_CERT_NOT_YET_VALID and X509_V_ERR_CERT_HAS_EXPIRED."""
_TLS_BUFFER_BYTES = 16 * 1024
_SWITCHING = 101
_TOLD = 300
"""Bytes of a refusal's text that are passed on."""


class Endpoint(msgspec.Struct, frozen=True):
    """Where to connect to, as whom."""

    url: str
    """`wss://host:port/path`."""
    ca_file: Path
    """Only certificates of this authority are trusted."""
    certificate_file: Path
    key_file: Path
    headers: Mapping[str, str] = msgspec.field(default_factory=dict)
    timeout: float = 30.0
    """Seconds for everything until the WebSocket is open."""
    max_bytes: int = MAX_BYTES
    """Largest message that is accepted."""


def small_tls_buffers() -> None:
    """Let every TLS connection of this process hold 16 KiB to read into instead of 256 KiB.

    A TLS record is never longer, so nothing is lost; a test watches that asyncio still looks at this attribute.
    """
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES


def tls_name(host: str) -> str:
    """The name that a server's certificate must have, in the form that costs least.

    As text, ssl would run it through the IDNA codec, whose tables (1 MiB) then stay in memory for good; as bytes it is
    taken as it is. asyncio passes it on untouched.
    """
    return cast("str", host.encode()) if host.isascii() else host


async def connect(endpoint: Endpoint) -> WebSocketConnection:
    """Open a connection; raises `ConnectError`, or `ConnectionRefusedByPeer` when the cloud does not want us."""
    host, port, path = _address(endpoint.url)
    try:
        async with asyncio.timeout(endpoint.timeout):
            context = _context(endpoint)
            reader, writer = await asyncio.open_connection(
                sock=await reach(host, port),
                ssl=context,
                server_hostname=tls_name(host),
                limit=_READ_BYTES,
                ssl_handshake_timeout=endpoint.timeout,
                ssl_shutdown_timeout=_CLOSE_SECONDS,
            )
            try:
                answer = await _upgrade(reader, writer, endpoint, f"{_bracketed(host)}:{port}", path)
            except BaseException:
                abort(writer)
                raise
    except TimeoutError as error:
        raise ConnectError(f"{endpoint.url} did not answer within {endpoint.timeout:.0f} s") from error
    except (OSError, EOFError, asyncio.LimitOverrunError, ProtocolError) as error:
        raise _refusal(endpoint, error) from error
    return WebSocketConnection(
        Peer(address=f"{host}:{port}", headers=answer.headers), endpoint.max_bytes, reader, writer
    )


class WebSocketConnection:
    """An open connection; make it with `connect`."""

    def __init__(self, peer: Peer, max_bytes: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._peer = peer
        self._frames = FrameReader(max_bytes)
        self._reader = reader
        self._writer = writer
        self._pong: asyncio.Event = asyncio.Event()
        self._messages: deque[bytes] = deque()
        self._over = ""
        """Why the connection is over; empty while it is open."""
        self._closing = False

    @property
    def peer(self) -> Peer:
        return self._peer

    async def send(self, data: bytes) -> None:
        await self._write(rfc6455.encode(Opcode.TEXT, data, bytes(4)))

    async def send_binary(self, data: bytes) -> None:
        """As `send`, in a binary frame."""
        await self._write(rfc6455.encode(Opcode.BINARY, data, bytes(4)))

    async def receive(self) -> bytes:
        while not self._messages:
            if self._over:
                raise ConnectionClosed(self._over)
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError as error:
                self._end(f"the connection to {self._peer.address} broke: {error}")
                continue
            if not data:
                self._end(f"{self._peer.address} dropped the connection")
                continue
            with contextlib.suppress(ConnectionClosed):  # what was received with the end of the connection still counts
                await self._take(data)
        return self._messages.popleft()

    async def ping(self, timeout: float) -> None:
        """Return when the peer has answered a ping; `ConnectionClosed` when it has not in `timeout` seconds."""
        self._pong.clear()
        try:
            async with asyncio.timeout(timeout):
                await self._write(rfc6455.encode(Opcode.PING, b""))
                await self._pong.wait()
        except TimeoutError as error:
            raise ConnectionClosed(f"{self._peer.address} did not answer a ping within {timeout:.0f} s") from error

    def moved(self) -> str:
        """Whether packets to the peer would now leave from another address than this connection's, and which; or "".

        Such a connection is dead and nobody says so: the machine has another network, or another address in it.
        """
        transport = self._writer.transport
        socket_, own = transport.get_extra_info("socket"), transport.get_extra_info("sockname")
        there = transport.get_extra_info("peername")
        if socket_ is None or not own or not there:
            return ""
        try:
            with socket.socket(socket_.family, socket.SOCK_DGRAM) as asking:
                asking.connect(there)  # sends nothing
                now = asking.getsockname()[0]
        except OSError:
            return ""  # no way at all: there may be one again in a moment
        return (
            "" if now == own[0] else f"this machine's address towards {self._peer.address} is {now}, no longer {own[0]}"
        )

    async def close(self) -> None:
        if self._closing:  # asyncio's TLS of Python 3.11.2 breaks when it is closed twice
            return
        self._closing = True
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                if not self._over:
                    await self._write(rfc6455.encode_close(rfc6455.NORMAL))
                self._end("the connection was closed here")
                self._writer.close()
                await self._writer.wait_closed()
        except (OSError, TimeoutError, ConnectionClosed):
            abort(self._writer)

    async def _take(self, data: bytes) -> None:
        try:
            for event in self._frames.feed(data):
                match event:
                    case Message():
                        self._messages.append(event.data)
                    case Ping():
                        await self._write(rfc6455.encode(Opcode.PONG, event.data))
                    case Pong():
                        self._pong.set()
                    case Close():
                        await self._answer_close(event)
                        return
        except FrameError as error:
            await self._write(rfc6455.encode_close(error.code, str(error)))
            self._end(f"the connection to {self._peer.address} was ended: {error}")

    async def _answer_close(self, event: Close) -> None:
        try:
            await self._write(rfc6455.encode_close(rfc6455.NORMAL))
        finally:
            self._end(f"{self._peer.address} closed the connection: {event}")

    async def _write(self, frame: bytes) -> None:
        if self._over:
            raise ConnectionClosed(self._over)
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except OSError as error:
            self._end(f"the connection to {self._peer.address} broke: {error}")
            raise ConnectionClosed(self._over) from error

    def _end(self, why: str) -> None:
        """The first reason is the one to tell."""
        self._over = self._over or why


def _address(url: str) -> tuple[str, int, str]:
    """host, port and path of a `wss://` address."""
    try:
        parts = urllib.parse.urlsplit(url)
        port = parts.port or 443
    except ValueError as error:
        raise ConfigError(f"{url!r} is no WebSocket address: {error}") from error
    if parts.scheme != "wss" or not parts.hostname:
        raise ConfigError(f"{url!r} is no WebSocket address: it must be wss://host:port/path")
    return parts.hostname, port, parts.path or "/"


def _bracketed(host: str) -> str:
    """As a host stands in a URL and in the header `Host`."""
    return f"[{host}]" if ":" in host else host


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(endpoint.ca_file)
        context.load_cert_chain(endpoint.certificate_file, endpoint.key_file)
        show_alone(context)
    except (OSError, ssl.SSLError) as error:
        raise ConnectError(
            f"cannot use the certificate files {endpoint.ca_file}, {endpoint.certificate_file}, {endpoint.key_file}: "
            f"{error}"
        ) from error
    return context


class _Refused(ProtocolError):
    """The server answered, but not with a WebSocket."""


async def _upgrade(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint, host: str, path: str
) -> Upgraded:
    """Ask for the WebSocket; the cloud's answer, when it agrees."""
    key = rfc6455.new_key()
    writer.write(rfc6455.upgrade_request(host, path, endpoint.headers, key))
    head = await reader.readuntil(b"\r\n\r\n")
    if len(head) > rfc6455.MAX_HEAD:
        raise ProtocolError(f"the head of the answer is longer than {rfc6455.MAX_HEAD} bytes")
    answer = Upgraded.parse(head)
    if answer.status != _SWITCHING:
        said = (await reader.read(_TOLD)).decode(errors="replace").strip()
        raise _Refused(f"HTTP {answer.status} {said}".rstrip())
    answer.check(key)
    return answer


def _refusal(endpoint: Endpoint, error: Exception) -> ConnectError:
    """The error that tells a person why the connection could not be opened."""
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _WRONG_NAME:
        return ConnectError(
            f"{endpoint.url} shows a certificate of our cloud for other addresses ({error.verify_message}); "
            "add this one to modules.cloudHub.advertiseAddress or dnsNames in cloudcore.yaml and restart CloudCore"
        )
    if isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _WRONG_TIME:
        return ConnectError(
            f"{endpoint.url}: {error.verify_message}, says the clock of this machine ({rfc3339(time.time())}); "
            "where it is wrong, set it, else renew the cloud's certificate; the node needs nothing else"
        )
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectError(
            f"{endpoint.url} shows a certificate that {endpoint.ca_file} does not vouch for ({error.verify_message}); "
            "if the cloud was set up anew, remove the node's certificate files and join again with a new token"
        )
    if isinstance(error, ssl.SSLError) and "ALERT" in (error.reason or ""):
        return ConnectionRefusedByPeer(
            f"{endpoint.url} does not accept our certificate {endpoint.certificate_file} ({error.reason}); "
            "it belongs to another cloud or has expired: remove the certificate files and join again with a new token"
        )
    if isinstance(error, _Refused):
        return ConnectionRefusedByPeer(f"{endpoint.url} refused us: {error}")
    if isinstance(error, ProtocolError | asyncio.LimitOverrunError):
        return ConnectError(f"{endpoint.url} does not speak WebSocket: {error}")
    if isinstance(error, EOFError | ConnectionResetError):
        return _dropped(endpoint)
    return ConnectError(f"cannot connect to {endpoint.url}: {error}; is CloudCore running and reachable?")


def _dropped(endpoint: Endpoint) -> ConnectError:
    """asyncio's and uvloop's servers refuse a certificate without the alert that TLS has for it."""
    return ConnectError(
        f"{endpoint.url} dropped the connection without an answer; if this stays so, it may not accept our certificate "
        f"{endpoint.certificate_file}: see CloudCore's log"
    )
