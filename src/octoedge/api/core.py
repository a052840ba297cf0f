"""core/v1: what decisions look at in Pods, Nodes, ConfigMaps, Secrets, Leases and Events.

    bytes ────view(Pod, …)────► read-only view          (unknown fields are left in the bytes)
    PodStatus, NodeStatus … ──msgspec.json.encode──► bytes   (statuses that a node writes)

A view is also the list of what edged understands: `octoedge.edge.edged.unsupported` refuses fields of a pod's spec
that are not here. Field names are Kubernetes' own (camelCase on the wire).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import msgspec

from octoedge.api.meta import ObjectMeta
from octoedge.errors import MessageError

IntOrString = int | str
Amount = str | int | float
"""A quantity; the API writes text, YAML may hold a bare number."""

_UPPER_CASE = {
    "boot_id": "bootID",
    "container_id": "containerID",
    "downward_api": "downwardAPI",
    "exec_": "exec",
    "host_ip": "hostIP",
    "host_ipc": "hostIPC",
    "host_ips": "hostIPs",
    "host_pid": "hostPID",
    "image_id": "imageID",
    "machine_id": "machineID",
    "pod_cidr": "podCIDR",
    "pod_ip": "podIP",
    "pod_ips": "podIPs",
    "provider_id": "providerID",
    "set_hostname_as_fqdn": "setHostnameAsFQDN",
    "system_uuid": "systemUUID",
}


def _wire_name(name: str) -> str:
    """Kubernetes' name of a field."""
    first, *rest = name.split("_")
    return _UPPER_CASE.get(name) or first + "".join(word.capitalize() for word in rest)


class View(msgspec.Struct, frozen=True, rename=_wire_name, omit_defaults=True):
    """A read-only view; encoding one writes only what differs from the defaults."""


# --- where values come from -------------------------------------------------------------------------------------------


class KeyToPath(View, frozen=True):
    key: str
    path: str
    mode: int | None = None


class KeySelector(View, frozen=True):
    """configMapKeyRef, secretKeyRef."""

    key: str
    name: str = ""
    optional: bool = False


class FieldRef(View, frozen=True):
    field_path: str
    api_version: str = "v1"


class ResourceFieldRef(View, frozen=True):
    resource: str
    container_name: str = ""
    divisor: str = "0"


class LocalReference(View, frozen=True):
    """A ConfigMap or Secret of the pod's own namespace."""

    name: str = ""
    optional: bool = False


class EnvVarSource(View, frozen=True):
    config_map_key_ref: KeySelector | None = None
    secret_key_ref: KeySelector | None = None
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None


class EnvVar(View, frozen=True):
    name: str
    value: str = ""
    value_from: EnvVarSource | None = None


class EnvFrom(View, frozen=True):
    prefix: str = ""
    config_map_ref: LocalReference | None = None
    secret_ref: LocalReference | None = None


# --- volumes ----------------------------------------------------------------------------------------------------------


class ConfigMapSource(View, frozen=True):
    name: str = ""
    items: list[KeyToPath] = []
    default_mode: int = 0o644
    optional: bool = False


class SecretSource(View, frozen=True):
    secret_name: str = ""
    items: list[KeyToPath] = []
    default_mode: int = 0o644
    optional: bool = False


class DownwardItem(View, frozen=True):
    path: str
    field_ref: FieldRef | None = None
    resource_field_ref: ResourceFieldRef | None = None
    mode: int | None = None


class DownwardSource(View, frozen=True):
    items: list[DownwardItem] = []
    default_mode: int = 0o644


class ProjectedConfigMap(View, frozen=True):
    name: str = ""
    items: list[KeyToPath] = []
    optional: bool = False


class TokenProjection(View, frozen=True):
    path: str
    audience: str = ""
    expiration_seconds: int = 3600


class ProjectedDownward(View, frozen=True):
    items: list[DownwardItem] = []


