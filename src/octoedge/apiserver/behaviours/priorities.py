"""PriorityClasses: the two that every cluster has, and how a Pod gets the number of its class."""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.apiserver.store.backend import View
from octoedge.apiserver.writing.metadata import Cause, forbidden_field, wrong
from octoedge.errors import forbidden

Json = dict[str, Any]

RESOURCE = "priorityclasses.scheduling.k8s.io"
HIGHEST = 1_000_000_000
"""The highest value that users may give."""


def built_in() -> list[Json]:
    """The classes of the system's own Pods."""
    return [
        _class("system-cluster-critical", 2_000_000_000, "Used for system critical pods that must run in the cluster."),
        _class("system-node-critical", 2_000_001_000, "Used for system critical pods that must not be moved."),
    ]


def _class(name: str, value: int, description: str) -> Json:
    return {
        "kind": "PriorityClass",
        "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": name},
        "value": value,
        "description": description,
    }


def normalize(obj: Json) -> None:
    """A class preempts, unless it says otherwise."""
    obj.setdefault("preemptionPolicy", "PreemptLowerPriority")


def check(obj: Json) -> list[Cause]:
    """What is wrong with a PriorityClass."""
    name, value = obj["metadata"].get("name") or "", obj.get("value") or 0
    if name.startswith("system-"):
        known = {one["metadata"]["name"]: one["value"] for one in built_in()}
        if known.get(name) != value:
            return [forbidden_field("metadata.name", "priority class names with 'system-' prefix are reserved")]
    elif value > HIGHEST:
        text = f"maximum allowed value of a user defined priority is {HIGHEST}"
        return [forbidden_field("value", text)]
    return []


def check_update(new: Json, old: Json) -> list[Cause]:
    """The value of a class stays."""
    return check(new) if new.get("value") == old.get("value") else [wrong("value", new.get("value"), "may not change")]


def admit(pod: Json, view: View) -> None:
    """Give a Pod the number of its class, or of the class that is everybody's."""
    spec = pod["spec"]
    name = spec.get("priorityClassName") or ""
    if name:
        item = view.get(RESOURCE, "", name)
        if item is None:
            about = pod["metadata"]
            shown = about.get("name") or about.get("generateName", "")
            raise forbidden(f'pods "{shown}" is forbidden: no PriorityClass with name {name} was found')
        found: Json | None = msgspec.json.decode(item.data)
    else:
        classes = [msgspec.json.decode(item.data) for item in view.items(RESOURCE)]
        found = min(
            (one for one in classes if one.get("globalDefault")), key=lambda one: int(one["value"]), default=None
        )
    if found is not None:
        spec["priorityClassName"] = found["metadata"]["name"]
        spec["priority"] = found["value"]
        spec["preemptionPolicy"] = found.get("preemptionPolicy") or "PreemptLowerPriority"
