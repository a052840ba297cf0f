"""ReplicaSets: as many Pods of one template as they say.

A Pod on a node that is away counts as what it last was: it runs there, so none is made in its place and none is deleted
because of it. What the edge is doing is the edge's business until somebody deletes the Node or the Pod.
"""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.controllers.controller import Controller
from octoedge.apiserver.controllers.plans import conditions
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.writing.ownership import is_leaving
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]

RESOURCE = "replicasets.apps"
AT_ONCE = 100
"""Pods made or deleted in one turn."""
FIRST_PAUSE = 10.0
LONGEST_PAUSE = 300.0
KEPT_FAILURES = 5
"""Failed Pods that are kept to be looked at."""


def replicaset_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("replicaset-controller", RESOURCE, hands, reconcile)
    return controller.attend("pods", controller.controlled())


def reconcile(turn: Turn, owner: Json) -> None:
    """One turn of one ReplicaSet."""
    pods = turn.claim("pods", owner)
    active = [pod for pod in pods if facts.is_active(pod)]
    wanted = int(owner["spec"].get("replicas", 1))
    if not is_leaving(owner):
        missing = wanted - len(active)
        if missing > 0:
            _make(turn, owner, pods, min(missing, AT_ONCE))
        for pod in facts.deleted_first(active)[: min(-missing, AT_ONCE)] if missing < 0 else ():
            turn.delete("pods", pod, owner)
        if abs(missing) > AT_ONCE:
            turn.again(0)
    _report(turn, owner, active)


def _make(turn: Turn, owner: Json, pods: list[Json], count: int) -> None:
    pause = pause_after_failures(turn, owner, pods)
    if pause > 0:
        turn.again(pause)
        return
    for _ in range(count):
        if not turn.create("pods", facts.from_template(owner, owner["spec"].get("template") or {}), owner):
            break


def pause_after_failures(turn: Turn, owner: Json, pods: list[Json]) -> float:
    """Seconds to wait before Pods are replaced that failed for good (a node refused them): longer with each failure.

    How many failed is read off the failed Pods themselves, so a restart forgets nothing; the oldest are removed.
    """
    failed = sorted((pod for pod in pods if facts.phase(pod) == "Failed"), key=facts.created)
    if not failed:
        return 0.0
    for pod in failed[:-KEPT_FAILURES]:
        turn.delete("pods", pod, owner)
    pause = min(FIRST_PAUSE * 2.0 ** (min(len(failed), KEPT_FAILURES) - 1), LONGEST_PAUSE)
    return facts.created(failed[-1]) + pause - turn.now


def _report(turn: Turn, owner: Json, active: list[Json]) -> None:
    labels = ((owner["spec"].get("template") or {}).get("metadata") or {}).get("labels") or {}
    waits = [facts.available_in(pod, owner["spec"].get("minReadySeconds") or 0, turn.now) for pod in active]
    soon = [wait for wait in waits if wait]
    if soon:
        turn.again(min(soon))
    before = owner.get("status") or {}
    known = before.get("conditions")
    if turn.failures:
        failure = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": turn.failures[0]}
        known = conditions.changed(known, failure, rfc3339(turn.now))
    else:
        known = conditions.without(known, "ReplicaFailure")
    status: Json = {
        "replicas": len(active),
        "fullyLabeledReplicas": sum(labels.items() <= (pod["metadata"].get("labels") or {}).items() for pod in active),
        "readyReplicas": sum(wait is not None for wait in waits),
        "availableReplicas": sum(wait == 0.0 for wait in waits),
        "observedGeneration": owner["metadata"].get("generation") or 0,
    }
    status = {key: value for key, value in status.items() if value or key in ("replicas", "observedGeneration")}
    turn.set_status(RESOURCE, owner, {**status, **({"conditions": known} if known else {})})
