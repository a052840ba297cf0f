"""The cloud's WebSocket listeners: 10000 for the channel, 10004 for tunnels; identity from headers and certificate.

TLS handshake → the `Door` may refuse with an HTTP status and a reason → WebSocket → `serve(connection)`. A message
above the limit ends its connection with code 1009 before its bytes are read; garbage ends its own connection only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass

from aiohttp import WSMessage, WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from octoedge.errors import ConnectError, ConnectionClosed
from octoedge.protocol import handshake
from octoedge.transport import gate
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.tls import common_name, serial

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a connection may not open, as an HTTP answer."""

    status: int
    reason: str


@dataclass(frozen=True, slots=True)
class Door:
    """Who is let in, and what then holds for the connection."""

    node_header: str
    """Header of the handshake in which a node says its name."""
    check: Callable[[web.BaseRequest, Peer], Refusal | None]
    """Decides on one handshake, after TLS."""
    answer_headers: Callable[[Peer], Mapping[str, str]]
    """What the answer 101 says beside what WebSocket asks for."""
    max_bytes: int
    """Size of the largest message; a larger one ends its connection with code 1009."""
    text_only: bool = False
    """Whether a binary message ends the connection."""
    silence: Callable[[Peer], float | None] = lambda _: None
    """Seconds without anything, be it a ping, after which this peer's connection is over; None: never."""


class WebSocketServer:
    """Listens on one address (`host` None: all of them) and hands every connection let in to `serve`."""

    def __init__(
        self, host: str | None, port: int, *, tls: Callable[[], ssl.SSLContext | None],
        serve: Callable[[Connection], Awaitable[None]], door: Door, limits: gate.Limits = gate.NO_LIMITS,
    ) -> None:  # fmt: skip
        self._limits = limits
        self._host = host
        self.port = port
        self._tls = tls
        self._serve = serve
        self._door = door
        self._open: set[AcceptedConnection] = set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen until cancelled."""
        async with self.listening():
            ready()
            await asyncio.Event().wait()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen within the context; `port` then is the real one, also when 0 was asked for."""
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        assert runner.server is not None
        try:
            opened = gate.listening(runner.server, self._host, self.port, self._tls(), self._limits, "wss")
            async with opened as self.port:
                log.info("listening for edges on %s:%s (WebSocket)", self._host or "*", self.port)
                yield
        finally:
            # Otherwise cleanup waits for connections that nobody has told to end.
            await asyncio.gather(*(connection.close() for connection in self._open))
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        door = self._door
        peer = peer_of(request, door.node_header)
        refusal = door.check(request, peer)
        if refusal is not None:
            log.warning("= refused %s (node %r): %s", peer.address, peer.node[:253], refusal.reason)
            return web.Response(status=refusal.status, text=refusal.reason + "\n")
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS, max_msg_size=door.max_bytes, compress=False, decode_text=False, autoping=False
        )
        socket.headers.update(door.answer_headers(peer))
        await socket.prepare(request)
        connection = AcceptedConnection(socket, peer, door)
        self._open.add(connection)
        try:
            await self._serve(connection)
        finally:
            self._open.discard(connection)
            await connection.close()
        return socket


