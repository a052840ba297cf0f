"""What is wrong with what a Pod says about where it may go, in the sentences that kubectl users know. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from octoedge.apiserver.writing.metadata import Cause, duplicate, forbidden_field, required, wrong
from octoedge.errors import ApiError
from octoedge.kube.selector import from_label_selector

Json = dict[str, Any]

_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"
_WEIGHT = "must be in the range 1-100"
_POSITIVE = "must be greater than zero"


def check(spec: Json) -> list[Cause]:
    """The rules of affinity, tolerations, spread constraints and gates of a Pod's spec."""
    affinity = spec.get("affinity") or {}
    causes = _node_affinity(affinity.get("nodeAffinity") or {}, "spec.affinity.nodeAffinity")
    for kind in ("podAffinity", "podAntiAffinity"):
        causes += _pod_affinity(affinity.get(kind) or {}, f"spec.affinity.{kind}")
    for index, one in enumerate(spec.get("tolerations") or []):
        causes += _toleration(one, f"spec.tolerations[{index}]")
    return [*causes, *_spread(spec.get("topologySpreadConstraints") or []), *_gates(spec)]


def _node_affinity(affinity: Json, path: str) -> list[Cause]:
    causes: list[Cause] = []
    if affinity.get(_REQUIRED) is not None:
        terms = affinity[_REQUIRED].get("nodeSelectorTerms") or []
        here = f"{path}.{_REQUIRED}.nodeSelectorTerms"
        if not terms:
            causes.append(required(here, "must have at least one node selector term"))
        for index, term in enumerate(terms):
            causes += _node_term(term, f"{here}[{index}]")
    for index, one in enumerate(affinity.get(_PREFERRED) or []):
        here = f"{path}.{_PREFERRED}[{index}]"
        causes += _weight(one, here) + _node_term(one.get("preference") or {}, f"{here}.preference")
    return causes


def _node_term(term: Json, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for group in ("matchExpressions", "matchFields"):
        for index, one in enumerate(term.get(group) or []):
            causes += _expression(one, f"{path}.{group}[{index}]")
    return causes


def _expression(one: Json, path: str) -> list[Cause]:
    operator, values = one.get("operator"), one.get("values") or []
    if operator in ("In", "NotIn"):
        text = "must be specified when `operator` is 'In' or 'NotIn'"
        return [] if values else [required(f"{path}.values", text)]
    if operator in ("Exists", "DoesNotExist"):
        text = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"
        return [forbidden_field(f"{path}.values", text)] if values else []
    if operator in ("Gt", "Lt"):
        if len(values) != 1:
            return [required(f"{path}.values", "must be specified single value when `operator` is 'Lt' or 'Gt'")]
        whole = values[0].removeprefix("-").isdecimal() and len(values[0]) < 19
        return [] if whole else [wrong(f"{path}.values[0]", values[0], "must be an integer")]
    return [wrong(f"{path}.operator", operator, "not a valid selector operator")]


def _pod_affinity(affinity: Json, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, term in enumerate(affinity.get(_REQUIRED) or []):
        causes += _pod_term(term, f"{path}.{_REQUIRED}[{index}]")
    for index, one in enumerate(affinity.get(_PREFERRED) or []):
        here = f"{path}.{_PREFERRED}[{index}]"
        causes += _weight(one, here) + _pod_term(one.get("podAffinityTerm") or {}, f"{here}.podAffinityTerm")
    return causes


def _pod_term(term: Json, path: str) -> list[Cause]:
    causes = [] if term.get("topologyKey") else [required(f"{path}.topologyKey", "can not be empty")]
    for field in ("labelSelector", "namespaceSelector"):
        causes += _selector(term.get(field), f"{path}.{field}")
    return causes


def _selector(selector: Json | None, path: str) -> list[Cause]:
    causes: list[Cause] = []
    for index, one in enumerate((selector or {}).get("matchExpressions") or []):
        here = f"{path}.matchExpressions[{index}]"
        causes += _expression(one, here) if one.get("operator") not in ("Gt", "Lt") else [_no_operator(one, here)]
    if not causes:
        try:
            from_label_selector(selector)
        except ApiError as error:
            causes.append(wrong(path, str(selector), error.message))
    return causes


def _no_operator(one: Json, path: str) -> Cause:
    return wrong(f"{path}.operator", one.get("operator"), "not a valid selector operator")


def _weight(one: Json, path: str) -> list[Cause]:
    weight = one.get("weight") or 0
    return [] if 0 < weight <= 100 else [wrong(f"{path}.weight", weight, _WEIGHT)]


def _toleration(one: Json, path: str) -> list[Cause]:
    operator, effect = one.get("operator") or "Equal", one.get("effect") or ""
    causes = []
    if not one.get("key") and operator != "Exists":
        text = 'operator must be Exists when `key` is empty, which means "match all values and all keys"'
        causes.append(wrong(f"{path}.operator", operator, text))
    if operator == "Exists" and one.get("value"):
        causes.append(wrong(f"{path}.operator", one["value"], "value must be empty when `operator` is 'Exists'"))
    if one.get("tolerationSeconds") is not None and effect != "NoExecute":
        text = "effect must be 'NoExecute' when `tolerationSeconds` is set"
        causes.append(wrong(f"{path}.effect", effect, text))
    return causes


def _spread(constraints: Iterable[Json]) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[tuple[Any, Any]] = set()
    for index, one in enumerate(constraints):
        path, least = f"spec.topologySpreadConstraints[{index}]", one.get("minDomains")
        if (one.get("maxSkew") or 0) <= 0:
            causes.append(wrong(f"{path}.maxSkew", one.get("maxSkew") or 0, _POSITIVE))
        if not one.get("topologyKey"):
            causes.append(required(f"{path}.topologyKey", "can not be empty"))
        if least is not None and least <= 0:
            causes.append(wrong(f"{path}.minDomains", least, _POSITIVE))
        if least is not None and one.get("whenUnsatisfiable") == "ScheduleAnyway":
            text = "can only use minDomains if whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway"
            causes.append(wrong(f"{path}.minDomains", least, text))
        key = (one.get("topologyKey"), one.get("whenUnsatisfiable"))
        if key in seen:
            causes.append(duplicate(path, f"{{{key[0]}, {key[1]}}}"))
        seen.add(key)
        causes += _selector(one.get("labelSelector"), f"{path}.labelSelector")
    return causes


def _gates(spec: Json) -> list[Cause]:
    names = [one.get("name") or "" for one in spec.get("schedulingGates") or []]
    causes = [
        duplicate(f"spec.schedulingGates[{index}]", name) for index, name in enumerate(names) if name in names[:index]
    ]
    if names and spec.get("nodeName"):
        causes.append(forbidden_field("spec.nodeName", "cannot be set until all schedulingGates have been cleared"))
    return causes
