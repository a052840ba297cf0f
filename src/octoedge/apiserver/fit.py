"""Does a Pod fit on a node? Pure: facts in, reasons out, in the words of Kubernetes' scheduler."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from octoedge.api.quantity import milli, whole
from octoedge.kube.selector import Selector, from_label_selector

Json = dict[str, Any]

_UNITS = {"cpu": milli}


@dataclass(frozen=True, slots=True)
class Demand:
    """What a Pod takes of a node."""

    amounts: dict[str, int] = field(default_factory=dict)
    """By resource; cpu in thousandths. Every Pod takes one of `pods`."""
    ports: frozenset[tuple[str, int]] = frozenset()


def demand(spec: Json) -> Demand:
    """The demand of a Pod's spec: the sum of its containers, or its largest init container if that is more."""
    amounts: Counter[str] = Counter()
    ports: set[tuple[str, int]] = set()
    for container in spec.get("containers") or []:
        amounts.update(_requests(container))
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                ports.add((port.get("protocol") or "TCP", port["hostPort"]))
    for container in spec.get("initContainers") or []:
        for name, amount in _requests(container).items():
            amounts[name] = max(amounts[name], amount)
    for name, text in (spec.get("overhead") or {}).items():
        amounts[name] += _amount(name, text)
    amounts["pods"] = 1
    return Demand(dict(amounts), frozenset(ports))


@dataclass(slots=True)
class Room:
    """One node, and what is taken of it."""

    name: str
    labels: dict[str, str]
    unschedulable: bool
    ready: bool
    taints: list[Json]
    allocatable: dict[str, int]
    taken: Counter[str] = field(default_factory=Counter)
    ports: Counter[tuple[str, int]] = field(default_factory=Counter)

    @classmethod
    def of(cls, node: Json) -> Room:
        """An empty node."""
        spec, status = node.get("spec") or {}, node.get("status") or {}
        about = node["metadata"]
        conditions = status.get("conditions") or []
        return cls(
            about["name"],
            {**(about.get("labels") or {}), "metadata.name": about["name"]},
            bool(spec.get("unschedulable")),
            any(one.get("type") == "Ready" and one.get("status") == "True" for one in conditions),
            spec.get("taints") or [],
            {name: _amount(name, text) for name, text in (status.get("allocatable") or {}).items()},
        )

    def add(self, needed: Demand, sign: int = 1) -> None:
        """Count a Pod in (or out with -1)."""
        for name, amount in needed.amounts.items():
            self.taken[name] += sign * amount
        for port in needed.ports:
            self.ports[port] += sign


def reasons_against(room: Room, spec: Json, needed: Demand) -> list[str]:
    """Why the Pod does not fit; empty when it does."""
    if room.unschedulable and not _tolerates(spec, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}):
        return ["node(s) were unschedulable"]
    for taint in room.taints:
        if taint.get("effect") in ("NoSchedule", "NoExecute") and not _tolerates(spec, taint):
            return [f"node(s) had untolerated taint {{{taint.get('key')}: {taint.get('value') or ''}}}"]
    if not room.ready:
        return ["node(s) were not ready"]
    if not _selected(room, spec):
        return ["node(s) didn't match Pod's node affinity/selector"]
    if any(room.ports[port] > 0 for port in needed.ports):
        return ["node(s) didn't have free ports for the requested pod ports"]
    return _lacking(room, needed)


def summary(against: Iterable[list[str]], total: int) -> str:
    """The sentence of a FailedScheduling event."""
    if not total:
        return "no nodes available to schedule pods"
    counts = Counter(reason for reasons in against for reason in reasons)
    said = ", ".join(f"{count} {reason}" for reason, count in sorted(counts.items()))
    return f"0/{total} nodes are available: {said}."


def _lacking(room: Room, needed: Demand) -> list[str]:
    reasons = []
    for name, amount in needed.amounts.items():
        # A node that does not say how many pods it takes takes the usual number.
        there = room.allocatable.get(name, 110 if name == "pods" else 0)
        if amount and room.taken[name] + amount > there:
            reasons.append("Too many pods" if name == "pods" else f"Insufficient {name}")
    return reasons


def _selected(room: Room, spec: Json) -> bool:
    selector = spec.get("nodeSelector") or {}
    if any(room.labels.get(key) != value for key, value in selector.items()):
        return False
    affinity = (spec.get("affinity") or {}).get("nodeAffinity") or {}
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    return any(_term(room, term) for term in required.get("nodeSelectorTerms") or [])


def _term(room: Room, term: Json) -> bool:
    expressions = [*(term.get("matchExpressions") or []), *(term.get("matchFields") or [])]
    selector: Selector = from_label_selector({"matchExpressions": expressions})
    return bool(expressions) and selector.matches(room.labels)


def _tolerates(spec: Json, taint: Json) -> bool:
    return any(_covers(toleration, taint) for toleration in spec.get("tolerations") or [])


def _covers(toleration: Json, taint: Json) -> bool:
    if toleration.get("effect") and toleration["effect"] != taint.get("effect"):
        return False
    if not toleration.get("key"):
        return toleration.get("operator") == "Exists"
    if toleration["key"] != taint.get("key"):
        return False
    return toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or "")


def _requests(container: Json) -> dict[str, int]:
    requests = (container.get("resources") or {}).get("requests") or {}
    return {name: _amount(name, text) for name, text in requests.items()}


def _amount(name: str, text: Any) -> int:
    try:
        return _UNITS.get(name, whole)(str(text))
    except ValueError:
        return 0
