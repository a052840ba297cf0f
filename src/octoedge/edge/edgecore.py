"""EdgeCore: builds the modules, gives each the ends of the channels it works with, and runs them.

    edgehub ◄─Uplink─► metamanager ──changes──► edged ◄── edgestream
                            ├──changes──► devicetwin ◄─► eventbus
                            └──copies───► edgedns

Nothing is imported before the module that needs it is switched on. Pods do not wait for the cloud: edged needs the
store and nothing else.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import re
import stat
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from octoedge.edge.edgehub.uplink import Uplink
from octoedge.edge.metamanager import records
from octoedge.edge.metamanager.metamanager import MetaManager, Settings
from octoedge.edge.metamanager.schema import Opened, open_store
from octoedge.edge.ports import Change
from octoedge.errors import ConfigError
from octoedge.protocol import handshake
from octoedge.protocol.resource import parse
from octoedge.runtime.channel import Receiver, Sender, channel
from octoedge.runtime.clock import Clock, SystemClock
from octoedge.runtime.supervisor import Module, Supervisor
from octoedge.runtime.throttle import Throttle
from octoedge.store import durable
from octoedge.transport.capturing import CaptureSocket, HeldBy, Now
from octoedge.transport.local import StatusSocket
from octoedge.transport.tap import Tap

if TYPE_CHECKING:
    import ssl

    from octoedge.api.config.edgecore import EdgeCoreConfig
    from octoedge.api.config.edgecore import Edged as EdgedConfig
    from octoedge.edge.devicetwin.devicetwin import DeviceTwin
    from octoedge.edge.edged.edged import Edged
    from octoedge.edge.edgedns.edgedns import EdgeDns
    from octoedge.edge.edgehub.hub import EdgeHub
    from octoedge.edge.eventbus.eventbus import EventBus
    from octoedge.edge.metamanager.metaserver.certificate import Given
    from octoedge.edge.metamanager.metaserver.server import MetaServer
    from octoedge.edge.telemetry.telemetry import Telemetry
    from octoedge.transport.connection import Connection

log = logging.getLogger(__name__)

_CHANGES = 1024
"""Changes that edged may be behind; then the cloud waits for its acknowledgements."""
_SYSTEM_DIRECTORY = Path("/etc/kubeedge")


class EdgeCore(msgspec.Struct):
    """A whole edge node's agent, ready to run."""

    node: str
    supervisor: Supervisor
    metamanager: MetaManager
    hub: EdgeHub | None
    edged: Edged | None
    devicetwin: DeviceTwin | None
    eventbus: EventBus | None
    store_id: str
    uplink: Uplink
    names: EdgeDns | None = None
    telemetry: Telemetry | None = None

    async def run(self) -> None:
        """Run until `stop()`; raises what a module failed with."""
        try:
            await self.supervisor.run()
        finally:
            self.metamanager.close()

    def stop(self) -> None:
        """Ask for an orderly end."""
        self.supervisor.stop()

    def health(self) -> dict[str, Any]:
        """How things are, for the status socket."""
        hub = self.hub
        return {
            "node": self.node,
            "connected": self.metamanager.online,
            "hub": hub.state.value if hub else "off",
            "since": round(asyncio.get_running_loop().time() - hub.since, 1) if hub else 0.0,
            "trouble": hub.trouble if hub else "edgeHub is switched off",
            "waitingFor": self.supervisor.waiting_for,
            "outbox": len(self.metamanager.outbox),
            "damage": self.metamanager.damage,
            "usage": self.uplink.usage.rows(),
            "usageSince": self.uplink.usage.since,
            "runtime": (self.edged.health or "ok") if self.edged else "off",
            "store": self.store_id,
            "devices": self.devicetwin.health() if self.devicetwin else None,
            "names": self.names.health() if self.names else None,
            "telemetry": self.telemetry.health() if self.telemetry else None,
            "brokers": self.eventbus.health() if self.eventbus else [],
        }


