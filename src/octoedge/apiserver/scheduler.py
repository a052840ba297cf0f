"""A minimal scheduler: a Pod without a node goes to a Ready node that it fits on, the one with the fewest Pods.

    pods, nodes (followed) → Ledger: what is taken where → fit → binding, event Scheduled
                                                             └→ condition PodScheduled=False, event FailedScheduling
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.recorder import Recorder
from octoedge.apiserver.fit import Demand, Room, demand, reasons_against, summary
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.rest import Place, Rest
from octoedge.apiserver.subresources import bind
from octoedge.errors import ApiError
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, rfc3339
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

Json = dict[str, Any]
Key = tuple[str, str]

NAME = "default-scheduler"
RETRY_SECONDS = 0.5
_OVER = ("Succeeded", "Failed")


class Ledger:
    """Which node has which room, kept up to date change by change."""

    def __init__(self) -> None:
        self.rooms: dict[str, Room] = {}
        self._pods: dict[Key, tuple[str, Demand]] = {}

    def node(self, item: Item, removed: bool) -> bool:
        """A node was seen; whether anything about it changed that counts."""
        before = self.rooms.pop(item.name, None)
        if removed:
            return before is not None
        room = self.rooms[item.name] = Room.of(msgspec.json.decode(item.data))
        for name, needed in self._pods.values():
            if name == room.name:
                room.add(needed)
        return room != before

    def pod(self, item: Item, removed: bool) -> None:
        """A Pod was seen."""
        node = item.fields.get("spec.nodeName") or ""
        over = removed or item.fields.get("status.phase") in _OVER
        known = self._pods.get(item.key)
        if known and (over or known[0] != node):
            self._count(known, -1)
            del self._pods[item.key]
        if node and not over and item.key not in self._pods:
            self.take(item.key, node, demand(msgspec.json.decode(item.data).get("spec") or {}))

    def take(self, key: Key, node: str, needed: Demand) -> None:
        """Count a Pod on a node."""
        if key not in self._pods:
            self._pods[key] = (node, needed)
            self._count(self._pods[key], 1)

    def _count(self, entry: tuple[str, Demand], sign: int) -> None:
        room = self.rooms.get(entry[0])
        if room:
            room.add(entry[1], sign)


class Scheduler:
    """A module of the API server."""

    name = "scheduler"
    needs: tuple[str, ...] = ("bootstrap",)

    def __init__(self, rest: Rest, kinds: Kinds, recorder: Recorder, clock: Clock) -> None:
        self._rest = rest
        self._pods = kinds.named("pods")
        self._recorder = recorder
        self._clock = clock
        self._ledger = Ledger()
        self._waiting: dict[Key, None] = {}
        self._retry: asyncio.TimerHandle | None = None
        self._retried = float("-inf")
        # One at a time: each decision counts on those before it.
        self._queue: KeyedQueue[Key] = KeyedQueue(self._schedule, workers=1, name="schedule")

    async def run(self, ready: Callable[[], None]) -> None:
        """Schedule until cancelled."""
        for item in self._rest.backend.items("nodes"):
            self._ledger.node(item, False)
        for item in self._rest.backend.items("pods"):
            self._ledger.pod(item, False)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="scheduler queue")
            group.create_task(follow(self._rest.backend, "nodes", self._node), name="scheduler nodes")
            group.create_task(follow(self._rest.backend, "pods", self._pod), name="scheduler pods")
            ready()
            try:
                await asyncio.Event().wait()
            finally:
                if self._retry is not None:
                    self._retry.cancel()

    def _node(self, item: Item, removed: bool) -> None:
        if self._ledger.node(item, removed):
            self._try_waiting()

    def _try_waiting(self) -> None:
        """Try the Pods that found no node again, not more often than once a while: there may be many."""
        if self._retry is None:
            loop = asyncio.get_running_loop()
            self._retry = loop.call_at(max(loop.time(), self._retried + RETRY_SECONDS), self._try_now)

    def _try_now(self) -> None:
        self._retry = None
        self._retried = asyncio.get_running_loop().time()
        for key in self._waiting:
            self._queue.add(key)

    def _pod(self, item: Item, removed: bool) -> None:
        self._ledger.pod(item, removed)
        ours = item.fields.get("spec.schedulerName") == NAME and not item.fields.get("spec.nodeName")
        if ours and not removed and item.fields.get("status.phase") not in _OVER:
            self._waiting[item.key] = None
            self._queue.add(item.key)
            return
        self._waiting.pop(item.key, None)
        if removed or item.fields.get("status.phase") in _OVER:
            self._try_waiting()

    async def _schedule(self, key: Key) -> None:
        item = self._rest.backend.get("pods", *key)
        if item is None or item.fields.get("spec.nodeName"):
            return
        pod: Json = msgspec.json.decode(item.data)
        spec = pod["spec"]
        if pod["metadata"].get("deletionTimestamp") or spec.get("schedulingGates"):
            return
        needed = demand(spec)
        against = {name: reasons_against(room, spec, needed) for name, room in self._ledger.rooms.items()}
        fitting = [name for name, reasons in against.items() if not reasons]
        if not fitting:
            await self._fail(pod, summary(against.values(), len(against)))
            return
        node = min(fitting, key=lambda name: (self._ledger.rooms[name].taken["pods"], name))
        await self._bind(pod, key, node, needed)

    async def _bind(self, pod: Json, key: Key, node: str, needed: Demand) -> None:
        try:
            await bind(self._rest, Place(self._pods, *key), node, rfc3339(self._clock.now()), {})
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return
        self._ledger.take(key, node, needed)
        await self._recorder.record(pod, "Scheduled", f"Successfully assigned {key[0]}/{key[1]} to {node}")

    async def _fail(self, pod: Json, message: str) -> None:
        about = pod["metadata"]
        now = rfc3339(self._clock.now())
        said = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
        before = _scheduled(pod)
        if before and before.get("message") == message:
            return

        def change(obj: Json) -> Json:
            status = obj.setdefault("status", {})
            others = [one for one in status.get("conditions") or [] if one.get("type") != "PodScheduled"]
            same = before and before.get("status") == "False"
            since = before["lastTransitionTime"] if before and same else now
            status["conditions"] = [*others, {**said, "lastProbeTime": None, "lastTransitionTime": since}]
            return obj

        try:
            await self._rest.edit(Place(self._pods, about["namespace"], about["name"], "status"), change, {})
        except ApiError as error:
            if error.code != 404:
                raise
            return
        await self._recorder.record(pod, "FailedScheduling", message, "Warning")


def _scheduled(pod: Json) -> Json | None:
    conditions = (pod.get("status") or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == "PodScheduled"), None)
