"""modules.edged.tailoredKubeletConfig: the kubelet's own configuration, as KubeEdge cut it (spec: config, section 3).

All keys are accepted, so that files of KubeEdge load; what has no effect here says so.
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


class CrashLoopBackOff(Section, frozen=True):
    """Waiting times between restarts of a failing container."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"max_container_restart_period"})

    max_container_restart_period: Duration | None = None


class JsonLogging(Section, frozen=True):
    """klog's JSON format; no effect."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"split_stream"})

    split_stream: bool = False
    info_buffer_size: str | int = "0"


class LoggingOptions(Section, frozen=True):
    """klog's formats; no effect."""

    json: JsonLogging = JsonLogging()
    text: JsonLogging = JsonLogging()


class VmoduleItem(Section, frozen=True):
    """klog's verbosity of one file; no effect."""

    file_pattern: str = ""
    verbosity: int = 0


class Logging(Section, frozen=True):
    """klog's settings."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"vmodule"})

    format: str = "text"
    flush_frequency: str | int = "5s"
    """No effect: every line is written at once."""
    verbosity: int = 0
    """4 and above log at debug level."""
    vmodule: tuple[VmoduleItem, ...] = ()
    options: LoggingOptions = LoggingOptions()


class Taint(Section, frozen=True):
    """A taint that the node registers with."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset({"value", "time_added"})

    key: str = ""
    value: str = ""
    effect: str = ""
    time_added: str | None = None


class ShutdownGracePeriodByPodPriority(Section, frozen=True):
    """Seconds that pods of one priority get when the node shuts down."""

    priority: int = 0
    shutdown_grace_period_seconds: int = 0


class MemoryReservation(Section, frozen=True):
    """Memory of one NUMA node that pods do not get."""

    numa_node: int = 0
    limits: dict[str, str] = {}


