"""HorizontalPodAutoscalers: kept as autoscaling/v2, shown as v1 too; nothing scales by them.

What v1 has no field for (metrics other than CPU, behaviour, conditions) goes through it in annotations, as in
Kubernetes, so that an object read and written as v1 loses nothing.
"""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.apiserver.writing.metadata import Cause, wrong
from octoedge.errors import bad_request

Json = dict[str, Any]

_ANNOTATION = "autoscaling.alpha.kubernetes.io/"
_PLAIN = ("scaleTargetRef", "minReplicas", "maxReplicas")
_STATUS = ("observedGeneration", "lastScaleTime", "currentReplicas", "desiredReplicas")
_CPU_DEFAULT = 80


class VersionOne:
    """autoscaling/v1 of what is kept as v2."""

    def shown(self, obj: Json) -> Json:
        """A kept object as v1."""
        spec, status = obj.get("spec") or {}, obj.get("status") or {}
        result = {**obj, "apiVersion": "autoscaling/v1", "spec": {key: spec[key] for key in _PLAIN if key in spec}}
        if "status" in obj:
            result["status"] = {"currentReplicas": 0, **{key: status[key] for key in _STATUS if key in status}}
        others = []
        for metric in spec.get("metrics") or []:
            percentage = _cpu_percentage(metric)
            if percentage is None or "targetCPUUtilizationPercentage" in result["spec"]:
                others.append(metric)
            else:
                result["spec"]["targetCPUUtilizationPercentage"] = percentage
        carried = {"metrics": others, "behavior": spec.get("behavior"), "conditions": status.get("conditions")}
        texts = {f"{_ANNOTATION}{key}": msgspec.json.encode(value).decode() for key, value in carried.items() if value}
        if texts:
            about = obj["metadata"]
            result["metadata"] = {**about, "annotations": {**(about.get("annotations") or {}), **texts}}
        return result

    def kept(self, obj: Json) -> Json:
        """A v1 object as it is kept. Raises `ApiError` when an annotation cannot be read."""
        spec, status = dict(obj.get("spec") or {}), dict(obj.get("status") or {})
        annotations = dict((obj.get("metadata") or {}).get("annotations") or {})
        metrics = _carried(annotations, "metrics", [])
        percentage = spec.pop("targetCPUUtilizationPercentage", None)
        if percentage is not None:
            metrics = [_cpu(percentage), *metrics]
        status.pop("currentCPUUtilizationPercentage", None)
        spec |= {"metrics": metrics} if metrics else {}
        for target, key in ((spec, "behavior"), (status, "conditions")):
            value = _carried(annotations, key, None)
            if value is not None:
                target[key] = value
        about = {key: value for key, value in obj["metadata"].items() if key != "annotations"}
        about |= {"annotations": annotations} if annotations else {}
        result = {**obj, "apiVersion": "autoscaling/v2", "metadata": about, "spec": spec}
        return {**result, "status": status} if "status" in obj else result


def normalize(obj: Json) -> None:
    """Fill in what is left out, in either version."""
    spec = obj.setdefault("spec", {})
    spec.setdefault("minReplicas", 1)
    if obj.get("apiVersion") == "autoscaling/v2" and not spec.get("metrics"):
        spec["metrics"] = [_cpu(_CPU_DEFAULT)]


def check(obj: Json) -> list[Cause]:
    """What is wrong with the bounds."""
    spec = obj.get("spec") or {}
    least, most = spec.get("minReplicas", 1), spec.get("maxReplicas", 0)
    causes = []
    if least < 1:
        causes.append(wrong("spec.minReplicas", least, "must be greater than or equal to 1"))
    if most < 1:
        causes.append(wrong("spec.maxReplicas", most, "must be greater than 0"))
    elif most < least:
        causes.append(wrong("spec.maxReplicas", most, "must be greater than or equal to `minReplicas`"))
    return causes


def _cpu(percentage: int) -> Json:
    target = {"type": "Utilization", "averageUtilization": percentage}
    return {"type": "Resource", "resource": {"name": "cpu", "target": target}}


def _cpu_percentage(metric: Json) -> int | None:
    resource = metric.get("resource") or {}
    if metric.get("type") != "Resource" or resource.get("name") != "cpu":
        return None
    found = (resource.get("target") or {}).get("averageUtilization")
    return found if isinstance(found, int) else None


def _carried(annotations: Json, key: str, default: Any) -> Any:
    text = annotations.pop(_ANNOTATION + key, None)
    if text is None:
        return default
    try:
        return msgspec.json.decode(text)
    except msgspec.DecodeError as error:
        raise bad_request(f"the annotation {_ANNOTATION}{key} does not hold JSON: {error}") from error
