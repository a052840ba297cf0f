"""What controllers need to know of Pods: how one stands, which to delete first, one made of a template. Pure."""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Iterable
from typing import Any

from octoedge.apiserver.writing.ownership import is_leaving, reference
from octoedge.runtime.clock import parse_rfc3339

Json = dict[str, Any]

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


def phase(pod: Json) -> str:
    """Pending, Running, Succeeded, Failed or Unknown."""
    return str((pod.get("status") or {}).get("phase") or "Pending")


def is_active(pod: Json) -> bool:
    """Whether it runs, or is going to, and nobody has deleted it."""
    return phase(pod) not in ("Succeeded", "Failed") and not is_leaving(pod)


def is_finished(pod: Json) -> bool:
    """Whether its containers ended for good."""
    return phase(pod) in ("Succeeded", "Failed")


def ready_since(pod: Json) -> float | None:
    """When it became Ready; None when it is not."""
    for condition in (pod.get("status") or {}).get("conditions") or []:
        if condition.get("type") == "Ready":
            return seconds(condition.get("lastTransitionTime")) if condition.get("status") == "True" else None
    return None


def is_ready(pod: Json) -> bool:
    """Whether it is Ready."""
    return ready_since(pod) is not None


def available_in(pod: Json, min_ready_seconds: int, now: float) -> float | None:
    """Seconds until it has been Ready for long enough, 0 when it is so; None when it is not Ready."""
    since = ready_since(pod)
    return None if since is None else max(0.0, since + min_ready_seconds - now) if min_ready_seconds else 0.0


def seconds(text: Any) -> float:
    """A time of the API as a number; 0 when there is none."""
    try:
        return parse_rfc3339(text) if isinstance(text, str) else 0.0
    except ValueError:
        return 0.0


def created(obj: Json) -> float:
    """When an object was made."""
    return seconds(obj["metadata"].get("creationTimestamp"))


def restarts(pod: Json) -> int:
    """How often its containers were restarted."""
    statuses = (pod.get("status") or {}).get("containerStatuses") or []
    return sum(int(one.get("restartCount") or 0) for one in statuses)


def from_template(owner: Json, template: Json, *, name: str = "", labels: Json | None = None) -> Json:
    """A new Pod of a template, controlled by `owner`."""
    about = template.get("metadata") or {}
    metadata: Json = {"namespace": owner["metadata"]["namespace"], "ownerReferences": [reference(owner)]}
    if name:
        metadata["name"] = name
    else:
        metadata["generateName"] = f"{owner['metadata']['name']}-"
    for key in ("annotations", "finalizers"):
        if about.get(key):
            metadata[key] = copy.deepcopy(about[key])
    metadata["labels"] = {**(about.get("labels") or {}), **(labels or {})}
    return {"kind": "Pod", "apiVersion": "v1", "metadata": metadata, "spec": copy.deepcopy(template.get("spec") or {})}


def deleted_first(pods: Iterable[Json]) -> list[Json]:
    """Pods in the order in which they should go, when some must: those that are missed least come first."""
    chosen = list(pods)
    crowd = Counter(pod["spec"].get("nodeName", "") for pod in chosen if is_ready(pod))

    def rank(pod: Json) -> tuple[Any, ...]:
        since = ready_since(pod)
        return (
            bool(pod["spec"].get("nodeName")),
            {"Pending": 0, "Unknown": 1}.get(phase(pod), 2),
            since is not None,
            _cost(pod),
            -crowd[pod["spec"].get("nodeName", "")],
            -(since or 0.0),
            -restarts(pod),
            -created(pod),
            pod["metadata"]["name"],
        )

    return sorted(chosen, key=rank)


def _cost(pod: Json) -> int:
    text = (pod["metadata"].get("annotations") or {}).get(_DELETION_COST, "0")
    return int(text) if text.lstrip("-").isdecimal() and len(text) < 12 else 0
