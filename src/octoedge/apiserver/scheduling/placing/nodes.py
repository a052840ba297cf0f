"""A node as placement sees it, and what a Pod wants of it: selectors, affinity, taints. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from octoedge.api.core import Node, Taint, Toleration
from octoedge.apiserver.scheduling.placing.demand import DEFAULT_MAX_PODS, UNIT, Amounts, amounts_of
from octoedge.apiserver.scheduling.placing.pod import Wants

UNSCHEDULABLE = "node.kubernetes.io/unschedulable"
NOT_READY = "node.kubernetes.io/not-ready"
UNREACHABLE = "node.kubernetes.io/unreachable"
_KEEP_AWAY = ("NoSchedule", "NoExecute")


@dataclass(frozen=True, slots=True)
class Place:
    """A node."""

    name: str
    labels: Mapping[str, str]
    taints: tuple[Taint, ...]
    """Its taints, and those that its state is about to bring."""
    unschedulable: bool
    leaving: bool
    room: Mapping[str, int]
    """Allocatable amounts; Pods are counted in whole ones as `pods`."""
    away: bool
    """Whether its Ready condition is Unknown."""


def place_of(node: Node) -> Place:
    """A node as it is. `ValueError` when an amount is no quantity."""
    ready = next((one.status for one in node.status.conditions if one.type == "Ready"), "Unknown")
    expected = {"True": "", "False": NOT_READY}.get(ready, UNREACHABLE)
    taints = list(node.spec.taints)
    if expected and not any(taint.key == expected for taint in taints):
        # The node controller is about to set it.
        taints.append(Taint(key=expected, effect="NoSchedule"))
    room: Amounts = amounts_of(node.status.allocatable or node.status.capacity)
    room["pods"] = room["pods"] // UNIT if "pods" in room else DEFAULT_MAX_PODS
    return Place(
        name=node.metadata.name,
        labels=node.metadata.labels or {},
        taints=tuple(taints),
        unschedulable=node.spec.unschedulable,
        leaving=node.metadata.deletion_timestamp is not None,
        room=room,
        away=ready not in ("True", "False"),
    )


def selects(pod: Wants, labels: Mapping[str, str], name: str) -> bool:
    """Whether the Pod's node selector and required node affinity choose the node."""
    if any(labels.get(key) != value for key, value in pod.node_selector.items()):
        return False
    return pod.node_terms is None or any(term.matches(labels, name) for term in pod.node_terms)


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether one of the tolerations is for this taint."""
    return any(covers(toleration, taint) for toleration in tolerations)


def covers(toleration: Toleration, taint: Taint) -> bool:
    """Whether the toleration is for this taint."""
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if not toleration.key:
        return toleration.operator == "Exists"
    if toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or toleration.value == taint.value


def untolerated(pod: Wants, place: Place) -> Taint | None:
    """A taint that keeps the Pod away."""
    against = (one for one in place.taints if one.effect in _KEEP_AWAY)
    return next((one for one in against if not tolerates(pod.tolerations, one)), None)


def is_closed(pod: Wants, place: Place) -> bool:
    """Whether the node takes no new Pods, and this one minds."""
    cordon = Taint(key=UNSCHEDULABLE, effect="NoSchedule")
    return place.unschedulable and not tolerates(pod.tolerations, cordon)