class ProjectedPart(View, frozen=True):
    config_map: ProjectedConfigMap | None = None
    secret: ProjectedConfigMap | None = None
    downward_api: ProjectedDownward | None = None
    service_account_token: TokenProjection | None = None


class ProjectedSource(View, frozen=True):
    sources: list[ProjectedPart] = []
    default_mode: int = 0o644


class EmptyDirSource(View, frozen=True):
    medium: str = ""
    size_limit: str | None = None


class HostPathSource(View, frozen=True):
    path: str
    type: str = ""


class ClaimSource(View, frozen=True):
    claim_name: str
    read_only: bool = False


class EphemeralSource(View, frozen=True):
    """A claim of the pod's own; the cloud makes it from the template."""

    volume_claim_template: dict[str, object] = {}


class CsiSource(View, frozen=True):
    driver: str
    fs_type: str = ""
    read_only: bool = False
    volume_attributes: dict[str, str] = {}
    node_publish_secret_ref: LocalReference | None = None


class NfsSource(View, frozen=True):
    server: str
    path: str
    read_only: bool = False


class Volume(View, frozen=True):
    name: str
    csi: CsiSource | None = None
    nfs: NfsSource | None = None
    persistent_volume_claim: ClaimSource | None = None
    ephemeral: EphemeralSource | None = None
    empty_dir: EmptyDirSource | None = None
    host_path: HostPathSource | None = None
    config_map: ConfigMapSource | None = None
    secret: SecretSource | None = None
    downward_api: DownwardSource | None = None
    projected: ProjectedSource | None = None


class VolumeMount(View, frozen=True):
    name: str
    mount_path: str
    read_only: bool = False
    sub_path: str = ""
    sub_path_expr: str = ""
    mount_propagation: str = "None"


# --- containers -------------------------------------------------------------------------------------------------------


class ContainerPort(View, frozen=True):
    container_port: int
    host_port: int = 0
    host_ip: str = ""
    protocol: str = "TCP"
    name: str = ""


class ResourceRequirements(View, frozen=True):
    requests: dict[str, Amount] = {}
    limits: dict[str, Amount] = {}


class ExecAction(View, frozen=True):
    command: list[str] = []


class HttpHeader(View, frozen=True):
    name: str
    value: str = ""


class HttpGetAction(View, frozen=True):
    port: IntOrString
    path: str = "/"
    host: str = ""
    scheme: str = "HTTP"
    http_headers: list[HttpHeader] = []


class TcpSocketAction(View, frozen=True):
    port: IntOrString
    host: str = ""


class GrpcAction(View, frozen=True):
    port: int
    service: str = ""


class SleepAction(View, frozen=True):
    seconds: int


class Probe(View, frozen=True):
    exec_: ExecAction | None = None
    http_get: HttpGetAction | None = None
    tcp_socket: TcpSocketAction | None = None
    grpc: GrpcAction | None = None
    initial_delay_seconds: int = 0
    timeout_seconds: int = 1
    period_seconds: int = 10
    success_threshold: int = 1
    failure_threshold: int = 3
    termination_grace_period_seconds: int | None = None


class LifecycleHandler(View, frozen=True):
    exec_: ExecAction | None = None
    http_get: HttpGetAction | None = None
    sleep: SleepAction | None = None


class Lifecycle(View, frozen=True):
    post_start: LifecycleHandler | None = None
    pre_stop: LifecycleHandler | None = None


class Capabilities(View, frozen=True):
    add: list[str] = []
    drop: list[str] = []


class SeccompProfile(View, frozen=True):
    type: str = "Unconfined"
    localhost_profile: str = ""


class AppArmorProfile(View, frozen=True):
    type: str = "Unconfined"
    localhost_profile: str = ""


class SecurityContext(View, frozen=True):
    """A container's."""

    privileged: bool | None = None
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    read_only_root_filesystem: bool = False
    allow_privilege_escalation: bool | None = None
    capabilities: Capabilities | None = None
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    proc_mount: str = "Default"


