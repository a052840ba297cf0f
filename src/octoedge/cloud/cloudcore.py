"""CloudCore put together: who exists, who needs whom, and which way things flow between them.

    authority ─► tokens · identities ─► https (10002) · WebSocket (10000) · cloudStream (10003, 10004)
    edgeController, deviceController ─► syncController ─► cloudHub ─► WebSocket: nobody is let in before the cloud
    knows its mind

Tests leave the listeners out (`listen=False`) and hand connections to `hub.serve` themselves.
"""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import ssl
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import replace
from pathlib import Path

from octoedge.api.config.cloudcore import Authorization, CloudCoreConfig
from octoedge.cloud.cloudhub.https import Endpoints, HttpsServer, Settings
from octoedge.cloud.cloudhub.hub import CloudHub, Sessions
from octoedge.cloud.cloudstream.cloudstream import CloudStream
from octoedge.cloud.cloudstream.iptables import Iptables
from octoedge.cloud.cloudstream.tunnelport import TunnelPorts
from octoedge.cloud.devicecontroller import downstream as devices
from octoedge.cloud.devicecontroller import upstream as reports
from octoedge.cloud.dynamiccontroller.controller import PAYLOADS as DYNAMIC_PAYLOADS
from octoedge.cloud.dynamiccontroller.controller import DynamicController
from octoedge.cloud.edgecontroller.addresses import Door
from octoedge.cloud.edgecontroller.downstream import Downstream
from octoedge.cloud.edgecontroller.requests import Requests
from octoedge.cloud.edgecontroller.upstream import Enforcement, Upstream
from octoedge.cloud.joined import Dispatch, Intents
from octoedge.cloud.monitor import Monitor, Readings, health
from octoedge.cloud.policycontroller.controller import PolicyController
from octoedge.cloud.ports import Intent
from octoedge.cloud.ports import Upstream as Requested
from octoedge.cloud.synccontroller.checkpoints import ObjectSyncs
from octoedge.cloud.synccontroller.controller import SyncController
from octoedge.cloud.telemetry.desk import Desk
from octoedge.cloud.telemetry.intake import PAYLOADS as TELEMETRY_PAYLOADS
from octoedge.cloud.telemetry.intake import Intake, Speakers
from octoedge.cloud.telemetry.intake import Settings as TelemetrySettings
from octoedge.errors import ApiError, CertificateError, TransportError
from octoedge.kube.client import Client
from octoedge.pki import x509
from octoedge.pki.authority import Authority, Files, TokenKeeper, load, renewed
from octoedge.pki.ledger import Ledger
from octoedge.protocol import handshake
from octoedge.protocol.codec import MAX_BYTES
from octoedge.protocol.payloads import Payload
from octoedge.protocol.resource import parse
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock
from octoedge.runtime.logs import SaidOnce
from octoedge.runtime.memory import GivesBack
from octoedge.runtime.supervisor import Module, Supervisor
from octoedge.transport.capturing import CaptureSocket
from octoedge.transport.connection import Peer
from octoedge.transport.gate import Limits
from octoedge.transport.local import StatusSocket
from octoedge.transport.tls import ClientCertificate, server_context, show
from octoedge.transport.websocket_server import WebSocketServer, channel_door

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3600.0
"""Between two looks at the server certificate."""


