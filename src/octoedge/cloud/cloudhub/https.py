"""The https listener (spec: channel, section 9): the CA for all, a certificate for who has a token or one already.

    GET /ca.crt          the CA certificate, DER
    GET /edge.crt        body: signing request, DER → certificate, DER; bearer token, or the node's present certificate
    GET /node/<name>     whether there is such a node

Texts and codes are those that a Go edge knows. Node tasks (`/nodeupgrade`, `/task/…`) are not there yet and say so.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass

from aiohttp import web

from octoedge.errors import ApiError, CertificateError, OctoedgeError, TokenError
from octoedge.kube.client import Client
from octoedge.kube.kinds import NODES
from octoedge.pki.authority import Authority
from octoedge.protocol import handshake
from octoedge.protocol.handshake import NODES_GROUP, certificate_name
from octoedge.runtime.clock import Clock
from octoedge.transport.tls import common_name, organization
from octoedge.transport.websocket_server import start

log = logging.getLogger(__name__)

_MAX_BODY = 1024 * 1024
_BODY_SECONDS = 15.0
_ADMINISTRATOR = ("KubeEdge", "kubeedge.io")


class _Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Answers the requests; `run` of `HttpsServer` gives them a port."""

    authority: Callable[[], Authority]
    client: Client
    connected: Callable[[], Collection[str]]
    clock: Clock
    certificate_days: int

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; every failure becomes a clear text."""
        try:
            return await self._route(request)
        except _Refusal as refusal:
            if refusal.status not in (404, 405):
                log.warning("refused %s %s of %s: %s", request.method, request.path, request.remote, refusal)
            return web.Response(status=refusal.status, text=str(refusal))
        except OctoedgeError as error:
            log.warning("%s %s failed: %s", request.method, request.path, error)
            return web.Response(status=500, text=str(error))

    async def _route(self, request: web.BaseRequest) -> web.StreamResponse:
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]
        if request.path.startswith("/node/"):
            method, answer = "GET", self._node
        elif request.path == "/nodeupgrade" or request.path.startswith("/task/"):
            method, answer = "POST", self._task
        else:
            found = {handshake.CA_PATH: self._ca, handshake.CERTIFICATE_PATH: self._edge}.get(request.path)
            if found is None:
                raise _Refusal(404, "404: Page Not Found")
            method, answer = "GET", found
        if request.method != method:
            raise _Refusal(405, "405: Method Not Allowed")
        return await answer(request)

    async def _ca(self, _request: web.BaseRequest) -> web.StreamResponse:
        return web.Response(body=self.authority().ca.certificate, content_type="application/octet-stream")

    async def _edge(self, request: web.BaseRequest) -> web.StreamResponse:
        node = request.headers.get(handshake.NODE_NAME, "")
        self._authenticate(request, node)
        body = await _read(request)
        try:
            signed = self.authority().sign_node(body, node, days=self.certificate_days, now=self.clock.now())
        except CertificateError as error:
            why = f"fail to signCerts, err: {error}"
            raise _Refusal(500, f"failed to sign certs for edgenode {node}, err: {why}") from None
        log.info("issued a certificate for node %s (%s) for %d days", node, request.remote, self.certificate_days)
        return web.Response(body=signed, content_type="application/octet-stream")

    def _authenticate(self, request: web.BaseRequest, node: str) -> None:
        certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
        if certificate:
            name = common_name(certificate)
            own = (organization(certificate), name) == (NODES_GROUP, certificate_name(node))
            if not own and (organization(certificate), name) != _ADMINISTRATOR:
                why = "request node name is not match with the certificate"
                raise _Refusal(401, f"failed to verify the certificate for edgenode: {node}, err: {why}")
            return
        self._check_token(request.headers.get("Authorization", ""))
        if not node:
            raise _Refusal(400, f"header {handshake.NODE_NAME} must name the node that the certificate is for")
        if node in self.connected():
            raise _Refusal(
                409,
                f"failed to sign certs for edgenode {node}, err: a node of this name is connected now; give this "
                "machine another name (modules.edged.hostnameOverride), or stop the other one first",
            )

    def _check_token(self, authorization: str) -> None:
        if not authorization:
            raise _Refusal(401, "token validation failure, token is empty")
        scheme, _, bearer = authorization.partition(" ")
        if scheme.lower() != "bearer" or not bearer.strip():
            raise _Refusal(401, "token validation failure, token cannot be split")
        try:
            self.authority().verify_token(bearer.strip(), now=self.clock.now())
        except TokenError as error:
            raise _Refusal(401, f"token validation failure, err: {error}") from None

    async def _node(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            await self.client.get(NODES, "", request.path.removeprefix("/node/") or "/")
        except ApiError as error:
            if error.code in (400, 404):
                raise _Refusal(404, "Node not found") from None
            raise
        return web.Response(text="Node founded")

    async def _task(self, _request: web.BaseRequest) -> web.StreamResponse:
        raise _Refusal(501, "node tasks are not implemented in this CloudCore")


class HttpsServer:
    """Module: listens for those who have no certificate yet."""

    name = "https"
    needs: tuple[str, ...] = ("authority",)

    def __init__(
        self,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext | None],
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
    ) -> None:
        self._host = host
        self.port = port
        self._tls = tls
        self._handle = handle

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen until cancelled; `port` then is the real one, also when 0 was asked for."""
        server = web.Server(self._handle, access_log=None, keepalive_timeout=15.0)
        runner = web.ServerRunner(server, shutdown_timeout=2.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self.port, ssl_context=self._tls())
            await start(site, f"https://{self._host}:{self.port}")
            self.port = runner.addresses[0][1]
            log.info("listening for joining nodes on %s:%s (https)", self._host, self.port)
            ready()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()


async def _read(request: web.BaseRequest) -> bytes:
    """The body, within a size and a time."""
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(_BODY_SECONDS):
            async for part in request.content.iter_any():
                size += len(part)
                if size > _MAX_BODY:
                    raise _Refusal(400, f"the request body is larger than {_MAX_BODY} bytes")
                parts.append(part)
    except TimeoutError:
        raise _Refusal(400, f"the request body did not arrive within {_BODY_SECONDS:.0f} s") from None
    return b"".join(parts)
