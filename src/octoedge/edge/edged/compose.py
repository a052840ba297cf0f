"""Composes what the runtime is asked for: a pod and what is known of its place in, CRI configurations out. Pure."""

from __future__ import annotations

import msgspec

from octoedge.api.core import AppArmorProfile, Container, Pod, PodSecurityContext, SecurityContext
from octoedge.api.core import SeccompProfile as Seccomp
from octoedge.edge.edged import names, plan, resources
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.environment import expand
from octoedge.edge.edged.limits import slice_name

_PROTOCOLS = {"TCP": 0, "UDP": 1, "SCTP": 2}
_PROPAGATION = {
    "": f.Propagation.PRIVATE,
    "None": f.Propagation.PRIVATE,
    "HostToContainer": f.Propagation.HOST_TO_CONTAINER,
    "Bidirectional": f.Propagation.BIDIRECTIONAL,
}
_PROFILES = {
    "RuntimeDefault": f.ProfileType.RUNTIME_DEFAULT,
    "Unconfined": f.ProfileType.UNCONFINED,
    "Localhost": f.ProfileType.LOCALHOST,
}
MASKED_PATHS = (
    "/proc/asound",
    "/proc/acpi",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/timer_list",
    "/proc/timer_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/sys/firmware",
    "/sys/devices/virtual/powercap",
)
"""What the kubelet hides from containers by default; the runtime hides only what it is told to."""
READONLY_PATHS = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")
_HOSTNAME_LENGTH = 63


class Place(msgspec.Struct, frozen=True):
    """The node as containers meet it."""

    node_name: str
    cgroup_root: str
    systemd_cgroups: bool
    memory: int
    may_lower_oom: bool
    seccomp_default: bool = False
    pids: int = 0
    """Processes that each pod may have; 0: as many as the node."""


class ContainerParts(msgspec.Struct, frozen=True):
    """What was gathered for one container."""

    attempt: int
    image_ref: str
    variables: dict[str, str]
    mounts: tuple[f.Mount, ...]
    log_path: str
    target_id: str = ""
    """The container whose processes an ephemeral one is to see."""
    devices: tuple[f.DeviceNode, ...] = ()
    cdi_devices: tuple[f.CdiDevice, ...] = ()
    notes: dict[str, str] = {}
    """Annotations that device plugins add."""


def sandbox(pod: Pod, attempt: int, place: Place, log_directory: str, dns: f.DNSConfig | None) -> f.SandboxConfig:
    """The configuration of a pod's sandbox."""
    meta = pod.metadata
    return f.SandboxConfig(
        metadata=f.SandboxMetadata(meta.name, meta.uid, meta.namespace, attempt),
        # The runtime refuses a name for a pod that shares the host's.
        hostname="" if pod.spec.host_network else hostname(pod),
        log_directory=log_directory,
        dns_config=dns,
        port_mappings=() if pod.spec.host_network else _port_mappings(pod),
        labels={**(meta.labels or {}), **_pod_labels(pod, place)},
        annotations=meta.annotations or {},
        linux=f.LinuxSandboxConfig(
            cgroup_parent=cgroup_parent(pod, place),
            security_context=_sandbox_security(pod),
            sysctls={sysctl.name: sysctl.value for sysctl in _pod_context(pod).sysctls},
        ),
    )


def container(pod: Pod, spec: Container, parts: ContainerParts, place: Place) -> f.ContainerConfig:
    """The configuration of one container."""
    return f.ContainerConfig(
        metadata=f.ContainerMetadata(spec.name, parts.attempt),
        image=f.ImageSpec(parts.image_ref),
        command=tuple(expand(word, parts.variables) for word in spec.command),
        args=tuple(expand(word, parts.variables) for word in spec.args),
        working_dir=spec.working_dir,
        envs=tuple(f.KeyValue(key, value) for key, value in parts.variables.items()),
        mounts=parts.mounts,
        labels={**_pod_labels(pod, place), names.CONTAINER_NAME: spec.name},
        annotations={
            **parts.notes,
            names.HASH: plan.spec_hash(spec),
            names.RESTART_COUNT: str(parts.attempt),
            names.TERMINATION_PATH: spec.termination_message_path,
            names.TERMINATION_POLICY: spec.termination_message_policy,
            names.GRACE: str(pod.spec.termination_grace_period_seconds),
        },
        log_path=parts.log_path,
        stdin=spec.stdin,
        stdin_once=spec.stdin_once,
        tty=spec.tty,
        devices=parts.devices,
        cdi_devices=parts.cdi_devices,
        linux=f.LinuxContainerConfig(
            resources=resources.container_resources(pod, spec, place.memory, place.may_lower_oom),
            security_context=_container_security(pod, spec, place, parts.target_id),
        ),
    )


def hostname(pod: Pod) -> str:
    """The pod's host name: its own, or its name, cut to what Linux takes."""
    return pod.spec.hostname or pod.metadata.name[:_HOSTNAME_LENGTH].rstrip("-.")


def cgroup_parent(pod: Pod, place: Place) -> str:
    """The pod's cgroup, as the runtime's driver wants it named."""
    path = resources.cgroup_parent(place.cgroup_root, pod)
    return slice_name(path) if place.systemd_cgroups else path


def mount(host_path: str, container_path: str, *, read_only: bool = False, propagation: str = "None") -> f.Mount:
    """One mount; `ValueError` for an unknown propagation."""
    if propagation not in _PROPAGATION:
        raise ValueError(f"mountPropagation {propagation!r} is unknown")
    path = container_path if container_path.startswith("/") else f"/{container_path}"
    return f.Mount(path, host_path, readonly=read_only, propagation=_PROPAGATION[propagation])


