"""From the section `modules.edged` of edgecore.yaml to a running edged."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from octoedge.api.quantity import whole
from octoedge.edge.edged.containers import Network
from octoedge.edge.edged.cri.client import CriClient
from octoedge.edge.edged.deadgc import DeadPolicy
from octoedge.edge.edged.edged import Edged, EdgedSettings
from octoedge.edge.edged.hosts import ClusterDns
from octoedge.edge.edged.imagegc import ImagePolicy
from octoedge.edge.edged.machine import interface_address
from octoedge.edge.edged.nodestatus import NodeSettings
from octoedge.edge.edged.pressure import EvictionSettings
from octoedge.edge.edged.rotation import RotationSettings
from octoedge.edge.edged.shutdown import steps
from octoedge.edge.ports import Change, Metadata
from octoedge.errors import ConfigError
from octoedge.runtime.channel import Receiver
from octoedge.runtime.clock import Clock

if TYPE_CHECKING:
    from octoedge.api.config.edgecore import Edged as EdgedConfig

CGROUP_ROOT = "/octoedge"
"""Where pods live when the configuration names no place. Never `/kubepods`: a kubelet on the same machine kills what it
finds there and does not know."""


def build(
    config: EdgedConfig,
    metadata: Metadata,
    changes: Receiver[Change],
    clock: Clock,
    api_server: tuple[str, str] = ("", ""),
    also_trusted: Path | None = None,
) -> Edged:
    """The module that `config` describes.

    `api_server` is the host and port where pods find a Kubernetes API, `also_trusted` the certificate that it shows.
    """
    runtime = CriClient(config.tailored_kubelet_config.container_runtime_endpoint)
    return Edged(settings(config, api_server, also_trusted), runtime, metadata, changes, clock=clock)


def settings(
    config: EdgedConfig, api_server: tuple[str, str] = ("", ""), also_trusted: Path | None = None
) -> EdgedSettings:
    """What edged takes from its section."""
    kubelet = config.tailored_kubelet_config
    root = kubelet.cgroup_root.strip("/")
    return EdgedSettings(
        node=node_settings(config),
        root=Path(config.root_directory),
        also_trusted=also_trusted,
        logs=Path(kubelet.pod_logs_dir),
        cgroup_root=f"/{root}" if root else CGROUP_ROOT,
        systemd_cgroups=kubelet.cgroup_driver == "systemd",
        seccomp_default=bool(config.seccomp_default or kubelet.seccomp_default),
        network=Network(
            resolv_conf=kubelet.resolv_conf or "/dev/null",
            cluster_dns=ClusterDns(tuple(kubelet.cluster_dns), kubelet.cluster_domain),
            api_server=api_server,
        ),
        rotation=RotationSettings(
            size=whole(kubelet.container_log_max_size),
            files=kubelet.container_log_max_files or 5,
            interval=kubelet.container_log_monitor_interval or 10.0,
        ),
        manifests=Path(kubelet.static_pod_path) if kubelet.static_pod_path else None,
        images=_image_policy(config),
        eviction=EvictionSettings(
            hard=dict(kubelet.eviction_hard),
            soft=dict(kubelet.eviction_soft),
            soft_grace=dict(kubelet.eviction_soft_grace_period),
            reclaim=dict(kubelet.eviction_minimum_reclaim),
            max_pod_grace=kubelet.eviction_max_pod_grace_period,
            transition=kubelet.eviction_pressure_transition_period,
        ),
        shutdown=steps(
            kubelet.shutdown_grace_period,
            kubelet.shutdown_grace_period_critical_pods,
            [
                (row.priority, float(row.shutdown_grace_period_seconds))
                for row in kubelet.shutdown_grace_period_by_pod_priority
            ],
        ),
        pod_pids=max(kubelet.pod_pids_limit or 0, 0),
        dead=DeadPolicy(
            max(config.max_per_pod_container_count, 0), config.max_container_count, float(config.minimum_gc_age)
        ),
        report_events=config.report_event,
    )


def _image_policy(config: EdgedConfig) -> ImagePolicy:
    kubelet = config.tailored_kubelet_config
    high = 85 if kubelet.image_gc_high_threshold_percent is None else kubelet.image_gc_high_threshold_percent
    low = 80 if kubelet.image_gc_low_threshold_percent is None else kubelet.image_gc_low_threshold_percent
    if not 0 <= low < high <= 100:
        raise ConfigError(
            f"imageGCLowThresholdPercent {low} and imageGCHighThresholdPercent {high}: the low mark must be below the "
            "high one, and both between 0 and 100"
        )
    return ImagePolicy(high, low, kubelet.image_minimum_gc_age, kubelet.image_maximum_gc_age, config.pod_sandbox_image)


def node_settings(config: EdgedConfig) -> NodeSettings:
    """What the node object takes from the section."""
    kubelet = config.tailored_kubelet_config
    by_interface = interface_address(config.custom_interface_name) if config.custom_interface_name else ""
    return NodeSettings(
        name=config.hostname_override,
        ip=config.node_ip or by_interface,
        labels=dict(config.node_labels),
        schedulable=config.register_schedulable,
        taints=tuple((taint.key, taint.value, taint.effect) for taint in kubelet.register_with_taints),
        max_pods=kubelet.max_pods,
        reserved=(dict(kubelet.system_reserved), dict(kubelet.kube_reserved)),
        eviction=dict(kubelet.eviction_hard),
        enforce="pods" in kubelet.enforce_node_allocatable,
    )
