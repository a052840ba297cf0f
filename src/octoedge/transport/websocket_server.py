"""The cloud's WebSocket listener (spec: channel, section 1): any path, identity from headers and certificate.

TLS handshake → `admit(peer)` may refuse with HTTP 403 and a reason → WebSocket → `serve(connection)`. A message above
the limit ends its connection with code 1009 before its bytes are read; garbage ends its own connection only.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import ssl
from collections.abc import Awaitable, Callable, Mapping

from aiohttp import WSMsgType, web
from aiohttp.http_exceptions import HttpProcessingError

from octoedge.errors import ConnectError, ConnectionClosed
from octoedge.protocol import handshake
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.tls import common_name

log = logging.getLogger(__name__)

_CLOSE_SECONDS = 2.0


class WebSocketServer:
    """Listens on one address and hands every admitted connection to `serve`."""

    def __init__(
        self,
        host: str,
        port: int,
        *,
        tls: Callable[[], ssl.SSLContext | None],
        serve: Callable[[Connection], Awaitable[None]],
        admit: Callable[[Peer], str],
        answer_headers: Callable[[Peer], Mapping[str, str]],
        max_bytes: int,
    ) -> None:
        self._host = host
        self.port = port
        self._tls = tls
        self._serve = serve
        self._admit = admit
        self._answer_headers = answer_headers
        self._max_bytes = max_bytes
        self._open: set[_WebSocketConnection] = set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen until cancelled; `port` then is the real one, also when 0 was asked for."""
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self.port, ssl_context=self._tls(), backlog=1024)
            await start(site, f"wss://{self._host}:{self.port}")
            self.port = runner.addresses[0][1]
            log.info("listening for edges on %s:%s (WebSocket)", self._host, self.port)
            ready()
            await asyncio.Event().wait()
        finally:
            # Otherwise cleanup waits for connections that nobody has told to end.
            await asyncio.gather(*(connection.close() for connection in self._open))
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        peer = peer_of(request, handshake.NODE)
        why = _not_a_channel(request) or self._admit(peer)
        if why:
            log.warning("= refused %s (node %r): %s", peer.address, peer.node, why)
            return web.Response(status=403, text=why + "\n")
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS, max_msg_size=self._max_bytes, compress=False, decode_text=False
        )
        socket.headers.update(self._answer_headers(peer))
        await socket.prepare(request)
        connection = _WebSocketConnection(socket, peer)
        self._open.add(connection)
        try:
            await self._serve(connection)
        finally:
            self._open.discard(connection)
            await connection.close()
        return socket


class _WebSocketConnection:
    """A `Connection` over an accepted WebSocket."""

    def __init__(self, socket: web.WebSocketResponse, peer: Peer) -> None:
        self._socket = socket
        self._peer = peer

    @property
    def peer(self) -> Peer:
        return self._peer

    async def send(self, data: bytes) -> None:
        try:
            await self._socket.send_frame(data, WSMsgType.TEXT)
        except (ConnectionError, RuntimeError) as error:
            raise ConnectionClosed(f"the connection to {self._peer.address} is gone: {error}") from error

    async def receive(self) -> bytes:
        try:
            message = await self._socket.receive()
        except RuntimeError as error:
            raise ConnectionClosed(f"the connection to {self._peer.address} is closed") from error
        if message.type in (WSMsgType.TEXT, WSMsgType.BINARY):
            data: bytes = message.data
            return data
        if message.type is WSMsgType.ERROR:
            raise ConnectionClosed(f"{self._peer.address} broke the WebSocket protocol: {message.data}")
        code = self._socket.close_code
        raise ConnectionClosed(f"{self._peer.address} closed the connection" + (f" (code {code})" if code else ""))

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._socket.close(code=1001, message=b"closed by the cloud")


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
        address=f"{address[0]}:{address[1]}" if address else "unknown",
        headers={name.lower(): value for name, value in request.headers.items()},
    )


def _not_a_channel(request: web.BaseRequest) -> str:
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return "this port speaks the WebSocket channel between CloudCore and EdgeCore only"
    use = request.headers.get(handshake.USE, "")
    if use == handshake.USE_MESSAGES:
        return ""
    return f"header {handshake.USE} is {use!r}; only {handshake.USE_MESSAGES!r} is served"