def run_as(pod: Pod, spec: Container) -> tuple[int | None, int | None]:
    """User and group that a container runs as, None where the image decides."""
    own, shared = spec.security_context or SecurityContext(), _pod_context(pod)
    user = shared.run_as_user if own.run_as_user is None else own.run_as_user
    group = shared.run_as_group if own.run_as_group is None else own.run_as_group
    return user, group


def must_not_be_root(pod: Pod, spec: Container) -> bool:
    """runAsNonRoot of the container, else of the pod."""
    own = (spec.security_context or SecurityContext()).run_as_non_root
    return bool(_pod_context(pod).run_as_non_root if own is None else own)


def _pod_labels(pod: Pod, place: Place) -> dict[str, str]:
    return {
        names.POD_NAME: pod.metadata.name,
        names.POD_NAMESPACE: pod.metadata.namespace,
        names.POD_UID: pod.metadata.uid,
        names.NODE: place.node_name,
    }


def _pod_context(pod: Pod) -> PodSecurityContext:
    return pod.spec.security_context or PodSecurityContext()


def _port_mappings(pod: Pod) -> tuple[f.PortMapping, ...]:
    return tuple(
        f.PortMapping(_PROTOCOLS.get(port.protocol, 0), port.container_port, port.host_port, port.host_ip)
        for spec in (*pod.spec.init_containers, *pod.spec.containers)
        for port in spec.ports
        if port.host_port
    )


def _namespaces(pod: Pod) -> f.NamespaceOption:
    node, pod_wide, own = f.NamespaceMode.NODE, f.NamespaceMode.POD, f.NamespaceMode.CONTAINER
    shared_pid = pod_wide if pod.spec.share_process_namespace else own
    return f.NamespaceOption(
        network=node if pod.spec.host_network else pod_wide,
        pid=node if pod.spec.host_pid else shared_pid,
        ipc=node if pod.spec.host_ipc else pod_wide,
    )


def _with_target(options: f.NamespaceOption, target_id: str) -> f.NamespaceOption:
    """Where processes are not shared anyway, those of the target are."""
    if not target_id or options.pid != f.NamespaceMode.CONTAINER:
        return options
    return msgspec.structs.replace(options, pid=f.NamespaceMode.TARGET, target_id=target_id)


def _sandbox_security(pod: Pod) -> f.SandboxSecurityContext:
    context = _pod_context(pod)
    privileged = any(
        spec.security_context is not None and spec.security_context.privileged
        for spec in (*pod.spec.init_containers, *pod.spec.containers)
    )
    return f.SandboxSecurityContext(
        namespace_options=_namespaces(pod),
        run_as_user=_number(context.run_as_user),
        run_as_group=_number(context.run_as_group if context.run_as_user is not None else None),
        supplemental_groups=_groups(pod),
        privileged=privileged,
        # The pause process is ours: it is confined whatever the pod asks for.
        seccomp=f.SecurityProfile(f.ProfileType.RUNTIME_DEFAULT) if not privileged else None,
    )


def _container_security(pod: Pod, spec: Container, place: Place, target_id: str) -> f.ContainerSecurityContext:
    context = spec.security_context or SecurityContext()
    user, group = run_as(pod, spec)
    capabilities = context.capabilities
    unmasked = context.proc_mount == "Unmasked"
    return f.ContainerSecurityContext(
        capabilities=f.Capability(tuple(capabilities.add), tuple(capabilities.drop)) if capabilities else None,
        privileged=bool(context.privileged),
        namespace_options=_with_target(_namespaces(pod), target_id),
        run_as_user=_number(user),
        run_as_group=_number(group),
        readonly_rootfs=context.read_only_root_filesystem,
        supplemental_groups=_groups(pod),
        no_new_privs=context.allow_privilege_escalation is False,
        masked_paths=() if unmasked else MASKED_PATHS,
        readonly_paths=() if unmasked else READONLY_PATHS,
        seccomp=_seccomp(context.seccomp_profile or _pod_context(pod).seccomp_profile, place),
        apparmor=_apparmor(apparmor_profile(pod, spec)),
    )


def apparmor_profile(pod: Pod, spec: Container) -> AppArmorProfile | None:
    """The AppArmor profile of a container: its own, else the pod's."""
    own = spec.security_context.app_armor_profile if spec.security_context is not None else None
    return own or _pod_context(pod).app_armor_profile


def _apparmor(profile: AppArmorProfile | None) -> f.SecurityProfile | None:
    if profile is None:
        return None
    return f.SecurityProfile(_PROFILES.get(profile.type, f.ProfileType.RUNTIME_DEFAULT), profile.localhost_profile)


def _seccomp(profile: Seccomp | None, place: Place) -> f.SecurityProfile | None:
    if profile is None:
        return f.SecurityProfile(f.ProfileType.RUNTIME_DEFAULT) if place.seccomp_default else None
    return f.SecurityProfile(_PROFILES.get(profile.type, f.ProfileType.RUNTIME_DEFAULT), profile.localhost_profile)


def _groups(pod: Pod) -> tuple[int, ...]:
    context = _pod_context(pod)
    return tuple(context.supplemental_groups) + ((context.fs_group,) if context.fs_group is not None else ())


def _number(value: int | None) -> f.Int64Value | None:
    return None if value is None else f.Int64Value(value)
