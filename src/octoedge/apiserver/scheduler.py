"""The scheduler: gives every Pod without a node one, or says why not.

It follows pods and nodes in the store, keeps what each node has to carry, and decides with `placement`. A decision is
written only if the Pod is still unbound when it is its turn, so two schedulers could not place it twice.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from octoedge.api.core import Node, view
from octoedge.apiserver.backend import Backend, Edit, Put, View
from octoedge.apiserver.controllers.events import event
from octoedge.apiserver.placement import Demand, PlacedPod, Unplaceable, Usage, choose, demand
from octoedge.errors import ApiError, OctoedgeError
from octoedge.kube.read import Change, Item
from octoedge.runtime.clock import Clock, rfc3339

log = logging.getLogger(__name__)

Json = dict[str, Any]
Key = tuple[str, str]

NAME = "default-scheduler"
FINISHED = ("Succeeded", "Failed")
RETRY_SECONDS = 1.0


class Placed:
    """What is known of pods and nodes, kept up to date change by change."""

    def __init__(self) -> None:
        self.nodes: dict[str, Node] = {}
        self.usage: dict[str, Usage] = {}
        self.pending: dict[Key, Item] = {}
        self._placed: dict[Key, tuple[str, Demand]] = {}

    def put_node(self, item: Item) -> bool:
        """A node is there, or has changed; whether in anything that counts (a heartbeat does not)."""
        before, node = self.nodes.get(item.name), view(Node, item.data)
        self.nodes[item.name] = node
        return before is None or _what_counts(before) != _what_counts(node)

    def drop_node(self, item: Item) -> None:
        """A node is gone."""
        self.nodes.pop(item.name, None)

    def put_pod(self, item: Item) -> None:
        """A pod is there, or has changed."""
        self.drop_pod(item)
        if item.fields.get("status.phase") in FINISHED:
            return
        node = item.fields.get("spec.nodeName", "")
        if not node:
            if item.fields.get("spec.schedulerName", "") in ("", NAME):
                self.pending[item.key] = item
            return
        wanted = demand(view(PlacedPod, item.data))
        self._placed[item.key] = (node, wanted)
        self.usage.setdefault(node, Usage()).add(wanted)

    def drop_pod(self, item: Item) -> None:
        """A pod is gone."""
        self.pending.pop(item.key, None)
        placed = self._placed.pop(item.key, None)
        if placed is not None:
            node, wanted = placed
            self.usage[node].remove(wanted)


class Scheduler:
    """The module."""

    name = "scheduler"
    needs: tuple[str, ...] = ("backend",)
    restart = True

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self._backend = backend
        self._clock = clock
        self._placed = Placed()
        self._wake = asyncio.Event()
        self._said: dict[Key, str] = {}
        self._room = True
        """Whether something happened that may help pods which found no node before."""

    async def run(self, ready: Callable[[], None]) -> None:
        """Schedule until cancelled; starts from what is stored."""
        self._placed = Placed()
        self._room = True
        version = self._backend.version
        for item in self._backend.items("nodes"):
            self._placed.put_node(item)
        for item in self._backend.items("pods"):
            self._placed.put_pod(item)
        self._wake.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._follow("nodes", version, self._node_changed), name="scheduler nodes")
            group.create_task(self._follow("pods", version, self._pod_changed), name="scheduler pods")
            group.create_task(self._place_forever(), name="scheduler")
            ready()

    async def _follow(self, resource: str, version: int, changed: Callable[[Change], None]) -> None:
        cursor = self._backend.follow(resource, version)
        while True:
            for change in await cursor.next():
                changed(change)
            self._wake.set()

    def _node_changed(self, change: Change) -> None:
        if change.type == "DELETED":
            self._placed.drop_node(change.item)
        elif self._placed.put_node(change.item):
            self._room = True

    def _pod_changed(self, change: Change) -> None:
        if change.type == "DELETED":
            self._placed.drop_pod(change.item)
            self._said.pop(change.item.key, None)
            self._room = True
        else:
            self._placed.put_pod(change.item)
            self._room = self._room or change.item.fields.get("status.phase") in FINISHED

    async def _place_forever(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            everybody, self._room = self._room, False
            waiting = [item for key, item in self._placed.pending.items() if everybody or key not in self._said]
            for item in waiting:
                try:
                    await self._place(item)
                except (ApiError, OctoedgeError) as error:
                    log.warning("pod %s/%s could not be scheduled: %s", item.namespace, item.name, error)
                    self._said.pop(item.key, None)
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._wake.set)

    async def _place(self, item: Item) -> None:
        pod = view(PlacedPod, item.data)
        if pod.metadata.deletion_timestamp or pod.spec.scheduling_gates:
            return
        chosen = choose(pod, self._placed.nodes, self._placed.usage)
        if isinstance(chosen, Unplaceable):
            if self._said.get(item.key) != chosen.message:
                await self._backend.change(lambda seen: self._refuse(seen, item, chosen.message))
                self._said[item.key] = chosen.message
            return
        written = await self._backend.change(lambda seen: self._bind(seen, item, chosen))
        for bound in written[:1]:
            # The change comes by watch as well; counting it now keeps the next decision honest.
            self._placed.put_pod(bound)

    def _bind(self, seen: View, item: Item, node: str) -> Sequence[Edit]:
        pod = _still_unbound(seen, item)
        if pod is None:
            return []
        pod["spec"] = {**pod["spec"], "nodeName": node}
        _set_scheduled(pod, "True", "", "", self._clock.now())
        text = f"Successfully assigned {item.namespace}/{item.name} to {node}"
        return [Put("pods", pod), event(seen, pod, "Scheduled", text, self._clock.now(), warning=False, component=NAME)]

    def _refuse(self, seen: View, item: Item, why: str) -> Sequence[Edit]:
        pod = _still_unbound(seen, item)
        if pod is None:
            return []
        told = event(seen, pod, "FailedScheduling", why, self._clock.now(), warning=True, component=NAME)
        changed = _set_scheduled(pod, "False", "Unschedulable", why, self._clock.now())
        return [Put("pods", pod), told] if changed else [told]


def _what_counts(node: Node) -> tuple[Any, ...]:
    """What decides whether pods fit on the node."""
    conditions = [(one.type, one.status) for one in node.status.conditions if one.type == "Ready"]
    room = node.status.allocatable or node.status.capacity
    return node.metadata.labels, node.spec, room, conditions, node.metadata.deletion_timestamp


def _still_unbound(seen: View, item: Item) -> Json | None:
    """The Pod as it is now, if it is the one that was decided about and has no node yet."""
    found = seen.get("pods", item.namespace, item.name)
    if found is None or found.fields.get("spec.nodeName"):
        return None
    pod: Json = msgspec.json.decode(found.data)
    return None if pod["metadata"].get("deletionTimestamp") else pod


def _set_scheduled(pod: Json, status: str, reason: str, message: str, now: float) -> bool:
    """Write the PodScheduled condition; False when it says so already."""
    conditions: list[Json] = list(pod.get("status", {}).get("conditions") or [])
    known = next((condition for condition in conditions if condition["type"] == "PodScheduled"), None)
    if known is not None and (known["status"], known.get("message", "")) == (status, message):
        return False
    condition = {
        "type": "PodScheduled",
        "status": status,
        "lastProbeTime": None,
        "lastTransitionTime": rfc3339(now),
        **({"reason": reason, "message": message} if reason else {}),
    }
    rest = [other for other in conditions if other is not known]
    pod["status"] = {**pod.get("status", {}), "conditions": [*rest, condition]}
    return True
