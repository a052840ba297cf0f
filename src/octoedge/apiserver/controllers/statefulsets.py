"""StatefulSets: Pods with names that stay, in order.

A name is never held by two Pods: the next one is made when the one before is gone from the API, which for a Pod on a
node that is away is when the node has come back and stopped it, or somebody has deleted the Node.
"""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.controllers import claims
from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.controllers.controller import Controller
from octoedge.apiserver.controllers.plans import stateful
from octoedge.apiserver.controllers.replicasets import pause_after_failures
from octoedge.apiserver.controllers.revisions import LABEL, Revisions, cut_revisions, keep_revisions, template_of
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.writing.ownership import is_leaving

Json = dict[str, Any]

RESOURCE = "statefulsets.apps"


def statefulset_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("statefulset-controller", RESOURCE, hands, reconcile)
    return controller.attend("pods", controller.controlled())


def reconcile(turn: Turn, owner: Json) -> None:
    """One turn of one StatefulSet."""
    pods = {ordinal: pod for pod in turn.claim("pods", owner) if (ordinal := ordinal_of(owner, pod)) is not None}
    revisions = keep_revisions(turn, owner)
    status = owner.get("status") or {}
    newest = revisions.newest["metadata"]["name"]
    current = status.get("currentRevision") if revisions.named(status.get("currentRevision") or "") else newest
    wish = _wish(owner)
    if not is_leaving(owner):
        claims.settle(turn, owner, pods, wish.ordinals())
        step = stateful.plan(wish, {ordinal: _replica(turn, owner, pod, newest) for ordinal, pod in pods.items()})
        _act(turn, owner, pods, step, revisions, str(current))
    _report(turn, owner, list(pods.values()), revisions, str(current))


def ordinal_of(owner: Json, pod: Json) -> int | None:
    """The number at the end of the name of a Pod of this owner."""
    name, _, number = pod["metadata"]["name"].rpartition("-")
    return int(number) if name == owner["metadata"]["name"] and number.isdecimal() and len(number) < 10 else None


def _wish(owner: Json) -> stateful.Wish:
    spec = owner["spec"]
    strategy = spec.get("updateStrategy") or {}
    return stateful.Wish(
        replicas=int(spec.get("replicas", 1)),
        start=int((spec.get("ordinals") or {}).get("start") or 0),
        parallel=spec.get("podManagementPolicy") == "Parallel",
        partition=int((strategy.get("rollingUpdate") or {}).get("partition") or 0),
        rolling=strategy.get("type") != "OnDelete",
    )


def _replica(turn: Turn, owner: Json, pod: Json, newest: str) -> stateful.Replica:
    wait = facts.available_in(pod, owner["spec"].get("minReadySeconds") or 0, turn.now)
    if wait:
        turn.again(wait)
    return stateful.Replica(
        updated=_revision(pod) == newest,
        available=wait == 0.0 and facts.phase(pod) == "Running",
        ended=facts.is_finished(pod),
        leaving=is_leaving(pod),
    )


def _revision(pod: Json) -> str:
    return str((pod["metadata"].get("labels") or {}).get(LABEL, ""))


def _act(
    turn: Turn, owner: Json, pods: dict[int, Json], step: stateful.Step, revisions: Revisions, current: str
) -> None:
    newest = revisions.newest["metadata"]["name"]
    for ordinal in step.delete:
        pause = pause_after_failures(turn, owner, [pods[ordinal]])
        if pause > 0:
            turn.again(pause)
        else:
            turn.delete("pods", pods[ordinal], owner)
    wanted = [(ordinal, newest) for ordinal in step.make_new] + [(ordinal, current) for ordinal in step.make_old]
    for ordinal, revision in sorted(wanted):
        template = template_of(revisions.named(revision) or revisions.newest)
        if not claims.ensure(turn, owner, ordinal):
            return
        turn.create("pods", _pod(owner, template, ordinal, revision), owner)


def _pod(owner: Json, template: Json, ordinal: int, revision: str) -> Json:
    name = f"{owner['metadata']['name']}-{ordinal}"
    labels = {"statefulset.kubernetes.io/pod-name": name, "apps.kubernetes.io/pod-index": str(ordinal), LABEL: revision}
    pod = facts.from_template(owner, template, name=name, labels=labels)
    pod["spec"]["hostname"] = name
    if owner["spec"].get("serviceName"):
        pod["spec"]["subdomain"] = owner["spec"]["serviceName"]
    named = {one["metadata"]["name"]: claims.name_of(owner, one, ordinal) for one in claims.templates(owner)}
    if named:
        others = [one for one in pod["spec"].get("volumes") or [] if one.get("name") not in named]
        mine = [{"name": name, "persistentVolumeClaim": {"claimName": claim}} for name, claim in named.items()]
        pod["spec"]["volumes"] = [*mine, *others]
    return pod


def _report(turn: Turn, owner: Json, pods: list[Json], revisions: Revisions, current: str) -> None:
    wait = owner["spec"].get("minReadySeconds") or 0
    living = [pod for pod in pods if not facts.is_finished(pod)]
    newest = revisions.newest["metadata"]["name"]
    updated = [pod for pod in living if _revision(pod) == newest and not is_leaving(pod)]
    ready = [pod for pod in living if facts.is_ready(pod)]
    wanted = int(owner["spec"].get("replicas", 1))
    if len(updated) == wanted == len(living) and len(ready) == wanted:
        current = newest
    status: Json = {
        "observedGeneration": owner["metadata"].get("generation") or 0,
        "replicas": len(living),
        "readyReplicas": len(ready),
        "availableReplicas": sum(facts.available_in(pod, wait, turn.now) == 0.0 for pod in living),
        "currentReplicas": sum(_revision(pod) == current and not is_leaving(pod) for pod in living),
        "updatedReplicas": len(updated),
        "currentRevision": current,
        "updateRevision": newest,
        "collisionCount": 0,
    }
    kept = ("replicas", "availableReplicas", "collisionCount", "observedGeneration")
    turn.set_status(RESOURCE, owner, {key: value for key, value in status.items() if value or key in kept})
    in_use = {_revision(pod) for pod in pods} | {current, newest}
    if not is_leaving(owner):
        cut_revisions(turn, owner, revisions, in_use)
