"""modules.edged.tailoredKubeletConfig: the kubelet's own configuration, as KubeEdge cut it (spec: config, section 3).

All keys are accepted, so that files of KubeEdge load; those of `IN_EFFECT` do something here so far.
"""

# ruff: noqa: RUF012, SIM905, S105
# msgspec gives every object its own copy of an empty container; the word list reads better as text.
from __future__ import annotations

from typing import ClassVar

from msgspec import field

from octoedge.api.config.section import Duration, Section

_MINUTE = 60.0


class MemorySwap(Section, frozen=True):
    """Swap for containers."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"swap_behavior"})

    swap_behavior: str = ""
    """`NoSwap` or `LimitedSwap`; empty: as the kubelet."""


class CrashLoopBackOff(Section, frozen=True):
    """Waiting times between restarts of a failing container."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"max_container_restart_period"})

    max_container_restart_period: Duration | None = None
    """Longest wait between two restarts."""


class JsonLogging(Section, frozen=True):
    """klog's JSON format; no effect."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"split_stream"})

    split_stream: bool = False
    """Errors and information apart."""
    info_buffer_size: str | int = "0"
    """Bytes."""


class LoggingOptions(Section, frozen=True):
    """klog's formats; no effect."""

    json: JsonLogging = JsonLogging()
    text: JsonLogging = JsonLogging()


class VmoduleItem(Section, frozen=True):
    """klog's verbosity of one file; no effect."""

    file_pattern: str = ""
    """File name without its ending."""
    verbosity: int = 0
    """Level."""


class Logging(Section, frozen=True):
    """klog's settings."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"vmodule"})

    format: str = "text"
    """No effect: lines are text."""
    flush_frequency: str | int = "5s"
    """No effect: every line is written at once."""
    verbosity: int = 0
    """4 and above log at debug level."""
    vmodule: tuple[VmoduleItem, ...] = ()
    """No effect."""
    options: LoggingOptions = LoggingOptions()


class Taint(Section, frozen=True):
    """A taint that the node registers with."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"value", "time_added"})

    key: str = ""
    """Name of the taint."""
    value: str = ""
    """Its value."""
    effect: str = ""
    """NoSchedule, PreferNoSchedule or NoExecute."""
    time_added: str | None = None
    """RFC 3339; set by Kubernetes."""


class ShutdownGracePeriodByPodPriority(Section, frozen=True):
    """Seconds that pods of one priority get when the node shuts down."""

    priority: int = 0
    """Pods of this priority and above."""
    shutdown_grace_period_seconds: int = 0
    """Seconds."""


class MemoryReservation(Section, frozen=True):
    """Memory of one NUMA node that pods do not get."""

    numa_node: int = 0
    """Number of the NUMA node."""
    limits: dict[str, str] = {}
    """Amounts by resource."""


EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}


IN_EFFECT = frozenset(
    """address cgroup_driver cgroup_root cluster_dns cluster_domain container_log_max_files
    container_log_max_size container_log_monitor_interval container_runtime_endpoint enforce_node_allocatable
    eviction_hard eviction_max_pod_grace_period eviction_minimum_reclaim eviction_pressure_transition_period
    eviction_soft eviction_soft_grace_period image_gc_high_threshold_percent image_gc_low_threshold_percent
    image_maximum_gc_age image_minimum_gc_age kube_reserved max_pods pod_logs_dir pod_pids_limit read_only_port
    register_with_taints resolv_conf seccomp_default shutdown_grace_period shutdown_grace_period_by_pod_priority
    shutdown_grace_period_critical_pods static_pod_path system_reserved""".split()
)
"""Fields of `KubeletConfig` that change what the agent does; the others are accepted and wait for their feature."""