class CloudCore:
    """One cloud side. `run` it, `stop` it; several may live in one process."""

    def __init__(self, config: CloudCoreConfig, client: Client, clock: Clock, *, listen: bool = True) -> None:
        hub_config = config.modules.cloud_hub
        self._config = config
        self._authority = AuthorityModule(client, config, clock)
        self.sessions = Sessions()
        self.downstream = Downstream(client, self.sessions)
        self.checkpoints = ObjectSyncs(client)
        self.devices = _devices(config, client, self.sessions, clock)
        both = (self.downstream, self.devices) if self.devices else (self.downstream,)
        needs = ("edgeController", "deviceController")[: len(both)]
        policies = _policies(config, client, self.sessions, self.downstream)
        intents: list[Intent] = [*both, *policies]
        self._intents = Intents(*intents)
        sync = SyncController(client, self._intents, self.sessions, self.checkpoints, needs)
        requests = Requests(
            client, self.downstream, address=_reachable(hub_config.advertise_address), door=_door(config)
        )
        upstream = Upstream(
            requests, self.downstream, self.sessions, clock, enforcement=_enforcement(hub_config.authorization)
        )
        of_devices = reports.Upstream(client, self.devices, self.sessions, clock) if self.devices else None
        dynamic = _dynamic(config, client, self.sessions, clock, self.downstream)
        self._telemetry = _telemetry(config, self.devices, self.sessions, clock)
        by_payload: dict[type[Payload], Requested] = {}
        by_payload |= dict.fromkeys(TELEMETRY_PAYLOADS, self._telemetry) if self._telemetry else {}
        by_payload |= dict.fromkeys(reports.PAYLOADS, of_devices) if of_devices else {}
        by_payload |= dict.fromkeys(DYNAMIC_PAYLOADS, dynamic) if dynamic else {}
        self.hub = CloudHub(
            self.sessions,
            Dispatch(upstream, by_payload),
            self.checkpoints,
            clock,
            node_limit=hub_config.node_limit,
            keepalive_seconds=hub_config.keepalive_interval,
            write_seconds=hub_config.write_timeout,
            beat=upstream.beat,
            speaks=handshake.KNOWN if self._telemetry else handshake.KNOWN - {handshake.TELEMETRY},
        )
        self.sessions.listen(began=sync.connected)
        self.sessions.listen(began=upstream.connected)
        self.downstream.listen(node_deleted=sync.node_deleted)
        tokens = TokenKeeper(client, self._authority.get, clock, hours=hub_config.token_refresh_duration)
        modules: list[Module] = [self._authority, tokens, *both, *policies, sync, upstream, self.hub]
        modules += [of_devices] if of_devices else []
        modules += [dynamic] if dynamic else []
        modules += _telemetry_modules(config, self._telemetry)
        if listen:
            modules += self._listeners(client, clock)
        self._supervisor = Supervisor(modules)

    @property
    def authority(self) -> Authority:
        """CA, server certificate and tokens; after the module `authority` is ready."""
        return self._authority.get()

    async def run(self) -> None:
        """Run until `stop()`; raises `ModuleFailed` when something cannot go on."""
        await self._supervisor.run()

    def stop(self) -> None:
        """Ask for an orderly end."""
        self._supervisor.stop()

    async def ready(self) -> None:
        """Return when every module is ready."""
        await self._supervisor.all_ready()

    def _listeners(self, client: Client, clock: Clock) -> list[Module]:
        modules = self._config.modules
        hub = modules.cloud_hub
        doors = self._config.octoedge.doors
        limits = Limits(doors.handshakes, doors.handshakes_per_address)
        ledger = self.ledger = Ledger(client)
        ledger.listen(lambda node: self.sessions.end(node, "its certificate is refused from now on"))
        endpoints = Endpoints(
            self._authority.get,
            client,
            lambda: self.sessions.connected,
            clock,
            ledger,
            Settings(hub.edge_cert_signing_duration, doors.return_within_days),
        )
        self.https = HttpsServer(
            hub.https.address,
            hub.https.port,
            lambda: self._authority.context(ClientCertificate.OPTIONAL),
            endpoints.handle,
            replace(limits, connections_per_address=doors.connections_per_address),
        )
        self.websocket = EdgeListener(
            WebSocketServer(
                hub.websocket.address,
                hub.websocket.port,
                tls=lambda: self._authority.context(ClientCertificate.REQUIRED),
                serve=self.hub.serve,
                limits=limits,
                door=channel_door(
                    lambda peer: self.hub.admit(peer) or _refuses(ledger, peer), self.hub.answer_headers, MAX_BYTES
                ),
            )
        )
        readings = Readings(
            lambda: self.sessions.connected,
            self.sessions.unconfirmed,
            lambda: self._supervisor.waiting_for,
            self.sessions.usage,
            clock.now,
        )
        self.monitor = Monitor(self._config.common_config.monitor_server.bind_address, readings)
        listeners: list[Module] = [GivesBack(), self.monitor, ledger, *self._sockets(readings, clock)]
        if hub.enable:
            listeners.append(self.https)
        if hub.enable and hub.websocket.enable:
            listeners.append(self.websocket)
        if modules.cloud_stream.enable:
            ports = _tunnel_ports(self._config, client)
            listeners += [ports] if ports is not None else []
            stream = self.stream = CloudStream(
                modules.cloud_stream,
                client,
                self._authority.get,
                clock,
                addresses=(*hub.advertise_address, self._config.octoedge.kubelet_address),
                needs=("authority", "identities"),
                kept=self._config.octoedge.kept_logs,
                opened=ports.opened if ports is not None else None,
                refuses=lambda peer: _refuses(ledger, peer),
                limits=limits,
            )
            ledger.listen(stream.end)
            listeners.append(stream)
        return listeners

    def _sockets(self, readings: Readings, clock: Clock) -> list[Module]:
        """What is asked on this machine."""
        path = Path(self._config.status_socket)

        async def held(node: str) -> AsyncGenerator[tuple[str, str, bytes], None]:
            for name in [node] if node else sorted(self.sessions.connected):
                for resource, body in self._intents.objects(name):
                    yield name, resource, body

        async def now(_: str, resource: str) -> bytes | None:
            return self._intents.body(parse(resource))

        def knows(node: str) -> bool:
            return node in self.sessions.connected or self._intents.exists(node)

        status = StatusSocket(path, lambda: health(readings))
        capture = CaptureSocket(path, "cloud", self.hub.tap, clock, held, now, knows)
        telemetry = self._telemetry
        if telemetry is None:
            return [status, capture]
        desk = Desk(path, lambda: telemetry.database, lambda: self.sessions.connected, lambda: telemetry.trouble)
        return [status, capture, desk]


