"""Values that the server fills in: those of the schema's table everywhere, and those that depend on others in Pods."""

from __future__ import annotations

import copy
from typing import Any

from octoedge.apiserver.schema.schema import Definition, Schema

Json = dict[str, Any]

_FROM_ANYWHERE = "node.kubernetes.io/"


def fill(schema: Schema, definition: Definition, obj: Json) -> None:
    """Fill in the schema's defaults, in place and at every depth."""
    for field in definition.defaults:
        obj.setdefault(field.name, copy.deepcopy(field.default))
    for name, value in obj.items():
        field = definition.fields.get(name)  # type: ignore[assignment]
        if field is None or not field.is_definition:
            continue
        inner = schema[field.type]
        for part in _parts(field.shape, value):
            fill(schema, inner, part)


def pod(obj: Json) -> None:
    """What depends on other fields of a Pod."""
    spec = obj.setdefault("spec", {})
    pod_spec(spec)
    for container in [*spec.get("initContainers", []), *spec.get("containers", [])]:
        _requests_from_limits(container)
    spec.setdefault("priority", 0)
    spec.setdefault("preemptionPolicy", "PreemptLowerPriority")


def pod_spec(spec: Json) -> None:
    """What depends on other fields of a Pod's or a template's spec."""
    groups = ("initContainers", "containers", "ephemeralContainers")
    for container in [one for group in groups for one in spec.get(group) or []]:
        container.setdefault("imagePullPolicy", _pull_policy(container.get("image", "")))
        if spec.get("hostNetwork"):
            for port in container.get("ports", []):
                if not port.get("hostPort"):
                    port["hostPort"] = port["containerPort"]
    for volume in spec.get("volumes", []):
        if volume.keys() == {"name"}:
            volume["emptyDir"] = {}
    account = spec.get("serviceAccountName") or spec.get("serviceAccount")
    if account:
        spec["serviceAccountName"] = spec["serviceAccount"] = account


def tolerations(spec: Json) -> None:
    """A Pod stays on a node that is not ready for as long as that lasts, unless it says otherwise.

    Kubernetes fills in five minutes; an edge that is offline for longer is no reason to end what runs there.
    """
    found = spec.setdefault("tolerations", [])
    for key in (_FROM_ANYWHERE + "not-ready", _FROM_ANYWHERE + "unreachable"):
        if not any(_covers(toleration, key) for toleration in found):
            found.append({"key": key, "operator": "Exists", "effect": "NoExecute"})


def qos_class(spec: Json) -> str:
    """Guaranteed, Burstable or BestEffort."""
    containers = [*spec.get("containers", []), *spec.get("initContainers", [])]
    resources = [container.get("resources") or {} for container in containers]
    if not any(part.get("requests") or part.get("limits") for part in resources):
        return "BestEffort"
    for part in resources:
        limits, requests = part.get("limits") or {}, part.get("requests") or {}
        for name in ("cpu", "memory"):
            if name not in limits or requests.get(name, limits[name]) != limits[name]:
                return "Burstable"
    return "Guaranteed"


def _parts(shape: str, value: Any) -> list[Json]:
    if not shape:
        return [value]
    inner = value if shape.startswith("[]") else value.values()
    return [part for item in inner for part in _parts(shape[2:], item)]


def _pull_policy(image: str) -> str:
    if "@" in image:
        return "IfNotPresent"
    tag = image.rsplit("/", 1)[-1].partition(":")[2]
    return "IfNotPresent" if tag and tag != "latest" else "Always"


def _requests_from_limits(container: Json) -> None:
    resources = container.get("resources") or {}
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **(resources.get("requests") or {})}


def _covers(toleration: Json, key: str) -> bool:
    effect = toleration.get("effect") or "NoExecute"
    return effect == "NoExecute" and toleration.get("key") in (None, "", key)
