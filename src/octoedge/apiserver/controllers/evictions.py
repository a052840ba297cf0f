"""Pods leave a node with NoExecute taints when their tolerations end: at once, after a time, or never.

    nodes, pods ──► plans.evictions.stay ──► deletion, told as an event and a condition

A Pod of an edge node that is away is deleted only if its own tolerations say after how long: those that the server
fills in have no end. What is deleted there ends when the node is back, and exactly once; whoever controls it replaces
it according to its kind. Time is counted while this process runs and sees the taint, so that no clock that jumps evicts
anybody. While no node at all is Ready the fault is on this side, and the time does not run.

The taint node.kubernetes.io/out-of-service says that a node is switched off for good: Pods that are being deleted
there are removed without waiting for it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Any

from octoedge.api.core import Node, Taint, View, view
from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.plans import conditions
from octoedge.apiserver.controllers.plans.evictions import FOREVER, Since, TimedToleration, stay
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.scheduling.placing.nodes import NOT_READY, UNREACHABLE
from octoedge.apiserver.store.backend import Edit
from octoedge.apiserver.store.backend import View as Store
from octoedge.apiserver.writing.deletion import DeleteOptions
from octoedge.apiserver.writing.ownership import is_leaving, uid_of
from octoedge.errors import OctoedgeError
from octoedge.kube.read import Item
from octoedge.runtime.clock import parse_rfc3339, rfc3339

log = logging.getLogger(__name__)

Json = dict[str, Any]

NAME = "taint-eviction-controller"
OUT_OF_SERVICE = "node.kubernetes.io/out-of-service"
STARTUP_SECONDS = 60.0
"""After a start nodes get this long to come back before anybody is evicted because they are away."""
LONGEST_WAIT = 60.0
_AWAY = (NOT_READY, UNREACHABLE)


class _Spec(View, frozen=True):
    tolerations: list[TimedToleration] = []  # noqa: RUF012 (msgspec copies defaults)


class _Pod(View, frozen=True):
    spec: _Spec = _Spec()


class Evictions:
    """A module of the API server."""

    name = NAME
    needs: tuple[str, ...] = ("bootstrap",)
    restart = True

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._backend = hands.rest.backend
        self._since: dict[tuple[str, str, str], float] = {}
        """When a taint (node, key, value) was seen first, by the loop's time."""
        self._nodes: dict[str, Node] = {}
        self._stopped = False
        """Whether no node at all is Ready."""
        self._wake = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Evict until cancelled; starts from what is stored."""
        self._since, self._nodes, self._stopped, self._wake = {}, {}, False, asyncio.Event()
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            group.create_task(follow(self._backend, "nodes", self._node_seen), name="evictions nodes")
            group.create_task(follow(self._backend, "pods", self._pod_seen), name="evictions pods")
            group.create_task(self._evict_forever(began), name="evictions")
            ready()

    def _node_seen(self, item: Item, removed: bool) -> None:
        self._nodes.pop(item.name, None)
        if removed:
            self._wake.set()
            return
        try:
            self._nodes[item.name] = view(Node, item.data)
        except OctoedgeError as error:
            log.warning("the taints of node %s cannot be understood: %s", item.name, error)
        self._wake.set()

    def _pod_seen(self, item: Item, removed: bool) -> None:
        if not removed and _is_tainted(self._nodes.get(item.fields.get("spec.nodeName", ""))):
            self._wake.set()

    async def _evict_forever(self, began: float) -> None:
        loop = asyncio.get_running_loop()
        self._note(loop.time(), at_start=True)
        while True:
            self._wake.clear()
            now = loop.time()
            self._note(now, at_start=False)
            pause = await self._evict(now, began)
            try:
                async with asyncio.timeout(min(max(pause, 0.05), LONGEST_WAIT) if pause < FOREVER else None):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _note(self, now: float, *, at_start: bool) -> None:
        """Since when each taint is there. At the start its own word counts, later it was just seen to come."""
        anybody = any(_ready(node) == "True" for node in self._nodes.values())
        stopped, self._stopped = self._stopped, not anybody
        present: dict[tuple[str, str, str], float] = {}
        for name, node in self._nodes.items():
            for taint in _executing(node):
                key = (name, taint.key, taint.value)
                since = self._since.get(key, now - (self._age(taint) if at_start else 0.0))
                # The time begins anew when the first node is back: the others may be on their way.
                present[key] = now if taint.key in _AWAY and (stopped or not anybody) else since
        self._since = present

    def _age(self, taint: Taint) -> float:
        try:
            return max(0.0, self._hands.clock.now() - parse_rfc3339(taint.time_added or ""))
        except ValueError:
            return 0.0

    async def _evict(self, now: float, began: float) -> float:
        """Evict whoever is due; the seconds until the next one is."""
        soonest = FOREVER
        tainted = {name: node for name, node in self._nodes.items() if _is_tainted(node)}
        due: list[Item] = []
        for item in self._backend.items("pods") if tainted else ():
            node = tainted.get(item.fields.get("spec.nodeName", ""))
            if node is None or (self._stopped and not _others(node)):
                continue
            until = self._until(item, node, began)
            if until > now:
                soonest = min(soonest, until)
            elif b'"deletionTimestamp"' not in item.data or _is_out_of_service(node):
                due.append(item)
        for item in due:
            await self._backend.change(lambda seen, item=item: self._send_away(seen, item))  # type: ignore[misc]
        return soonest - now

    def _until(self, item: Item, node: Node, began: float) -> float:
        try:
            tolerations = view(_Pod, item.data).spec.tolerations
        except OctoedgeError as error:
            log.warning("pod %s/%s is not evicted: %s", item.namespace, item.name, error)
            return FOREVER
        if _is_out_of_service(node) and b'"deletionTimestamp"' in item.data:
            return 0.0
        name = node.metadata.name
        taints = [
            Since(
                taint,
                self._since[name, taint.key, taint.value],
                began + STARTUP_SECONDS if taint.key in _AWAY else 0.0,
            )
            for taint in _executing(node)
        ]
        return stay(tolerations, taints)

    def _send_away(self, seen: Store, item: Item) -> Sequence[Edit]:
        turn = Turn(self._hands, seen, NAME, self._hands.clock.now())
        pod = turn.get("pods", *item.key)
        if pod is None or pod["metadata"]["uid"] != uid_of(item):
            return []
        node = turn.view.get("nodes", "", item.fields.get("spec.nodeName", ""))
        if is_leaving(pod):
            if node is not None and _is_out_of_service(view(Node, node.data)):
                turn.delete("pods", pod, options=DeleteOptions(grace=0, uid=pod["metadata"]["uid"]))
            return turn.edits()
        said = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": "DeletionByTaintManager",
            "message": "Taint manager: deleting due to NoExecute taint",
        }
        status = pod.get("status") or {}
        known = conditions.changed(status.get("conditions"), said, rfc3339(turn.now))
        turn.delete("pods", pod, status={**status, "conditions": known})
        turn.tell(pod, "TaintManagerEviction", f"Marking for deletion Pod {item.namespace}/{item.name}")
        return turn.edits()


def _executing(node: Node) -> list[Taint]:
    return [taint for taint in node.spec.taints if taint.effect == "NoExecute"]


def _others(node: Node) -> bool:
    """Whether it has taints that do not say that it is away."""
    return any(taint.key not in _AWAY for taint in _executing(node)) or _is_out_of_service(node)


def _ready(node: Node) -> str:
    return next((one.status for one in node.status.conditions if one.type == "Ready"), "Unknown")


def _is_out_of_service(node: Node) -> bool:
    return any(taint.key == OUT_OF_SERVICE for taint in node.spec.taints) and _ready(node) != "True"


def _is_tainted(node: Node | None) -> bool:
    return node is not None and (bool(_executing(node)) or _is_out_of_service(node))
