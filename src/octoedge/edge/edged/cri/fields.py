"""The CRI v1 messages that edged uses, each with its table of public field numbers.

Only fields that edged sets or reads are here; the codec skips the others. Times are nanoseconds since the epoch, as on
the wire. `MESSAGES` is the table by name that the codec resolves nested messages in.
"""

# ruff: noqa: RUF012  (msgspec gives every object a fresh copy of an empty default)

from __future__ import annotations

import enum
from typing import ClassVar

from octoedge.protocol.protobuf import Message


class SandboxState(enum.IntEnum):
    """State of a pod sandbox."""

    READY = 0
    NOT_READY = 1


class ContainerState(enum.IntEnum):
    """State of a container."""

    CREATED = 0
    RUNNING = 1
    EXITED = 2
    UNKNOWN = 3


class NamespaceMode(enum.IntEnum):
    """Whose namespace a container lives in."""

    POD = 0
    CONTAINER = 1
    NODE = 2
    TARGET = 3


class Propagation(enum.IntEnum):
    """Mount propagation."""

    PRIVATE = 0
    HOST_TO_CONTAINER = 1
    BIDIRECTIONAL = 2


class ProfileType(enum.IntEnum):
    """Kind of a security profile."""

    RUNTIME_DEFAULT = 0
    UNCONFINED = 1
    LOCALHOST = 2


class Int64Value(Message, frozen=True):
    value: int = 0
    WIRE: ClassVar[str] = "value:1:i"


class UInt64Value(Message, frozen=True):
    value: int = 0
    WIRE: ClassVar[str] = "value:1:u"


class Empty(Message, frozen=True):
    """A request or an answer without fields (that matter to us)."""


class VersionResponse(Message, frozen=True):
    version: str = ""
    runtime_name: str = ""
    runtime_version: str = ""
    runtime_api_version: str = ""
    WIRE: ClassVar[str] = "version:1:s runtime_name:2:s runtime_version:3:s runtime_api_version:4:s"


class StatusRequest(Message, frozen=True):
    verbose: bool = False
    WIRE: ClassVar[str] = "verbose:1:b"


class RuntimeCondition(Message, frozen=True):
    type: str = ""
    status: bool = False
    reason: str = ""
    message: str = ""
    WIRE: ClassVar[str] = "type:1:s status:2:b reason:3:s message:4:s"


class RuntimeStatus(Message, frozen=True):
    conditions: tuple[RuntimeCondition, ...] = ()
    WIRE: ClassVar[str] = "conditions:1:*RuntimeCondition"


class StatusResponse(Message, frozen=True):
    status: RuntimeStatus = RuntimeStatus()
    info: dict[str, str] = {}
    WIRE: ClassVar[str] = "status:1:RuntimeStatus info:2:M"


class DNSConfig(Message, frozen=True):
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    WIRE: ClassVar[str] = "servers:1:*s searches:2:*s options:3:*s"


class PortMapping(Message, frozen=True):
    protocol: int = 0
    container_port: int = 0
    host_port: int = 0
    host_ip: str = ""
    WIRE: ClassVar[str] = "protocol:1:i container_port:2:i host_port:3:i host_ip:4:s"


class Mount(Message, frozen=True):
    container_path: str = ""
    host_path: str = ""
    readonly: bool = False
    selinux_relabel: bool = False
    propagation: int = Propagation.PRIVATE
    WIRE: ClassVar[str] = "container_path:1:s host_path:2:s readonly:3:b selinux_relabel:4:b propagation:5:i"


class NamespaceOption(Message, frozen=True):
    network: int = NamespaceMode.POD
    pid: int = NamespaceMode.POD
    ipc: int = NamespaceMode.POD
    target_id: str = ""
    WIRE: ClassVar[str] = "network:1:i pid:2:i ipc:3:i target_id:4:s"


class SecurityProfile(Message, frozen=True):
    profile_type: int = ProfileType.RUNTIME_DEFAULT
    localhost_ref: str = ""
    WIRE: ClassVar[str] = "profile_type:1:i localhost_ref:2:s"


