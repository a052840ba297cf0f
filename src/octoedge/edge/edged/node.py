"""The node's life: registration, status when it changes or every 5 minutes, the lease every 10 seconds.

    runtime health ─┐
    machine ────────┴─► nodestatus (pure) ─► MetaManager ─► cloud        lease ─► cloud

Only the lease must be on time; everything else is sent when there is something new.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

import msgspec

from octoedge.api.core import Condition, Node, NodeStatus, view
from octoedge.edge.edged import machine as system
from octoedge.edge.edged import nodestatus
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.machine import Machine
from octoedge.edge.edged.nodestatus import Attached, NodeSettings, Reading, RuntimeHealth
from octoedge.edge.ports import Metadata
from octoedge.errors import ApiError, CriError, DeadlineError, OctoedgeError, OfflineError
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock, rfc3339_micro
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

CHECK = 5.0
"""Seconds between two looks at the runtime."""
_PATIENCE = 5.0
"""Seconds that a runtime may be away before the node says so: containerd restarts in one."""
_ANSWER = 10.0
"""Seconds that a runtime may take to say how it is."""
_STATUS = 10.0
_HEARTBEAT = 300.0
_LEASE, _LEASE_DURATION = 10.0, 40


class NodeKeeper:
    """Keeps the node object and its lease."""

    def __init__(
        self,
        settings: NodeSettings,
        runtime: ContainerRuntime,
        metadata: Metadata,
        recorder: Recorder,
        clock: Clock,
        root: Path,
        machine: Machine | None = None,
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._metadata = metadata
        self._recorder = recorder
        self._clock = clock
        self._root = root
        self.machine = machine or system.read_machine()
        self.addresses: tuple[str, ...] = (settings.ip or system.default_address(),)
        self.health = RuntimeHealth()
        self.pressures: frozenset[str] = frozenset()
        self.allocatable: dict[str, str] = {}
        self._devices: dict[str, tuple[int, int]] = {}
        self._attached: Attached | None = None
        self._leaving = False
        self._away_since: float | None = None
        self._conditions: list[Condition] = []
        self._sent: NodeStatus | None = None
        self._sent_at = float("-inf")
        self._uid = ""
        self._registered = asyncio.Event()
        self._changed = asyncio.Event()
        self._said = SaidOnce(log)

    async def check_runtime(self) -> None:
        """Ask the runtime how it is."""
        health = await self._ask()
        if health != self.health:
            self.health = health
            self._changed.set()

    async def run(self, back: Callable[[], None]) -> None:
        """Keep everything until cancelled; `back()` is called when the runtime answers again."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._watch_runtime(back), name="runtime health")
            group.create_task(self._register(), name="registration")
            group.create_task(self._keep_status(), name="node status")
            group.create_task(self._keep_lease(), name="lease")

    def leave(self) -> None:
        """The machine goes down: the node takes nothing new."""
        self._leaving = True
        self._changed.set()

    def offer(self, devices: dict[str, tuple[int, int]]) -> None:
        """What device plugins offer has changed."""
        self._devices = devices
        self._changed.set()

    def attach(self, attached: Attached) -> None:
        """What CSI drivers say of the node, or what of theirs is in use, has changed."""
        if attached != (self._attached or Attached()):
            self._attached = attached
            self._tell_again()

    async def until_registered(self) -> None:
        """Return once the cloud knows the Node."""
        await self._registered.wait()

    @property
    def uid(self) -> str:
        """The Node's uid; empty until it is registered."""
        return self._uid

    def press(self, conditions: frozenset[str]) -> None:
        """Pressure conditions have changed."""
        self.pressures = conditions
        self._changed.set()

    def status(self) -> NodeStatus:
        """The node's status now."""
        status = nodestatus.node_status(
            self._settings, self.machine, self._reading(), self._conditions, self._clock.now()
        )
        self._conditions = status.conditions
        self.allocatable = status.allocatable
        return status

    async def _ask(self) -> RuntimeHealth:
        """How the runtime is; one that takes the call and does not answer is as good as none."""
        began = _now()
        try:
            async with asyncio.timeout(_ANSWER):
                return await self._answered()
        except TimeoutError:
            self._away_since = began if self._away_since is None else self._away_since
            return self._away(DeadlineError(f"it has not answered for {_ANSWER:.0f} s"))

    async def _answered(self) -> RuntimeHealth:
        try:
            version = self.health
            if not version.version:
                answer = await self._runtime.version()
                version = RuntimeHealth(answer.runtime_name, answer.runtime_version.removeprefix("v"))
            conditions = {c.type: c for c in (await self._runtime.status()).status.conditions}
        except (OctoedgeError, CriError, DeadlineError) as error:
            return self._away(error)
        if self._away_since is not None:
            self._away_since = None
            # It may have come back as another version.
            self.health = msgspec.structs.replace(self.health, version="")
            return await self._answered()
        self._said.over("container runtime", "answers")
        problems = {
            kind: f"{what} not ready: {condition.reason}: {condition.message}".strip(" :")
            for kind, what in (("RuntimeReady", "container runtime"), ("NetworkReady", "container runtime network"))
            if (condition := conditions.get(kind)) is not None and not condition.status
        }
        return RuntimeHealth(
            version.name, version.version, problems.get("RuntimeReady", ""), problems.get("NetworkReady", "")
        )

    def _away(self, error: OctoedgeError) -> RuntimeHealth:
        now = _now()
        self._away_since = now if self._away_since is None else self._away_since
        self._said.trouble("container runtime", str(error))
        if now - self._away_since < _PATIENCE and not self.health.runtime:
            return self.health
        return msgspec.structs.replace(self.health, runtime=f"container runtime is down: {error}")

    async def _watch_runtime(self, back: Callable[[], None]) -> None:
        while True:
            away = self._away_since is not None
            await self.check_runtime()
            if away and self._away_since is None:
                back()
            await asyncio.sleep(1.0 if self._away_since is not None else CHECK)

    async def _register(self) -> None:
        """Register until the cloud has taken it; offline the node of the last time will do."""
        backoff = Backoff(0.1, 7.0)
        while True:
            try:
                status = self.status()
                node = view(
                    Node, await self._metadata.register_node(nodestatus.node(self._settings, self.machine, status))
                )
            except OfflineError:
                await self._metadata.until_online()
                await asyncio.sleep(backoff.first)
            except OctoedgeError as error:
                self._said.trouble("registration", f"{error}; trying again")
                await asyncio.sleep(backoff.next())
            else:
                self._said.over("registration", "the node is registered")
                self._uid = node.metadata.uid
                if any(c.type == "Ready" and c.status != "Unknown" for c in node.status.conditions):
                    self._adopt(node)
                self._registered.set()
                self._changed.set()
                return

    def _adopt(self, node: Node) -> None:
        """A condition that was so before keeps its time."""
        if self._sent is None:
            known = {c.type: c for c in node.status.conditions}
            self._conditions = [known.get(c.type, c) for c in self._conditions]

    async def _keep_status(self) -> None:
        await self._registered.wait()
        while True:
            self._changed.clear()
            status = self.status()
            due = _now() - self._sent_at >= _HEARTBEAT
            if self._sent is None or due or not nodestatus.same(status, self._sent):
                await self._send(status)
            try:
                async with asyncio.timeout(_STATUS):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def _send(self, status: NodeStatus) -> None:
        try:
            await self._metadata.report_node_status(self._settings.name, nodestatus.patch(status, self._attached))
        except OfflineError:
            pass  # MetaManager keeps it and sends it on return.
        except OctoedgeError as error:
            # A full disk too: that must be survived, since the status which tells of it cannot be stored.
            self._said.trouble("node status", str(error))
            if isinstance(error, ApiError) and error.code == 404:
                self._registered.clear()
                await self._register()
            return
        self._said.over("node status", "is taken again")
        self._sent, self._sent_at = status, _now()

    async def _keep_lease(self) -> None:
        await self._registered.wait()
        backoff = Backoff(0.2, 7.0)
        renewed = _now()
        while True:
            try:
                await self._metadata.renew_lease(self._lease())
            except OfflineError:
                renewed = float("-inf")
                await self._metadata.until_online()
                await asyncio.sleep(backoff.first)
            except OctoedgeError as error:
                renewed = float("-inf")
                self._said.trouble("lease", f"{error}; trying again")
                await asyncio.sleep(backoff.next())
            else:
                backoff.reset()
                self._said.over("lease", "is renewed again")
                if _now() - renewed > 2 * _LEASE:
                    self._tell_again()
                renewed = _now()
                await asyncio.sleep(_LEASE)

    def _tell_again(self) -> None:
        """After a silence the cloud may have judged the node Unknown, which only a new status takes back."""
        self._sent = None
        self._changed.set()

    def _lease(self) -> bytes:
        name = self._settings.name
        owner = {"apiVersion": "v1", "kind": "Node", "name": name, "uid": self._uid}
        return msgspec.json.encode(
            {
                "kind": "Lease",
                "apiVersion": "coordination.k8s.io/v1",
                "metadata": {"name": name, "namespace": "kube-node-lease", "ownerReferences": [owner]},
                "spec": {
                    "holderIdentity": name,
                    "leaseDurationSeconds": _LEASE_DURATION,
                    "renewTime": rfc3339_micro(self._clock.now()),
                },
            }
        )

    def _reading(self) -> Reading:
        if not self._settings.ip:
            self.addresses = (system.default_address(),)
        space = system.disk(self._root)
        return Reading(space, self.addresses, self.health, self.pressures, self._devices, self._leaving)


def _now() -> float:
    return asyncio.get_running_loop().time()