class Container(View, frozen=True):
    name: str
    image: str = ""
    command: list[str] = []
    args: list[str] = []
    working_dir: str = ""
    ports: list[ContainerPort] = []
    env: list[EnvVar] = []
    env_from: list[EnvFrom] = []
    resources: ResourceRequirements = ResourceRequirements()
    volume_mounts: list[VolumeMount] = []
    liveness_probe: Probe | None = None
    readiness_probe: Probe | None = None
    startup_probe: Probe | None = None
    lifecycle: Lifecycle | None = None
    termination_message_path: str = "/dev/termination-log"
    termination_message_policy: str = "File"
    image_pull_policy: str = ""
    security_context: SecurityContext | None = None
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    restart_policy: str = ""
    """Always on an init container makes it a sidecar; empty otherwise."""


class EphemeralContainer(Container, frozen=True):
    """A container that was added to a running pod; it is never restarted."""

    target_container_name: str = ""
    """The container whose processes it sees."""


# --- pods -------------------------------------------------------------------------------------------------------------


class Sysctl(View, frozen=True):
    name: str
    value: str = ""


class PodSecurityContext(View, frozen=True):
    run_as_user: int | None = None
    run_as_group: int | None = None
    run_as_non_root: bool | None = None
    supplemental_groups: list[int] = []
    fs_group: int | None = None
    fs_group_change_policy: str = "Always"
    seccomp_profile: SeccompProfile | None = None
    app_armor_profile: AppArmorProfile | None = None
    sysctls: list[Sysctl] = []


class DnsOption(View, frozen=True):
    name: str = ""
    value: str | None = None


class DnsConfig(View, frozen=True):
    nameservers: list[str] = []
    searches: list[str] = []
    options: list[DnsOption] = []


class HostAlias(View, frozen=True):
    ip: str
    hostnames: list[str] = []


class ReadinessGate(View, frozen=True):
    condition_type: str


class Toleration(View, frozen=True):
    key: str = ""
    operator: str = "Equal"
    value: str = ""
    effect: str = ""


class PodSpec(View, frozen=True):
    containers: list[Container] = []
    init_containers: list[Container] = []
    ephemeral_containers: list[EphemeralContainer] = []
    volumes: list[Volume] = []
    node_name: str = ""
    node_selector: dict[str, str] = {}
    affinity: dict[str, object] = {}
    """As it comes: only its nodeAffinity is looked at, and seldom."""
    restart_policy: str = "Always"
    termination_grace_period_seconds: int = 30
    active_deadline_seconds: int | None = None
    dns_policy: str = "ClusterFirst"
    dns_config: DnsConfig | None = None
    service_account_name: str = ""
    host_network: bool = False
    host_pid: bool = False
    host_ipc: bool = False
    share_process_namespace: bool = False
    security_context: PodSecurityContext | None = None
    hostname: str = ""
    subdomain: str = ""
    set_hostname_as_fqdn: bool = False
    host_aliases: list[HostAlias] = []
    image_pull_secrets: list[LocalReference] = []
    readiness_gates: list[ReadinessGate] = []
    tolerations: list[Toleration] = []
    priority: int = 0
    overhead: dict[str, Amount] = {}

    def everyone(self) -> Iterator[Container]:
        """Containers of all three kinds."""
        yield from self.init_containers
        yield from self.containers
        yield from self.ephemeral_containers


class Condition(View, frozen=True):
    """A condition of a Pod or Node."""

    type: str
    status: str
    reason: str = ""
    message: str = ""
    last_transition_time: str | None = None
    last_heartbeat_time: str | None = None
    last_probe_time: str | None = None


class StateWaiting(View, frozen=True):
    reason: str = ""
    message: str = ""


class StateRunning(View, frozen=True):
    started_at: str | None = None


class StateTerminated(View, frozen=True):
    exit_code: int
    reason: str = ""
    message: str = ""
    started_at: str | None = None
    finished_at: str | None = None
    container_id: str = ""