class SandboxSecurityContext(Message, frozen=True):
    namespace_options: NamespaceOption | None = None
    run_as_user: Int64Value | None = None
    run_as_group: Int64Value | None = None
    readonly_rootfs: bool = False
    supplemental_groups: tuple[int, ...] = ()
    privileged: bool = False
    seccomp: SecurityProfile | None = None
    WIRE: ClassVar[str] = (
        "namespace_options:1:NamespaceOption run_as_user:3:Int64Value readonly_rootfs:4:b supplemental_groups:5:*i "
        "privileged:6:b run_as_group:8:Int64Value seccomp:9:SecurityProfile"
    )


class HugepageLimit(Message, frozen=True):
    page_size: str = ""
    limit: int = 0
    WIRE: ClassVar[str] = "page_size:1:s limit:2:u"


class Resources(Message, frozen=True):
    """LinuxContainerResources."""

    cpu_period: int = 0
    cpu_quota: int = 0
    cpu_shares: int = 0
    memory_limit_in_bytes: int = 0
    oom_score_adj: int = 0
    hugepage_limits: tuple[HugepageLimit, ...] = ()
    WIRE: ClassVar[str] = (
        "cpu_period:1:i cpu_quota:2:i cpu_shares:3:i memory_limit_in_bytes:4:i oom_score_adj:5:i "
        "hugepage_limits:8:*HugepageLimit"
    )


class LinuxSandboxConfig(Message, frozen=True):
    cgroup_parent: str = ""
    security_context: SandboxSecurityContext | None = None
    sysctls: dict[str, str] = {}
    WIRE: ClassVar[str] = "cgroup_parent:1:s security_context:2:SandboxSecurityContext sysctls:3:M"


class SandboxMetadata(Message, frozen=True):
    name: str = ""
    uid: str = ""
    namespace: str = ""
    attempt: int = 0
    WIRE: ClassVar[str] = "name:1:s uid:2:s namespace:3:s attempt:4:u"


