"""Deployments: one ReplicaSet for each template they ever had, sized so that Pods change over as the strategy says.

Deployment, its ReplicaSets, their Pods ──► plans.rollout ──► sizes, a new ReplicaSet, status
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.controllers.controller import Concern, Controller, Key
from octoedge.apiserver.controllers.plans import conditions, rollout
from octoedge.apiserver.controllers.turn import Hands, Turn, decoded
from octoedge.apiserver.writing.ownership import CONTROLLER, is_leaving, owners_of, reference
from octoedge.kube.read import Item
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]

RESOURCE = "deployments.apps"
SETS = "replicasets.apps"
HASH = "pod-template-hash"
REVISION = "deployment.kubernetes.io/revision"
DESIRED = "deployment.kubernetes.io/desired-replicas"
MOST = "deployment.kubernetes.io/max-replicas"
_NOT_COPIED = (
    "kubectl.kubernetes.io/last-applied-configuration",
    REVISION,
    "deployment.kubernetes.io/revision-history",
    DESIRED,
    MOST,
    "deprecated.deployment.rollback.to",
)
_SAFE = "bcdfghjklmnpqrstvwxz2456789"


def deployment_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("deployment-controller", RESOURCE, hands, reconcile)
    return controller.attend(SETS, controller.controlled()).attend("pods", _through_sets(hands))


def _through_sets(hands: Hands) -> Concern:
    """A Pod concerns the Deployment that owns its ReplicaSet."""
    backend = hands.rest.backend

    def concern(item: Item) -> Iterable[Key]:
        for owner in owners_of(item):
            found = backend.get(SETS, item.namespace, owner.name) if owner.kind == "ReplicaSet" else None
            for one in owners_of(found) if found is not None else ():
                if one.controller and one.kind == "Deployment":
                    yield (item.namespace, one.name)

    return concern


@dataclass(slots=True)
class _Set:
    """A ReplicaSet of the Deployment, with the Pods that it controls."""

    obj: Json
    pods: list[Json]

    @property
    def name(self) -> str:
        return str(self.obj["metadata"]["name"])

    @property
    def replicas(self) -> int:
        return int(self.obj["spec"].get("replicas", 1))

    @property
    def revision(self) -> int:
        text = (self.obj["metadata"].get("annotations") or {}).get(REVISION, "0")
        return int(text) if text.isdecimal() else 0

    def number(self, annotation: str) -> int | None:
        """A number in an annotation."""
        text = (self.obj["metadata"].get("annotations") or {}).get(annotation, "")
        return int(text) if text.isdecimal() else None

    def active(self) -> list[Json]:
        """Pods that live."""
        return [pod for pod in self.pods if facts.is_active(pod)]


def reconcile(turn: Turn, deployment: Json) -> None:
    """One turn of one Deployment."""
    spec = deployment["spec"]
    sets = [_Set(obj, _pods_of(turn, obj)) for obj in turn.claim(SETS, deployment)]
    new = _same_template(sets, spec["template"])
    old = [one for one in sets if one is not new]
    if is_leaving(deployment):
        _report(turn, deployment, new, old)
        return
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    replicas = int(spec.get("replicas", 1))
    surge, unavailable = rollout.fence(rolling.get("maxSurge"), rolling.get("maxUnavailable"), replicas)
    recreate = strategy.get("type") == "Recreate"
    if recreate:
        surge, unavailable = 0, 0
    wish = rollout.Wish(replicas, surge, unavailable, recreate, bool(spec.get("paused")))
    waits = spec.get("minReadySeconds") or 0
    sizes = {one.name: _size(turn, one, waits) for one in sets}
    step = rollout.plan(wish, sizes[new.name] if new else None, [sizes[one.name] for one in old])
    revision = max((one.revision for one in old), default=0) + 1
    if new is not None:
        revision = new.revision if new.revision >= revision else revision
    for one in sets:
        _resize(turn, deployment, one, step.sizes.get(one.name, one.replicas), wish, revision if one is new else None)
    if step.create is not None and not wish.paused:
        _make(turn, deployment, step.create, wish, revision)
    told = turn.get(RESOURCE, deployment["metadata"]["namespace"], deployment["metadata"]["name"]) or deployment
    if new is not None or step.create is not None:
        _annotate(turn, told, revision)
    _report(turn, deployment, new, old, created=step.create is not None and not wish.paused, wish=wish)


def _pods_of(turn: Turn, owner: Json) -> list[Json]:
    about = owner["metadata"]
    items = turn.items("pods", about["namespace"])
    return [decoded(item) for item in items if item.fields.get(CONTROLLER) == about["uid"]]


def _same_template(sets: list[_Set], template: Json) -> _Set | None:
    """The ReplicaSet of the present template; the oldest, should there be several."""
    found = [one for one in sets if _plain(one.obj["spec"].get("template") or {}) == _plain(template)]
    return min(found, key=lambda one: (facts.created(one.obj), one.name), default=None)


def _plain(template: Json) -> Json:
    """A template without what the controller adds."""
    about = template.get("metadata") or {}
    labels = {key: value for key, value in (about.get("labels") or {}).items() if key != HASH}
    annotations = about.get("annotations") or {}
    rest = {key: value for key, value in about.items() if value and key not in ("labels", "annotations")}
    return {"labels": labels, "annotations": annotations, "rest": rest, "spec": template.get("spec") or {}}


def _size(turn: Turn, one: _Set, min_ready_seconds: int) -> rollout.Size:
    available = sum(facts.available_in(pod, min_ready_seconds, turn.now) == 0.0 for pod in one.active())
    return rollout.Size(
        name=one.name,
        replicas=one.replicas,
        available=available,
        created=facts.created(one.obj),
        most=one.number(MOST) or 0,
        desired=one.number(DESIRED),
        living=len(one.active()),
        pods_running=sum(not facts.is_finished(pod) for pod in one.pods),
    )


def _resize(turn: Turn, owner: Json, one: _Set, replicas: int, wish: rollout.Wish, revision: int | None) -> None:
    """Write size, bookkeeping and, for the new ReplicaSet, the Deployment's annotations and revision."""
    about = one.obj["metadata"]
    notes = dict(about.get("annotations") or {})
    if revision is not None:
        notes |= _copied(owner)
        notes[REVISION] = str(revision)
    if replicas or one.replicas or revision is not None:
        notes |= {DESIRED: str(wish.replicas), MOST: str(wish.replicas + wish.surge)}
    spec = {**one.obj["spec"], "replicas": replicas}
    if revision is not None and spec.get("minReadySeconds") != owner["spec"].get("minReadySeconds"):
        spec["minReadySeconds"] = owner["spec"].get("minReadySeconds") or 0
    turn.put(SETS, {**one.obj, "metadata": {**about, "annotations": notes}, "spec": spec})
    if replicas != one.replicas:
        word = "up" if replicas > one.replicas else "down"
        text = f"Scaled {word} replica set {one.name} from {one.replicas} to {replicas}"
        turn.tell(owner, "ScalingReplicaSet", text)


