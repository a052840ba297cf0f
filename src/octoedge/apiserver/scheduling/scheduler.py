"""The scheduler: gives every Pod without a node one, or says why not.

    pods, nodes, namespaces ──follow──► Site, waiting ──placement──► bindings of a whole batch in one commit
                                                                └──► events, victims of a preemption

A decision is written only if the Pod is still unbound when it is its turn, so two schedulers could not place it twice.
What was decided counts at once, not when it comes back by watch. A Pod that found no node is tried again when something
has changed that may help it, after a pause that grows, and from time to time in any case.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.api.core import Node, view
from octoedge.apiserver.behaviours.disruption import RESOURCE as BUDGETS
from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.plans import conditions
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.scheduling.placement import Unplaceable, choose, make_room
from octoedge.apiserver.scheduling.placing.nodes import Place, place_of
from octoedge.apiserver.scheduling.placing.pod import FINISHED, Key, Wants, read
from octoedge.apiserver.scheduling.placing.preemption import WAITS, Budget, Room
from octoedge.apiserver.scheduling.placing.site import Site
from octoedge.apiserver.scheduling.placing.waiting import FIRST_PAUSE, State, Waiting
from octoedge.apiserver.store.backend import Edit, View
from octoedge.apiserver.volumes import places
from octoedge.apiserver.writing.ownership import is_leaving, selector_of, uid_of
from octoedge.errors import OctoedgeError
from octoedge.kube.read import Item
from octoedge.kube.selector import EVERYTHING
from octoedge.runtime.clock import rfc3339

log = logging.getLogger(__name__)

Json = dict[str, Any]

NAME = "default-scheduler"
BATCH = 64
"""Pods that are bound in one commit."""
_ODD = (OctoedgeError, ValueError, TypeError, AttributeError, LookupError)
"""What may come of a Pod that cannot be understood."""
GATED = "Scheduling is blocked due to non-empty scheduling gates"


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written about one Pod."""

    key: Key
    uid: str
    node: str = ""
    why: str = ""
    room: Room | None = None
    keeps: bool = False
    """Whether the node that was kept for it still is."""