class ContainerStateView(View, frozen=True):
    """Exactly one of the three is set."""

    waiting: StateWaiting | None = None
    running: StateRunning | None = None
    terminated: StateTerminated | None = None


class ContainerStatus(View, frozen=True):
    """The first five fields are always written: kubectl and Go clients count on them."""

    name: str
    ready: bool
    restart_count: int
    image: str
    image_id: str
    container_id: str = ""
    started: bool | None = None
    state: ContainerStateView = ContainerStateView()
    last_state: ContainerStateView = ContainerStateView()


class IpAddress(View, frozen=True):
    ip: str


class PodStatus(View, frozen=True):
    phase: str = ""
    conditions: list[Condition] = []
    message: str = ""
    reason: str = ""
    host_ip: str = ""
    host_ips: list[IpAddress] = []
    pod_ip: str = ""
    pod_ips: list[IpAddress] = []
    start_time: str | None = None
    init_container_statuses: list[ContainerStatus] = []
    container_statuses: list[ContainerStatus] = []
    ephemeral_container_statuses: list[ContainerStatus] = []
    qos_class: str = ""


class Pod(View, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


# --- other kinds ------------------------------------------------------------------------------------------------------


class ConfigMap(View, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, str] | None = None
    binary_data: dict[str, bytes] | None = None


class Secret(View, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    data: dict[str, bytes | None] | None = None
    type: str = "Opaque"

    def __repr__(self) -> str:
        return f"Secret({self.metadata.namespace}/{self.metadata.name})"


class Taint(View, frozen=True):
    key: str
    effect: str
    value: str = ""
    time_added: str | None = None


class NodeSpec(View, frozen=True):
    pod_cidr: str = ""
    provider_id: str = ""
    unschedulable: bool = False
    taints: list[Taint] = []


class NodeAddress(View, frozen=True):
    type: str
    address: str


class NodeSystemInfo(View, frozen=True):
    """All ten are required on the wire, so they have no defaults."""

    machine_id: str
    system_uuid: str
    boot_id: str
    kernel_version: str
    os_image: str
    container_runtime_version: str
    kubelet_version: str
    kube_proxy_version: str
    operating_system: str
    architecture: str


class DaemonEndpoint(View, frozen=True, rename={"port": "Port"}):
    port: int


class DaemonEndpoints(View, frozen=True):
    kubelet_endpoint: DaemonEndpoint | None = None


class NodeStatus(View, frozen=True):
    capacity: dict[str, str] = {}
    allocatable: dict[str, str] = {}
    conditions: list[Condition] = []
    addresses: list[NodeAddress] = []
    daemon_endpoints: DaemonEndpoints | None = None
    node_info: NodeSystemInfo | None = None


class Node(View, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    spec: NodeSpec = NodeSpec()
    status: NodeStatus = NodeStatus()


class ObjectReference(View, frozen=True):
    kind: str = ""
    namespace: str = ""
    name: str = ""
    uid: str = ""
    api_version: str = ""
    resource_version: str = ""
    field_path: str = ""


class EventSource(View, frozen=True):
    component: str = ""
    host: str = ""


class Event(View, frozen=True):
    metadata: ObjectMeta = ObjectMeta()
    involved_object: ObjectReference = ObjectReference()
    reason: str = ""
    message: str = ""
    source: EventSource = EventSource()
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    count: int = 0
    type: str = ""


V = TypeVar("V", bound=View)


def view(kind: type[V], obj: bytes) -> V:
    """The view of type `kind` of an object's bytes; `MessageError` when they are none."""
    try:
        return msgspec.json.decode(obj, type=kind)
    except (msgspec.DecodeError, RecursionError):
        pass
    try:
        # Go writes null for an empty list in places; the price of looking twice is paid only for such objects.
        return msgspec.convert(_without_nulls(msgspec.json.decode(obj)), kind, builtin_types=())
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a {kind.__name__}: {error}") from error


def _without_nulls(value: object) -> object:
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    if isinstance(value, list):
        return [_without_nulls(item) for item in value if item is not None]
    return value
