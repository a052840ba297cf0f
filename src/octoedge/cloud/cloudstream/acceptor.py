"""Takes the edges' tunnels: a WebSocket server with mutual TLS on one path (spec: stream, sections 3 and 4).

A tunnel's messages are bytes in text frames; a binary frame ends the tunnel, as on the Go side. A tunnel on which
nothing came for `SILENCE_SECONDS`, not even a ping (edges send one each 5 s), is over.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable

from aiohttp import WSMsgType, web

from octoedge.errors import ConnectionClosed
from octoedge.protocol.handshake import certificate_name
from octoedge.protocol.tunnel import AGREEMENT, MAX_MESSAGE, NODE_HEADER, PATH, VERSION
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.websocket_server import peer_of, start

log = logging.getLogger(__name__)

SILENCE_SECONDS = 20.0
_CLOSE_SECONDS = 2.0

Serve = Callable[[str, Connection], Awaitable[None]]


class Acceptor:
    """Listens for tunnels and hands each to `serve(node, connection)`."""

    def __init__(self, host: str | None, port: int, tls: ssl.SSLContext, serve: Serve) -> None:
        self._host = host
        self.port = port
        self._tls = tls
        self._serve = serve
        self._open: set[_TunnelConnection] = set()

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Listen within the context; `port` then is the real one, also when 0 was asked for."""
        runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        try:
            await start(
                web.TCPSite(runner, self._host, self.port, ssl_context=self._tls, backlog=1024), f"port {self.port}"
            )
            self.port = runner.addresses[0][1]
            log.info("listening for edges' tunnels on port %s", self.port)
            yield
        finally:
            # Otherwise cleanup waits for tunnels that nobody has told to end.
            await asyncio.gather(*(connection.close() for connection in self._open))
            await runner.cleanup()

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        peer = peer_of(request, NODE_HEADER)
        status, why = _refusal(request, peer)
        if why:
            log.warning("= refused a tunnel from %s (node %r): %s", peer.address, peer.node[:253], why)
            return web.Response(status=status, text=why + "\n")
        socket = web.WebSocketResponse(
            timeout=_CLOSE_SECONDS, max_msg_size=MAX_MESSAGE, compress=False, decode_text=False, autoping=False
        )
        if peer.headers.get(AGREEMENT.lower()) == VERSION:
            socket.headers[AGREEMENT] = VERSION
        await socket.prepare(request)
        connection = _TunnelConnection(socket, peer)
        self._open.add(connection)
        try:
            await self._serve(peer.node, connection)
        finally:
            self._open.discard(connection)
            await connection.close()
        return socket


class _TunnelConnection:
    """A `Connection` over an accepted tunnel."""

    def __init__(self, socket: web.WebSocketResponse, peer: Peer) -> None:
        self._socket = socket
        self._peer = peer
        self.heard = asyncio.get_running_loop().time()
        """When something came last, be it a ping."""

    @property
    def peer(self) -> Peer:
        return self._peer

    async def send(self, data: bytes) -> None:
        try:
            await self._socket.send_frame(data, WSMsgType.TEXT)
        except (ConnectionError, RuntimeError) as error:
            raise ConnectionClosed(f"the tunnel to {self._peer.address} is gone: {error}") from error

    async def receive(self) -> bytes:
        while True:
            try:
                message = await self._socket.receive(timeout=SILENCE_SECONDS)
                self.heard = asyncio.get_running_loop().time()
                if message.type is WSMsgType.PING:
                    await self._socket.pong(message.data)
            except TimeoutError as error:
                raise ConnectionClosed(f"{self._peer.address} was silent for {SILENCE_SECONDS:.0f} s") from error
            except (ConnectionError, RuntimeError) as error:
                raise ConnectionClosed(f"the tunnel to {self._peer.address} is closed") from error
            if message.type is WSMsgType.TEXT:
                data: bytes = message.data
                return data
            if message.type not in (WSMsgType.PING, WSMsgType.PONG):
                why = f"ended the tunnel or broke its rules ({message.type.name})"
                raise ConnectionClosed(f"{self._peer.address} {why}")

    async def close(self) -> None:
        with contextlib.suppress(Exception):
            await self._socket.close(code=1001, message=b"closed by the cloud")


def _refusal(request: web.BaseRequest, peer: Peer) -> tuple[int, str]:
    """(HTTP status, reason); the reason is empty when the tunnel may open."""
    if request.path.rstrip("/") != PATH:
        return 404, f"this port serves the tunnel of EdgeStream at {PATH} only"
    if request.headers.get("Upgrade", "").lower() != "websocket":
        return 400, "the tunnel of EdgeStream is a WebSocket"
    if not peer.node or len(peer.node) > 253:
        return 403, f"header {NODE_HEADER} must name the node"
    if peer.certificate_name != certificate_name(peer.node):
        return 403, (
            f"the certificate is of {peer.certificate_name or 'nobody'}, but header {NODE_HEADER} says {peer.node}; "
            "a node may only connect under the name that its certificate was issued for"
        )
    return 0, ""