class Scheduler:
    """The module."""

    name = "scheduler"
    needs: tuple[str, ...] = ("backend",)
    restart = True

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._backend = hands.rest.backend
        self._reset()

    def _reset(self) -> None:
        self._site = Site()
        self._waiting: dict[Key, Waiting] = {}
        self._nominated: dict[Key, tuple[Wants, str]] = {}
        self._state = 0
        """Counts what happened that may help Pods that found no node."""
        self._arrivals = 0
        """Counts Pods that were placed: that may help only those who wish to be near somebody."""
        self._wake = asyncio.Event()

    async def run(self, ready: Callable[[], None]) -> None:
        """Schedule until cancelled; starts from what is stored."""
        self._reset()
        seen: dict[str, Callable[[Item, bool], None]] = {
            "namespaces": self._namespace_seen,
            "nodes": self._node_seen,
            "pods": self._pod_seen,
            "persistentvolumeclaims": self._volume_seen,
            "persistentvolumes": self._volume_seen,
        }
        async with asyncio.TaskGroup() as group:
            # Each has told of all that is there before the last task, which decides, begins.
            for resource, heard in seen.items():
                group.create_task(follow(self._backend, resource, heard), name=f"scheduler {resource}")
            group.create_task(self._place_forever(), name="scheduler")
            ready()

    def _changed(self) -> None:
        self._state += 1
        self._wake.set()

    def _namespace_seen(self, item: Item, removed: bool) -> None:
        if removed:
            self._site.namespaces.pop(item.name, None)
        elif self._site.namespaces.get(item.name) != item.labels:
            self._site.namespaces[item.name] = item.labels
            self._changed()

    def _node_seen(self, item: Item, removed: bool) -> None:
        before = self._site.nodes.pop(item.name, None) if removed else self._site.nodes.get(item.name)
        place = None if removed else _place(item)
        if place == before and not removed:  # a heartbeat changes nothing that counts
            return
        if place is None:
            self._site.nodes.pop(item.name, None)
        else:
            self._site.nodes[item.name] = place
        self._changed()

    def _volume_seen(self, _item: Item, _removed: bool) -> None:
        self._changed()

    def _pod_seen(self, heard: Item, _removed: bool) -> None:
        self._look_at(heard.key)

    def _look_at(self, key: Key) -> None:
        """See a Pod as it is now: what was heard of may be older than what has been decided meanwhile."""
        item = self._backend.get("pods", *key)
        self._nominated.pop(key, None)
        if item is None or item.fields.get("status.phase") in FINISHED:
            self._waiting.pop(key, None)
            if self._site.remove(key):
                self._changed()
        elif item.fields.get("spec.nodeName"):
            self._waiting.pop(item.key, None)
            self._placed(item, item.fields["spec.nodeName"])
        elif item.fields.get("spec.schedulerName", "") in ("", NAME):
            self._site.remove(item.key)
            self._waits(item)

    def _placed(self, item: Item, node: str) -> None:
        try:
            pod = read(item.data, item.labels)
        except _ODD as error:
            log.warning("what pod %s/%s takes from its node is unknown: %s", item.namespace, item.name, error)
            return
        before = self._site.load(node).pods.get(item.key)
        self._site.place(pod, node)
        if before is None or (before.labels, before.leaving, before.node) != (pod.labels, pod.leaving, pod.node):
            self._arrivals += 1
            self._wake.set()

    def _waits(self, item: Item) -> None:
        known = self._waiting.get(item.key)
        try:
            pod, why = read(item.data, item.labels), ""
        except _ODD as error:
            pod, why = None, f"what the pod asks for cannot be understood: {error}"
        if pod is not None and pod.leaving:
            self._waiting.pop(item.key, None)
            return
        if pod is not None and pod.nominated:
            self._nominated[item.key] = (pod, pod.nominated)
        if known is None or known.pod is None or pod is None or _intent(known.pod) != _intent(pod):
            said = known.said if known is not None else ""
            self._waiting[item.key] = Waiting(item.key, uid_of(item), pod, why, said)
            self._wake.set()
        else:
            known.pod = pod

    async def _place_forever(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            due = [one for one in self._waiting.values() if one.is_due(self._now(), loop.time())]
            due.sort(key=Waiting.order)
            for start in range(0, len(due), BATCH):
                await self._turn(due[start : start + BATCH])
            if self._wake.is_set():
                continue
            pause = min((one.wakes(self._now()) for one in self._waiting.values()), default=None)
            try:
                async with asyncio.timeout_at(pause):
                    await self._wake.wait()
            except TimeoutError:
                continue

    def _now(self) -> State:
        return (self._state, self._arrivals)

    async def _turn(self, batch: Sequence[Waiting]) -> None:
        """Decide about some Pods and write it all at once."""
        now = asyncio.get_running_loop().time()
        decisions = [decision for one in batch if (decision := self._decided(one, now)) is not None]
        # Much may wait for nothing: others get their turn between two batches.
        await asyncio.sleep(0)
        if not decisions:
            return
        try:
            await self._backend.change(lambda seen: self._written(seen, decisions))
        except OctoedgeError as error:
            log.warning("%d pods could not be scheduled: %s", len(decisions), error)
            for one in batch:
                one.said = ""
            await asyncio.sleep(FIRST_PAUSE)
        self._catch_up(decisions)

    def _decided(self, waiting: Waiting, now: float) -> Decision | None:
        try:
            return self._decide(waiting, now)
        except Exception as error:  # one odd object must not stop the others; it is logged and tried again
            log.warning("pod %s/%s could not be scheduled: %s", *waiting.key, error, exc_info=error)
            return None

    def _decide(self, waiting: Waiting, now: float) -> Decision | None:
        """What to write about one Pod; None when there is nothing new to be said."""
        if self._waiting.get(waiting.key) is not waiting:
            return None
        pod, again = waiting.pod, now >= waiting.at_last
        waiting.tried(self._now(), now)
        if pod is None or pod.gated:
            return self._said(waiting, Decision(waiting.key, waiting.uid, why=waiting.why or GATED, keeps=True))
        kept = [one for one in self._nominated.values() if one[0].key != pod.key and one[0].priority >= pod.priority]
        chosen = choose(pod, self._site, kept, self._volumes)
        if isinstance(chosen, str):
            self._site.place(pod, chosen)
            return Decision(waiting.key, waiting.uid, node=chosen)
        decision = self._refused(pod, chosen, kept)
        return self._said(waiting, decision, anyway=again or decision.room is not None)

    def _refused(self, pod: Wants, refused: Unplaceable, kept: Sequence[tuple[Wants, str]]) -> Decision:
        room = make_room(pod, self._site, refused, self._budgets(), kept, self._volumes) if refused.obstacles else ""
        if isinstance(room, str):
            keeps = room.endswith(WAITS)
            if not keeps:
                self._nominated.pop(pod.key, None)
            return Decision(pod.key, pod.uid, why=f"{refused.message} {room}".rstrip(), keeps=keeps)
        self._nominated[pod.key] = (pod, room.node)
        return Decision(pod.key, pod.uid, why=refused.message, room=room, keeps=True)

    def _said(self, waiting: Waiting, decision: Decision, *, anyway: bool = False) -> Decision | None:
        """The decision, unless the same was said the last time."""
        if waiting.said == decision.why and not anyway:
            return None
        waiting.said = decision.why
        return decision

    def _volumes(self, pod: Wants, place: Place) -> str:
        node = (place.name, place.labels)
        return places.obstacle(self._backend, pod.namespace, pod.claims, node) if pod.claims else ""

    def _budgets(self) -> list[Budget]:
        found = []
        for item in self._backend.items(BUDGETS):
            obj: Json = msgspec.json.decode(item.data)
            if (obj.get("spec") or {}).get("selector") is not None:
                allowed = int((obj.get("status") or {}).get("disruptionsAllowed") or 0)
                found.append(Budget(item.namespace, selector_of(obj) or EVERYTHING, allowed))
        return found

    def _written(self, seen: View, decisions: Sequence[Decision]) -> Sequence[Edit]:
        turn = Turn(self._hands, seen, NAME, self._hands.clock.now())
        for decision in decisions:
            pod = turn.get("pods", *decision.key)
            if pod is None or pod["metadata"]["uid"] != decision.uid or pod["spec"].get("nodeName"):
                continue
            if is_leaving(pod):
                continue
            if decision.node and not self._bind_volumes(turn, decision):
                continue
            if decision.node:
                _bind(turn, pod, decision.node)
            else:
                _refuse(turn, pod, decision)
        return turn.edits()

    def _bind_volumes(self, turn: Turn, decision: Decision) -> bool:
        """Claims that waited for this Pod get their volumes; one that is taken meanwhile lets the Pod wait again."""
        waiting, node = self._waiting.get(decision.key), turn.view.get("nodes", "", decision.node)
        claims = waiting.pod.claims if waiting is not None and waiting.pod is not None else ()
        if not claims:
            return True
        if node is None:
            return False
        return places.bind_late(turn, decision.key[0], claims, (node.name, node.labels))

    def _catch_up(self, decisions: Sequence[Decision]) -> None:
        """See what has become of the decisions: what was not written does not count."""
        for decision in decisions:
            if decision.node or self._backend.get("pods", *decision.key) is None:
                self._look_at(decision.key)


def _bind(turn: Turn, pod: Json, node: str) -> None:
    about = pod["metadata"]
    pod["spec"] = {**pod["spec"], "nodeName": node}
    _set_scheduled(turn, pod, "True", "", "")
    turn.put("pods", pod)
    turn.tell(pod, "Scheduled", f"Successfully assigned {about['namespace']}/{about['name']} to {node}")


def _refuse(turn: Turn, pod: Json, decision: Decision) -> None:
    status = pod["status"] = dict(pod.get("status") or {})
    if decision.room is not None:
        status["nominatedNodeName"] = decision.room.node
        for victim in decision.room.victims:
            _send_away(turn, victim, decision)
    elif not decision.keeps:
        status.pop("nominatedNodeName", None)
    gated = decision.why == GATED
    _set_scheduled(turn, pod, "False", "SchedulingGated" if gated else "Unschedulable", decision.why)
    turn.put("pods", pod)
    if not gated:
        turn.tell(pod, "FailedScheduling", decision.why, warning=True)


def _send_away(turn: Turn, victim: Wants, decision: Decision) -> None:
    present = turn.get("pods", *victim.key)
    if present is None or present["metadata"]["uid"] != victim.uid or is_leaving(present):
        return
    said = {
        "type": "DisruptionTarget",
        "status": "True",
        "reason": "PreemptionByScheduler",
        "message": f"{NAME}: preempting to accommodate a higher priority pod",
    }
    status = present.get("status") or {}
    known = conditions.changed(status.get("conditions"), said, rfc3339(turn.now))
    node = decision.room.node if decision.room is not None else ""
    turn.delete("pods", present, status={**status, "conditions": known})
    turn.tell(present, "Preempted", f"Preempted by pod {decision.uid} on node {node}")


def _set_scheduled(turn: Turn, pod: Json, status: str, reason: str, message: str) -> None:
    """Write the PodScheduled condition."""
    said = {"type": "PodScheduled", "status": status, "lastProbeTime": None}
    said |= {"reason": reason, "message": message} if reason else {}
    known = (pod.get("status") or {}).get("conditions")
    pod["status"] = {
        **(pod.get("status") or {}),
        "conditions": conditions.changed(known, said, rfc3339(turn.now)),
    }


def _place(item: Item) -> Place | None:
    try:
        return place_of(view(Node, item.data))
    except (OctoedgeError, ValueError) as error:
        log.warning("node %s gets no pods: its status cannot be understood: %s", item.name, error)
        return None


def _intent(pod: Wants) -> tuple[Any, ...]:
    """What of a waiting Pod decides where it may go; the rest of it is what the scheduler itself writes."""
    return (
        pod.uid, pod.labels, pod.gated, pod.demand, pod.tolerations, pod.node_selector, pod.node_terms, pod.near,
        pod.apart, pod.constraints, pod.claims,
    )  # fmt: skip
