"""Which nodes are alive: a node whose lease is not renewed is Unknown and tainted, and well again when it is.

Pods on a node that is away are not Ready, so no Service sends anybody there; what they were is put back when the node
returns, unless the node itself has said otherwise meanwhile. Whether they are deleted is decided in `evictions`. How
old a lease is, is counted from when this process saw it change, so neither a clock that runs wrong on a node nor a
restart of the cloud makes a node look dead.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.controllers.events import event
from octoedge.apiserver.store.backend import Backend, Edit, Put, View
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, rfc3339

Json = dict[str, Any]

LEASES = "leases.coordination.k8s.io"
LEASE_NAMESPACE = "kube-node-lease"
UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
COMPONENT = "node-controller"
NOT_THERE = "NodeNotReady"
"""The reason by which the Ready condition of a Pod tells that it was this controller that set it to False."""
_MARK = f'"{NOT_THERE}"'.encode()
_PRESSURES = {
    "MemoryPressure": "node.kubernetes.io/memory-pressure",
    "DiskPressure": "node.kubernetes.io/disk-pressure",
    "PIDPressure": "node.kubernetes.io/pid-pressure",
}
_JUDGED = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class _Seen:
    """The last sign of life of a node, and when (loop time) it appeared here."""

    sign: str
    at: float
    alive: bool
    """False for a node that was Unknown when this process began, until something new is heard of it."""


class NodeLifecycle:
    """The module. `grace` and `period` are seconds."""

    name = "nodelifecycle"
    needs: tuple[str, ...] = ("backend",)
    restart = True

    def __init__(self, backend: Backend, clock: Clock, *, grace: float = 40.0, period: float = 5.0) -> None:
        self._backend = backend
        self._clock = clock
        self._grace = grace
        self._period = period
        self._seen: dict[str, _Seen] = {}

    async def run(self, ready: Callable[[], None]) -> None:
        """Look at every node each period, and at once when a node changes."""
        ready()
        pods_again = 0.0
        while True:
            changed = False
            cursor = self._backend.follow("nodes", self._backend.version)
            for item in self._backend.items("nodes"):
                if self._wants_change(item):
                    changed = True
                    await self._backend.change(lambda seen, name=item.name: self._judge(seen, name))  # type: ignore[misc]
            now = asyncio.get_running_loop().time()
            if changed or now >= pods_again:
                pods_again = now + self._period
                if self._wrongly_ready():
                    await self._backend.change(self._judge_pods)
            names = {item.name for item in self._backend.items("nodes")}
            self._seen = {name: seen for name, seen in self._seen.items() if name in names}
            try:
                async with asyncio.timeout(self._period):
                    await cursor.next()
            except TimeoutError:
                continue

    def _wants_change(self, item: Item) -> bool:
        node = msgspec.json.decode(item.data)
        judged = _judged(node, self._is_away(item.name, node), self._clock.now())
        return judged is not None

    def _judge(self, view: View, name: str) -> Sequence[Edit]:
        item = view.get("nodes", "", name)
        if item is None:
            return []
        node: Json = msgspec.json.decode(item.data)
        before = _ready_status(node)
        judged = _judged(node, self._is_away(name, node), self._clock.now())
        if judged is None:
            return []
        edits: list[Edit] = [Put("nodes", judged)]
        after = _ready_status(judged)
        if before != after:
            text = f"Node {name} status is now: NodeNotReady"
            now = self._clock.now()
            edits.append(event(view, judged, "NodeNotReady", text, now, warning=False, component=COMPONENT))
        return edits

    def _wrongly_ready(self) -> list[Item]:
        """Pods whose Ready condition does not fit with their node's."""
        states = {item.name: _ready_status(msgspec.json.decode(item.data)) for item in self._backend.items("nodes")}
        found = []
        for item in self._backend.items("pods"):
            state = states.get(item.fields.get("spec.nodeName", ""), "")
            if state == "Unknown" or (state == "True" and _MARK in item.data):
                ready = _ready(msgspec.json.decode(item.data))
                if ready is not None and _is_wrong(ready, state):
                    found.append(item)
        return found

    def _judge_pods(self, view: View) -> Sequence[Edit]:
        edits: list[Edit] = []
        now = self._clock.now()
        for known in self._wrongly_ready():
            item = view.get("pods", *known.key)
            pod: Json = msgspec.json.decode(item.data) if item is not None else {}
            ready = _ready(pod)
            node = view.get("nodes", "", known.fields.get("spec.nodeName", ""))
            state = _ready_status(msgspec.json.decode(node.data)) if node is not None else ""
            if ready is None or not _is_wrong(ready, state):
                continue
            edits.append(Put("pods", _with_ready(pod, ready, state, now)))
            if state == "Unknown":
                text = "Node is not ready"
                edits.append(event(view, pod, "NodeNotReady", text, now, warning=True, component=COMPONENT))
        return edits

    def _is_away(self, name: str, node: Json) -> bool:
        """Whether nothing new has been heard of the node for the grace period."""
        now = asyncio.get_running_loop().time()
        sign = self._sign_of_life(name, node)
        seen = self._seen.get(name)
        if seen is None:
            seen = _Seen(sign, now, _ready_status(node) != "Unknown")
        elif sign and sign != seen.sign:
            seen = _Seen(sign, now, True)
        self._seen[name] = seen
        return not seen.alive or now - seen.at > self._grace

    def _sign_of_life(self, name: str, node: Json) -> str:
        """Changes whenever the node says something: its lease, or without one the heartbeat of its status."""
        lease = self._backend.get(LEASES, LEASE_NAMESPACE, name)
        beats = [
            str(condition.get("lastHeartbeatTime", ""))
            for condition in node.get("status", {}).get("conditions") or []
            if condition["type"] == "Ready" and condition["status"] != "Unknown"
        ]
        return f"{lease.version if lease else ''} {''.join(beats)}".strip()


