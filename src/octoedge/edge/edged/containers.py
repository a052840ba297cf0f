"""Makes and ends single containers and sandboxes: gathers what a configuration needs, asks the runtime, says events.

Each method is one action of a plan. What goes wrong comes out as `ActionFailed`: the waiting reason that users see,
the text, and when to try again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from octoedge.api.core import Container, EphemeralContainer, Pod, VolumeMount
from octoedge.edge.edged import compose, handlers, hosts, plan
from octoedge.edge.edged.cgroups import Cgroups
from octoedge.edge.edged.compose import ContainerParts, Place
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.devices import DevicesUnavailable, GrantDevices
from octoedge.edge.edged.downward import Facts, UnknownField
from octoedge.edge.edged.environment import environment, expand
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.images import ImageFailed, Images, Say
from octoedge.edge.edged.layout import Layout, remove_tree, write_file
from octoedge.edge.edged.limits import PodLimits
from octoedge.edge.edged.objects import Objects, ObjectUnavailable
from octoedge.edge.edged.observed import ContainerSeen, PodSeen
from octoedge.edge.edged.resources import burstable_cpu, cgroup_parent, pod_limits, qos_class, shares
from octoedge.edge.edged.volumes import Mounted, VolumeFailed, Volumes
from octoedge.errors import CriError, DeadlineError, OctoedgeError

log = logging.getLogger(__name__)

RETRY = 10.0
"""Seconds until something that failed is tried again, as the kubelet's sync back-off."""
_SHOW_BACK_OFF = 2.0
"""Seconds after which a failed pull is shown as ImagePullBackOff."""
_CGROUP_TRIES, _CGROUP_PAUSE = 20, 0.05
_LEAST_TERM = 2.0
"""Seconds that a container always gets between TERM and KILL when a hook has used up the grace."""


class ActionFailed(OctoedgeError):
    """An action did not work out; to be tried again at `not_before` (loop time)."""

    def __init__(self, reason: str, message: str, not_before: float) -> None:
        super().__init__(message)
        self.reason = reason
        self.not_before = not_before


class Network(msgspec.Struct, frozen=True):
    """What pods are told about names."""

    resolv_conf: str = "/etc/resolv.conf"
    hosts_file: str = "/etc/hosts"
    cluster_dns: hosts.ClusterDns = hosts.ClusterDns()
    api_server: tuple[str, str] = ("", "")
    """KUBERNETES_SERVICE_HOST and _PORT; empty where there is no MetaServer that pods may ask, as KubeEdge has it."""


class Tools(msgspec.Struct, frozen=True):
    """What containers are made with."""

    runtime: ContainerRuntime
    layout: Layout
    volumes: Volumes
    images: Images
    objects: Objects
    cgroups: Cgroups
    recorder: Recorder
    place: Place
    network: Network
    devices: GrantDevices
    active: Callable[[], Iterable[Pod]]
    """Pods that have a place here and have not ended."""