def _copied(owner: Json) -> Json:
    notes = owner["metadata"].get("annotations") or {}
    return {key: value for key, value in notes.items() if key not in _NOT_COPIED}


def _make(turn: Turn, owner: Json, replicas: int, wish: rollout.Wish, revision: int) -> None:
    template = owner["spec"]["template"]
    digest = _free_hash(turn, owner, template)
    labels = {**((template.get("metadata") or {}).get("labels") or {}), HASH: digest}
    selector = owner["spec"].get("selector") or {}
    about = owner["metadata"]
    spec: Json = {
        "replicas": replicas,
        "selector": {**selector, "matchLabels": {**(selector.get("matchLabels") or {}), HASH: digest}},
        "template": {**template, "metadata": {**(template.get("metadata") or {}), "labels": labels}},
    }
    if owner["spec"].get("minReadySeconds"):
        spec["minReadySeconds"] = owner["spec"]["minReadySeconds"]
    notes = {REVISION: str(revision), DESIRED: str(wish.replicas), MOST: str(wish.replicas + wish.surge)}
    metadata = {
        "name": f"{about['name']}-{digest}",
        "namespace": about["namespace"],
        "labels": labels,
        "annotations": {**_copied(owner), **notes},
        "ownerReferences": [reference(owner)],
    }
    replica_set = {"kind": "ReplicaSet", "apiVersion": "apps/v1", "metadata": metadata, "spec": spec}
    made = turn.create(SETS, replica_set, owner, told="")
    if made:
        turn.tell(owner, "ScalingReplicaSet", f"Scaled up replica set {made} from 0 to {replicas}")


