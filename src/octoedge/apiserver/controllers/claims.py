"""The volume claims of a StatefulSet: one for each template and ordinal, kept or removed as its policy says.

What is to go belongs to somebody: to the StatefulSet (whenDeleted: Delete), or to a Pod that is one too many
(whenScaled: Delete). The garbage collector does the rest, when the owner has gone.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import Any

from octoedge.apiserver.controllers.turn import Turn
from octoedge.apiserver.writing.ownership import reference, without

Json = dict[str, Any]

RESOURCE = "persistentvolumeclaims"


def templates(owner: Json) -> list[Json]:
    """The templates of its claims."""
    return owner["spec"].get("volumeClaimTemplates") or []


def name_of(owner: Json, template: Json, ordinal: int) -> str:
    """The name of one claim."""
    return f"{template['metadata']['name']}-{owner['metadata']['name']}-{ordinal}"


def ensure(turn: Turn, owner: Json, ordinal: int) -> bool:
    """Make the claims of one Pod; whether all are there."""
    return all(_ensure(turn, owner, template, ordinal) for template in templates(owner))


def _ensure(turn: Turn, owner: Json, template: Json, ordinal: int) -> bool:
    name, namespace = name_of(owner, template, ordinal), owner["metadata"]["namespace"]
    if turn.get(RESOURCE, namespace, name) is not None:
        return True
    about = template.get("metadata") or {}
    labels = {**(about.get("labels") or {}), **((owner["spec"].get("selector") or {}).get("matchLabels") or {})}
    metadata: Json = {
        "name": name,
        "namespace": namespace,
        "labels": labels,
        "annotations": about.get("annotations") or {},
    }
    if _policy(owner, "whenDeleted") == "Delete":
        metadata["ownerReferences"] = [reference(owner)]
    spec = copy.deepcopy(template.get("spec") or {})
    claim = {"kind": "PersistentVolumeClaim", "apiVersion": "v1", "metadata": metadata, "spec": spec}
    return bool(turn.create(RESOURCE, claim, owner))


def settle(turn: Turn, owner: Json, pods: dict[int, Json], wanted: Iterable[int]) -> None:
    """Let each claim belong to whom the policy says; owners that others set stay."""
    kept = set(wanted)
    uid, namespace = owner["metadata"]["uid"], owner["metadata"]["namespace"]
    for ordinal, pod in pods.items():
        surplus = ordinal not in kept and _policy(owner, "whenScaled") == "Delete"
        keeps = _policy(owner, "whenDeleted") != "Delete"
        # A Pod that is one too many takes its claim along, whatever becomes of the StatefulSet.
        mine = [_owned_by(pod)] if surplus else [] if keeps else [reference(owner)]
        for template in templates(owner):
            claim = turn.get(RESOURCE, namespace, name_of(owner, template, ordinal))
            if claim is None:
                continue
            before = claim["metadata"].get("ownerReferences") or []
            ours = {uid, *(one["uid"] for one in before if one.get("kind") == "Pod" and one["name"] == _name(pod))}
            others = without(claim, ours)["metadata"].get("ownerReferences") or []
            if [*others, *mine] != before:
                _write(turn, claim, [*others, *mine])


def _write(turn: Turn, claim: Json, owners: list[Json]) -> None:
    about = {key: value for key, value in claim["metadata"].items() if key != "ownerReferences"}
    turn.put(RESOURCE, {**claim, "metadata": {**about, **({"ownerReferences": owners} if owners else {})}})


def _policy(owner: Json, when: str) -> str:
    policy = owner["spec"].get("persistentVolumeClaimRetentionPolicy") or {}
    return str(policy.get(when) or "Retain")


def _owned_by(pod: Json) -> Json:
    return {"apiVersion": "v1", "kind": "Pod", "name": _name(pod), "uid": pod["metadata"]["uid"]}


def _name(pod: Json) -> str:
    return str(pod["metadata"]["name"])