class Containers:
    """The runtime's side of one node's pods."""

    def __init__(self, tools: Tools, *, at_once: int = 8) -> None:
        self._tools = tools
        self._slots = asyncio.Semaphore(at_once)
        self._burstable: int | None = None
        """Millicores that burstable pods were said to ask for."""

    async def create_sandbox(self, pod: Pod, attempt: int, facts: Facts) -> None:
        """Volumes, cgroup, log directory, then the sandbox."""
        tools = self._tools
        try:
            await tools.volumes.prepare(pod, facts)
        except VolumeFailed as error:
            tools.recorder.pod(pod, "Warning", "FailedMount", str(error))
            raise ActionFailed("ContainerCreating", str(error), _now() + RETRY) from error
        config = self._sandbox_config(pod, attempt)
        try:
            _make_log_directory(Path(config.log_directory))
            await self._cgroup(pod)
        except OSError as error:
            raise self._no_sandbox(pod, str(error)) from error
        if hosts.wants_cluster_dns(pod) and not tools.network.cluster_dns.servers:
            text = f'no cluster DNS is configured; dnsPolicy "{pod.spec.dns_policy}" falls back to "Default"'
            tools.recorder.pod(pod, "Warning", "MissingClusterDNS", text)
        try:
            async with self._slots:
                await tools.runtime.run_sandbox(config)
        except (CriError, DeadlineError) as error:
            raise self._no_sandbox(pod, _said(error)) from error

    async def _cgroup(self, pod: Pod) -> None:
        """The pod's cgroup; pods that asked for nothing are together weaker than any that did."""
        tools, parent = self._tools, cgroup_parent(self._tools.place.cgroup_root, pod)
        qos = qos_class(pod)
        if qos == "BestEffort":
            await tools.cgroups.create(parent.rpartition("/")[0], PodLimits(shares=shares(0)))
        elif qos == "Burstable":
            await self._weigh_burstable()
        await tools.cgroups.create(parent, pod_limits(pod, tools.place.pids))

    async def _weigh_burstable(self) -> None:
        """All burstable pods together weigh what they asked for together."""
        asked = burstable_cpu(self._tools.active())
        if asked is not None and asked != self._burstable:
            self._burstable = asked
            root = self._tools.place.cgroup_root.rstrip("/")
            await self._tools.cgroups.create(f"{root}/burstable", PodLimits(shares=shares(asked)))

    def _no_sandbox(self, pod: Pod, why: str) -> ActionFailed:
        text = f"Failed to create pod sandbox: {why}"
        self._tools.recorder.pod(pod, "Warning", "FailedCreatePodSandBox", text)
        return ActionFailed("ContainerCreating", text, _now() + RETRY)

    async def start(
        self, pod: Pod, action: plan.StartContainer, facts: Facts, sandbox_attempt: int, seen: PodSeen
    ) -> None:
        """Image, configuration, create, start, postStart."""
        tools, spec = self._tools, action.container
        sandbox = self._sandbox_config(pod, sandbox_attempt)

        def say(kind: str, reason: str, message: str) -> None:
            tools.recorder.pod(pod, kind, reason, message, spec.name)

        target = self._target(pod, spec, seen)
        image = await self._image(pod, spec, sandbox, say)
        config = await self._container_config(pod, action, facts, image, target)
        container_id = await self._create(action, config, sandbox, say)
        say("Normal", "Created", f"Created container: {spec.name}")
        try:
            async with self._slots:
                await tools.runtime.start_container(container_id)
        except (CriError, DeadlineError) as error:
            say("Warning", "Failed", f"Error: {_said(error)}")
            raise ActionFailed("RunContainerError", _said(error), _now() + RETRY) from error
        say("Normal", "Started", f"Started container {spec.name}")
        await self._post_start(pod, spec, container_id, facts)

    async def stop(self, pod: Pod | None, container: ContainerSeen, grace: float, message: str, *, hook: bool) -> None:
        """preStop, TERM, KILL after the grace; `hook` False when preStop has run already."""
        tools = self._tools
        if pod is not None and message:
            tools.recorder.pod(pod, "Normal", "Killing", message, container.name)
        began = _now()
        if pod is not None and hook:
            await self._pre_stop(pod, container, grace)
        left = max(grace - (_now() - began), min(_LEAST_TERM, grace))
        await tools.runtime.stop_container(container.id, left)

    async def clean_up(self, pod_uid: str, logs: Iterable[Path]) -> None:
        """Take down what a pod has on the host once the runtime has nothing of it. Raises `ActionFailed`.

        The pod's own directory goes last: as long as it is there, a restart goes on with this.
        """
        tools = self._tools
        await self._remove_cgroups(pod_uid)
        await self._weigh_burstable()
        try:
            for folder in logs:
                await remove_tree(folder)
            await tools.volumes.remove(pod_uid)
        except (OSError, OctoedgeError, ValueError) as error:
            text = f"the pod's directories cannot be removed: {error}"
            raise ActionFailed("Terminating", text, _now() + RETRY) from error

    async def _remove_cgroups(self, pod_uid: str) -> None:
        tools = self._tools
        root = tools.place.cgroup_root.rstrip("/")
        for tier in ("", "/burstable", "/besteffort"):
            for _ in range(_CGROUP_TRIES):
                if await tools.cgroups.remove(f"{root}{tier}/pod{pod_uid}"):
                    break
                await asyncio.sleep(_CGROUP_PAUSE)

    async def _image(self, pod: Pod, spec: Container, sandbox: f.SandboxConfig, say: Say) -> f.Image:
        images = self._tools.images
        try:
            image = await images.ensure(pod, spec, sandbox, say)
        except ImageFailed as error:
            retry = images.retry_at(spec.image) or _now() + RETRY
            if error.reason == "ErrImagePull":
                retry = min(retry, _now() + _SHOW_BACK_OFF)
            raise ActionFailed(error.reason, str(error), retry) from error
        self._check_user(pod, spec, image)
        return image

    def _check_user(self, pod: Pod, spec: Container, image: f.Image) -> None:
        """runAsNonRoot: the user must be known and not be root."""
        if not compose.must_not_be_root(pod, spec):
            return
        user, _ = compose.run_as(pod, spec)
        if user is None and image.uid is None and image.username:
            raise self._config_error(
                pod,
                spec,
                f"container has runAsNonRoot and image has non-numeric user ({image.username}), "
                "cannot verify user is non-root",
            )
        if (user if user is not None else (image.uid.value if image.uid is not None else 0)) == 0:
            where = "container's runAsUser breaks non-root policy" if user == 0 else "image will run as root"
            raise self._config_error(pod, spec, f"container has runAsNonRoot and {where}")

    async def _container_config(
        self, pod: Pod, action: plan.StartContainer, facts: Facts, image: f.Image, target: str
    ) -> f.ContainerConfig:
        tools, spec = self._tools, action.container
        try:
            variables = await environment(pod, spec, facts, tools.objects)
            mounted = await tools.volumes.of(pod, facts)
            host, port = tools.network.api_server
            variables.update({"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port})
            grant = await tools.devices(pod, spec)
            variables.update(grant.envs)
            mounts = await self._mounts(pod, action, mounted, variables, facts)
        except VolumeFailed as error:
            tools.recorder.pod(pod, "Warning", "FailedMount", str(error))
            raise ActionFailed("ContainerCreating", str(error), _now() + RETRY) from error
        except DevicesUnavailable as error:
            tools.recorder.pod(pod, "Warning", "FailedAllocation", str(error), spec.name)
            raise ActionFailed("ContainerCreating", str(error), _now() + RETRY) from error
        except (ObjectUnavailable, UnknownField, ValueError) as error:
            raise self._config_error(pod, spec, str(error)) from error
        log_path = f"{spec.name}/{action.attempt}.log"
        _make_log_directory(tools.layout.log_directory(*_identity(pod)) / spec.name)
        parts = ContainerParts(
            action.attempt,
            image.id,
            variables,
            (*mounts, *(f.Mount(one.container_path, one.host_path, one.read_only) for one in grant.mounts)),
            log_path,
            target,
            tuple(f.DeviceNode(one.container_path, one.host_path, one.permissions) for one in grant.devices),
            tuple(f.CdiDevice(one.name) for one in grant.cdi_devices),
            grant.annotations,
        )
        return compose.container(pod, spec, parts, tools.place)

    def _target(self, pod: Pod, spec: Container, seen: PodSeen) -> str:
        """The id of the container that an ephemeral one looks into; empty when it looks into none."""
        name = spec.target_container_name if isinstance(spec, EphemeralContainer) else ""
        if not name:
            return ""
        found = seen.latest(name)
        if found is None or not found.alive:
            raise self._config_error(pod, spec, f"unable to find target container {name}")
        return found.id

    def _config_error(self, pod: Pod, spec: Container, text: str) -> ActionFailed:
        self._tools.recorder.pod(pod, "Warning", "Failed", f"Error: {text}", spec.name)
        return ActionFailed("CreateContainerConfigError", text, _now() + RETRY)

    async def _mounts(
        self,
        pod: Pod,
        action: plan.StartContainer,
        mounted: dict[str, Mounted],
        variables: dict[str, str],
        facts: Facts,
    ) -> tuple[f.Mount, ...]:
        spec = action.container
        mounts = []
        for number, wish in enumerate(spec.volume_mounts):
            if wish.name not in mounted:
                raise ValueError(f'volumeMounts names volume "{wish.name}", which the pod does not have')
            path = await self._volume_path(pod, spec.name, number, wish, mounted[wish.name], variables)
            mounts.append(
                compose.mount(
                    str(path),
                    wish.mount_path,
                    read_only=wish.read_only or mounted[wish.name].read_only,
                    propagation=wish.mount_propagation,
                )
            )
        taken = {mount.container_path.rstrip("/") for mount in mounts}
        if "/etc/hosts" not in taken:
            mounts.append(compose.mount(str(self._hosts(pod, facts)), "/etc/hosts"))
        if spec.termination_message_path and spec.termination_message_path not in taken:
            log_file = self._tools.layout.termination_log(pod.metadata.uid, spec.name, action.attempt)
            log_file.parent.mkdir(parents=True, exist_ok=True)
            write_file(log_file, b"", 0o666)
            mounts.append(compose.mount(str(log_file), spec.termination_message_path))
        return tuple(mounts)

    async def _volume_path(
        self, pod: Pod, container: str, number: int, wish: VolumeMount, volume: Mounted, variables: dict[str, str]
    ) -> Path:
        sub_path = expand(wish.sub_path_expr, variables) if wish.sub_path_expr else wish.sub_path
        if not sub_path:
            return volume.path
        return await self._tools.volumes.sub_path(pod, container, number, volume, sub_path)

    def _hosts(self, pod: Pod, facts: Facts) -> Path:
        host_file = _read(self._tools.network.hosts_file) if pod.spec.host_network else None
        text = hosts.hosts_file(pod.spec.host_aliases, host_file=host_file, ip=facts.pod_ip, name=compose.hostname(pod))
        path = self._tools.layout.etc_hosts(pod.metadata.uid)
        if not path.exists():
            write_file(path, text.encode(), 0o644)
        elif path.read_bytes() != text.encode():
            path.write_bytes(text.encode())  # In place: containers of the pod have this very file mounted.
        return path

    async def _create(
        self, action: plan.StartContainer, config: f.ContainerConfig, sandbox: f.SandboxConfig, say: Say
    ) -> str:
        try:
            async with self._slots:
                return await self._tools.runtime.create_container(action.sandbox_id, config, sandbox)
        except (CriError, DeadlineError) as error:
            say("Warning", "Failed", f"Error: {_said(error)}")
            raise ActionFailed("CreateContainerError", _said(error), _now() + RETRY) from error

    def _sandbox_config(self, pod: Pod, attempt: int) -> f.SandboxConfig:
        tools = self._tools
        host_dns = hosts.parse_resolv_conf(_read(tools.network.resolv_conf))
        dns = hosts.dns_config(pod, host_dns, tools.network.cluster_dns)
        log_directory = str(tools.layout.log_directory(*_identity(pod)))
        return compose.sandbox(pod, attempt, tools.place, log_directory, dns)

    async def _post_start(self, pod: Pod, spec: Container, container_id: str, facts: Facts) -> None:
        hook = spec.lifecycle.post_start if spec.lifecycle is not None else None
        action = (hook.exec_ or hook.http_get or hook.sleep) if hook is not None else None
        if action is None:
            return
        target = handlers.Target(self._tools.runtime, container_id, spec, facts.pod_ip)
        verdict = await handlers.run(
            action, target, float(pod.spec.termination_grace_period_seconds), "kube-lifecycle/1.32"
        )
        if not verdict.healthy:
            self._tools.recorder.pod(
                pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {verdict.text}", spec.name
            )
            await self._tools.runtime.stop_container(container_id, float(pod.spec.termination_grace_period_seconds))

    async def _pre_stop(self, pod: Pod, container: ContainerSeen, grace: float) -> None:
        everyone = (*pod.spec.containers, *pod.spec.init_containers)
        spec = next((spec for spec in everyone if spec.name == container.name), None)
        hook = spec.lifecycle.pre_stop if spec is not None and spec.lifecycle is not None else None
        action = (hook.exec_ or hook.http_get or hook.sleep) if hook is not None else None
        if spec is None or action is None:
            return
        ip = pod.status.pod_ip or pod.status.host_ip
        target = handlers.Target(self._tools.runtime, container.id, spec, ip)
        verdict = await handlers.run(action, target, grace, "kube-lifecycle/1.32")
        if not verdict.healthy:
            self._tools.recorder.pod(
                pod, "Warning", "FailedPreStopHook", f"PreStopHook failed: {verdict.text}", spec.name
            )


def _identity(pod: Pod) -> tuple[str, str, str]:
    return pod.metadata.namespace, pod.metadata.name, pod.metadata.uid


def _make_log_directory(path: Path) -> None:
    path.mkdir(parents=True, exist_ok=True, mode=0o755)


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""


def _said(error: OctoedgeError) -> str:
    return error.message if isinstance(error, CriError) else str(error)


def _now() -> float:
    return asyncio.get_running_loop().time()