def build(config: EdgeCoreConfig, config_file: Path | None = None, clock: Clock | None = None) -> EdgeCore:
    """Put together what `config` switches on. Opens the database, and so may block for a moment."""
    _refuse_what_cannot_be(config)
    clock = clock or SystemClock()
    node = config.modules.edged.hostname_override
    store = open_store(Path(config.database.data_source), clock.now())
    ends: tuple[Sender[Change], Receiver[Change]] = channel("changes", _CHANGES)
    sender, receiver = ends
    edged_on = config.modules.edged.enable
    hub_config = config.modules.edge_hub
    throttle = Throttle(hub_config.message_qps, hub_config.message_burst)
    uplink = Uplink(clock, write_seconds=hub_config.websocket.write_deadline, throttle=throttle)
    settings = Settings(answer_seconds=config.modules.meta_manager.remote_query_timeout)
    metamanager = MetaManager(store, uplink, clock, sender if edged_on else None, settings)
    modules: list[Module] = [metamanager]
    metaserver = _metaserver(config, uplink, store, clock) if config.modules.meta_manager.meta_server.enable else None
    modules += [metaserver] if metaserver is not None else []
    names = _edgedns(modules, config, metaserver, uplink, store, clock) if config.octoedge.edge_dns.enable else None
    hub = _add_hub(modules, config, config_file, clock, uplink, metamanager, store)
    edged = _edged(config, metamanager, receiver, clock) if edged_on else None
    if edged is not None:
        if metaserver is not None:
            from octoedge.edge.edgestream.logs import log_request

            metaserver.extensions.pods, metaserver.extensions.parse = edged, log_request
        modules.append(edged)
        _add_local_api(modules, config, edged)
    if config.modules.edge_stream.enable:
        modules.append(_edgestream(config, edged, uplink))
    telemetry = _telemetry(modules, config, uplink, clock)
    devicetwin, eventbus = _devices(modules, config, metamanager, store, clock, telemetry)
    made: list[EdgeCore] = []
    modules.append(StatusSocket(Path(config.status_socket), lambda: made[0].health()))
    made.append(
        EdgeCore(
            node,
            Supervisor(modules),
            metamanager,
            hub,
            edged,
            devicetwin,
            eventbus,
            store.store_id,
            uplink,
            names,
            telemetry,
        )
    )
    return made[0]


def _refuse_what_cannot_be(config: EdgeCoreConfig) -> None:
    modules = config.modules
    if modules.edge_hub.enable and modules.edge_hub.quic.enable:
        raise ConfigError("modules.edgeHub.quic.enable: QUIC is not implemented; use modules.edgeHub.websocket")
    if modules.edged.enable and not modules.meta_manager.enable:
        raise ConfigError("modules.metaManager.enable is false, but edged needs it: switch both on or both off")


def _add_hub(
    modules: list[Module],
    config: EdgeCoreConfig,
    config_file: Path | None,
    clock: Clock,
    uplink: Uplink,
    metamanager: MetaManager,
    store: Opened,
) -> EdgeHub | None:
    if not config.modules.edge_hub.enable:
        return None
    from octoedge.edge.edgehub import enrolment as joining
    from octoedge.edge.edgehub import hub as hubs
    from octoedge.edge.edgehub.rotation import Rotation

    given = config.modules.edge_hub
    node = config.modules.edged.hostname_override
    files = joining.Files(Path(given.tls_ca_file), Path(given.tls_cert_file), Path(given.tls_private_key_file))
    enrolment = joining.Enrolment(
        node,
        given.http_server.rstrip("/"),
        files,
        clock,
        given.token,
        _forgetter(config_file, given.token),
        _bootstrap_file(config_file, joining.BOOTSTRAP_FILE),
    )

    speaks = handshake.speaks(handshake.KNOWN if config.modules.edged.enable else handshake.KNOWN - {handshake.LEASES})
    headers = {
        handshake.NODE: node,
        handshake.PROJECT: given.project_id,
        handshake.USE: handshake.USE_MESSAGES,
        handshake.STORE: store.store_id,
        handshake.FEATURES: speaks,
    }

    async def dial() -> Connection:
        from octoedge.transport import websocket

        return await websocket.connect(
            websocket.Endpoint(
                url=f"wss://{given.websocket.server}/{given.project_id}/{node}/events",
                ca_file=files.ca,
                certificate_file=files.certificate,
                key_file=files.key,
                headers=headers,
                timeout=given.websocket.handshake_timeout,
            )
        )

    settings = hubs.Settings(heartbeat=given.heartbeat, may_give_up=not metamanager.holds_pods())
    tap = Tap(lambda _: headers)
    hub = hubs.EdgeHub(dial, uplink, metamanager.receive, enrolment, settings, tap=tap)
    captures = CaptureSocket(Path(config.status_socket), "edge", tap, clock, *_stored(store, node), node.__eq__)
    modules += [hub, captures]
    if given.rotate_certificates:
        modules.append(Rotation(enrolment, uplink, hub.reconnect))
    return hub


