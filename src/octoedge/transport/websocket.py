"""The edge's way to the cloud: a WebSocket over mutual TLS.

    bytes ⇄ asyncio streams (TLS) ⇄ `websockets.client.ClientProtocol` (no I/O) ⇄ whole messages

Nothing runs in the background: pings of the peer are answered, and pongs noticed, by whoever is in `receive()`, which
the session always is. The library's own asyncio client is not used because it hides the TLS alert by which a cloud
refuses our certificate (with TLS 1.3 it comes after the handshake, at the first read), and costs 0.8 MiB more.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from asyncio import sslproto
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from websockets.client import ClientProtocol
from websockets.exceptions import InvalidHandshake, InvalidStatus, InvalidURI, WebSocketException
from websockets.frames import CloseCode, Frame, Opcode
from websockets.http11 import Response
from websockets.protocol import State
from websockets.uri import parse_uri

from octoedge.errors import ConfigError, ConnectError, ConnectionClosed, ConnectionRefusedByPeer
from octoedge.protocol.codec import MAX_BYTES
from octoedge.transport.connection import Peer

_READ_BYTES = 64 * 1024
_CLOSE_SECONDS = 1.0
_TLS_BUFFER_BYTES = 16 * 1024


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where to connect to, as whom."""

    url: str
    """`wss://host:port/path`."""
    ca_file: Path
    """Only certificates of this authority are trusted."""
    certificate_file: Path
    key_file: Path
    headers: Mapping[str, str] = field(default_factory=dict)
    timeout: float = 30.0
    """Seconds for everything until the WebSocket is open."""
    max_bytes: int = MAX_BYTES
    """Largest message that is accepted."""


def small_tls_buffers() -> None:
    """Let every TLS connection of this process hold 16 KiB to read into instead of 256 KiB.

    A TLS record is never longer, so nothing is lost; a test watches that asyncio still looks at this attribute.
    """
    sslproto.SSLProtocol.max_size = _TLS_BUFFER_BYTES


async def connect(endpoint: Endpoint) -> WebSocketConnection:
    """Open a connection; raises `ConnectError`, or `ConnectionRefusedByPeer` when the cloud does not want us."""
    try:
        uri = parse_uri(endpoint.url)
    except InvalidURI as error:
        raise ConfigError(f"{endpoint.url!r} is no WebSocket address: {error}") from error
    protocol = ClientProtocol(uri, max_size=endpoint.max_bytes)
    try:
        async with asyncio.timeout(endpoint.timeout):
            reader, writer = await asyncio.open_connection(
                uri.host, uri.port, ssl=_context(endpoint), server_hostname=uri.host, limit=_READ_BYTES,
                ssl_handshake_timeout=endpoint.timeout, ssl_shutdown_timeout=_CLOSE_SECONDS,
            )
            try:
                response = await _upgrade(protocol, reader, writer, endpoint)
            except BaseException:
                writer.transport.abort()
                raise
    except TimeoutError as error:
        raise ConnectError(f"{endpoint.url} did not answer within {endpoint.timeout:.0f} s") from error
    except (OSError, InvalidHandshake, EOFError) as error:
        raise _refusal(endpoint, error) from error
    headers = {name.lower(): value for name, value in response.headers.raw_items()}
    return WebSocketConnection(Peer(address=f"{uri.host}:{uri.port}", headers=headers), protocol, reader, writer)


