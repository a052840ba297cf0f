"""cloudcore.yaml (cloudcore.config.kubeedge.io/v1alpha1), section by section (spec: config, section 2)."""

# ruff: noqa: RUF012
# msgspec gives every object its own copy of an empty container.
from __future__ import annotations

import os
from typing import ClassVar

from msgspec import field

from octoedge.api.config.section import Section, Switch

API_VERSION = "cloudcore.config.kubeedge.io/v1alpha1"
DEFAULT_PATH = "/etc/kubeedge/config/cloudcore.yaml"


class MonitorServer(Section, frozen=True):
    """Where metrics and health are served."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"enable_profiling"})

    bind_address: str = "127.0.0.1:9091"
    """IP:port of /metrics; loopback, since metrics name nodes and objects."""
    enable_profiling: bool = False
    """Adds the profiling pages; off, since they show memory contents."""


class CommonConfig(Section, frozen=True):
    """What several modules use."""

    tunnel_port: int = 10350
    """Number written into Node status for NAT rules; Go's CloudCore overwrites it at start. Unused here."""
    monitor_server: MonitorServer = MonitorServer()


class KubeApiConfig(Section, frozen=True):
    """How to reach the Kubernetes API."""

    master: str = ""
    """URL of the API server; overrides the one in the kubeconfig when set."""
    content_type: str = "application/vnd.kubernetes.protobuf"
    """Accepted for compatibility; JSON is spoken."""
    qps: int = 2500
    """Requests a second; Go forces 5 × nodeLimit."""
    burst: int = 5000
    """Requests at once above `qps`; Go forces 10 × nodeLimit."""
    kube_config: str = ""
    """Absolute path of a kubeconfig; empty: the service account of the pod that CloudCore runs in."""


class CloudHubQuic(Section, frozen=True):
    """The QUIC listener for edges."""

    enable: bool = False
    address: str = "0.0.0.0"  # noqa: S104  (edges come from everywhere; mTLS guards the door)
    """IP to listen on."""
    port: int = 10001
    """UDP port."""
    max_incoming_streams: int = 10000
    """Streams of one connection."""


class CloudHubUnixSocket(Section, frozen=True):
    """The local socket of the CSI driver."""

    enable: bool = True
    address: str = "unix:///var/lib/kubeedge/kubeedge.sock"
    """Must begin with unix://."""


class CloudHubWebSocket(Section, frozen=True):
    """The WebSocket listener for edges."""

    enable: bool = True
    address: str = "0.0.0.0"  # noqa: S104
    """IP to listen on."""
    port: int = 10000
    """TCP port."""


class CloudHubHttps(Section, frozen=True):
    """The listener that hands out the CA certificate and edge certificates."""

    enable: bool = True
    """Not looked at: without it no edge could join."""
    address: str = "0.0.0.0"  # noqa: S104
    """IP to listen on."""
    port: int = 10002
    """TCP port."""


class AuthorizationMode(Section, frozen=True):
    """One way to decide what an edge may do."""

    node: Switch = Switch(enable=True)
    """The node authorizer: an edge sees and changes only what belongs to its node."""


class Authorization(Section, frozen=True):
    """Whether what edges send is authorized."""

    enable: bool = False
    """Off as in KubeEdge; `octoedge up` and `keadm init` switch it on."""
    debug: bool = True
    """Denials are logged only, not enforced."""
    modes: tuple[AuthorizationMode, ...] = (AuthorizationMode(),)
    """Who decides; only the node authorizer exists."""


