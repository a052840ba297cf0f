"""ResourceQuotas: how much a namespace may have. New objects are counted at the moment when they are stored.

Counted: Pods that have not ended, what they ask for, claims and their storage, Services by type, and the objects of any
kind by `count/PLURAL[.GROUP]`. The limit holds for what is made; what is there already stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, Protocol

import msgspec

from octoedge.apiserver.behaviours.limits import of_pod
from octoedge.apiserver.schema.quantity import canonical, decimal, parse
from octoedge.errors import forbidden
from octoedge.kube.read import Item

Json = dict[str, Any]
Used = dict[str, Fraction]

RESOURCE = "resourcequotas"
_OVER = ("Succeeded", "Failed")
_COMPUTE = ("cpu", "memory", "ephemeral-storage")
_PLAIN = (
    "configmaps", "persistentvolumeclaims", "pods", "replicationcontrollers", "resourcequotas", "secrets", "services",
)  # fmt: skip
"""Kinds that may be counted by their bare name."""


class Store(Protocol):
    """What is stored."""

    def items(self, resource: str, namespace: str = "") -> Sequence[Item]:
        """All objects of a resource."""
        ...


def admit(view: Store, resource: str, obj: Json) -> None:
    """403 when a new object would be more than a quota of its namespace allows."""
    about = obj["metadata"]
    quotas = view.items(RESOURCE, about["namespace"])
    for item in quotas:
        quota = msgspec.json.decode(item.data)
        hard = (quota.get("spec") or {}).get("hard") or {}
        if not covers(quota, resource, obj):
            continue
        more = {name: amount for name, amount in amounts(resource, obj).items() if name in hard}
        missing = sorted(_unsaid(resource, obj, hard))
        if missing:
            _refuse(resource, about, f"failed quota: {item.name}: must specify {'; '.join(missing)}")
        if not any(more.values()):
            continue
        used = usage(view, quota)
        over = [name for name in sorted(more) if used[name] + more[name] > parse(str(hard[name]))]
        if over:
            asked, present = _shown(more, over), _shown(used, over)
            limit = ",".join(f"{name}={hard[name]}" for name in over)
            _refuse(
                resource, about, f"exceeded quota: {item.name}, requested: {asked}, used: {present}, limited: {limit}"
            )


def usage(view: Store, quota: Json) -> Used:
    """How much of what a quota limits is used."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    namespace = quota["metadata"]["namespace"]
    used: Used = {name: Fraction(0) for name in hard}
    for resource in sorted(_counted(hard)):
        for item in view.items(resource, namespace):
            obj = msgspec.json.decode(item.data)
            if covers(quota, resource, obj):
                for name, amount in amounts(resource, obj).items():
                    if name in used:
                        used[name] += amount
    return used


def status(view: Store, quota: Json) -> Json:
    """The status of a quota."""
    hard = (quota.get("spec") or {}).get("hard") or {}
    return {"hard": hard, "used": {name: _text(amount) for name, amount in usage(view, quota).items()}}


def covers(quota: Json, resource: str, obj: Json) -> bool:
    """Whether an object counts: a quota with scopes is about some Pods only."""
    spec = quota.get("spec") or {}
    scopes = [{"scopeName": one, "operator": "Exists"} for one in spec.get("scopes") or []]
    scopes += (spec.get("scopeSelector") or {}).get("matchExpressions") or []
    if not scopes:
        return True
    return resource == "pods" and all(_in_scope(one, obj) for one in scopes)


def _in_scope(scope: Json, pod: Json) -> bool:
    spec, name = pod["spec"], scope["scopeName"]
    if name in ("Terminating", "NotTerminating"):
        return bool((spec.get("activeDeadlineSeconds") is not None) == (name == "Terminating"))
    if name in ("BestEffort", "NotBestEffort"):
        return bool(((pod.get("status") or {}).get("qosClass") == "BestEffort") == (name == "BestEffort"))
    if name == "PriorityClass":
        value, values = spec.get("priorityClassName"), scope.get("values") or []
        answers = {"In": value in values, "NotIn": value not in values, "Exists": bool(value)}
        return bool(answers.get(scope.get("operator") or "", not value))
    return False


def amounts(resource: str, obj: Json) -> Used:
    """Everything that an object counts for."""
    if resource == "pods" and (obj.get("status") or {}).get("phase") in _OVER:
        return {f"count/{resource}": Fraction(1)}
    found: Used = {f"count/{resource}": Fraction(1)}
    if resource in _PLAIN:
        found[resource] = Fraction(1)
    if resource == "pods":
        found |= _of_pods(obj)
    elif resource == "persistentvolumeclaims":
        found |= _of_claim(obj)
    elif resource == "services":
        kind = obj["spec"].get("type")
        if kind in ("NodePort", "LoadBalancer"):
            found["services.nodeports"] = Fraction(len(obj["spec"].get("ports") or []))
        if kind == "LoadBalancer":
            found["services.loadbalancers"] = Fraction(1)
    return found


def _of_pods(pod: Json) -> Used:
    requests, limits = of_pod(pod["spec"])
    found = {f"requests.{name}": parse(str(amount)) for name, amount in requests.items()}
    found |= {name: parse(str(amount)) for name, amount in requests.items() if name in _COMPUTE}
    return found | {f"limits.{name}": parse(str(amount)) for name, amount in limits.items()}


def _of_claim(claim: Json) -> Used:
    spec = claim.get("spec") or {}
    size = parse(str(((spec.get("resources") or {}).get("requests") or {}).get("storage") or "0"))
    found = {"requests.storage": size}
    if spec.get("storageClassName"):
        kind = f"{spec['storageClassName']}.storageclass.storage.k8s.io"
        found |= {f"{kind}/requests.storage": size, f"{kind}/persistentvolumeclaims": Fraction(1)}
    return found


def _unsaid(resource: str, obj: Json, hard: Mapping[str, Any]) -> Iterator[str]:
    """What a quota limits and a container does not say: it could take any amount."""
    if resource != "pods":
        return
    for name in hard:
        group, _, bare = name.rpartition(".")
        if bare not in ("cpu", "memory") or group not in ("", "requests", "limits"):
            continue
        part = "limits" if group == "limits" else "requests"
        containers = [
            one["name"]
            for one in obj["spec"].get("containers") or []
            if bare not in ((one.get("resources") or {}).get(part) or {})
        ]
        if containers:
            yield f"{name} for: {','.join(sorted(containers))}"


def _counted(hard: Mapping[str, Any]) -> set[str]:
    """The kinds that have to be looked at."""
    found = set()
    for name in hard:
        if name.startswith("count/"):
            found.add(name.removeprefix("count/"))
        elif name in _PLAIN:
            found.add(name)
        elif name.startswith("services."):
            found.add("services")
        else:
            found.add("persistentvolumeclaims" if name.endswith(("storage", "persistentvolumeclaims")) else "pods")
            if name.endswith("ephemeral-storage"):
                found.add("pods")
    return found


def _shown(used: Mapping[str, Fraction], names: Sequence[str]) -> str:
    return ",".join(f"{name}={_text(used[name])}" for name in names)


def _text(amount: Fraction) -> str:
    if amount.denominator == 1 and amount and amount % 1024 == 0:
        return canonical(f"{amount // 1024}Ki")
    return decimal(amount)


def _refuse(resource: str, about: Json, why: str) -> None:
    plural, name = resource.partition(".")[0], about.get("name") or ""
    raise forbidden(f'{resource} "{name}" is forbidden: {why}', {"name": name, "kind": plural})