EVICTION_HARD = {
    "memory.available": "100Mi",
    "nodefs.available": "10%",
    "nodefs.inodesFree": "5%",
    "imagefs.available": "15%",
    "imagefs.inodesFree": "5%",
}


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
    registry_pull_qps: int | None = field(default=5, name="registryPullQPS")
    registry_burst: int = 10
    event_record_qps: int | None = field(default=50, name="eventRecordQPS")
    """Events a second; 0: no limit."""
    event_burst: int = 100
    enable_debugging_handlers: bool | None = True
    """Whether logs, exec, attach and port-forward are served."""
    enable_contention_profiling: bool = False
    """No effect."""
    oom_score_adj: int | None = -999
    """oom_score_adj of the agent itself."""
    cluster_domain: str = "cluster.local"
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
    image_maximum_gc_age: Duration = field(default=Duration(0), name="imageMaximumGCAge")
    """Unused images are removed after this time; 0s: never for age alone."""
    image_gc_high_threshold_percent: int | None = field(default=85, name="imageGCHighThresholdPercent")
    image_gc_low_threshold_percent: int | None = field(default=80, name="imageGCLowThresholdPercent")
    volume_stats_agg_period: Duration = Duration(_MINUTE)
    kubelet_cgroups: str = ""
    """No effect."""
    system_cgroups: str = ""
    """No effect."""
    cgroup_root: str = ""
    """cgroup below which pods live; empty: the root."""
    cgroups_per_qos: bool | None = field(default=True, name="cgroupsPerQOS")
    cgroup_driver: str = "cgroupfs"
    """`cgroupfs` or `systemd`."""
    single_process_oom_kill: bool | None = field(default=None, name="singleProcessOOMKill")
    """None: as the cgroup version suggests."""
    cpu_manager_policy: str = "none"
    cpu_manager_policy_options: dict[str, str] = {}
    cpu_manager_reconcile_period: Duration = Duration(10)
    memory_manager_policy: str = "None"
    topology_manager_policy: str = "none"
    topology_manager_scope: str = "container"
    topology_manager_policy_options: dict[str, str] = {}
    qos_reserved: dict[str, str] = {}
    runtime_request_timeout: Duration = Duration(2 * _MINUTE)
    """Deadline of calls to the container runtime, pulls and streams apart."""
    hairpin_mode: str = "promiscuous-bridge"
    """No effect: the CNI plugin decides."""
    max_pods: int = 110
    pod_cidr: str = field(default="", name="podCIDR")
    pod_pids_limit: int | None = -1
    """Processes of one pod; -1: no limit."""
    resolv_conf: str | None = "/etc/resolv.conf"
    """The node's resolver file, for pods with dnsPolicy Default."""
    cpu_cfs_quota: bool | None = field(default=True, name="cpuCFSQuota")
    """Whether CPU limits are enforced."""
    cpu_cfs_quota_period: Duration | None = field(default=Duration(0.1), name="cpuCFSQuotaPeriod")
    node_status_max_images: int | None = 0
    """Images listed in the node's status; 0: none, to keep it small (the kubelet's default is 50)."""
    max_open_files: int = 1000000
    content_type: str = "application/json"
    serialize_image_pulls: bool | None = True
    """One pull at a time."""
    max_parallel_image_pulls: int | None = None
    eviction_hard: dict[str, str] = field(default_factory=lambda: dict(EVICTION_HARD))
    """Thresholds at which pods are evicted; a file's keys are added to the default ones."""
    eviction_soft: dict[str, str] = {}
    eviction_soft_grace_period: dict[str, str] = {}
    eviction_pressure_transition_period: Duration = Duration(5 * _MINUTE)
    eviction_max_pod_grace_period: int = 0
    eviction_minimum_reclaim: dict[str, str] = {}
    pods_per_core: int = 0
    """Pods per processor; 0: only `maxPods` counts."""
    enable_controller_attach_detach: bool | None = True
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
    container_log_max_workers: int | None = 1
    container_log_monitor_interval: Duration | None = Duration(10)
    config_map_and_secret_change_detection_strategy: str = "Get"
    """No effect: changes are pushed."""
    system_reserved: dict[str, str] = {}
    kube_reserved: dict[str, str] = {}
    reserved_system_cpus: str = field(default="", name="reservedSystemCPUs")
    show_hidden_metrics_for_version: str = ""
    system_reserved_cgroup: str = ""
    kube_reserved_cgroup: str = ""
    enforce_node_allocatable: tuple[str, ...] = ("pods",)
    allowed_unsafe_sysctls: tuple[str, ...] = ()
    volume_plugin_dir: str = "/usr/libexec/kubernetes/kubelet-plugins/volume/exec/"
    kernel_memcg_notification: bool = False
    logging: Logging = Logging()
    enable_system_log_handler: bool | None = True
    enable_system_log_query: bool | None = None
    shutdown_grace_period: Duration = Duration(0)
    shutdown_grace_period_critical_pods: Duration = Duration(0)
    shutdown_grace_period_by_pod_priority: tuple[ShutdownGracePeriodByPodPriority, ...] = ()
    crash_loop_back_off: CrashLoopBackOff = CrashLoopBackOff()
    reserved_memory: tuple[MemoryReservation, ...] = ()
    enable_profiling_handler: bool | None = True
    enable_debug_flags_handler: bool | None = True
    seccomp_default: bool | None = False
    memory_throttling_factor: float | None = 0.9
    register_with_taints: tuple[Taint, ...] = ()
    """Taints that the node registers with."""
    register_node: bool | None = True
    """Whether the node registers itself."""
    local_storage_capacity_isolation: bool | None = True
    container_runtime_endpoint: str = "unix:///run/containerd/containerd.sock"
    """Socket of the container runtime (CRI)."""
    image_service_endpoint: str = "unix:///run/containerd/containerd.sock"
    """Socket of the image service (CRI); the runtime's own when empty."""
    fail_cgroup_v1: bool | None = False
