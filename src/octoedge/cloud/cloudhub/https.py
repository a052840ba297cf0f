"""The https listener (spec: channel, section 9): the CA for all, a certificate for who has a token or one already.

    GET /ca.crt          the CA certificate, DER
    GET /edge.crt        body: signing request, DER → certificate, DER; with a bearer token, or the node's present
                         certificate, or (one that has expired) signed with its key: `pki/identity` decides
    GET /node/<name>     whether there is such a node

Texts and codes are those that a Go edge knows. Node tasks (`/nodeupgrade`, `/task/…`) are not there yet and say so.
"""

from __future__ import annotations

import asyncio
import logging
import re
import ssl
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Any

import msgspec
from aiohttp import web

from octoedge.errors import ApiError, CertificateError, NameHeld, OctoedgeError, TokenError
from octoedge.kube.client import Client
from octoedge.kube.kinds import NODES
from octoedge.pki import jointoken, x509
from octoedge.pki.authority import Authority
from octoedge.pki.identity import Request, Shown
from octoedge.pki.ledger import Ledger
from octoedge.protocol import handshake
from octoedge.protocol.handshake import NODES_GROUP, certificate_name
from octoedge.runtime.clock import Clock
from octoedge.transport import gate
from octoedge.transport.tls import common_name, organization, serial

log = logging.getLogger(__name__)

_MAX_BODY = 1024 * 1024
_BODY_SECONDS = 15.0
_NAME = re.compile(r"[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?\Z")
_ADMINISTRATOR = ("KubeEdge", "kubeedge.io")


class _Refusal(Exception):
    """An answer other than 200."""

    def __init__(self, status: int, text: str) -> None:
        super().__init__(text)
        self.status = status


@dataclass(frozen=True, slots=True)
class Settings:
    """How long certificates are good."""

    days: int
    grace_days: int
    """For how long after its end the key of a certificate is good for a new one."""


@dataclass(frozen=True, slots=True)
class _Proof:
    """What a machine shows for a certificate."""

    shown: Shown
    serial: str = ""
    """Of the certificate shown."""
    bearer: str = ""
    """The token shown."""


class _NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    kubelet_version: str = ""


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    node_info: _NodeInfo = _NodeInfo()


class _Node(msgspec.Struct, frozen=True):
    status: _Status = _Status()


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Answers the requests; `run` of `HttpsServer` gives them a port."""

    authority: Callable[[], Authority]
    client: Client
    connected: Callable[[], Collection[str]]
    clock: Clock
    ledger: Ledger
    settings: Settings

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
        if not _NAME.match(node):
            raise _Refusal(400, f"header {handshake.NODE_NAME} must name the node that the certificate is for")
        proof = self._proof(request, node)
        if proof.bearer and node in self.connected():
            raise _Refusal(
                409,
                f"failed to sign certs for edgenode {node}, err: a node of this name is connected now; give this "
                "machine another name (modules.edged.hostnameOverride), or stop the other one first",
            )
        issued = await self._issue(node, await _read(request), proof)
        log.info("issued a certificate for node %s (%s) for %d days", node, request.remote, self.settings.days)
        return web.Response(body=issued, content_type="application/octet-stream")

    def _proof(self, request: web.BaseRequest, node: str) -> _Proof:
        """What the machine shows, as far as it can be judged without the API; that it shows nothing may be enough."""
        certificate = request.transport.get_extra_info("peercert") if request.transport is not None else None
        if certificate:
            return _proof_of(certificate, node)
        authorization = request.headers.get("Authorization", "")
        if not authorization:
            if not self.ledger.knows(node):
                raise _Refusal(401, "token validation failure, token is empty")
            return _Proof(Shown.KEY)
        bearer = _bearer(authorization)
        if not jointoken.is_one(bearer):
            try:
                self.authority().verify_token(bearer, now=self.clock.now())
            except TokenError as error:
                raise _Refusal(401, f"token validation failure, err: {error}") from None
        return _Proof(Shown.OPEN, bearer=bearer)

    async def _issue(self, node: str, csr: bytes, proof: _Proof) -> bytes:
        now, days = self.clock.now(), self.settings.days
        try:
            key = x509.key_of_request(csr, node)
            shown = await self._standing(node, key, proof)
            return await self.ledger.claim(
                Request(node, key, shown, proof.serial, await self._has_joined(node)),
                lambda: self.authority().sign(csr, node, days=days, now=now),
                now=now,
                grace=self.settings.grace_days * 86400.0,
            )
        except CertificateError as error:
            why = f"fail to signCerts, err: {error}"
            raise _Refusal(500, f"failed to sign certs for edgenode {node}, err: {why}") from None
        except TokenError as error:
            raise _Refusal(401, f"token validation failure, err: {error}") from None
        except NameHeld as error:
            if proof.shown is Shown.KEY:
                raise _Refusal(401, f"token validation failure, {error}") from None
            raise _Refusal(403, f"failed to sign certs for edgenode {node}, err: {error}") from None

    async def _standing(self, node: str, key: str, proof: _Proof) -> Shown:
        if not jointoken.is_one(proof.bearer):
            return proof.shown
        bound = await jointoken.use(self.client, proof.bearer, node, key, now=self.clock.now())
        return Shown.BOUND if bound else Shown.OPEN

    async def _has_joined(self, node: str) -> bool:
        """Whether the API has a Node of this name that has reported; one that was only prepared has not."""
        try:
            body = await self.client.get(NODES, "", node)
        except ApiError as error:
            if error.code == 404:
                return False
            raise
        return bool(msgspec.json.decode(body, type=_Node).status.node_info.kubelet_version)

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
    needs: tuple[str, ...] = ("authority", "identities")

    def __init__(
        self,
        host: str,
        port: int,
        tls: Callable[[], ssl.SSLContext | None],
        handle: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        limits: gate.Limits = gate.NO_LIMITS,
    ) -> None:
        self._limits = limits
        self._host = host
        self.port = port
        self._tls = tls
        self._handle = handle

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen until cancelled; `port` then is the real one, also when 0 was asked for."""
        server = web.Server(self._handle, access_log=None, keepalive_timeout=15.0)
        runner = web.ServerRunner(server, shutdown_timeout=2.0)
        await runner.setup()
        assert runner.server is not None
        try:
            async with gate.listening(runner.server, self._host, self.port, self._tls(), self._limits) as self.port:
                log.info("listening for joining nodes on %s:%s (https)", self._host, self.port)
                ready()
                await asyncio.Event().wait()
        finally:
            await runner.cleanup()


def _proof_of(certificate: dict[str, Any], node: str) -> _Proof:
    """A node's own certificate renews it; KubeEdge's administrator has one for all."""
    who = organization(certificate), common_name(certificate)
    if who == _ADMINISTRATOR:
        return _Proof(Shown.BOUND)
    if who == (NODES_GROUP, certificate_name(node)):
        return _Proof(Shown.CERTIFICATE, serial=serial(certificate))
    why = "request node name is not match with the certificate"
    raise _Refusal(401, f"failed to verify the certificate for edgenode: {node}, err: {why}")


def _bearer(authorization: str) -> str:
    scheme, _, bearer = authorization.partition(" ")
    if scheme.lower() != "bearer" or not bearer.strip():
        raise _Refusal(401, "token validation failure, token cannot be split")
    return bearer.strip()


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