class WebSocketConnection:
    """An open connection; make it with `connect`."""

    def __init__(
        self, peer: Peer, protocol: ClientProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._peer = peer
        self._protocol = protocol
        self._reader = reader
        self._writer = writer
        self._partial = bytearray()
        self._pong: asyncio.Event = asyncio.Event()
        self._messages: list[bytes] = []

    @property
    def peer(self) -> Peer:
        return self._peer

    async def send(self, data: bytes) -> None:
        if self._protocol.state is not State.OPEN:
            raise ConnectionClosed(self._why())
        self._protocol.send_text(data)
        await self._flush()

    async def receive(self) -> bytes:
        while True:
            self._take_events()
            if self._messages:
                return self._messages.pop(0)
            if self._protocol.state is not State.OPEN:
                raise ConnectionClosed(self._why())
            try:
                data = await self._reader.read(_READ_BYTES)
            except OSError as error:
                self._protocol.receive_eof()
                raise ConnectionClosed(f"the connection to {self._peer.address} broke: {error}") from error
            if data:
                self._protocol.receive_data(data)
            else:
                self._protocol.receive_eof()
            with contextlib.suppress(ConnectionClosed):  # what was received with the end of the connection still counts
                await self._flush()

    async def ping(self, timeout: float) -> None:
        """Return when the peer has answered a ping; `ConnectionClosed` when it has not in `timeout` seconds."""
        if self._protocol.state is not State.OPEN:
            raise ConnectionClosed(self._why())
        self._pong.clear()
        self._protocol.send_ping(b"")
        try:
            async with asyncio.timeout(timeout):
                await self._flush()
                await self._pong.wait()
        except TimeoutError as error:
            raise ConnectionClosed(f"{self._peer.address} did not answer a ping within {timeout:.0f} s") from error

    async def close(self) -> None:
        with contextlib.suppress(OSError, TimeoutError, ConnectionClosed):
            async with asyncio.timeout(_CLOSE_SECONDS):
                if self._protocol.state is State.OPEN:
                    self._protocol.send_close(CloseCode.NORMAL_CLOSURE)
                    await self._flush()
                self._writer.close()
                await self._writer.wait_closed()
        self._writer.transport.abort()

    async def _flush(self) -> None:
        try:
            for data in self._protocol.data_to_send():
                if data:
                    self._writer.write(data)
            await self._writer.drain()
        except OSError as error:
            self._protocol.receive_eof()
            raise ConnectionClosed(f"the connection to {self._peer.address} broke: {error}") from error

    def _take_events(self) -> None:
        for event in self._protocol.events_received():
            if isinstance(event, Frame):
                self._take_frame(event)

    def _take_frame(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self._pong.set()
        elif frame.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            if frame.fin and not self._partial:
                self._messages.append(bytes(frame.data))
                return
            self._partial += frame.data
            if frame.fin:
                self._messages.append(bytes(self._partial))
                self._partial = bytearray()

    def _why(self) -> str:
        error = self._protocol.parser_exc
        if error is not None and not isinstance(error, EOFError):
            return f"the connection to {self._peer.address} was ended: {error}"
        if self._protocol.close_rcvd is not None:
            return f"{self._peer.address} closed the connection: {self._protocol.close_rcvd}"
        return f"{self._peer.address} dropped the connection"


def _context(endpoint: Endpoint) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_verify_locations(endpoint.ca_file)
        context.load_cert_chain(endpoint.certificate_file, endpoint.key_file)
    except (OSError, ssl.SSLError) as error:
        raise ConnectError(
            f"cannot use the certificate files {endpoint.ca_file}, {endpoint.certificate_file}, {endpoint.key_file}: "
            f"{error}"
        ) from error
    return context


async def _upgrade(
    protocol: ClientProtocol, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, endpoint: Endpoint
) -> Response:
    """Ask for the WebSocket; the cloud's answer, when it agrees."""
    request = protocol.connect()
    for name, value in endpoint.headers.items():
        request.headers[name] = value
    protocol.send_request(request)
    for data in protocol.data_to_send():
        writer.write(data)
    response: Response | None = None
    while response is None and protocol.handshake_exc is None:
        data = await reader.read(_READ_BYTES)
        if data:
            protocol.receive_data(data)
        else:
            protocol.receive_eof()
        response = _take_response(protocol)
    if protocol.handshake_exc is not None:
        raise protocol.handshake_exc
    assert response is not None
    return response


def _take_response(protocol: ClientProtocol) -> Response | None:
    """The handshake's answer, once it is there; frames that came along with it stay for `receive()`."""
    for position, event in enumerate(protocol.events):
        if isinstance(event, Response):
            del protocol.events[position]
            return event
    return None


def _refusal(endpoint: Endpoint, error: Exception) -> ConnectError:
    """The error that tells a person why the connection could not be opened."""
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
    if isinstance(error, InvalidStatus):
        said = bytes(error.response.body or b"")[:300].decode(errors="replace").strip()
        return ConnectionRefusedByPeer(f"{endpoint.url} refused us: HTTP {error.response.status_code} {said}".rstrip())
    if isinstance(error, WebSocketException):
        cause = error.__cause__ or error
        if isinstance(cause, EOFError):
            return _dropped(endpoint)
        return ConnectError(f"{endpoint.url} does not speak WebSocket: {cause}")
    if isinstance(error, ConnectionResetError):
        return _dropped(endpoint)
    return ConnectError(f"cannot connect to {endpoint.url}: {error}; is CloudCore running and reachable?")


def _dropped(endpoint: Endpoint) -> ConnectError:
    """asyncio's and uvloop's servers refuse a certificate without the alert that TLS has for it."""
    return ConnectError(
        f"{endpoint.url} dropped the connection without an answer; if this stays so, it may not accept our certificate "
        f"{endpoint.certificate_file}: see CloudCore's log"
    )