class CloudHub(Section, frozen=True):
    """The door for edges: 10000 (WebSocket), 10001 (QUIC), 10002 (certificates)."""

    enable: bool = True
    keepalive_interval: int = 30
    """Seconds without a sign of life after which a session ends; edges send one each 15 s."""
    node_limit: int = 500
    """Sessions at once; further ones are refused."""
    tls_ca_file: str = field(default="/etc/kubeedge/ca/rootCA.crt", name="tlsCAFile")
    """CA of the edges, PEM; when absent the Secret kubeedge/casecret is used, and made at first start."""
    tls_ca_key_file: str = field(default="/etc/kubeedge/ca/rootCA.key", name="tlsCAKeyFile")
    """Private key of the edges' CA, PEM; used only together with `tlsCAFile`."""
    tls_cert_file: str = "/etc/kubeedge/certs/server.crt"
    """Serving certificate, PEM; when absent the Secret kubeedge/cloudcoresecret is used, and made at first start."""
    tls_private_key_file: str = "/etc/kubeedge/certs/server.key"
    """Private key of the serving certificate, PEM; used only together with `tlsCertFile`."""
    write_timeout: int = 30
    """Seconds for one write to an edge."""
    quic: CloudHubQuic = CloudHubQuic()
    unixsocket: CloudHubUnixSocket = CloudHubUnixSocket()
    websocket: CloudHubWebSocket = CloudHubWebSocket()
    https: CloudHubHttps = CloudHubHttps()
    advertise_address: tuple[str, ...] = ("127.0.0.1",)
    """IPs that edges reach this machine by (in the serving certificate); default: that of the default route."""
    dns_names: tuple[str, ...] = ("",)
    """Names that edges reach this machine by (in the serving certificate)."""
    edge_cert_signing_duration: int = 365
    """Days that an edge's certificate is valid."""
    token_refresh_duration: int = 12
    """Hours after which the join token is made anew; each is valid twice as long."""
    authorization: Authorization = Authorization()


class EdgeControllerBuffer(Section, frozen=True):
    """Go's queue sizes by kind of message; accepted for compatibility (queues here are bounded per key)."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"process_event"})

    process_event: int = 1024
    update_pod_status: int = 1024
    update_node_status: int = 1024
    query_config_map: int = 1024
    query_secret: int = 1024
    pod_event: int = 1
    config_map_event: int = 1
    secret_event: int = 1
    rules_event: int = 1
    rule_endpoints_event: int = 1
    query_persistent_volume: int = 1024
    query_persistent_volume_claim: int = 1024
    query_volume_attachment: int = 1024
    create_node: int = 1024
    patch_node: int = 1274
    """1024 + nodeLimit / 2."""
    query_node: int = 1524
    """1024 + nodeLimit."""
    update_node: int = 1024
    patch_pod: int = 1024
    delete_pod: int = 1024
    create_lease: int = 1524
    """1024 + nodeLimit."""
    query_lease: int = 1024
    service_account_token: int = 1024
    create_pod: int = 1024
    certificate_signing_request: int = 1024


class EdgeControllerLoad(Section, frozen=True):
    """How many requests of one kind are worked on at once."""

    process_event_workers: int = 4
    update_pod_status_workers: int = 1
    update_node_status_workers: int = 1
    query_config_map_workers: int = 100
    query_secret_workers: int = 100
    query_persistent_volume_workers: int = 4
    query_persistent_volume_claim_workers: int = 4
    query_volume_attachment_workers: int = 4
    create_node_workers: int = 100
    patch_node_workers: int = 110
    """100 + nodeLimit / 50."""
    query_node_workers: int = 500
    """nodeLimit."""
    update_node_workers: int = 4
    patch_pod_workers: int = 100
    delete_pod_workers: int = 100
    create_lease_workers: int = 500
    """nodeLimit."""
    query_lease_workers: int = 100
    update_rule_status_workers: int = field(default=4, name="UpdateRuleStatusWorkers")
    service_account_token_workers: int = field(default=100, name="ServiceAccountTokenWorkers")
    create_pod_works: int = field(default=4, name="CreatePodWorks")
    certificate_signing_request_workers: int = 4


class EdgeController(Section, frozen=True):
    """Pods, nodes, ConfigMaps, Secrets … between the API and the edges."""

    enable: bool = True
    """Runs also when false, and says so: without it no node could be told anything."""
    node_update_frequency: int = 10
    """Seconds between node status reports that are expected from edges; above 0."""
    buffer: EdgeControllerBuffer = EdgeControllerBuffer()
    load: EdgeControllerLoad = EdgeControllerLoad()


class DeviceControllerBuffer(Section, frozen=True):
    """Go's queue sizes by kind of message; accepted for compatibility."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"device_status_event"})

    update_device_twins: int = 1024
    update_device_status: int = 1024
    device_event: int = 1
    device_model_event: int = 1
    device_status_event: int = 0


class DeviceControllerLoad(Section, frozen=True):
    """How many requests are worked on at once."""

    update_device_status_workers: int = 1


class DeviceController(Section, frozen=True):
    """Devices and DeviceModels between the API and the edges."""

    enable: bool = True
    buffer: DeviceControllerBuffer = DeviceControllerBuffer()
    load: DeviceControllerLoad = DeviceControllerLoad()


