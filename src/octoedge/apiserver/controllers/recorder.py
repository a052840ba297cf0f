"""Events that the server's own modules write, for `kubectl describe` and `kubectl get events`; old ones are swept."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from octoedge.apiserver.backend import Drop, Edit, View
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.rest import Place, Rest
from octoedge.errors import OctoedgeError
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, parse_rfc3339, rfc3339

log = logging.getLogger(__name__)

Json = dict[str, Any]

KEEP_SECONDS = 3600.0
SWEEP_SECONDS = 300.0
_SWEEP_BATCH = 500


class Recorder:
    """Writes events as one component."""

    def __init__(self, rest: Rest, kinds: Kinds, clock: Clock, component: str) -> None:
        self._rest = rest
        self._kinds = kinds
        self._clock = clock
        self._component = component

    async def record(self, obj: Json, reason: str, message: str, kind: str = "Normal") -> None:
        """Write one event about an object; a failure is only logged, an event is never worth more."""
        about = obj["metadata"]
        namespace = about.get("namespace") or "default"
        now = rfc3339(self._clock.now())
        event = {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": f"{about['name']}.{uuid.uuid4().hex[:16]}", "namespace": namespace},
            "involvedObject": {
                "kind": obj["kind"],
                "apiVersion": obj["apiVersion"],
                "name": about["name"],
                "uid": about.get("uid", ""),
                "resourceVersion": about.get("resourceVersion", ""),
                **({"namespace": about["namespace"]} if about.get("namespace") else {}),
            },
            "reason": reason,
            "message": message[:1024],
            "type": kind,
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "reportingInstance": "",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        }
        try:
            await self._rest.create(Place(self._kinds.named("events"), namespace), event, {})
        except OctoedgeError as error:
            log.debug("event %s of %s was not written: %s", reason, about["name"], error)


class EventSweeper:
    """Removes events an hour after they were last seen."""

    name = "events"
    needs: tuple[str, ...] = ("bootstrap",)

    def __init__(self, rest: Rest, clock: Clock) -> None:
        self._backend = rest.backend
        self._clock = clock

    async def run(self, ready: Callable[[], None]) -> None:
        """Sweep from time to time until cancelled."""
        ready()
        while True:
            await asyncio.sleep(SWEEP_SECONDS)
            await self.sweep()

    async def sweep(self) -> int:
        """Remove what is old; how many."""
        oldest = self._clock.now() - KEEP_SECONDS
        old = [item for item in self._backend.items("events") if _seen(item.data) < oldest]
        for start in range(0, len(old), _SWEEP_BATCH):
            batch = old[start : start + _SWEEP_BATCH]

            def decide(view: View, batch: list[Item] = batch) -> list[Edit]:
                return [Drop("events", *item.key) for item in batch if view.get("events", *item.key) is item]

            await self._backend.change(decide)
        return len(old)


def _seen(data: bytes) -> float:
    obj = msgspec.json.decode(data)
    series = obj.get("series") or {}
    text = series.get("lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    return parse_rfc3339(text or obj["metadata"]["creationTimestamp"])
