"""Keeps the node alive when it runs short: measures every ten seconds, reclaims, evicts one pod at a time.

    amounts ──► pressure (pure) ──► conditions ──► node status, and no new pods
                     └─ due ──► images that nobody needs (disk) ──► still short? ──► ranking (pure) ──► the first goes

Beside that, every minute: an emptyDir or a pod that holds more than its own limit goes, however well the node is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from octoedge.api.core import Pod
from octoedge.api.quantity import whole
from octoedge.edge.edged import pressure, ranking
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.machine import Disk
from octoedge.edge.edged.podusage import Usage
from octoedge.edge.edged.pressure import Amount, Amounts, EvictionSettings, Pressures, Signal, Threshold
from octoedge.edge.edged.ranking import PodUse
from octoedge.errors import OctoedgeError
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

PERIOD = 10.0
_LIMITS_PERIOD = 60.0
_GONE_SECONDS, _GONE_POLL = 30.0, 0.5
_STORAGE = "ephemeral-storage"


class Measured(msgspec.Struct, frozen=True):
    """One look at the machine; `image_disk` is `node_disk` where both are one file system."""

    memory: Amount
    node_disk: Disk
    image_disk: Disk
    pids: Amount

    def amounts(self) -> Amounts:
        """By signal; a file system without a fixed number of inodes (btrfs) is never short of them."""
        node, image = self.node_disk, self.image_disk
        return {
            Signal.MEMORY: self.memory,
            Signal.NODE_DISK: Amount(node.free, node.size),
            Signal.NODE_INODES: Amount(node.inodes_free, node.inodes),
            Signal.IMAGE_DISK: Amount(image.free, image.size),
            Signal.IMAGE_INODES: Amount(image.inodes_free, image.inodes),
            Signal.PIDS: self.pids,
        }


class Evicted(Protocol):
    """Sync, as eviction sees it."""

    def active(self) -> Iterable[Pod]:
        """Pods that have not ended."""
        ...

    def fail(self, uid: str, reason: str, message: str, grace: float | None) -> None:
        """End a pod for good; `grace`: seconds that its containers get, None: the pod's own."""
        ...

    def runs(self, uid: str) -> bool:
        """Whether a container of the pod is alive."""
        ...


class Eviction:
    """The eviction manager of one node."""

    def __init__(
        self,
        settings: EvictionSettings,
        pods: Evicted,
        usage: Usage,
        recorder: Recorder,
        measure: Callable[[], Awaitable[Measured]],
        reclaim_images: Callable[[], Awaitable[int]],
        changed: Callable[[frozenset[str]], None],
    ) -> None:
        self._settings = settings
        self._pods = pods
        self._usage = usage
        self._recorder = recorder
        self._measure = measure
        self._reclaim_images = reclaim_images
        self._changed = changed
        thresholds = pressure.thresholds(settings)
        self._watches = bool(thresholds)
        self._pressures = Pressures(thresholds, settings.transition)
        self._said = SaidOnce(log)
        self._limits_at = float("-inf")
        self.conditions: frozenset[str] = frozenset()
        """Pressure conditions that are true."""

    async def run(self) -> None:
        """Look until cancelled."""
        while True:
            try:
                await self.look()
            except (OctoedgeError, OSError, ValueError) as error:
                self._said.trouble("eviction", f"the node cannot be measured: {error}; trying again")
            else:
                self._said.over("eviction", "the node is measured again")
            await asyncio.sleep(PERIOD)

    async def look(self) -> None:
        """One look, and what follows from it."""
        if await self._past_their_limits() or not self._watches:
            return
        amounts = (await self._measure()).amounts()
        verdict = self._pressures.look(amounts, _now())
        if verdict.conditions != self.conditions:
            log.info("pressure on this node: %s", ", ".join(sorted(verdict.conditions)) or "none")
            self.conditions = verdict.conditions
            self._changed(verdict.conditions)
        if verdict.due is not None:
            await self._reclaim(verdict.due, amounts)

    async def _reclaim(self, due: Threshold, amounts: Amounts) -> None:
        resource = pressure.RESOURCES[due.signal]
        self._recorder.node("Warning", "EvictionThresholdMet", f"Attempting to reclaim {resource}")
        if pressure.CONDITIONS[due.signal] == "DiskPressure":
            await self._reclaim_images()
            amounts = (await self._measure()).amounts()
            if not due.met(amounts, with_reclaim=True):
                return
        ranked = ranking.rank(due.signal, await self._usage.of(self._pods.active(), resource))
        if not ranked:
            self._said.trouble("reclaim", f"the node is short of {resource}, and no pod may be evicted")
            return
        first = ranked[0]
        grace = 0.0 if due.hard else float(self._settings.max_pod_grace)
        await self._evict(first.pod, ranking.message(due, amounts[due.signal], first), grace)

    async def _past_their_limits(self) -> bool:
        """Evict pods that hold more of this machine's disk than they may; whether there were any."""
        now = _now()
        if now - self._limits_at < _LIMITS_PERIOD:
            return False
        self._limits_at = now
        limited = [pod for pod in self._pods.active() if _is_limited(pod)]
        if not limited:
            return False
        found = False
        for use in await self._usage.of(limited, _STORAGE):
            text = await self._excess(use)
            if text:
                found = True
                await self._evict(use.pod, text, 0.0)
        return found

    async def _excess(self, use: PodUse) -> str:
        for volume in use.pod.spec.volumes:
            limit = volume.empty_dir.size_limit if volume.empty_dir is not None else None
            if limit and await self._usage.volume(use.pod, volume.name) > whole(str(limit)):
                return f'Usage of EmptyDir volume "{volume.name}" exceeds the limit "{limit}". '
        limits = [spec.resources.limits.get(_STORAGE) for spec in use.pod.spec.containers]
        if all(limits) and use.total.get(_STORAGE, 0) > (total := sum(whole(str(limit)) for limit in limits)):
            return f"Pod ephemeral local storage usage exceeds the total limit of containers {ranking.binary(total)}. "
        for spec in use.pod.spec.containers:
            own = spec.resources.limits.get(_STORAGE)
            if own and use.containers.get(spec.name, {}).get(_STORAGE, 0) > whole(str(own)):
                return f'Container {spec.name} exceeded its local ephemeral storage limit "{own}". '
        return ""

    async def _evict(self, pod: Pod, message: str, grace: float) -> None:
        meta = pod.metadata
        log.warning("pod %s/%s is evicted: %s", meta.namespace, meta.name, message)
        self._recorder.pod(pod, "Warning", "Evicted", message)
        self._pods.fail(meta.uid, "Evicted", message, grace)
        # What it held is free when it has ended; the next look must not take a second pod for the same want.
        left = _GONE_SECONDS
        while left > 0 and self._pods.runs(meta.uid):
            await asyncio.sleep(_GONE_POLL)
            left -= _GONE_POLL


def _is_limited(pod: Pod) -> bool:
    return any(volume.empty_dir is not None and volume.empty_dir.size_limit for volume in pod.spec.volumes) or any(
        _STORAGE in spec.resources.limits for spec in pod.spec.containers
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