def _free_hash(turn: Turn, owner: Json, template: Json) -> str:
    """A hash of the template whose name no other ReplicaSet has."""
    about = owner["metadata"]
    for attempt in range(16):
        text = msgspec.json.encode([_plain(template), attempt] if attempt else _plain(template), order="sorted")
        number = int.from_bytes(hashlib.sha256(text).digest()[:8], "big")
        digest = "".join(_SAFE[number // 27**place % 27] for place in range(10))
        if turn.get(SETS, about["namespace"], f"{about['name']}-{digest}") is None:
            return digest
    return digest


def _annotate(turn: Turn, owner: Json, revision: int) -> None:
    about = owner["metadata"]
    notes = {**(about.get("annotations") or {}), REVISION: str(revision)}
    turn.put(RESOURCE, {**owner, "metadata": {**about, "annotations": notes}})


def _report(
    turn: Turn,
    owner: Json,
    new: _Set | None,
    old: list[_Set],
    *,
    created: bool = False,
    wish: rollout.Wish | None = None,
) -> None:
    """Status and conditions; the roll-out is over when everything is new and available, and then old sets are cut."""
    spec, before = owner["spec"], owner.get("status") or {}
    wait = spec.get("minReadySeconds") or 0
    sets = [*([new] if new else []), *old]
    active = [pod for one in sets for pod in one.active()]
    waits = [facts.available_in(pod, wait, turn.now) for pod in active]
    soon = [one for one in waits if one]
    if soon:
        turn.again(min(soon))
    available = sum(one == 0.0 for one in waits)
    counts = {
        "replicas": len(active),
        "updatedReplicas": len(new.active()) if new else 0,
        "readyReplicas": sum(one is not None for one in waits),
        "availableReplicas": available,
        "unavailableReplicas": max(0, sum(one.replicas for one in sets) - available),
    }
    status: Json = {"observedGeneration": owner["metadata"].get("generation") or 0}
    status |= {key: value for key, value in counts.items() if value}
    known: list[Json] = list(before.get("conditions") or [])
    if wish is not None:
        known = _available(turn, known, available >= wish.replicas - wish.unavailable)
        known = _progress(turn, owner, known, counts, new, created=created)
        known = _replica_failure(turn, known, sets)
        if _is_complete(owner, counts):
            _cut(turn, owner, old)
    turn.set_status(RESOURCE, owner, {**status, **({"conditions": known} if known else {})})


def _available(turn: Turn, known: list[Json], enough: bool) -> list[Json]:
    reason = "MinimumReplicasAvailable" if enough else "MinimumReplicasUnavailable"
    text = f"Deployment {'has' if enough else 'does not have'} minimum availability."
    condition = {"type": "Available", "status": "True" if enough else "False", "reason": reason, "message": text}
    return conditions.changed(known, condition, rfc3339(turn.now), "lastUpdateTime")


def _is_complete(owner: Json, counts: dict[str, int]) -> bool:
    wanted = int(owner["spec"].get("replicas", 1))
    return wanted == counts["updatedReplicas"] == counts["replicas"] == counts["availableReplicas"]


def _progress(
    turn: Turn, owner: Json, known: list[Json], counts: dict[str, int], new: _Set | None, *, created: bool
) -> list[Json]:
    """The Progressing condition, which `kubectl rollout status` reads."""
    before = conditions.find(known, "Progressing")
    name = new.name if new else ""
    state = _state(turn, owner, before, counts, created=created)
    texts = {
        "NewReplicaSetAvailable": f'ReplicaSet "{name}" has successfully progressed.',
        "NewReplicaSetCreated": "Created new replica set",
        "ReplicaSetUpdated": f'ReplicaSet "{name}" is progressing.',
        "ProgressDeadlineExceeded": f'ReplicaSet "{name}" has timed out progressing.',
        "DeploymentPaused": "Deployment is paused",
        "DeploymentResumed": "Deployment is resumed",
    }
    if not state:
        return known
    word = {"ProgressDeadlineExceeded": "False", "DeploymentPaused": "Unknown", "DeploymentResumed": "Unknown"}
    condition = {
        "type": "Progressing",
        "status": word.get(state, "True"),
        "reason": state,
        "message": texts[state],
    }
    now = rfc3339(turn.now)
    changed = conditions.changed(known, condition, now, "lastUpdateTime")
    over = state == "NewReplicaSetAvailable" and before is not None and before.get("message") != texts[state]
    if over or (state == "ReplicaSetUpdated" and _advances(owner, counts)):
        # The deadline counts from the last step, also where the condition itself stays as it was.
        progressing = conditions.find(changed, "Progressing")
        assert progressing is not None
        progressing["lastUpdateTime"] = now
    return changed


def _state(turn: Turn, owner: Json, before: Json | None, counts: dict[str, int], *, created: bool) -> str:
    """How the roll-out stands, as the reason of the Progressing condition; empty when nothing is to be said."""
    said = (before or {}).get("reason", "")
    if owner["spec"].get("paused"):
        return "DeploymentPaused"
    if said == "DeploymentPaused":
        return "DeploymentResumed"
    if created:
        return "NewReplicaSetCreated"
    if _is_complete(owner, counts):
        return "NewReplicaSetAvailable"
    if said == "NewReplicaSetAvailable" and not _has_begun(owner, counts):
        return ""
    deadline = owner["spec"].get("progressDeadlineSeconds")
    if _advances(owner, counts) or before is None or not deadline or deadline >= 2**31 - 1:
        return "ReplicaSetUpdated"
    left = facts.seconds(before.get("lastUpdateTime")) + deadline - turn.now
    if left > 0:
        turn.again(left)
        return said or "ReplicaSetUpdated"
    return "ProgressDeadlineExceeded"


def _has_begun(owner: Json, counts: dict[str, int]) -> bool:
    """Whether a finished roll-out has given way to a new one; a Pod that merely restarts is none."""
    return counts["updatedReplicas"] < int(owner["spec"].get("replicas", 1))


def _advances(owner: Json, counts: dict[str, int]) -> bool:
    before = owner.get("status") or {}

    def old(field: str) -> int:
        return int(before.get(field) or 0)

    fewer = counts["replicas"] - counts["updatedReplicas"] < old("replicas") - old("updatedReplicas")
    more = any(counts[field] > old(field) for field in ("updatedReplicas", "readyReplicas", "availableReplicas"))
    return fewer or more


def _replica_failure(turn: Turn, known: list[Json], sets: list[_Set]) -> list[Json]:
    for one in sets:
        failure = conditions.find((one.obj.get("status") or {}).get("conditions"), "ReplicaFailure")
        if failure is not None:
            said = {key: failure.get(key, "") for key in ("type", "status", "reason", "message")}
            return conditions.changed(known, said, rfc3339(turn.now), "lastUpdateTime")
    return conditions.without(known, "ReplicaFailure")


def _cut(turn: Turn, owner: Json, old: list[_Set]) -> None:
    """Forget the oldest revisions beyond the limit."""
    limit = owner["spec"].get("revisionHistoryLimit", 10)
    idle = [one for one in old if not one.replicas and not one.pods and not is_leaving(one.obj)]
    idle.sort(key=lambda one: (one.revision, facts.created(one.obj)))
    for one in idle[: max(0, len(idle) - limit)]:
        turn.delete(SETS, one.obj)
