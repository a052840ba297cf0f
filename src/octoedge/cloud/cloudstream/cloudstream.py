"""The module: tunnel server and stream server together, and the certificates that they serve with."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path

from octoedge.api.config import cloudcore as config
from octoedge.cloud.cloudstream.away import NodesAway
from octoedge.cloud.cloudstream.door import tunnel_door
from octoedge.cloud.cloudstream.kept import KeptLogs
from octoedge.cloud.cloudstream.kept import Limits as KeptLimits
from octoedge.cloud.cloudstream.kubelet import KubeletApi
from octoedge.cloud.cloudstream.trust import ClientTrust
from octoedge.cloud.cloudstream.tunnels import Tunnels
from octoedge.errors import CertificateError
from octoedge.kube.client import Client
from octoedge.pki import x509
from octoedge.pki.authority import Authority
from octoedge.runtime.clock import Clock
from octoedge.transport.connection import Peer
from octoedge.transport.gate import NO_LIMITS, Limits
from octoedge.transport.tls import ClientCertificate, server_context, show
from octoedge.transport.websocket_server import WebSocketServer

log = logging.getLogger(__name__)

_LOCAL = ("127.0.0.1", "::1", "localhost")
_CA_SECONDS = 3.0
_LOOK_SECONDS = 30.0
_MAX_PEM = 1024 * 1024


@dataclass(frozen=True, slots=True)
class _Served:
    """A serving certificate, its key and the CA of clients, all PEM; the CA may be empty."""

    certificate: bytes
    key: bytes
    ca: bytes


class CloudStream:
    """Module: brings what the API server asks of a node to that node."""

    name = "cloudStream"
    restart = True

    def __init__(
        self, settings: config.CloudStream, client: Client, authority: Callable[[], Authority], clock: Clock, *,
        addresses: Sequence[str] = (), needs: tuple[str, ...] = (), host: str | None = None,
        kept: config.KeptLogs | None = None, opened: Callable[[str], None] | None = None,
        refuses: Callable[[Peer], str] = lambda _: "", limits: Limits = NO_LIMITS,
    ) -> None:  # fmt: skip
        """`addresses` are what the API server reaches this machine by; `host` is the IP to listen on, all if None.

        `opened` is told the name of each node whose tunnel has opened; `refuses` gives a reason against a node's
        certificate, or nothing.
        """
        self._refuses = refuses
        self._limits = limits
        self._to_end: set[str] = set()
        self._wake = asyncio.Event()
        self.needs = needs
        self._settings = settings
        self._client = client
        self._authority = authority
        self._clock = clock
        self._addresses = (*_LOCAL, *addresses)
        self._host = host
        self.kept = _kept_logs(kept, clock) if kept is not None and kept.enable else None
        """The ends of logs, for nodes that are away; None: none are kept."""
        self._tunnels = Tunnels(clock, self.kept, opened)
        self.tunnel_port = settings.tunnel_port
        self.stream_port = settings.stream_port

    @property
    def connected(self) -> Collection[str]:
        """Names of the nodes that have a tunnel now."""
        return self._tunnels.connected

    async def wait(self, node: str, *, connected: bool) -> None:
        """Return when the node has a tunnel, or has none."""
        await self._tunnels.wait(node, connected=connected)

    def end(self, node: str) -> None:
        """End a node's tunnel soon: its certificate is refused from now on."""
        self._to_end.add(node)
        self._wake.set()

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve both ports until cancelled; ready once edges can connect, a client CA that is late keeps nobody."""
        tunnel, stream = self._tunnel_certificate(), self._stream_certificate()
        tls = server_context(tunnel.certificate, tunnel.key, tunnel.ca, ClientCertificate.REQUIRED)
        listener = WebSocketServer(
            self._host,
            self._settings.tunnel_port,
            tls=lambda: tls,
            serve=self._tunnels.serve,
            door=tunnel_door(self.kept.limits.container if self.kept is not None else 0, self._refuses),
            limits=self._limits,
        )
        trust = ClientTrust(self._client, stream.certificate, stream.key, stream.ca)
        away = NodesAway(self.kept, self._clock)
        server = KubeletApi(self._host, self._settings.stream_port, self._client, self._tunnels, away)
        async with asyncio.TaskGroup() as group, listener.listening():
            self.tunnel_port = listener.port
            group.create_task(trust.run(), name="stream server's client CA")
            group.create_task(self._follow(trust, stream, tls, tunnel), name="certificates")
            group.create_task(self._end_tunnels(), name="tunnels of refused certificates")
            if self.kept is not None:
                group.create_task(self.kept.run(), name="ends of logs")
            late = asyncio.get_running_loop().call_later(_CA_SECONDS, ready)
            try:
                async with server.listening(await trust.context()):
                    self.stream_port = server.port
                    ready()
                    await asyncio.Event().wait()
            finally:
                late.cancel()
                await self._tunnels.end_all("CloudCore is stopping")

    async def _end_tunnels(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._to_end:
                await self._tunnels.end(self._to_end.pop(), "the node's certificate is refused")

    def _tunnel_certificate(self) -> _Served:
        settings, authority = self._settings, self._authority()
        ca = _read(settings.tls_tunnel_ca_file) or x509.certificate_to_pem(authority.ca.certificate)
        return _pair(settings.tls_tunnel_cert_file, settings.tls_tunnel_private_key_file, ca) or _Served(
            x509.certificate_to_pem(authority.server.certificate), x509.key_to_pem(authority.server.key), ca
        )

    async def _follow(self, trust: ClientTrust, stream: _Served, tls: ssl.SSLContext, tunnel: _Served) -> None:
        """An administrator's certificates, and the cloud's own one, are replaced while we run."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                given = await asyncio.to_thread(self._given_certificate)
                if given is not None and given != stream:
                    stream = given
                    trust.serve_with(given.certificate, given.key)
                found = await asyncio.to_thread(self._tunnel_certificate)
                if found != tunnel:
                    show(tls, found.certificate, found.key)
                    tunnel = found
                    log.info("the tunnel server shows its new certificate")
            except CertificateError as error:
                log.warning("%s; the servers go on with the certificates they have", error)

    def _given_certificate(self) -> _Served | None:
        """The administrator's files."""
        settings = self._settings
        ca = _read(settings.tls_stream_ca_file)
        return _pair(settings.tls_stream_cert_file, settings.tls_stream_private_key_file, ca)

    def _stream_certificate(self) -> _Served:
        """The administrator's files; else one that is made now, so that nothing needs to be kept."""
        given = self._given_certificate()
        if given is not None:
            return given
        ca = _read(self._settings.tls_stream_ca_file)
        made = x509.new_server(self._authority().ca, self._addresses, self._clock.now())
        return _Served(x509.certificate_to_pem(made.certificate), x509.key_to_pem(made.key), ca)


def _kept_logs(settings: config.KeptLogs, clock: Clock) -> KeptLogs:
    limits = KeptLimits(settings.container_kib * 1024, settings.total_mib * 1024 * 1024, settings.days)
    return KeptLogs(Path(settings.directory), limits, clock)


def _pair(certificate: str, key: str, ca: bytes) -> _Served | None:
    """Certificate and key from files; None when neither is there."""
    found = _read(certificate), _read(key)
    if not any(found):
        return None
    if not all(found):
        missing = key if found[0] else certificate
        raise CertificateError(f"{missing} cannot be read, but its other half can; give both files or none")
    return _Served(found[0], found[1], ca)


def _read(path: str) -> bytes:
    """The file's bytes; empty when there is no such file."""
    try:
        with Path(path).open("rb") as file:
            return file.read(_MAX_PEM)
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise CertificateError(f"{path} cannot be read: {error.strerror}") from error