class TaskManagerBuffer(Section, frozen=True):
    """Go's queue sizes; accepted for compatibility."""

    task_status: int = 1024
    task_event: int = 1


class TaskManagerLoad(Section, frozen=True):
    """How many tasks are worked on at once."""

    task_workers: int = 1


class TaskManager(Section, frozen=True):
    """Node upgrades, image prepulls and other node tasks."""

    enable: bool = False
    """Not implemented, which is said at start when it is on."""
    buffer: TaskManagerBuffer = TaskManagerBuffer()
    load: TaskManagerLoad = TaskManagerLoad()


class CloudStream(Section, frozen=True):
    """Logs, exec, attach and metrics: the tunnel server (edges) and the stream server (API server)."""

    enable: bool = False
    """Off as in KubeEdge; `octoedge up` and `keadm init` switch it on."""
    tls_tunnel_ca_file: str = field(default="/etc/kubeedge/ca/rootCA.crt", name="tlsTunnelCAFile")
    """CA of the edges, PEM; when absent CloudHub's is used."""
    tls_tunnel_cert_file: str = "/etc/kubeedge/certs/server.crt"
    """Serving certificate of the tunnel, PEM; when absent CloudHub's is used."""
    tls_tunnel_private_key_file: str = "/etc/kubeedge/certs/server.key"
    """Private key of the tunnel's serving certificate, PEM."""
    tunnel_port: int = 10004
    """TCP port that edges open their tunnel to."""
    tls_stream_ca_file: str = field(default="/etc/kubeedge/ca/streamCA.crt", name="tlsStreamCAFile")
    """CA of the stream server's clients, PEM; when absent the ConfigMap kube-system/extension-apiserver-authentication
    is read, where every API server publishes it."""
    tls_stream_cert_file: str = "/etc/kubeedge/certs/stream.crt"
    """Serving certificate of the stream server, PEM; when absent one is made from the edges' CA."""
    tls_stream_private_key_file: str = "/etc/kubeedge/certs/stream.key"
    """Private key of the stream server's certificate, PEM."""
    stream_port: int = 10003
    """TCP port that the API server asks for logs."""


class Router(Section, frozen=True):
    """Rules between cloud and edge messages."""

    enable: bool = False
    """Not implemented, which is said at start when it is on."""
    address: str = "0.0.0.0"  # noqa: S104
    """IP to listen on."""
    port: int = 9443
    """TCP port."""
    rest_timeout: int = 60
    """Seconds until a REST rule's request is given up."""


class IptablesManager(Section, frozen=True):
    """NAT rules that lead a foreign API server's kubelet requests to the stream server."""

    enable: bool = True
    mode: str = "internal"
    """`internal` (in this process) or `external` (a DaemonSet does it)."""


class CloudModules(Section, frozen=True):
    """The modules of CloudCore."""

    cloud_hub: CloudHub = CloudHub()
    edge_controller: EdgeController = EdgeController()
    device_controller: DeviceController = DeviceController()
    task_manager: TaskManager = TaskManager()
    sync_controller: Switch = Switch(enable=True)
    """Resends what edges have not confirmed; runs also when false, and says so."""
    dynamic_controller: Switch = Switch()
    """List and watch of any resource for the edges' MetaServer."""
    cloud_stream: CloudStream = CloudStream()
    router: Router = Router()
    iptables_manager: IptablesManager = IptablesManager()


class KeptLogs(Section, frozen=True):
    """The ends of containers' logs, kept for when their node is away; files that survive a restart of CloudCore."""

    enable: bool = True
    directory: str = "/var/lib/kubeedge/logs"
    """Where they are kept; the files are for CloudCore's user only."""
    container_kib: int = field(default=32, name="containerKiB")
    """KiB of each container's log; edges hand over 256 at most."""
    total_mib: int = field(default=64, name="totalMiB")
    """MiB of all logs together; those that got nothing new for the longest time go first."""
    days: int = 7
    """Days after which a log that got nothing new is forgotten."""