class KubeletConfig(Section, frozen=True):
    """The kubelet's configuration; periods are seconds once loaded."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset(
        """enable_contention_profiling cluster_dns kubelet_cgroups system_cgroups cgroup_root single_process_oom_kill
        cpu_manager_policy_options topology_manager_policy_options qos_reserved pod_cidr max_parallel_image_pulls
        eviction_soft eviction_soft_grace_period eviction_max_pod_grace_period eviction_minimum_reclaim pods_per_core
        protect_kernel_defaults feature_gates system_reserved kube_reserved reserved_system_cpus
        show_hidden_metrics_for_version system_reserved_cgroup kube_reserved_cgroup allowed_unsafe_sysctls
        kernel_memcg_notification enable_system_log_query shutdown_grace_period_by_pod_priority reserved_memory
        register_with_taints""".split()
    )

    static_pod_path: str = "/etc/kubeedge/manifests"
    """Directory of static pod manifests."""
    pod_logs_dir: str = "/var/log/pods"
    """Directory that the runtime writes container logs into."""
    sync_frequency: Duration = Duration(_MINUTE)
    """Longest time between two looks at every pod."""
    file_check_frequency: Duration = Duration(20)
    """Time between two looks at `staticPodPath`."""
    address: str = "127.0.0.1"
    """IP of the kubelet's read-only server."""
    read_only_port: int = 10350
    """TCP port of the kubelet's read-only server."""
    registry_pull_qps: int | None = field(default=5, name="registryPullQPS")
    """Image pulls a second; 0: no limit."""
    registry_burst: int = 10
    """Image pulls at once above that."""
    event_record_qps: int | None = field(default=50, name="eventRecordQPS")
    """Events a second; 0: no limit."""
    event_burst: int = 100
    """Events at once above that."""
    enable_debugging_handlers: bool | None = True
    """Whether logs, exec, attach and port-forward are served."""
    enable_contention_profiling: bool = False
    """No effect."""
    oom_score_adj: int | None = -999
    """oom_score_adj of the agent itself."""
    cluster_domain: str = "cluster.local"
    """DNS domain of the cluster."""
    cluster_dns: tuple[str, ...] = field(default=(), name="clusterDNS")
    """Nameservers of pods with dnsPolicy ClusterFirst."""
    streaming_connection_idle_timeout: Duration = Duration(240 * _MINUTE)
    """Exec, attach and port-forward connections without traffic end after this time."""
    node_status_update_frequency: Duration = Duration(10)
    """Time between two looks at the node's status; a change is reported at once."""
    node_status_report_frequency: Duration = Duration(5 * _MINUTE)
    """Time between two reports of an unchanged status."""
    node_lease_duration_seconds: int = 40
    """Seconds that the lease is valid; it is renewed after a quarter."""
    image_minimum_gc_age: Duration = field(default=Duration(2 * _MINUTE), name="imageMinimumGCAge")
    """Unused images are kept this long at least."""
    image_maximum_gc_age: Duration = field(default=Duration(0), name="imageMaximumGCAge")
    """Unused images are removed after this time; 0s: never for age alone."""
    image_gc_high_threshold_percent: int | None = field(default=85, name="imageGCHighThresholdPercent")
    """Disk use at which unused images are removed."""
    image_gc_low_threshold_percent: int | None = field(default=80, name="imageGCLowThresholdPercent")
    """Disk use at which removing stops."""
    volume_stats_agg_period: Duration = Duration(_MINUTE)
    """Time between two looks at the size of volumes."""
    kubelet_cgroups: str = ""
    """No effect."""
    system_cgroups: str = ""
    """No effect."""
    cgroup_root: str = ""
    """cgroup below which pods live; empty: the root."""
    cgroups_per_qos: bool | None = field(default=True, name="cgroupsPerQOS")
    """Whether pods are sorted into cgroups by quality of service."""
    cgroup_driver: str = "cgroupfs"
    """`cgroupfs` or `systemd`."""
    single_process_oom_kill: bool | None = field(default=None, name="singleProcessOOMKill")
    """None: as the cgroup version suggests."""
    cpu_manager_policy: str = "none"
    """`none` or `static`."""
    cpu_manager_policy_options: dict[str, str] = {}
    """Options of that policy."""
    cpu_manager_reconcile_period: Duration = Duration(10)
    """Time between two looks at the processors that containers have."""
    memory_manager_policy: str = "None"
    """`None` or `Static`."""
    topology_manager_policy: str = "none"
    """`none`, `best-effort`, `restricted` or `single-numa-node`."""
    topology_manager_scope: str = "container"
    """`container` or `pod`."""
    topology_manager_policy_options: dict[str, str] = {}
    """Options of that policy."""
    qos_reserved: dict[str, str] = {}
    """Share of a resource that lower classes cannot have."""
    runtime_request_timeout: Duration = Duration(2 * _MINUTE)
    """Deadline of calls to the container runtime, pulls and streams apart."""
    hairpin_mode: str = "promiscuous-bridge"
    """No effect: the CNI plugin decides."""
    max_pods: int = 110
    """Pods on this node at most."""
    pod_cidr: str = field(default="", name="podCIDR")
    """Addresses of pods; the CNI plugin decides."""
    pod_pids_limit: int | None = -1
    """Processes of one pod; -1: no limit."""
    resolv_conf: str | None = "/etc/resolv.conf"
    """The node's resolver file, for pods with dnsPolicy Default."""
    cpu_cfs_quota: bool | None = field(default=True, name="cpuCFSQuota")
    """Whether CPU limits are enforced."""
    cpu_cfs_quota_period: Duration | None = field(default=Duration(0.1), name="cpuCFSQuotaPeriod")
    """Time in which a CPU limit is counted."""
    node_status_max_images: int | None = 0
    """Images listed in the node's status; 0: none, to keep it small (the kubelet's default is 50)."""
    max_open_files: int = 1000000
    """Files that the agent may have open."""
    content_type: str = "application/json"
    """How the kubelet speaks to an API server; it speaks to MetaManager here."""
    serialize_image_pulls: bool | None = True
    """One pull at a time."""
    max_parallel_image_pulls: int | None = None
    """Image pulls at once; None: no limit of its own."""
    eviction_hard: dict[str, str] = field(default_factory=lambda: dict(EVICTION_HARD))
    """Thresholds at which pods are evicted; a file's keys are added to the default ones."""
    eviction_soft: dict[str, str] = {}
    """Thresholds with a grace period."""
    eviction_soft_grace_period: dict[str, str] = {}
    """Those grace periods."""
    eviction_pressure_transition_period: Duration = Duration(5 * _MINUTE)
    """A pressure condition lasts this long at least."""
    eviction_max_pod_grace_period: int = 0
    """Seconds that a pod gets at most when it is evicted softly."""
    eviction_minimum_reclaim: dict[str, str] = {}
    """How much an eviction must bring."""
    pods_per_core: int = 0
    """Pods per processor; 0: only `maxPods` counts."""
    enable_controller_attach_detach: bool | None = True
    """Whether the cloud attaches volumes."""
    protect_kernel_defaults: bool = False
    """No kernel setting is ever changed, so no effect."""
    make_iptables_util_chains: bool | None = field(default=True, name="makeIPTablesUtilChains")
    """No effect."""
    iptables_masquerade_bit: int | None = 14
    """No effect."""
    iptables_drop_bit: int | None = 15
    """No effect."""
    feature_gates: dict[str, bool] = {}
    """Kubernetes' feature gates by name."""
    fail_swap_on: bool | None = False
    """Whether to refuse to run while swap is on."""
    memory_swap: MemorySwap = MemorySwap()
    container_log_max_size: str = "10Mi"
    """Size at which a container's log is rotated."""
    container_log_max_files: int | None = 5
    """Files kept per container."""
    container_log_max_workers: int | None = 1
    """Rotations at once."""
    container_log_monitor_interval: Duration | None = Duration(10)
    """Time between two looks at log sizes."""
    config_map_and_secret_change_detection_strategy: str = "Get"
    """No effect: changes are pushed."""
    system_reserved: dict[str, str] = {}
    """Amounts that pods do not get, for the system."""
    kube_reserved: dict[str, str] = {}
    """Amounts that pods do not get, for the agent and the runtime."""
    reserved_system_cpus: str = field(default="", name="reservedSystemCPUs")
    """Processors that pods do not get."""
    show_hidden_metrics_for_version: str = ""
    """Old metrics to show."""
    system_reserved_cgroup: str = ""
    """cgroup of the system."""
    kube_reserved_cgroup: str = ""
    """cgroup of the agent and the runtime."""
    enforce_node_allocatable: tuple[str, ...] = ("pods",)
    """What is held to its amounts: `pods`, `system-reserved`, `kube-reserved`."""
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    """Patterns of unsafe sysctls that pods may set."""
    volume_plugin_dir: str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/"
    """Directory of volume plugins."""
    kernel_memcg_notification: bool = False
    """Whether the kernel reports memory thresholds."""
    logging: Logging = Logging()
    enable_system_log_handler: bool | None = True
    """Whether /logs is served."""
    enable_system_log_query: bool | None = None
    """Whether logs of the system are served."""
    shutdown_grace_period: Duration = Duration(0)
    """Time that pods get when the node shuts down."""
    shutdown_grace_period_critical_pods: Duration = Duration(0)
    """Share of that for critical pods."""
    shutdown_grace_period_by_pod_priority: tuple[ShutdownGracePeriodByPodPriority, ...] = ()
    """The same by priority."""
    crash_loop_back_off: CrashLoopBackOff = CrashLoopBackOff()
    reserved_memory: tuple[MemoryReservation, ...] = ()
    """Memory by NUMA node."""
    enable_profiling_handler: bool | None = True
    """Whether profiling pages are served."""
    enable_debug_flags_handler: bool | None = True
    """Whether the log level can be changed by HTTP."""
    seccomp_default: bool | None = False
    """Whether containers without a seccomp profile get the runtime's default one."""
    memory_throttling_factor: float | None = 0.9
    """Share of a memory limit at which the kernel slows a container down."""
    register_with_taints: tuple[Taint, ...] = ()
    """Taints that the node registers with."""
    register_node: bool | None = True
    """Whether the node registers itself."""
    local_storage_capacity_isolation: bool | None = True
    """Whether ephemeral storage is counted."""
    container_runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    """Socket of the container runtime (CRI)."""
    image_service_endpoint: str = "unix:///run/containerd/containerd.sock"
    """Socket of the image service (CRI); the runtime's own when empty."""
    fail_cgroup_v1: bool | None = False
    """Whether to refuse to run on cgroup v1."""
