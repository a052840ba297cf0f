"""Whether a pod that comes to this node may start here; asked once, before anything of it is made. Pure.

The scheduler has looked at the same things, but a pod may come without it (nodeName, a DaemonSet of old, a static pod),
and the node may have changed since. What runs already is never asked again: a restart of the agent ends no pod.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from octoedge.api.core import Pod
from octoedge.api.quantity import milli, whole
from octoedge.edge.edged import ranking
from octoedge.edge.edged.compose import apparmor_profile
from octoedge.edge.edged.resources import pod_request, qos_class

_RESOURCES: tuple[tuple[str, Callable[[str], int]], ...] = (
    ("cpu", milli),
    ("memory", whole),
    ("ephemeral-storage", whole),
)


class Rejection(msgspec.Struct, frozen=True):
    """The kubelet's reason and words; the pod is Failed with them."""

    reason: str
    message: str


class Surroundings(msgspec.Struct, frozen=True):
    """The node as a new pod meets it."""

    labels: Mapping[str, str] | None
    """None while they are not known: then they forbid nothing."""
    allocatable: Mapping[str, str]
    conditions: frozenset[str] = frozenset()
    shutting_down: bool = False
    apparmor: bool = True
    """Whether this system enforces AppArmor profiles."""


def rejection(pod: Pod, others: Iterable[Pod], around: Surroundings) -> Rejection | None:
    """Why the pod is refused, None when it may come; `others` are the pods that have a place here."""
    others = list(others)
    if around.shutting_down:
        return Rejection("NodeShutdown", "Pod was rejected as the node is shutting down.")
    under_pressure = ranking.refusal(pod, around.conditions)
    if under_pressure:
        return Rejection("Evicted", under_pressure)
    if around.labels is not None and not (_selected(pod, around.labels) and _affine(pod, around.labels)):
        text = "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"
        return Rejection("NodeAffinity", text)
    if _ports(pod) & {port for other in others for port in _ports(other)}:
        text = "Predicate NodePorts failed: node(s) didn't have free ports for the requested pod ports"
        return Rejection("NodePorts", text)
    if not around.apparmor and _needs_apparmor(pod):
        return Rejection("AppArmor", "Cannot enforce AppArmor: AppArmor is not enabled on the host")
    return _short(pod, others, around.allocatable)


def preempted(pod: Pod, others: Iterable[Pod], allocatable: Mapping[str, str]) -> list[Pod]:
    """Who must go so that a critical pod has room: as few as will do, those that asked for least certainty first.

    Empty when there is room, when the pod is not critical, and when nobody's going would help.
    """
    staying = list(others)
    if not ranking.is_critical(pod) or _lacks(pod, staying, allocatable) is None:
        return []
    going = sorted((one for one in staying if not ranking.is_critical(one)), key=_worth)
    staying = [one for one in staying if ranking.is_critical(one)]
    if _lacks(pod, staying, allocatable) is not None:
        return []
    for one in reversed(list(going)):
        if _lacks(pod, [*staying, one], allocatable) is None:
            staying.append(one)
            going.remove(one)
    return going


def _worth(pod: Pod) -> tuple[int, int]:
    return ("BestEffort", "Burstable", "Guaranteed").index(qos_class(pod)), pod.spec.priority


def _needs_apparmor(pod: Pod) -> bool:
    profiles = (apparmor_profile(pod, spec) for spec in pod.spec.everyone())
    return any(profile is not None and profile.type != "Unconfined" for profile in profiles)


def _short(pod: Pod, others: list[Pod], allocatable: Mapping[str, str]) -> Rejection | None:
    """What there is too little of; those that the node itself needs are not counted out."""
    return None if ranking.is_critical(pod) else _lacks(pod, others, allocatable)


def _lacks(pod: Pod, others: list[Pod], allocatable: Mapping[str, str]) -> Rejection | None:
    if "pods" in allocatable and len(others) + 1 > whole(allocatable["pods"]):
        return _out_of("pods", 1, len(others), whole(allocatable["pods"]))
    for name, parse in _RESOURCES:
        asked = pod_request(pod, name, parse)
        if not asked or name not in allocatable:
            continue
        used, capacity = sum(pod_request(other, name, parse) for other in others), parse(allocatable[name])
        if asked + used > capacity:
            return _out_of(name, asked, used, capacity)
    return None


def _out_of(name: str, asked: int, used: int, capacity: int) -> Rejection:
    text = f"Node didn't have enough resource: {name}, requested: {asked}, used: {used}, capacity: {capacity}"
    return Rejection(f"OutOf{name}", text)


def _selected(pod: Pod, labels: Mapping[str, str]) -> bool:
    return pod.spec.node_selector.items() <= labels.items()


def _ports(pod: Pod) -> set[tuple[str, int]]:
    return {
        (port.protocol, port.host_port)
        for spec in (*pod.spec.containers, *(one for one in pod.spec.init_containers if one.restart_policy))
        for port in spec.ports
        if port.host_port
    }


def _affine(pod: Pod, labels: Mapping[str, str]) -> bool:
    """The required part of nodeAffinity: one of its terms must hold, all of a term's expressions."""
    required = _at(pod.spec.affinity, "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution")
    return not required or matches_terms(required, labels)


def matches_terms(selector: Any, labels: Mapping[str, str]) -> bool:
    """Whether one term of a NodeSelector fits the labels; a selector without terms fits nothing."""
    return any(_term(term, labels) for term in _at(selector, "nodeSelectorTerms") or [])


def _term(term: Any, labels: Mapping[str, str]) -> bool:
    expressions = _at(term, "matchExpressions") or []
    # Fields of a node (only its name can be asked for) were the scheduler's to look at.
    return bool(expressions or _at(term, "matchFields")) and all(_holds(one, labels) for one in expressions)


def _holds(expression: Any, labels: Mapping[str, str]) -> bool:
    key, values = str(_at(expression, "key")), [str(value) for value in _at(expression, "values") or []]
    test = _OPERATORS.get(str(_at(expression, "operator")))
    return test is not None and test(labels.get(key), values)


def _number(text: str | None) -> int | None:
    try:
        return int(text) if text is not None else None
    except ValueError:
        return None


def _compare(value: str | None, values: list[str], sign: int) -> bool:
    here, there = _number(value), _number(values[0] if values else None)
    return here is not None and there is not None and (here - there) * sign > 0


_OPERATORS: dict[str, Callable[[str | None, list[str]], bool]] = {
    "In": lambda value, values: value in values,
    "NotIn": lambda value, values: value not in values,
    "Exists": lambda value, _: value is not None,
    "DoesNotExist": lambda value, _: value is None,
    "Gt": lambda value, values: _compare(value, values, 1),
    "Lt": lambda value, values: _compare(value, values, -1),
}


def _at(value: Any, *path: str) -> Any:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value
