"""Binding a claim and a volume: both are written in one commit, so no volume ever has two claims."""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.controllers.turn import Turn
from octoedge.apiserver.volumes.objects import CLAIMS, VOLUMES
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]

COMPLETED = "pv.kubernetes.io/bind-completed"
BY_CONTROLLER = "pv.kubernetes.io/bound-by-controller"


def bind(turn: Turn, claim: Json, volume: Json) -> None:
    """Give the claim the volume."""
    about, chosen = claim["metadata"], volume["metadata"]["name"]
    reference = {
        "kind": "PersistentVolumeClaim",
        "apiVersion": "v1",
        "namespace": about["namespace"],
        "name": about["name"],
        "uid": about["uid"],
    }
    known = volume["spec"].get("claimRef") or {}
    spec = {**volume["spec"], "claimRef": {**known, **reference}}
    bound = {**volume, "spec": spec} if known else _marked({**volume, "spec": spec}, BY_CONTROLLER)
    turn.put(VOLUMES, with_phase(turn, bound, "Bound"))
    spec = {**claim["spec"], "volumeName": chosen}
    taken = _marked({**claim, "spec": spec}, COMPLETED)
    taken = taken if claim["spec"].get("volumeName") else _marked(taken, BY_CONTROLLER)
    status = {
        **(claim.get("status") or {}),
        "phase": "Bound",
        "accessModes": volume["spec"].get("accessModes") or [],
        "capacity": volume["spec"].get("capacity") or {},
    }
    turn.put(CLAIMS, {**taken, "status": status})


def with_phase(turn: Turn, volume: Json, phase: str, reason: str = "", message: str = "") -> Json:
    """The volume with a phase, and why."""
    before = volume.get("status") or {}
    after = {"phase": phase, **({"reason": reason, "message": message} if reason else {})}
    if before.get("phase") == phase and "lastPhaseTransitionTime" in before:
        after["lastPhaseTransitionTime"] = before["lastPhaseTransitionTime"]
    else:
        after["lastPhaseTransitionTime"] = rfc3339(turn.now)
    return {**volume, "status": after}


def _marked(obj: Json, annotation: str) -> Json:
    about = obj["metadata"]
    return {**obj, "metadata": {**about, "annotations": {**(about.get("annotations") or {}), annotation: "yes"}}}
