"""The module: puts edged's parts together and carries news between them.

    changes from MetaManager ──► pods ──► sync       runtime events, relist ──► observer ──► sync

Ready once the stored pods are taken in and the runtime has been looked at (or is away); nothing waits for the cloud.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from octoedge.api.core import Node, Pod, view
from octoedge.edge.edged import cgroups
from octoedge.edge.edged.admission import Surroundings
from octoedge.edge.edged.compose import Place
from octoedge.edge.edged.containers import Containers, Network, Tools
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.deadgc import DeadPolicy
from octoedge.edge.edged.devices import Devices
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.eviction import Eviction, Measured
from octoedge.edge.edged.imagegc import ImageCollector, ImagePolicy
from octoedge.edge.edged.images import Images
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.leftovers import Leftovers
from octoedge.edge.edged.logs import Logs
from octoedge.edge.edged.machine import Machine, disk, enforces_apparmor, memory, processes
from octoedge.edge.edged.manifests import Manifests
from octoedge.edge.edged.meter import Meter
from octoedge.edge.edged.mounts import Mounter, SystemMounter
from octoedge.edge.edged.node import NodeKeeper
from octoedge.edge.edged.nodestatus import NodeSettings, pod_root_limits
from octoedge.edge.edged.objects import Objects
from octoedge.edge.edged.observe import Observer
from octoedge.edge.edged.pages import Pages
from octoedge.edge.edged.persistent import Claims
from octoedge.edge.edged.pods import Pods
from octoedge.edge.edged.podusage import Usage
from octoedge.edge.edged.pressure import Amount, EvictionSettings
from octoedge.edge.edged.relist import Relist
from octoedge.edge.edged.report import Reporter
from octoedge.edge.edged.rotation import Rotation, RotationSettings
from octoedge.edge.edged.rounds import Parts
from octoedge.edge.edged.shutdown import Shutdown, Step, is_stopping
from octoedge.edge.edged.staticpods import StaticPods, is_mirror
from octoedge.edge.edged.storage import Storage
from octoedge.edge.edged.streams import Streams
from octoedge.edge.edged.sync import Sync
from octoedge.edge.edged.tails import Tails
from octoedge.edge.edged.termination import TerminationMessages
from octoedge.edge.edged.tokens import Tokens
from octoedge.edge.edged.volumes import Volumes
from octoedge.edge.ports import Change, ChangeKind, HttpAnswer, LogRequest, Metadata, StreamRequest
from octoedge.errors import MessageError, OctoedgeError, not_found
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.runtime.channel import Receiver
from octoedge.runtime.clock import Clock, SystemClock

if TYPE_CHECKING:
    from octoedge.edge.edged.csiapi import Driver

log = logging.getLogger(__name__)

_REPEAT, _REPEAT_MOST = 10.0, 600.0
"""Seconds to wait before a status that the cloud shows differently is said again: its echo may be under way. Longer
each time, so that two who disagree for good do not chatter."""

_START_PATIENCE = 3.0
_DRAIN_SECONDS = 5.0
_RESTART_SECONDS = 3.0
"""What containers get to end when somebody on the node restarts a pod, as with KubeEdge."""


class EdgedSettings(msgspec.Struct, frozen=True):
    """What edged needs to know; wiring makes it from edgecore.yaml."""

    node: NodeSettings
    root: Path
    logs: Path
    cgroup_root: str = "/octoedge"
    cgroup_mount: Path = Path("/sys/fs/cgroup")
    systemd_cgroups: bool = False
    seccomp_default: bool = False
    network: Network = Network()
    rotation: RotationSettings = RotationSettings()
    images: ImagePolicy = ImagePolicy()
    eviction: EvictionSettings = EvictionSettings()
    manifests: Path | None = None
    """Directory of static pods; None: there are none."""
    dead: DeadPolicy = DeadPolicy()
    pod_pids: int = 0
    shutdown: tuple[Step, ...] = ()
    report_events: bool = True
    also_trusted: Path | None = None
    """Certificate of the Kubernetes API on this node, which pods trust beside the cluster's."""