def _stored(store: Opened, node: str) -> tuple[HeldBy, Now]:
    """What this node holds, for a capture: all of it, and one object."""

    async def held(_: str) -> AsyncGenerator[tuple[str, str, bytes], None]:
        for resource, body in await store.database.read(records.everything):
            yield node, resource, body

    async def now(_: str, resource: str) -> bytes | None:
        return await store.database.read(lambda connection: records.get(connection, parse(resource)))

    return held, now


def _edged(config: EdgeCoreConfig, metamanager: MetaManager, changes: Receiver[Change], clock: Clock) -> Edged:
    from octoedge.edge.edged.module import build as build_edged

    api_server = api_server_of_pods(config)
    trusted = _metaserver_folder(config) / "ca.crt" if api_server[0] else None
    return build_edged(_with_names(config), metamanager, changes, clock, api_server, trusted)


def _with_names(config: EdgeCoreConfig) -> EdgedConfig:
    """Edged's section; pods ask this node's own name server where they are not told to ask another."""
    from msgspec import structs

    edged, kubelet = config.modules.edged, config.modules.edged.tailored_kubelet_config
    if kubelet.cluster_dns or not config.octoedge.edge_dns.enable:
        return edged
    servers = tuple(host for host, port in _dns_addresses(config) if port == 53)
    return structs.replace(edged, tailored_kubelet_config=structs.replace(kubelet, cluster_dns=servers))


def _add_local_api(modules: list[Module], config: EdgeCoreConfig, edged: Edged) -> None:
    kubelet = config.modules.edged.tailored_kubelet_config
    if kubelet.read_only_port <= 0:
        return
    from octoedge.edge.edged.localapi import LocalApi
    from octoedge.edge.edgestream.logs import log_request

    guarded = config.feature_gates.get("requireAuthorization", False)
    address = kubelet.address or "127.0.0.1"
    modules.append(LocalApi(address, kubelet.read_only_port, edged, log_request, only_health=guarded))


def _edgedns(
    modules: list[Module],
    config: EdgeCoreConfig,
    metaserver: MetaServer | None,
    uplink: Uplink,
    store: Opened,
    clock: Clock,
) -> EdgeDns:
    from octoedge.edge.edgedns.edgedns import EdgeDns, Settings

    kubelet = config.modules.edged.tailored_kubelet_config
    if metaserver is not None:
        copies, keeper = metaserver.copies, metaserver.name
    else:
        from octoedge.edge.metamanager.metaserver.copies import Keeping

        keeping = Keeping(config.modules.edged.hostname_override, uplink, store.database, clock)
        modules.append(keeping)
        copies, keeper = keeping.copies, keeping.name
    resolv_conf = Path(kubelet.resolv_conf or "/dev/null")
    settings = Settings(_dns_addresses(config), kubelet.cluster_domain or "cluster.local", resolv_conf)
    names = EdgeDns(settings, copies, (keeper,))
    modules.append(names)
    return names


def _dns_addresses(config: EdgeCoreConfig) -> list[tuple[str, int]]:
    """Host and port of each address where names are answered."""
    parts = [text.rpartition(":") for text in config.octoedge.edge_dns.listen]
    return [(host.removeprefix("[").removesuffix("]"), int(port)) for host, _, port in parts]