class AuthorityModule:
    """Module: the CA of this cloud, from files, from the API, or made now; waits for an API server that is away.

    The server certificate is looked at from time to time: made anew before its end, or replaced by an administrator.
    """

    name = "authority"
    needs: tuple[str, ...] = ()

    def __init__(self, client: Client, config: CloudCoreConfig, clock: Clock) -> None:
        hub = config.modules.cloud_hub
        self._client = client
        self._clock = clock
        self._files = Files(
            Path(hub.tls_ca_file), Path(hub.tls_ca_key_file), Path(hub.tls_cert_file), Path(hub.tls_private_key_file)
        )
        self._addresses = [*hub.advertise_address, *hub.dns_names]
        self._loaded: Authority | None = None
        self._contexts: list[ssl.SSLContext] = []

    def get(self) -> Authority:
        """The authority; only for those who need this module."""
        assert self._loaded is not None, "asked for the authority before it was ready"
        return self._loaded

    def context(self, client: ClientCertificate) -> ssl.SSLContext:
        """A listener's context; each handshake shows the server certificate that is current then."""
        made = server_context(*self._shown(), x509.certificate_to_pem(self.get().ca.certificate), client)
        self._contexts.append(made)
        return made

    async def run(self, ready: Callable[[], None]) -> None:
        """Load or make it, then look after it."""
        backoff = Backoff(first=0.2, limit=5.0)
        said = SaidOnce(log)
        while self._loaded is None:
            try:
                self._loaded = await load(self._client, self._files, self._addresses, self._clock)
            except (TransportError, ApiError) as error:
                said.trouble("waiting for the API server", str(error))
                await asyncio.sleep(backoff.next())
        said.over("waiting for the API server", "it answers")
        ready()
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._look()
                said.over("server certificate", "it can be looked after again")
            except (TransportError, ApiError, CertificateError) as error:
                said.trouble("server certificate", f"{error}; the one before goes on")

    async def _look(self) -> None:
        before = self.get()
        self._loaded = await renewed(self._client, before, self._files, self._addresses, self._clock)
        if self._loaded.server == before.server:
            return
        for context in self._contexts:
            show(context, *self._shown())
        log.info("the listeners show their new server certificate")

    def _shown(self) -> tuple[bytes, bytes]:
        server = self.get().server
        return x509.certificate_to_pem(server.certificate), x509.key_to_pem(server.key)