class AcceptedConnection:
    """A `Connection` over an accepted WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, peer: Peer, door: Door) -> None:
        self._socket = socket
        self._peer = peer
        self._silence = door.silence(peer)
        self._taken = (WSMsgType.TEXT,) if door.text_only else (WSMsgType.TEXT, WSMsgType.BINARY)
        self._sign = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        self.heard = self._loop.time()
        """The event loop's time when something came last, be it a ping."""
        self.round_trip = 0.0
        """Seconds that the latest pong took; 0 before the first."""
        self._asked = b""
        """What the latest ping said, which its pong says again: when it was sent."""

    @property
    def peer(self) -> Peer:
        return self._peer

    async def send(self, data: bytes) -> None:
        await self._send(data, WSMsgType.TEXT)

    async def send_binary(self, data: bytes) -> None:
        """As `send`, in a binary frame."""
        await self._send(data, WSMsgType.BINARY)

    async def _send(self, data: bytes, kind: WSMsgType) -> None:
        try:
            await self._socket.send_frame(data, kind)
        except (ConnectionError, RuntimeError) as error:
            raise ConnectionClosed(f"the connection to {self._peer.address} is gone: {error}") from error

    async def receive(self) -> bytes:
        while True:
            message = await self._next()
            self.heard = self._loop.time()
            self._sign.set()
            if message.type is WSMsgType.PONG and self._asked and message.data == self._asked:
                self.round_trip = self.heard - float(self._asked)
            if message.type in self._taken:
                data: bytes = message.data
                return data
            if message.type not in (WSMsgType.PING, WSMsgType.PONG):
                raise ConnectionClosed(f"{self._peer.address} {self._end_of(message)}")

    async def ping(self, timeout: float) -> None:
        """Return at the next sign of life; `ConnectionClosed` when none comes within `timeout` seconds."""
        self._sign.clear()
        try:
            async with asyncio.timeout(timeout):
                await self.measure()
                await self._sign.wait()
        except TimeoutError as error:
            raise ConnectionClosed(f"{self._peer.address} gave no sign of life within {timeout:g} s") from error

    async def measure(self) -> None:
        """Send a ping and do not wait: once its pong has come, `round_trip` is known."""
        self._asked = b"%.6f" % self._loop.time()
        try:
            await self._socket.ping(self._asked)
        except (ConnectionError, RuntimeError) as error:
            raise ConnectionClosed(f"the connection to {self._peer.address} is gone: {error}") from error

    async def close(self) -> None:
        try:
            await self._socket.close(code=1001, message=b"closed by the cloud")
        except Exception as error:  # it is over in any case, and whoever closes has others to close
            log.debug("= %s could not be told that its connection ends: %r", self._peer.address, error)

    async def _next(self) -> WSMessage:
        try:
            message = await self._socket.receive(timeout=self._silence)
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
            return message
        except TimeoutError as error:
            raise ConnectionClosed(f"{self._peer.address} was silent for {self._silence:.0f} s") from error
        except (ConnectionError, RuntimeError) as error:
            raise ConnectionClosed(f"the connection to {self._peer.address} is closed") from error

    def _end_of(self, message: WSMessage) -> str:
        if message.type is WSMsgType.ERROR:
            return f"broke the WebSocket protocol: {message.data}"
        if message.type is WSMsgType.BINARY:
            return "sent a binary message, where only text is spoken"
        code = self._socket.close_code
        return "closed the connection" + (f" (code {code})" if code else "")


async def start(site: web.TCPSite, where: str) -> None:
    """Start listening; `ConnectError` says which address is taken."""
    try:
        await site.start()
    except OSError as error:
        why = os.strerror(error.errno) if error.errno else str(error)
        raise ConnectError(f"cannot listen on {where}: {why}; is another program using this port?") from error


class OneLineForGarbage(logging.Filter):
    """For aiohttp's log: bytes that are no HTTP are worth a line, not a traceback with the bytes in it."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Shorten the record when it is about such bytes; it is logged in any case."""
        error = record.exc_info[1] if record.exc_info else None
        if isinstance(error, HttpProcessingError):
            record.msg, record.exc_info = record.getMessage() + ": this is no HTTP", None
            record.args = ()
            record.levelno, record.levelname = logging.INFO, "INFO"
        return True


def peer_of(request: web.BaseRequest, node_header: str) -> Peer:
    """Who asks, by the handshake's headers and the client certificate that TLS has verified."""
    transport = request.transport
    certificate = transport.get_extra_info("peercert") if transport is not None else None
    address = transport.get_extra_info("peername") if transport is not None else None
    return Peer(
        node=request.headers.get(node_header, ""),
        certificate_name=common_name(certificate),
        certificate_serial=serial(certificate),
        address=f"{address[0]}:{address[1]}" if address else "unknown",
        headers={name.lower(): value for name, value in request.headers.items()},
    )


def channel_door(
    admit: Callable[[Peer], str], answer_headers: Callable[[Peer], Mapping[str, str]], max_bytes: int
) -> Door:
    """The door of 10000: any path; `admit` gives the reason to refuse a node, or nothing."""

    def check(request: web.BaseRequest, peer: Peer) -> Refusal | None:
        why = _not_a_channel(request) or admit(peer)
        return Refusal(403, why) if why else None

    return Door(handshake.NODE, check, answer_headers, max_bytes)


def _not_a_channel(request: web.BaseRequest) -> str:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return "this port speaks the WebSocket channel between CloudCore and EdgeCore only"
    use = request.headers.get(handshake.USE, "")
    if use == handshake.USE_MESSAGES:
        return ""
    return f"header {handshake.USE} is {use!r}; only {handshake.USE_MESSAGES!r} is served"