class SandboxConfig(Message, frozen=True):
    metadata: SandboxMetadata = SandboxMetadata()
    hostname: str = ""
    log_directory: str = ""
    dns_config: DNSConfig | None = None
    port_mappings: tuple[PortMapping, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    linux: LinuxSandboxConfig | None = None
    WIRE: ClassVar[str] = (
        "metadata:1:SandboxMetadata hostname:2:s log_directory:3:s dns_config:4:DNSConfig "
        "port_mappings:5:*PortMapping labels:6:M annotations:7:M linux:8:LinuxSandboxConfig"
    )


class RunSandboxRequest(Message, frozen=True):
    config: SandboxConfig = SandboxConfig()
    runtime_handler: str = ""
    WIRE: ClassVar[str] = "config:1:SandboxConfig runtime_handler:2:s"


class SandboxId(Message, frozen=True):
    """Any message whose first field is the id of a sandbox."""

    pod_sandbox_id: str = ""
    WIRE: ClassVar[str] = "pod_sandbox_id:1:s"


class PodIP(Message, frozen=True):
    ip: str = ""
    WIRE: ClassVar[str] = "ip:1:s"


class SandboxNetwork(Message, frozen=True):
    ip: str = ""
    additional_ips: tuple[PodIP, ...] = ()
    WIRE: ClassVar[str] = "ip:1:s additional_ips:2:*PodIP"


class SandboxStatus(Message, frozen=True):
    id: str = ""
    metadata: SandboxMetadata = SandboxMetadata()
    state: int = SandboxState.READY
    created_at: int = 0
    network: SandboxNetwork | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    WIRE: ClassVar[str] = (
        "id:1:s metadata:2:SandboxMetadata state:3:i created_at:4:i network:5:SandboxNetwork labels:7:M annotations:8:M"
    )


class SandboxStatusResponse(Message, frozen=True):
    status: SandboxStatus = SandboxStatus()
    WIRE: ClassVar[str] = "status:1:SandboxStatus"


class SandboxFilter(Message, frozen=True):
    id: str = ""
    label_selector: dict[str, str] = {}
    WIRE: ClassVar[str] = "id:1:s label_selector:3:M"


class ListSandboxRequest(Message, frozen=True):
    filter: SandboxFilter | None = None
    WIRE: ClassVar[str] = "filter:1:SandboxFilter"


class Sandbox(Message, frozen=True):
    """One item of the list of sandboxes."""

    id: str = ""
    metadata: SandboxMetadata = SandboxMetadata()
    state: int = SandboxState.READY
    created_at: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    WIRE: ClassVar[str] = "id:1:s metadata:2:SandboxMetadata state:3:i created_at:4:i labels:5:M annotations:6:M"


class ListSandboxResponse(Message, frozen=True):
    items: tuple[Sandbox, ...] = ()
    WIRE: ClassVar[str] = "items:1:*Sandbox"


class ImageSpec(Message, frozen=True):
    image: str = ""
    WIRE: ClassVar[str] = "image:1:s"


class KeyValue(Message, frozen=True):
    key: str = ""
    value: str = ""
    WIRE: ClassVar[str] = "key:1:s value:2:s"


class Capability(Message, frozen=True):
    add_capabilities: tuple[str, ...] = ()
    drop_capabilities: tuple[str, ...] = ()
    WIRE: ClassVar[str] = "add_capabilities:1:*s drop_capabilities:2:*s"


class ContainerSecurityContext(Message, frozen=True):
    capabilities: Capability | None = None
    privileged: bool = False
    namespace_options: NamespaceOption | None = None
    run_as_user: Int64Value | None = None
    run_as_group: Int64Value | None = None
    readonly_rootfs: bool = False
    supplemental_groups: tuple[int, ...] = ()
    no_new_privs: bool = False
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    seccomp: SecurityProfile | None = None
    apparmor: SecurityProfile | None = None
    WIRE: ClassVar[str] = (
        "capabilities:1:Capability privileged:2:b namespace_options:3:NamespaceOption run_as_user:5:Int64Value "
        "readonly_rootfs:7:b supplemental_groups:8:*i no_new_privs:11:b run_as_group:12:Int64Value "
        "masked_paths:13:*s readonly_paths:14:*s seccomp:15:SecurityProfile apparmor:16:SecurityProfile"
    )


class LinuxContainerConfig(Message, frozen=True):
    resources: Resources | None = None
    security_context: ContainerSecurityContext | None = None
    WIRE: ClassVar[str] = "resources:1:Resources security_context:2:ContainerSecurityContext"


class ContainerMetadata(Message, frozen=True):
    name: str = ""
    attempt: int = 0
    WIRE: ClassVar[str] = "name:1:s attempt:2:u"


class DeviceNode(Message, frozen=True):
    container_path: str = ""
    host_path: str = ""
    permissions: str = ""
    WIRE: ClassVar[str] = "container_path:1:s host_path:2:s permissions:3:s"


class CdiDevice(Message, frozen=True):
    name: str = ""
    WIRE: ClassVar[str] = "name:1:s"


class ContainerConfig(Message, frozen=True):
    metadata: ContainerMetadata = ContainerMetadata()
    image: ImageSpec = ImageSpec()
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    envs: tuple[KeyValue, ...] = ()
    mounts: tuple[Mount, ...] = ()
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    log_path: str = ""
    stdin: bool = False
    stdin_once: bool = False
    tty: bool = False
    linux: LinuxContainerConfig | None = None
    devices: tuple[DeviceNode, ...] = ()
    cdi_devices: tuple[CdiDevice, ...] = ()
    WIRE: ClassVar[str] = (
        "metadata:1:ContainerMetadata image:2:ImageSpec command:3:*s args:4:*s working_dir:5:s envs:6:*KeyValue "
        "mounts:7:*Mount labels:9:M annotations:10:M log_path:11:s stdin:12:b stdin_once:13:b tty:14:b "
        "linux:15:LinuxContainerConfig devices:8:*DeviceNode cdi_devices:17:*CdiDevice"
    )


class CreateContainerRequest(Message, frozen=True):
    pod_sandbox_id: str = ""
    config: ContainerConfig = ContainerConfig()
    sandbox_config: SandboxConfig = SandboxConfig()
    WIRE: ClassVar[str] = "pod_sandbox_id:1:s config:2:ContainerConfig sandbox_config:3:SandboxConfig"


class ContainerId(Message, frozen=True):
    """Any message whose first field is the id of a container."""

    container_id: str = ""
    WIRE: ClassVar[str] = "container_id:1:s"


class StopContainerRequest(Message, frozen=True):
    container_id: str = ""
    timeout: int = 0
    WIRE: ClassVar[str] = "container_id:1:s timeout:2:i"


class ContainerFilter(Message, frozen=True):
    id: str = ""
    pod_sandbox_id: str = ""
    label_selector: dict[str, str] = {}
    WIRE: ClassVar[str] = "id:1:s pod_sandbox_id:3:s label_selector:4:M"


class ListContainersRequest(Message, frozen=True):
    filter: ContainerFilter | None = None
    WIRE: ClassVar[str] = "filter:1:ContainerFilter"


class Container(Message, frozen=True):
    """One item of the list of containers."""

    id: str = ""
    pod_sandbox_id: str = ""
    metadata: ContainerMetadata = ContainerMetadata()
    image: ImageSpec = ImageSpec()
    image_ref: str = ""
    state: int = ContainerState.CREATED
    created_at: int = 0
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    WIRE: ClassVar[str] = (
        "id:1:s pod_sandbox_id:2:s metadata:3:ContainerMetadata image:4:ImageSpec image_ref:5:s state:6:i "
        "created_at:7:i labels:8:M annotations:9:M"
    )


class ListContainersResponse(Message, frozen=True):
    containers: tuple[Container, ...] = ()
    WIRE: ClassVar[str] = "containers:1:*Container"


class ContainerStatus(Message, frozen=True):
    id: str = ""
    metadata: ContainerMetadata = ContainerMetadata()
    state: int = ContainerState.CREATED
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    image: ImageSpec = ImageSpec()
    image_ref: str = ""
    reason: str = ""
    message: str = ""
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    log_path: str = ""
    WIRE: ClassVar[str] = (
        "id:1:s metadata:2:ContainerMetadata state:3:i created_at:4:i started_at:5:i finished_at:6:i exit_code:7:i "
        "image:8:ImageSpec image_ref:9:s reason:10:s message:11:s labels:12:M annotations:13:M log_path:15:s"
    )


class ContainerStatusResponse(Message, frozen=True):
    status: ContainerStatus = ContainerStatus()
    WIRE: ClassVar[str] = "status:1:ContainerStatus"


class ExecSyncRequest(Message, frozen=True):
    container_id: str = ""
    cmd: tuple[str, ...] = ()
    timeout: int = 0
    WIRE: ClassVar[str] = "container_id:1:s cmd:2:*s timeout:3:i"


class ExecSyncResponse(Message, frozen=True):
    stdout: bytes = b""
    stderr: bytes = b""
    exit_code: int = 0
    WIRE: ClassVar[str] = "stdout:1:y stderr:2:y exit_code:3:i"


class ExecRequest(Message, frozen=True):
    container_id: str = ""
    cmd: tuple[str, ...] = ()
    tty: bool = False
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    WIRE: ClassVar[str] = "container_id:1:s cmd:2:*s tty:3:b stdin:4:b stdout:5:b stderr:6:b"


class AttachRequest(Message, frozen=True):
    container_id: str = ""
    stdin: bool = False
    tty: bool = False
    stdout: bool = False
    stderr: bool = False
    WIRE: ClassVar[str] = "container_id:1:s stdin:2:b tty:3:b stdout:4:b stderr:5:b"


class PortForwardRequest(Message, frozen=True):
    pod_sandbox_id: str = ""
    port: tuple[int, ...] = ()
    WIRE: ClassVar[str] = "pod_sandbox_id:1:s port:2:*i"


class StreamUrl(Message, frozen=True):
    """Answer of Exec, Attach and PortForward: where the runtime's streaming server waits."""

    url: str = ""
    WIRE: ClassVar[str] = "url:1:s"


class Image(Message, frozen=True):
    id: str = ""
    repo_tags: tuple[str, ...] = ()
    repo_digests: tuple[str, ...] = ()
    size: int = 0
    uid: Int64Value | None = None
    username: str = ""
    pinned: bool = False
    WIRE: ClassVar[str] = "id:1:s repo_tags:2:*s repo_digests:3:*s size:4:u uid:5:Int64Value username:6:s pinned:8:b"


class ImageRequest(Message, frozen=True):
    """ImageStatus and RemoveImage."""

    image: ImageSpec = ImageSpec()
    WIRE: ClassVar[str] = "image:1:ImageSpec"


class ImageStatusResponse(Message, frozen=True):
    image: Image | None = None
    WIRE: ClassVar[str] = "image:1:Image"


class ListImagesResponse(Message, frozen=True):
    images: tuple[Image, ...] = ()
    WIRE: ClassVar[str] = "images:1:*Image"


class AuthConfig(Message, frozen=True):
    username: str = ""
    password: str = ""
    auth: str = ""
    server_address: str = ""
    identity_token: str = ""
    registry_token: str = ""
    WIRE: ClassVar[str] = "username:1:s password:2:s auth:3:s server_address:4:s identity_token:5:s registry_token:6:s"

    def __repr__(self) -> str:
        return f"AuthConfig(server_address={self.server_address!r}, …)"


class PullImageRequest(Message, frozen=True):
    image: ImageSpec = ImageSpec()
    auth: AuthConfig | None = None
    sandbox_config: SandboxConfig | None = None
    WIRE: ClassVar[str] = "image:1:ImageSpec auth:2:AuthConfig sandbox_config:3:SandboxConfig"


class PullImageResponse(Message, frozen=True):
    image_ref: str = ""
    WIRE: ClassVar[str] = "image_ref:1:s"


class FilesystemIdentifier(Message, frozen=True):
    mountpoint: str = ""
    WIRE: ClassVar[str] = "mountpoint:1:s"


class FilesystemUsage(Message, frozen=True):
    timestamp: int = 0
    fs_id: FilesystemIdentifier | None = None
    used_bytes: UInt64Value | None = None
    inodes_used: UInt64Value | None = None
    WIRE: ClassVar[str] = (
        "timestamp:1:i fs_id:2:FilesystemIdentifier used_bytes:3:UInt64Value inodes_used:4:UInt64Value"
    )


class ImageFsInfoResponse(Message, frozen=True):
    image_filesystems: tuple[FilesystemUsage, ...] = ()
    WIRE: ClassVar[str] = "image_filesystems:1:*FilesystemUsage"


class ContainerStatsFilter(Message, frozen=True):
    label_selector: dict[str, str] = {}
    WIRE: ClassVar[str] = "label_selector:3:M"


class ListContainerStatsRequest(Message, frozen=True):
    filter: ContainerStatsFilter | None = None
    WIRE: ClassVar[str] = "filter:1:ContainerStatsFilter"


class ContainerAttributes(Message, frozen=True):
    id: str = ""
    metadata: ContainerMetadata | None = None
    labels: dict[str, str] = {}
    WIRE: ClassVar[str] = "id:1:s metadata:2:ContainerMetadata labels:3:M"


class CpuUsage(Message, frozen=True):
    timestamp: int = 0
    usage_core_nano_seconds: UInt64Value | None = None
    WIRE: ClassVar[str] = "timestamp:1:i usage_core_nano_seconds:2:UInt64Value"


class MemoryUsage(Message, frozen=True):
    timestamp: int = 0
    working_set_bytes: UInt64Value | None = None
    usage_bytes: UInt64Value | None = None
    rss_bytes: UInt64Value | None = None
    WIRE: ClassVar[str] = (
        "timestamp:1:i working_set_bytes:2:UInt64Value usage_bytes:4:UInt64Value rss_bytes:5:UInt64Value"
    )


class ContainerStats(Message, frozen=True):
    attributes: ContainerAttributes | None = None
    cpu: CpuUsage | None = None
    memory: MemoryUsage | None = None
    writable_layer: FilesystemUsage | None = None
    WIRE: ClassVar[str] = (
        "attributes:1:ContainerAttributes cpu:2:CpuUsage memory:3:MemoryUsage writable_layer:4:FilesystemUsage"
    )


class ListContainerStatsResponse(Message, frozen=True):
    stats: tuple[ContainerStats, ...] = ()
    WIRE: ClassVar[str] = "stats:1:*ContainerStats"


class SubscribeRequest(Message, frozen=True):
    """containerd's own Events service, on the same socket."""

    filters: tuple[str, ...] = ()
    WIRE: ClassVar[str] = "filters:1:*s"


class AnyValue(Message, frozen=True):
    type_url: str = ""
    value: bytes = b""
    WIRE: ClassVar[str] = "type_url:1:s value:2:y"


class Envelope(Message, frozen=True):
    namespace: str = ""
    topic: str = ""
    event: AnyValue | None = None
    WIRE: ClassVar[str] = "namespace:2:s topic:3:s event:4:AnyValue"


class TaskEvent(Message, frozen=True):
    """The fields that task events share; an exec's exit has an `id` other than its container."""

    container_id: str = ""
    id: str = ""
    WIRE: ClassVar[str] = "container_id:1:s id:2:s"


MESSAGES: dict[str, type[Message]] = {
    value.__name__: value
    for value in list(globals().values())
    if isinstance(value, type) and issubclass(value, Message) and value is not Message
}
