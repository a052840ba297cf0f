"""PodDisruptionBudgets: how many Pods may be evicted now. Counted from the Pods themselves, never from memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.store.backend import Edit, Put, View
from octoedge.apiserver.writing.metadata import Cause, wrong
from octoedge.apiserver.writing.ownership import CONTROLLER, is_leaving, owners_of, selector_of
from octoedge.errors import ApiError

Json = dict[str, Any]

RESOURCE = "poddisruptionbudgets.policy"
_SETS = {"ReplicaSet": "replicasets.apps", "StatefulSet": "statefulsets.apps"}


@dataclass(frozen=True, slots=True)
class Budget:
    """What a PodDisruptionBudget comes to."""

    expected: int
    healthy: int
    desired: int

    @property
    def allowed(self) -> int:
        """Pods that may be evicted now."""
        return max(0, self.healthy - self.desired) if self.expected else 0

    def status(self, before: Json, generation: int, now: str) -> Json:
        """The status that says it."""
        word, reason = ("True", "SufficientPods") if self.allowed else ("False", "InsufficientPods")
        old: Json = next((one for one in before.get("conditions") or [] if one.get("type") == "DisruptionAllowed"), {})
        since = old["lastTransitionTime"] if old.get("status") == word else now
        condition = {
            "type": "DisruptionAllowed",
            "status": word,
            "reason": reason,
            "message": "",
            "lastTransitionTime": since,
            "observedGeneration": generation,
        }
        return {
            "observedGeneration": generation,
            "disruptionsAllowed": self.allowed,
            "currentHealthy": self.healthy,
            "desiredHealthy": self.desired,
            "expectedPods": self.expected,
            "conditions": [condition],
        }


def budget_of(view: View, obj: Json) -> Budget:
    """Count a budget."""
    selector = selector_of(obj)
    chosen = (obj.get("spec") or {}).get("selector") is not None
    namespace = obj["metadata"]["namespace"]
    items = [
        item for item in view.items("pods", namespace) if chosen and (selector is None or selector.matches(item.labels))
    ]
    pods = [msgspec.json.decode(item.data) for item in items]
    living = [pod for pod in pods if not facts.is_finished(pod)]
    expected = 0
    controllers: set[str] = set()
    for item, pod in zip(items, pods, strict=True):
        controller = item.fields.get(CONTROLLER, "")
        size = _size(view, item) if controller else None
        if size is None:
            expected += not facts.is_finished(pod)
        elif controller not in controllers:
            controllers.add(controller)
            expected += size
    healthy = sum(facts.is_ready(pod) and not is_leaving(pod) for pod in living)
    return Budget(expected, healthy, _desired(obj["spec"], expected))


def _size(view: View, item: Any) -> int | None:
    """How many Pods the controller of a Pod wants."""
    for owner in owners_of(item):
        resource = _SETS.get(owner.kind)
        found = view.get(resource, item.namespace, owner.name) if owner.controller and resource else None
        if found is not None:
            return int(msgspec.json.decode(found.data)["spec"].get("replicas", 1))
    return None


def _desired(spec: Json, expected: int) -> int:
    if spec.get("maxUnavailable") is not None:
        return max(0, expected - _share(spec["maxUnavailable"], expected))
    return _share(spec.get("minAvailable", 1), expected)


def _share(value: int | str, whole: int) -> int:
    return value if isinstance(value, int) else -(-int(value.rstrip("%") or 0) * whole // 100)


def permit_eviction(view: View, pod: Json, now: str) -> list[Edit]:
    """429 when a budget forbids to evict the Pod; otherwise the edits that account for it."""
    about = pod["metadata"]
    if facts.is_finished(pod) or facts.phase(pod) == "Pending" or is_leaving(pod):
        return []
    found = []
    for item in view.items(RESOURCE, about["namespace"]):
        obj: Json = msgspec.json.decode(item.data)
        selector = selector_of(obj)
        if "selector" in obj["spec"] and (selector is None or selector.matches(about.get("labels") or {})):
            found.append(obj)
    if len(found) > 1:
        text = "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."
        raise ApiError(500, "InternalError", text)
    edits: list[Edit] = []
    for obj in found:
        budget = budget_of(view, obj)
        if facts.is_ready(pod):
            if not budget.allowed:
                raise _refusal(obj, budget)
            budget = Budget(budget.expected, budget.healthy - 1, budget.desired)
        elif obj["spec"].get("unhealthyPodEvictionPolicy") != "AlwaysAllow" and budget.healthy < budget.desired:
            raise _refusal(obj, budget)
        generation = obj["metadata"].get("generation") or 0
        edits.append(Put(RESOURCE, {**obj, "status": budget.status(obj.get("status") or {}, generation, now)}))
    return edits


def _refusal(obj: Json, budget: Budget) -> ApiError:
    name = obj["metadata"]["name"]
    why = f"The disruption budget {name} needs {budget.desired} healthy pods and has {budget.healthy} currently"
    return ApiError(
        429,
        "TooManyRequests",
        "Cannot evict pod as it would violate the pod's disruption budget.",
        {"causes": [{"reason": "DisruptionBudget", "message": why}]},
    )


def check(obj: Json) -> list[Cause]:
    """What is wrong with a PodDisruptionBudget."""
    spec = obj.get("spec") or {}
    causes = []
    if spec.get("minAvailable") is not None and spec.get("maxUnavailable") is not None:
        causes.append(wrong("spec", "PodDisruptionBudgetSpec", "minAvailable and maxUnavailable cannot be both set"))
    for field in ("minAvailable", "maxUnavailable"):
        value = spec.get(field)
        if isinstance(value, str) and not (value.endswith("%") and value[:-1].isdecimal() and int(value[:-1]) <= 100):
            causes.append(wrong(f"spec.{field}", value, "must be a percentage of at most 100%"))
        if isinstance(value, int) and value < 0:
            causes.append(wrong(f"spec.{field}", value, "must be greater than or equal to 0"))
    return causes
