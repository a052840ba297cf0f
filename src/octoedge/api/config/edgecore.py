"""edgecore.yaml (edgecore.config.kubeedge.io/v1alpha2), section by section (spec: config, section 3)."""

# ruff: noqa: RUF012, SIM905
# msgspec gives every object its own copy of an empty container; the word list reads better as text.
from __future__ import annotations

import os
from typing import ClassVar

from msgspec import field

from octoedge.api.config.kubelet import KubeletConfig
from octoedge.api.config.section import Duration, Section, Switch

API_VERSION = "edgecore.config.kubeedge.io/v1alpha2"
DEFAULT_PATH = "/etc/kubeedge/config/edgecore.yaml"
PROJECT_ID = "e632aba927ea4ac2b575ec1603d56f10"

_CA = "/etc/kubeedge/ca/rootCA.crt"
_CERTIFICATE = "/etc/kubeedge/certs/server.crt"
_KEY = "/etc/kubeedge/certs/server.key"


def hostname() -> str:
    """The machine's name as a node name."""
    return os.uname().nodename.lower() or "default-edge-node"


class Database(Section, frozen=True):
    """Where metadata is kept."""

    driver_name: str = "sqlite3"
    """No effect: it is always SQLite."""
    alias_name: str = "default"
    """No effect; a name inside the Go ORM."""
    data_source: str = "/var/lib/kubeedge/edgecore.db"
    """File; its directory is created."""


class Edged(Section, frozen=True):
    """Pods on this node. The kubelet's flags stand here, its configuration below `tailoredKubeletConfig`."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset(
        """node_ip runtime_cgroups windows_service windows_priority_class experimental_mounter_path
        experimental_node_allocatable_ignore_eviction_threshold node_labels seccomp_default
        custom_interface_name""".split()
    )

    enable: bool = True
    report_event: bool = False
    """Whether Events go to the cloud. Off as in KubeEdge; `octoedge up` and `keadm join` switch it on."""
    tailored_kubelet_config: KubeletConfig = KubeletConfig()
    hostname_override: str = field(default_factory=hostname)
    """Node name: a DNS-1123 subdomain; default: the machine's name."""
    node_ip: str = field(default="", name="nodeIP")
    """The node's InternalIP; empty: that of the default route."""
    runtime_cgroups: str = ""
    """No effect."""
    pod_sandbox_image: str = "kubeedge/pause:3.6"
    """Image of the pod sandbox; the runtime's own setting counts with containerd."""
    root_directory: str = "/var/lib/kubelet"
    """Directory of pod volumes and state."""
    windows_service: bool = False
    """No effect; Linux only."""
    windows_priority_class: str = ""
    """No effect; Linux only."""
    experimental_mounter_path: str = ""
    """No effect."""
    experimental_node_allocatable_ignore_eviction_threshold: bool = False
    """Whether eviction thresholds are left out of what pods may use."""
    node_labels: dict[str, str] = {}
    """Labels that the node registers with."""
    minimum_gc_age: Duration = field(default=Duration(0), name="minimumGCAge")
    """Age at which dead containers may be removed."""
    max_per_pod_container_count: int = 1
    """Dead instances kept per container."""
    max_container_count: int = -1
    """Dead instances kept on the node; -1: no limit."""
    register_schedulable: bool = True
    """Whether pods may be scheduled here from the beginning."""
    seccomp_default: bool = False
    """Whether containers without a seccomp profile get the runtime's default one."""
    custom_interface_name: str = ""
    """Network interface whose address becomes `nodeIP`."""
    register_node_namespace: str = "default"
    """No effect; nodes have no namespace."""


class EdgeHubQuic(Section, frozen=True):
    """The channel over QUIC."""

    enable: bool = False
    handshake_timeout: int = 30
    """Seconds."""
    read_deadline: int = 15
    """Seconds."""
    server: str = "127.0.0.1:10001"
    """host:port."""
    write_deadline: int = 15
    """Seconds."""


class EdgeHubWebSocket(Section, frozen=True):
    """The channel over WebSocket."""

    enable: bool = True
    handshake_timeout: int = 30
    """Seconds."""
    read_deadline: int = 15
    """Seconds; no effect, as in KubeEdge."""
    server: str = "127.0.0.1:10000"
    """host:port of CloudCore."""
    write_deadline: int = 15
    """Seconds for one write."""