def _metaserver(config: EdgeCoreConfig, uplink: Uplink, store: Opened, clock: Clock) -> MetaServer:
    from octoedge.edge.metamanager.metaserver import certificate
    from octoedge.edge.metamanager.metaserver.server import MetaServer, Settings, address

    given, hub = config.modules.meta_manager.meta_server, config.modules.edge_hub
    node = config.modules.edged.hostname_override
    own = address("modules.metaManager.metaServer.server", given.server)
    if not config.feature_gates.get("requireAuthorization"):
        certificate.refuse_plain(own[0])
        return MetaServer(Settings(node, (own,), shown=own), uplink, store.database, clock)
    pods = address("modules.metaManager.metaServer.dummyServer", given.dummy_server)
    files = certificate.Files(_metaserver_folder(config))
    clients = certificate.Clients(Path(hub.tls_ca_file), Path(hub.tls_cert_file), Path(hub.tls_private_key_file))
    audiences = (*(given.api_audiences or ()), *given.service_account_issuers, *certificate.AUDIENCES)

    shown = _given_certificate(config)
    if shown is not None:
        shown.trust(files)
    else:
        certificate.ensure(files, (own, pods))
    _own_interface(pods[0])

    def secure() -> ssl.SSLContext:
        return certificate.context(files, clients, own, shown)

    signatures = None
    if given.service_account_key_files:
        from octoedge.edge.metamanager.metaserver.signatures import KeyFiles

        signatures = KeyFiles(given.service_account_key_files, given.service_account_issuers)
    settings = Settings(node, tuple({own, pods}), audiences, secure, signatures, pods)
    return MetaServer(settings, uplink, store.database, clock)


def _given_certificate(config: EdgeCoreConfig) -> Given | None:
    """A certificate for MetaServer, unless what is named is the node's own: that one is for clients, by its usage."""
    from octoedge.api.config.edgecore import MetaServer as Defaults
    from octoedge.edge.metamanager.metaserver.certificate import Given

    given, hub = config.modules.meta_manager.meta_server, config.modules.edge_hub
    if given.tls_cert_file in ("", hub.tls_cert_file, Defaults().tls_cert_file):
        return None
    return Given(Path(given.tls_cert_file), Path(given.tls_private_key_file), Path(given.tls_ca_file))


def _own_interface(host: str) -> None:
    """KubeEdge's address for pods is on no network: without an interface of its own nobody reaches it."""
    from octoedge.runtime import dummy

    if not dummy.is_link_local(host):
        return
    try:
        dummy.ensure(host)
    except OSError as error:
        log.error(
            "the interface %s for MetaServer's address %s cannot be made: %s; pods do not reach MetaServer",
            dummy.NAME, host, error,
        )  # fmt: skip


def _metaserver_folder(config: EdgeCoreConfig) -> Path:
    return Path(config.database.data_source).parent / "metaserver"


def api_server_of_pods(config: EdgeCoreConfig) -> tuple[str, str]:
    """Host and port of the MetaServer that pods may ask; empty without one, or where it does not know who asks."""
    server = config.modules.meta_manager.meta_server
    if not (server.enable and config.feature_gates.get("requireAuthorization")):
        return "", ""
    host, _, port = server.dummy_server.rpartition(":")
    return host.strip("[]"), port


def _telemetry(modules: list[Module], config: EdgeCoreConfig, uplink: Uplink, clock: Clock) -> Telemetry | None:
    given = config.octoedge.telemetry
    if not (given.enable and config.modules.device_twin.enable):
        return None
    from octoedge.edge.telemetry.settings import Settings
    from octoedge.edge.telemetry.telemetry import Telemetry

    path = Path(config.database.data_source).parent / "telemetry.db"
    settings = Settings(path, given.max_mib << 20, given.max_days * 86400.0, given.drop_first, float(given.seconds))
    telemetry = Telemetry(settings, uplink, clock)
    modules.append(telemetry)
    return telemetry


