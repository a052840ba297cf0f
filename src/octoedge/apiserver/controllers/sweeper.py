"""Removes what nobody else would: events an hour after they were last seen, and Pods whose node was deleted."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

import msgspec

from octoedge.apiserver.store.backend import Backend, Drop, View
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, parse_rfc3339

log = logging.getLogger(__name__)

KEEP_SECONDS = 3600.0
"""How long an event is kept."""
ORPHAN_SECONDS = 60.0
"""How long Pods of a node that is not in the API are left alone: it may be about to register."""
PERIOD_SECONDS = 20.0
_BATCH = 500


class Sweeper:
    """A module of the API server."""

    name = "sweeper"
    needs: tuple[str, ...] = ("bootstrap",)
    restart = True

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._orphaned: dict[str, float] = {}

    async def run(self, ready: Callable[[], None]) -> None:
        """Sweep from time to time until cancelled."""
        ready()
        while True:
            await self.sweep(asyncio.get_running_loop().time())
            await asyncio.sleep(PERIOD_SECONDS)

    async def sweep(self, now: float) -> None:
        """One round at monotonic time `now`."""
        oldest = self._clock.now() - KEEP_SECONDS
        await self._drop("events", [item for item in self._backend.items("events") if _seen(item.data) < oldest])
        lost = self._orphans(now)
        for item in lost:
            log.info("= pod %s/%s is removed: its node does not exist", item.namespace, item.name)
        await self._drop("pods", lost)

    def _orphans(self, now: float) -> list[Item]:
        present = {item.name for item in self._backend.items("nodes")}
        bound = [(item, item.fields.get("spec.nodeName", "")) for item in self._backend.items("pods")]
        lost = [(item, node) for item, node in bound if node and node not in present]
        self._orphaned = {node: self._orphaned.get(node, now) for _, node in lost}
        return [item for item, node in lost if now - self._orphaned[node] >= ORPHAN_SECONDS]

    async def _drop(self, resource: str, items: Sequence[Item]) -> None:
        for start in range(0, len(items), _BATCH):
            batch = items[start : start + _BATCH]

            def decide(view: View, batch: Sequence[Item] = batch) -> list[Drop]:
                # Written meanwhile means not old any more; the next round decides again.
                return [Drop(resource, *item.key) for item in batch if view.get(resource, *item.key) is item]

            await self._backend.change(decide)


def _seen(data: bytes) -> float:
    """When an event was last seen; one that cannot be read is old."""
    obj = msgspec.json.decode(data)
    series = obj.get("series") or {}
    text = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    try:
        return parse_rfc3339(text or obj["metadata"]["creationTimestamp"])
    except ValueError:
        return 0.0