class EdgeHub(Section, frozen=True):
    """The channel to the cloud."""

    enable: bool = True
    heartbeat: int = 15
    """Seconds between two signs of life; CloudCore ends a session after 30 without."""
    message_qps: int = field(default=30, name="messageQPS")
    """Messages a second towards a Go cloud; 0: no limit."""
    message_burst: int = 60
    """Messages at once above `messageQPS`."""
    project_id: str = field(default=PROJECT_ID, name="projectID")
    """First part of the channel's path."""
    tls_ca_file: str = _CA
    """CA of the cloud, PEM; written when the node joins."""
    tls_cert_file: str = _CERTIFICATE
    """The node's certificate, PEM; written when the node joins."""
    tls_private_key_file: str = _KEY
    """The node's private key, PEM; made on the node and never sent."""
    quic: EdgeHubQuic = EdgeHubQuic()
    websocket: EdgeHubWebSocket = EdgeHubWebSocket()
    token: str = ""
    """Join token; blanked once the node has its certificate."""
    http_server: str = "https://127.0.0.1:10002"
    """URL of CloudCore's certificate service."""
    rotate_certificates: bool = True
    """Whether the certificate is renewed before it expires."""


class EventBusTls(Section, frozen=True):
    """TLS towards the MQTT broker."""

    enable: bool = False
    tls_mqtt_ca_file: str = field(default=_CA, name="tlsMqttCAFile")
    """CA of the broker, PEM."""
    tls_mqtt_cert_file: str = _CERTIFICATE
    """Client certificate towards the broker, PEM."""
    tls_mqtt_private_key_file: str = _KEY
    """Its private key, PEM."""


class EventBus(Section, frozen=True):
    """MQTT on this node."""

    enable: bool = True
    mqtt_qos: int = field(default=0, name="mqttQOS")
    """0, 1 or 2."""
    mqtt_retain: bool = False
    """Whether what is published stays with the broker."""
    mqtt_session_queue_size: int = 100
    """Messages kept for a client that is away (internal broker)."""
    mqtt_server_internal: str = "tcp://127.0.0.1:1884"
    """Address of the own broker (modes 0 and 1)."""
    mqtt_server_external: str = "tcp://127.0.0.1:1883"
    """Address of the external broker (modes 1 and 2)."""
    mqtt_sub_client_id: str = field(default="", name="mqttSubClientID")
    """Made up when empty."""
    mqtt_pub_client_id: str = field(default="", name="mqttPubClientID")
    """Made up when empty."""
    mqtt_username: str = ""
    """User towards the external broker; empty: none."""
    mqtt_password: str = ""
    """Password towards the external broker; never logged."""
    mqtt_mode: int = 2
    """0: own broker, 1: both, 2: an external broker."""
    event_bus_tls: EventBusTls = field(default=EventBusTls(), name="eventBusTLS")


class MetaServer(Section, frozen=True):
    """The Kubernetes API for pods on this node."""

    enable: bool = False
    """Off as in KubeEdge; `octoedge up` and `keadm join` switch it on."""
    server: str = "127.0.0.1:10550"
    """IP:port."""
    tls_ca_file: str = _CA
    """CA of a serving certificate that is given without its chain, PEM; for pods and root to trust."""
    tls_cert_file: str = _CERTIFICATE
    """Serving certificate, PEM; where it is the node's own, MetaServer makes one by itself."""
    tls_private_key_file: str = _KEY
    """Its private key, PEM."""
    service_account_issuers: tuple[str, ...] = ("https://kubernetes.default.svc.cluster.local",)
    """Issuers whose service account tokens are accepted."""
    api_audiences: tuple[str, ...] | None = None
    """The issuers when empty."""
    service_account_key_files: tuple[str, ...] | None = None
    """Keys (PEM) that sign tokens of service accounts; a token of theirs is known without the cloud, too."""
    dummy_server: str = "169.254.30.10:10550"
    """Link-local IP:port on which pods with a network of their own reach the server."""


class MetaManager(Section, frozen=True):
    """The only door to stored metadata."""

    enable: bool = True
    context_send_group: str = "hub"
    """No effect; a name on Go's internal bus."""
    context_send_module: str = "websocket"
    """No effect; a name on Go's internal bus."""
    remote_query_timeout: int = 60
    """Seconds until a question to the cloud is given up."""
    meta_server: MetaServer = MetaServer()


class ServiceBus(Section, frozen=True):
    """HTTP on this node for router rules."""

    enable: bool = False
    """Not implemented, which is said at start when it is on."""
    server: str = "127.0.0.1"
    """IP to listen on."""
    port: int = 9060
    """TCP port."""
    timeout: int = 60
    """Seconds until a request is given up."""


class DeviceTwin(Section, frozen=True):
    """Devices on this node."""

    enable: bool = True
    dmi_sock_path: str = "/etc/kubeedge/"
    """Directory of the mappers' socket dmi.sock."""


class EdgeStream(Section, frozen=True):
    """Logs, exec, attach and metrics: the tunnel to CloudCore."""

    enable: bool = False
    """Off as in KubeEdge; `octoedge up` and `keadm join` switch it on."""
    tls_tunnel_ca_file: str = field(default=_CA, name="tlsTunnelCAFile")
    """CA that the cloud's certificate is checked with, PEM."""
    tls_tunnel_cert_file: str = _CERTIFICATE
    """The node's certificate, PEM."""
    tls_tunnel_private_key_file: str = _KEY
    """The node's private key, PEM."""
    handshake_timeout: int = 30
    """Seconds."""
    read_deadline: int = 15
    """Seconds without any answer to pings after which the tunnel is dialled anew."""
    server: str = "127.0.0.1:10004"
    """host:port of CloudCore's tunnel server."""
    write_deadline: int = 15
    """Seconds for one write."""