def _ready(pod: Json) -> Json | None:
    found = (pod.get("status") or {}).get("conditions") or []
    return next((one for one in found if one.get("type") == "Ready"), None)


def _is_wrong(ready: Json, state: str) -> bool:
    """Whether a Pod is Ready on a node that is away, or carries the mark of that although the node is back."""
    if state == "Unknown":
        return bool(ready.get("status") == "True")
    return state == "True" and ready.get("reason") == NOT_THERE


def _with_ready(pod: Json, ready: Json, state: str, now: float) -> Json:
    kept = {key: value for key, value in ready.items() if key not in ("reason", "message")}
    wanted = {**kept, "status": "True"}
    if state == "Unknown":
        wanted = {**kept, "status": "False", "reason": NOT_THERE, "message": "The node does not answer."}
    if wanted["status"] != ready.get("status"):
        wanted["lastTransitionTime"] = rfc3339(now)
    found = [wanted if one is ready else one for one in pod["status"]["conditions"]]
    return {**pod, "status": {**pod["status"], "conditions": found}}


def _judged(node: Json, away: bool, now: float) -> Json | None:
    """The Node as it should be; None when it is so already."""
    status = node.get("status", {})
    conditions: list[Json] = [dict(condition) for condition in status.get("conditions") or []]
    if away:
        conditions = _unknown(conditions, now)
    ready = next((condition["status"] for condition in conditions if condition["type"] == "Ready"), "")
    taints = _pressed(_taints(node.get("spec", {}).get("taints") or [], ready, now), conditions, now)
    if conditions == (status.get("conditions") or []) and taints == (node.get("spec", {}).get("taints") or []):
        return None
    spec = {key: value for key, value in node.get("spec", {}).items() if key != "taints"}
    if taints:
        spec["taints"] = taints
    return {**node, "spec": spec, "status": {**status, "conditions": conditions}}


def _unknown(conditions: list[Json], now: float) -> list[Json]:
    """Every condition that the node itself reports is unknown while it is away."""
    by_type = {condition["type"]: condition for condition in conditions}
    for kind in _JUDGED:
        known = by_type.get(kind)
        if known is not None and known["status"] == "Unknown":
            continue
        reason = "NodeStatusUnknown" if known else "NodeStatusNeverUpdated"
        text = "Kubelet stopped posting node status." if known else "Kubelet never posted node status."
        by_type[kind] = {
            **(known or {"type": kind, "lastHeartbeatTime": rfc3339(now)}),
            "status": "Unknown",
            "reason": reason,
            "message": text,
            "lastTransitionTime": rfc3339(now),
        }
    return list(by_type.values())


def _taints(taints: list[Json], ready: str, now: float) -> list[Json]:
    """The taints that go with the Ready condition, beside those that others set."""
    key = {"True": "", "False": NOT_READY, "Unknown": UNREACHABLE}.get(ready, "")
    kept = [taint for taint in taints if taint["key"] not in (NOT_READY, UNREACHABLE) or taint["key"] == key]
    present = {(taint["key"], taint["effect"]) for taint in kept}
    for effect in ("NoSchedule", "NoExecute"):
        if key and (key, effect) not in present:
            added = {"timeAdded": rfc3339(now)} if effect == "NoExecute" or key == UNREACHABLE else {}
            kept.append({"key": key, "effect": effect, **added})
    return kept


def _pressed(taints: list[Json], conditions: list[Json], now: float) -> list[Json]:
    """The taints that go with the conditions of want: no new pods while one lasts."""
    true = {condition["type"] for condition in conditions if condition["status"] == "True"}
    wanted = {key for kind, key in _PRESSURES.items() if kind in true}
    kept = [taint for taint in taints if taint["key"] not in _PRESSURES.values() or taint["key"] in wanted]
    added = sorted(wanted - {taint["key"] for taint in kept})
    return [*kept, *({"key": key, "effect": "NoSchedule", "timeAdded": rfc3339(now)} for key in added)]


def _ready_status(node: Json) -> str:
    for condition in node.get("status", {}).get("conditions") or []:
        if condition["type"] == "Ready":
            return str(condition["status"])
    return ""