class TelemetryExport(Section, frozen=True):
    """Another system that gets every stored value, at least once, from where it stopped."""

    name: str = ""
    """Under which is remembered how far it has come; another name begins with all that is stored."""
    kind: str = "influxdb"
    """`influxdb` (line protocol over HTTP), `prometheus` (remote write), `http` (lines of JSON, POST) or `mqtt` (JSON,
    quality 1)."""
    url: str = ""
    """`http://influx:8086/api/v2/write?org=ORG&bucket=BUCKET`, `http://prometheus:9090/api/v1/write`,
    `https://…`, `tcp://broker:1883`, `ssl://…`."""
    topic: str = "octoedge/{namespace}/{device}/{property}"
    """Of `mqtt`."""
    username: str = ""
    """Of the broker, or of a web door that asks for user and password; the password is in `tokenFile`."""
    token_file: str = ""
    """File with the token that is shown (`Authorization: Token …` to InfluxDB, else `Bearer …`), or the password."""
    ca_file: str = ""
    """CA of an encrypted broker, PEM; empty: the machine's own."""


class CloudTelemetry(Section, frozen=True):
    """Values of device properties that Devices ask to have kept (annotation `octoedge.io/telemetry`)."""

    enable: bool = True
    directory: str = ""
    """Where they are kept; empty: `telemetry` beside the folder `keptLogs.directory`."""
    max_mib: int = field(default=1024, name="maxMiB")
    """MiB of all values together; the oldest go first."""
    max_days: int = 30
    """Days after which values are forgotten."""
    exports: tuple[TelemetryExport, ...] = ()
    """Where values go on to."""


class Doors(Section, frozen=True):
    """Who comes in at 10000, 10002 and 10004: what KubeEdge does not limit."""

    return_within_days: int = 90
    """Days after the end of its certificate within which a node gets a new one by its key alone, as after a winter in a
    store; later it needs a join token. 0: at once. KubeEdge's edges always need a token."""
    handshakes: int = 1024
    """TLS handshakes under way at one port; who comes beyond is disconnected at once. An edge comes again."""
    handshakes_per_address: int = 256
    """The same for one IP address; all nodes behind one NAT share it."""
    connections_per_address: int = 256
    """Open connections of one IP address to 10002, where no certificate is needed."""


class OctoedgeCloud(Section, frozen=True):
    """What only Octoedge has; KubeEdge ignores this section."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset(
        {"status_socket", "kubelet_address", "kept_logs", "device_status_twins", "doors", "telemetry"}
    )

    status_socket: str = ""
    """Path of a Unix socket (mode 0600) that answers health as JSON; empty: `cloudcore.sock` beside the folder
    `keptLogs.directory`. Captures are asked for at a socket beside it."""
    kubelet_address: str = ""
    """IP or name by which a Kubernetes API server reaches `cloudStream.streamPort`. Edge nodes then show it as theirs,
    and `kubectl logs`, `exec` and the like need no iptables; empty: nodes show their own. `*.DOMAIN`: each shows
    NODE.DOMAIN, so that whoever asks a node itself (metrics-server) is understood; all must lead here."""
    log_level: str = "info"
    """debug, info, warning or error."""
    kept_logs: KeptLogs = KeptLogs()
    device_status_twins: bool = False
    """Write what devices report into `Device.status` too, where KubeEdge before 1.23 had it: for pages that read it."""
    doors: Doors = Doors()
    telemetry: CloudTelemetry = CloudTelemetry()


class CloudCoreConfig(Section, frozen=True):
    """The whole file."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"feature_gates", "octoedge"})

    api_version: str = API_VERSION
    """Not checked, as in KubeEdge."""
    kind: str = "CloudCore"
    """Not checked, as in KubeEdge."""
    common_config: CommonConfig = CommonConfig()
    kube_api_config: KubeApiConfig = field(default=KubeApiConfig(), name="kubeAPIConfig")
    modules: CloudModules = CloudModules()
    feature_gates: dict[str, bool] = {}
    """KubeEdge's feature gates by name."""
    octoedge: OctoedgeCloud = OctoedgeCloud()

    @property
    def status_socket(self) -> str:
        """Path of the status socket, the default put in."""
        ours = self.octoedge
        return ours.status_socket or os.path.join(os.path.dirname(ours.kept_logs.directory), "cloudcore.sock")

    @property
    def telemetry_file(self) -> str:
        """Path of the store of telemetry, the default put in."""
        ours = self.octoedge
        directory = ours.telemetry.directory or os.path.join(os.path.dirname(ours.kept_logs.directory), "telemetry")
        return os.path.join(directory, "telemetry.db")