class EdgeModules(Section, frozen=True):
    """The modules of EdgeCore."""

    edged: Edged = field(default_factory=Edged)
    edge_hub: EdgeHub = EdgeHub()
    event_bus: EventBus = EventBus()
    meta_manager: MetaManager = MetaManager()
    service_bus: ServiceBus = ServiceBus()
    device_twin: DeviceTwin = DeviceTwin()
    db_test: Switch = Switch()
    """No effect; a test module of KubeEdge."""
    edge_stream: EdgeStream = EdgeStream()
    task_manager: Switch = Switch()
    """Node upgrades, image prepulls and other node tasks; not implemented, which is said at start when it is on."""


class LogTails(Section, frozen=True):
    """The ends of containers' logs, handed to a CloudCore that keeps them for when this node is away."""

    enable: bool = True
    seconds: int = 30
    """Seconds between two looks for what is new; at least 1."""


class EdgeDns(Section, frozen=True):
    """A name server for pods: names of headless Services, and everything else by the node's own name servers."""

    enable: bool = False
    """`octoedge up`, `octoedge node add` and `keadm join` switch it on."""
    listen: tuple[str, ...] = ("169.254.30.10:53",)
    """IP:port, addresses of this node that pods reach and the world does not, such as their bridge's; where
    `modules.edged.tailoredKubeletConfig.clusterDNS` names no server, pods are given those with port 53."""


class EdgeTelemetry(Section, frozen=True):
    """Values of device properties that a Device asks to have kept (annotation `octoedge.io/telemetry`), on their way to
    a CloudCore that keeps them; they wait in `telemetry.db` beside the database."""

    enable: bool = True
    max_mib: int = field(default=64, name="maxMiB")
    """MiB that waiting values may take; then the oldest are dropped, and a gap in the audit says how many."""
    max_days: int = 30
    """Days that a value may wait; then it is dropped, and a gap says so."""
    drop_first: tuple[str, ...] = ()
    """Patterns (`*` for any text) of NAMESPACE/DEVICE/PROPERTY: in this order values are dropped first when `maxMiB` is
    reached, before those of all others."""
    seconds: int = 5
    """Seconds for which values are gathered before they are sent."""


class OwnBroker(Section, frozen=True):
    """Who may come to the own MQTT broker (`modules.eventBus.mqttMode` 0 and 1), and from where."""

    password_file: str = ""
    """Users, made by `mosquitto_passwd`, mode 0600; empty: nobody is asked, and the broker is on the loopback only."""
    acl_file: str = ""
    """What each user may do, as mosquitto writes it; empty: all that clients of KubeEdge do."""
    tls_cert_file: str = ""
    """Serving certificate, PEM; `modules.eventBus.mqttServerInternal` is then `ssl://IP:port`, on any IP."""
    tls_private_key_file: str = ""
    """Its private key, PEM."""
    tls_client_ca_file: str = field(default="", name="tlsClientCAFile")
    """CA, PEM: clients must show a certificate of it, beside their password; empty: none is asked for."""


class OctoedgeEdge(Section, frozen=True):
    """What only Octoedge has; KubeEdge ignores this section."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset(
        {"status_socket", "log_tails", "edge_dns", "telemetry", "broker"}
    )

    status_socket: str = ""
    """Path of a Unix socket (mode 0600) that answers health as JSON; empty: `edgecore.sock` beside the database."""
    log_level: str = "info"
    """debug, info, warning or error."""
    log_tails: LogTails = LogTails()
    edge_dns: EdgeDns = field(default=EdgeDns(), name="edgeDNS")
    telemetry: EdgeTelemetry = EdgeTelemetry()
    broker: OwnBroker = OwnBroker()


class EdgeCoreConfig(Section, frozen=True):
    """The whole file."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"feature_gates", "octoedge"})

    api_version: str = API_VERSION
    """Not checked, as in KubeEdge."""
    kind: str = "EdgeCore"
    """Not checked, as in KubeEdge."""
    database: Database = Database()
    modules: EdgeModules = field(default_factory=EdgeModules)
    feature_gates: dict[str, bool] = {}
    """KubeEdge's feature gates by name."""
    edgecore_version: str = ""
    """Version that wrote this file."""
    octoedge: OctoedgeEdge = OctoedgeEdge()

    @property
    def status_socket(self) -> str:
        """Path of the status socket, the default put in."""
        return self.octoedge.status_socket or os.path.join(os.path.dirname(self.database.data_source), "edgecore.sock")