class EdgeListener:
    """Module: the WebSocket port for edges."""

    name = "websocket"
    needs: tuple[str, ...] = ("authority", "identities", "cloudHub")

    def __init__(self, server: WebSocketServer) -> None:
        self.server = server

    async def run(self, ready: Callable[[], None]) -> None:
        """Listen until cancelled."""
        await self.server.run(ready)


def _refuses(ledger: Ledger, peer: Peer) -> str:
    return ledger.refuses(peer.node, peer.certificate_serial)


def _door(config: CloudCoreConfig) -> Door | None:
    """Where nodes show their kubelet; None where they show their own address."""
    address, stream = config.octoedge.kubelet_address, config.modules.cloud_stream
    return Door(address, stream.stream_port) if address and stream.enable else None


def _tunnel_ports(config: CloudCoreConfig, client: Client) -> TunnelPorts | None:
    """KubeEdge's way to the nodes; None where it is switched off, or where nodes show CloudCore's address."""
    manager, hub = config.modules.iptables_manager, config.modules.cloud_hub
    if not manager.enable or config.octoedge.kubelet_address:
        return None
    rules = Iptables(config.modules.cloud_stream.stream_port).reconcile if manager.mode == "internal" else None
    return TunnelPorts(client, _reachable(hub.advertise_address), rules)


def _devices(config: CloudCoreConfig, client: Client, sessions: Sessions, clock: Clock) -> devices.Downstream | None:
    if not config.modules.device_controller.enable:
        return None
    return devices.Downstream(client, sessions, clock, mirror=config.octoedge.device_status_twins)


def _telemetry_modules(config: CloudCoreConfig, intake: Intake | None) -> list[Module]:
    exports = config.octoedge.telemetry.exports
    if intake is None or not exports:
        return [intake] if intake is not None else []
    from octoedge.cloud.telemetry.exports import Exports

    return [intake, Exports(exports, lambda: intake.database)]


def _telemetry(
    config: CloudCoreConfig, known: devices.Downstream | None, sessions: Sessions, clock: Clock
) -> Intake | None:
    given = config.octoedge.telemetry
    if not given.enable or known is None:
        return None

    def speakers(namespace: str, name: str) -> Speakers:
        device, before = known.device(namespace, name), known.former(namespace, name)
        nodes = {device.node if device is not None else "", before} - {""}
        return Speakers(tuple(nodes), gone=known.gone(namespace, name))

    settings = TelemetrySettings(Path(config.telemetry_file), given.max_mib << 20, given.max_days)
    return Intake(settings, sessions, speakers, clock)


def _policies(
    config: CloudCoreConfig, client: Client, sessions: Sessions, downstream: Downstream
) -> list[PolicyController]:
    """What service accounts may do, for nodes that judge by it; KubeEdge's feature gate, as it has no module key."""
    if not config.feature_gates.get("requireAuthorization"):
        return []
    made = PolicyController(client, sessions, downstream.accounts)
    downstream.listen_to_accounts(made.look_again)
    return [made]


def _dynamic(
    config: CloudCoreConfig, client: Client, sessions: Sessions, clock: Clock, downstream: Downstream
) -> DynamicController | None:
    """The Kubernetes API for MetaServers; a service account counts where a pod of the node runs as it."""
    if not config.modules.dynamic_controller.enable:
        return None

    def runs_as(node: str, namespace: str, name: str) -> bool:
        return any((pod.namespace, pod.service_account) == (namespace, name) for pod in downstream.pods_of(node))

    made = DynamicController(client, sessions, clock, runs_as)
    sessions.listen(ended=made.disconnected)
    return made


def _enforcement(settings: Authorization) -> Enforcement:
    if not settings.enable or not any(mode.node.enable for mode in settings.modes):
        return Enforcement.OFF
    return Enforcement.LOG if settings.debug else Enforcement.ENFORCE


def _reachable(addresses: Sequence[str]) -> str:
    """The address under which others reach this CloudCore: the first that is not loopback."""
    for address in addresses:
        try:
            if not ipaddress.ip_address(address).is_loopback:
                return address
        except ValueError:
            continue
    return addresses[0] if addresses else "127.0.0.1"