class Edged:
    """The kubelet of the edge, as a module of EdgeCore."""

    name = "edged"
    needs = ("metamanager",)

    def __init__(
        self,
        settings: EdgedSettings,
        runtime: ContainerRuntime,
        metadata: Metadata,
        changes: Receiver[Change],
        *,
        clock: Clock | None = None,
        mounter: Mounter | None = None,
        machine: Machine | None = None,
        measure: Callable[[], Awaitable[Measured]] | None = None,
        stopping: Callable[[], Awaitable[bool]] = is_stopping,
        connect_driver: Callable[[Path], Driver] | None = None,
    ) -> None:
        clock = clock or SystemClock()
        layout = Layout(settings.root, settings.logs)
        self._settings = settings
        self._layout = layout
        self._cgroups = cgroups.Cgroups(settings.cgroup_mount, systemd=settings.systemd_cgroups)
        self._devices = Devices(settings.root, self._holders, lambda offer: self.node.offer(offer))
        self._runtime = runtime
        self._metadata = metadata
        self._changes = changes
        self._objects = Objects(metadata, settings.also_trusted)
        self._recorder = Recorder(settings.node.name, metadata, clock)
        self.node = NodeKeeper(settings.node, runtime, metadata, self._recorder, clock, settings.root, machine)
        self.pods = Pods(settings.node.name)
        self.observer = Observer(runtime, settings.node.name)
        tokens = Tokens(metadata, clock)
        mounter = mounter or SystemMounter()
        self.storage = Storage(
            layout,
            settings.node.name,
            metadata,
            self._objects,
            tokens,
            self._devices,
            mounter.below,
            connect_driver,
            self._wake_waiting,
            lambda attached: self.node.attach(attached),
        )
        claims = Claims(metadata, settings.node.name)
        self._volumes = Volumes(layout, self._objects, tokens, claims, self.storage.csi, mounter, clock)
        messages = TerminationMessages(layout)
        folder = Manifests(settings.manifests, settings.node.name)
        self._static = StaticPods(
            folder, self.pods, metadata, clock, wake=self._wake_static, node_uid=lambda: self.node.uid
        )
        self._reporter = Reporter(
            metadata, clock, messages, lambda: self.node.addresses, self._runtime_name, self._static.reported_as
        )
        self._containers = Containers(self._tools(layout))
        self._leftovers = Leftovers(self._containers, layout)
        self.sync = Sync(
            self.pods,
            Parts(
                node_name=settings.node.name,
                runtime=runtime,
                observer=self.observer,
                containers=self._containers,
                volumes=self._volumes,
                tokens=tokens,
                layout=layout,
                metadata=metadata,
                recorder=self._recorder,
                reporter=self._reporter,
                clock=clock,
                facts=self._facts,
                surroundings=self._surroundings,
                dead=settings.dead,
            ),
        )
        self._relist = Relist(runtime, self.observer, self.sync.wake)
        self._collector = ImageCollector(settings.images, runtime, self.pods, self._recorder, disk, settings.root)
        self._eviction = Eviction(
            settings.eviction,
            self.sync,
            Usage(runtime, settings.node.name, layout, self._cgroups, settings.cgroup_root),
            self._recorder,
            measure or self._measure,
            self._collector.remove_unused,
            self.node.press,
        )
        self._shutdown = Shutdown(settings.shutdown, self.sync, self.node.leave, stopping)
        self.drain_seconds = max(self._shutdown.seconds, _DRAIN_SECONDS)
        self._rotation = Rotation(settings.rotation, runtime, self.observer, layout, clock)
        self._repeats: dict[str, float] = {}
        self._timers: dict[str, asyncio.TimerHandle] = {}
        self._logs = Logs(layout, self.pods, self.observer, clock)
        self.tails = Tails(layout, self.observer)
        meter = Meter(runtime, settings.node.name, clock)
        self._pages = Pages(
            settings.node.name, settings.root, self._shown, meter, self.observer, self.storage.csi.stats
        )
        self._streams = Streams(runtime, self.pods, self.observer)

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep this node's pods running until cancelled."""
        self._volumes.start()
        limits = pod_root_limits(self._settings.node, self.node.machine)
        if limits is not None:
            await self._cgroups.create(self._settings.cgroup_root, limits)
        await self._briefly(self.node.check_runtime())
        self._static.start()
        for obj in await self._metadata.list("pod"):
            if not self._took_mirror(obj):
                self.pods.put(obj)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.sync.run(), name="edged sync")
                group.create_task(self.node.run(self._relist.now), name="edged node")
                group.create_task(self.storage.run(), name="edged plugins")
                await self._take_in()
                group.create_task(self._relist.run(), name="edged relist")
                group.create_task(self._follow_changes(), name="edged changes")
                group.create_task(self._rotation.run(), name="edged log rotation")
                group.create_task(self._collector.run(), name="edged images")
                group.create_task(self._eviction.run(), name="edged eviction")
                group.create_task(self._static.run(), name="edged static pods")
                group.create_task(self._devices.run(), name="edged devices")
                group.create_task(self._leftovers.run(), name="edged leftovers")
                if self._settings.report_events:
                    group.create_task(self._recorder.run(), name="edged events")
                if self._metadata.damage:
                    self._recorder.node("Warning", "DatabaseReplaced", self._metadata.damage)
                ready()
        finally:
            for timer in self._timers.values():
                timer.cancel()
            await self._runtime.close()

    async def drain(self) -> None:
        """The agent is to stop: pods go on, unless the machine goes down too."""
        await self._shutdown.run()

    def release(self, namespace: str, name: str) -> int:
        """`LocalPods` for MetaServer."""
        return self.sync.door.release(namespace, name)

    def release_all(self) -> int:
        """`LocalPods` for MetaServer."""
        return self.sync.door.release()

    async def restart(self, namespace: str, name: str) -> None:
        """`LocalPods` for MetaServer."""
        pod = self.pods.named(namespace, name)
        seen = self.observer.pods.get(pod.metadata.uid) if pod is not None else None
        if seen is None:
            raise not_found("pods", f"{namespace}/{name}")
        for container in seen.containers:
            if container.alive:
                await self._runtime.stop_container(container.id, _RESTART_SECONDS)

    def containers(self, namespace: str, name: str) -> list[str]:
        """`LocalPods` for MetaServer."""
        pod = self.pods.named(namespace, name)
        if pod is None:
            raise not_found("pods", f"{namespace}/{name}")
        return [one.name for one in pod.spec.containers]

    @property
    def health(self) -> str:
        """How the container runtime is, in words; empty when it is well."""
        known = self.node.health
        return ", ".join(text for text in (known.runtime, known.network) if text)

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        """`ContainerLogs` for EdgeStream."""
        return await self._logs.logs(request)

    async def page(self, path: str) -> HttpAnswer:
        """`NodePages` for EdgeStream."""
        return await self._pages.page(path)

    async def stream_url(self, request: StreamRequest) -> str:
        """`ContainerStreams` for EdgeStream."""
        return await self._streams.stream_url(request)

    async def unblock(self, request: StreamRequest) -> None:
        """`ContainerStreams` for EdgeStream."""
        await self._streams.unblock(request)

    def _tools(self, layout: Layout) -> Tools:
        settings = self._settings
        return Tools(
            runtime=self._runtime,
            layout=layout,
            volumes=self._volumes,
            images=Images(self._runtime, self._objects, lambda: self._metadata.online),
            objects=self._objects,
            cgroups=self._cgroups,
            recorder=self._recorder,
            place=Place(
                node_name=settings.node.name,
                cgroup_root=settings.cgroup_root,
                systemd_cgroups=settings.systemd_cgroups,
                memory=self.node.machine.memory,
                may_lower_oom=cgroups.may_lower_oom_score(),
                seccomp_default=settings.seccomp_default,
                pids=settings.pod_pids,
            ),
            network=settings.network,
            devices=self._devices.grant,
            active=lambda: self.sync.active(),
        )

    async def _take_in(self) -> None:
        """Look at the runtime once and wake every pod that is wanted, found, or has left something on disk."""
        looked = await self._briefly(self.observer.look())
        for uid in self.observer.pods:
            if self._static.ended(uid):
                self.pods.end(uid)
        leftovers = self._volumes.known() if looked and not self._metadata.rebuilt else set()
        for uid in self.pods.uids() | self.observer.pods.keys():
            self.sync.wake(uid)
        await self._leftovers.remove(leftovers - self.pods.uids() - self.observer.pods.keys())

    async def _briefly(self, look: Awaitable[object]) -> bool:
        """Look at the runtime, but do not let one that hangs keep the node from starting; whether that worked."""
        try:
            async with asyncio.timeout(_START_PATIENCE):
                await look
        except (OctoedgeError, TimeoutError) as error:
            log.warning("the container runtime cannot be looked at yet: %s", str(error) or "it hangs")
            return False
        return True

    def _wake_waiting(self) -> None:
        """A CSI driver has come: who waits for a volume need not wait for the next try."""
        for pod in list(self.pods.all()):
            kinds = (one.csi or one.persistent_volume_claim or one.ephemeral for one in pod.spec.volumes)
            if any(kind is not None for kind in kinds):
                self.sync.wake(pod.metadata.uid, refresh=True)

    async def _follow_changes(self) -> None:
        async for change in self._changes:
            if change.resource.type == "pod":
                self._pod_changed(change)
            elif change.resource.type in ("configmap", "secret"):
                for uid in self.pods.using(change.resource.namespace, change.resource.type, change.resource.name):
                    self.sync.wake(uid, refresh=True)

    def _took_mirror(self, obj: bytes) -> bool:
        """Whether it was a mirror, which is not run."""
        try:
            pod = view(Pod, obj)
        except MessageError:
            return False
        if not is_mirror(pod):
            return False
        self._static.take_mirror(pod)
        return True

    def _wake_static(self, uid: str) -> None:
        """Something about a static pod, or about its mirror, is new: its status is said anew too."""
        self._reporter.repeat(uid)
        self.sync.wake(uid)

    def _pod_changed(self, change: Change) -> None:
        if change.kind is ChangeKind.DELETE:
            if self._static.drop_mirror(change.resource.namespace, change.resource.name, _uid(change.object)):
                return
            uid = self.pods.remove(change.object, change.resource.namespace, change.resource.name)
            if uid is not None:
                self._repeats.pop(uid, None)
                self.sync.wake(uid)
            return
        if self._took_mirror(change.object):
            return
        before = self.pods.named(change.resource.namespace, change.resource.name)
        uid = self.pods.put(change.object)
        if uid is None:
            return
        desired = self.pods.get(uid)
        if before is not None and desired is not None and before.metadata.uid == uid:
            # Labels and annotations may be shown in volumes (downward API).
            shown = (before.metadata.labels, before.metadata.annotations)
            changed = shown != (desired.pod.metadata.labels, desired.pod.metadata.annotations)
            self.sync.wake(uid, refresh=changed)
            if self._reporter.differs(desired.pod):
                self._say_later(uid)
            else:
                self._repeats.pop(uid, None)
        else:
            self.sync.wake(uid)

    def _say_later(self, uid: str) -> None:
        if uid not in self._timers:
            wait = self._repeats[uid] = min(self._repeats.get(uid, _REPEAT / 2) * 2, _REPEAT_MOST)
            self._timers[uid] = asyncio.get_running_loop().call_later(wait, self._say_again, uid)

    def _say_again(self, uid: str) -> None:
        self._timers.pop(uid, None)
        desired = self.pods.get(uid)
        if desired is not None and self._reporter.differs(desired.pod):
            self._reporter.repeat(uid)
            self.sync.wake(uid)

    def _facts(self) -> Facts:
        machine = self.node.machine
        return Facts(self._settings.node.name, self.node.addresses, (), machine.cpus * 1000, machine.memory)

    async def _surroundings(self) -> Surroundings:
        """The node as new pods meet it."""
        name = self._settings.node.name
        try:
            node = view(Node, await self._metadata.get(Resource(CLUSTER, "node", name)))
        except OctoedgeError:
            labels = None  # Nothing of the node is stored yet.
        else:
            labels = node.metadata.labels or {}
        pressures, leaving = self._eviction.conditions, self._shutdown.under_way
        return Surroundings(labels, self.node.allocatable, pressures, leaving, enforces_apparmor())

    async def _measure(self) -> Measured:
        """One look at the machine."""
        try:
            images = await self._collector.where()
        except OctoedgeError:
            images = self._settings.root  # The runtime is away: the node's own disk can fill all the same.
        total, available = memory()
        running, most = processes()
        root = self._settings.root
        return Measured(Amount(available, total), disk(root), disk(images), Amount(most - running, most))

    async def _shown(self) -> list[bytes]:
        """All pods, for the page of that name."""
        return self._static.shown(await self._metadata.list("pod"), self._reporter.basis)

    def _holders(self) -> set[str]:
        """Pods that may hold a device: what has not ended, and what still runs whatever is said of it."""
        alive = {uid for uid, seen in self.observer.pods.items() if any(one.alive for one in seen.containers)}
        wanted = (self._reporter.basis(pod) for pod in self.pods.all())
        return alive | {pod.metadata.uid for pod in wanted if pod.status.phase not in ("Succeeded", "Failed")}

    def _runtime_name(self) -> str:
        return self.node.health.name


def _uid(obj: bytes) -> str:
    try:
        return view(Pod, obj).metadata.uid if obj else ""
    except MessageError:
        return ""