def _devices(
    modules: list[Module], config: EdgeCoreConfig, metamanager: MetaManager, store: Opened, clock: Clock,
    telemetry: Telemetry | None,
) -> tuple[DeviceTwin | None, EventBus | None]:  # fmt: skip
    given = config.modules
    if not given.device_twin.enable:
        return None, None
    from octoedge.edge.devicetwin import devicetwin as twins
    from octoedge.protocol import payloads

    node = given.edged.hostname_override
    eventbus = _eventbus(config, node, store, metamanager) if given.event_bus.enable else None
    ends: tuple[Sender[Change], Receiver[Change]] = channel("changes of devices", _CHANGES)
    sender, receiver = ends
    socket = twins.socket_path(given.device_twin.dmi_sock_path)
    bus = eventbus or twins.Silence()
    reports = metamanager.outbox
    twin = twins.DeviceTwin(node, store.database, metamanager, reports, bus, receiver, clock, socket, telemetry)
    for kind in twins.KINDS:
        metamanager.tell(kind, sender)
    for payload in (payloads.DeviceMembership, payloads.DeviceDetail, payloads.TwinSync):
        metamanager.hand_on(payload, twin.from_cloud)
    modules.append(twin)
    if eventbus is not None:
        eventbus.serve(twin)
        modules.append(eventbus)
    return twin, eventbus


def _eventbus(config: EdgeCoreConfig, node: str, store: Opened, metamanager: MetaManager) -> EventBus:
    from octoedge.edge.eventbus.eventbus import EventBus
    from octoedge.edge.eventbus.settings import Mode, mode, sides
    from octoedge.edge.eventbus.table import Table
    from octoedge.protocol import payloads

    given = config.modules.event_bus
    keep, way = None, None
    if mode(given) is not Mode.EXTERNAL:
        from octoedge.edge.eventbus import access, own

        folder = (Path(config.database.data_source).parent / "broker").absolute()
        queue = given.mqtt_session_queue_size
        broker = own.own(given.mqtt_server_internal, queue, folder, config.octoedge.broker)
        keep = functools.partial(own.keep, broker)
        way = access.socket_in(folder) if broker.access.asks else None
    brokers = sides(given, node, way)
    eventbus = EventBus(brokers, Table(store.database, metamanager.outbox), keep)
    for payload in (payloads.TopicSubscribe, payloads.TopicUnsubscribe, payloads.TopicPublish):
        metamanager.hand_on(payload, eventbus.from_cloud)
    return eventbus


def _edgestream(config: EdgeCoreConfig, edged: Edged | None, uplink: Uplink) -> Module:
    from octoedge.edge.edgestream.edgestream import EdgeStream, tunnel_dial

    if edged is None:
        raise ConfigError("modules.edgeStream.enable is true, but edged, whose logs it serves, is switched off")
    given = config.modules.edge_stream
    node = edged.node
    dial = tunnel_dial(given, config.modules.edged.hostname_override, lambda: next(iter(node.addresses), ""))
    tails = config.octoedge.log_tails

    async def dial_once_known() -> Connection:
        """A Go CloudCore looks for the Node of a new tunnel, and sleeps for 20 s where there is none yet."""
        await node.until_registered()
        return await dial()

    return EdgeStream(
        dial_once_known,
        edged,
        needs=("edged",),
        write_seconds=given.write_deadline,
        silence_seconds=given.read_deadline,
        ends=edged.tails if tails.enable else None,
        tail_seconds=tails.seconds,
        news=lambda: uplink.silences,
    )


def _bootstrap_file(config_file: Path | None, default: Path) -> Path:
    """keadm's token file counts for the node that keadm installed, not for another one on the same machine."""
    if config_file is not None and _SYSTEM_DIRECTORY in config_file.absolute().parents:
        return default
    return (config_file.parent if config_file is not None else Path()) / default.name


def _forgetter(config_file: Path | None, token: str) -> Callable[[], None]:
    """Blanks the token in the file and leaves the rest of it, comments too, as it is."""

    def forget() -> None:
        if config_file is None or not token:
            return
        try:
            text = config_file.read_text()
            blank, count = re.subn(rf"""(["']?token["']?\s*:\s*)(["']?){re.escape(token)}\2""", r'\1""', text)
            if not count:
                log.warning("the join token in %s is no longer needed; please blank it", config_file)
                return
            was = config_file.stat()
            durable.write(config_file, blank.encode(), stat.S_IMODE(was.st_mode))
            os.utime(config_file, ns=(was.st_atime_ns, was.st_mtime_ns))  # `octoedge up` looks who changed it since
        except OSError as error:
            log.warning("the join token in %s is no longer needed and could not be blanked: %s", config_file, error)

    return forget
