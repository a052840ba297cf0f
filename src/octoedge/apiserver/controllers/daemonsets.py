"""DaemonSets: one Pod on every node that their template chooses.

Pods are bound to their node when they are made, so a node that is not ready gets its Pod as well, as DaemonSets do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from octoedge.api.core import Node, Taint, view
from octoedge.apiserver.controllers import pods as facts
from octoedge.apiserver.controllers.controller import Concern, Controller, Key
from octoedge.apiserver.controllers.plans import daemons, rollout
from octoedge.apiserver.controllers.replicasets import pause_after_failures
from octoedge.apiserver.controllers.revisions import LABEL, cut_revisions, digest_of, keep_revisions
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.apiserver.scheduling.placing.nodes import selects, tolerates
from octoedge.apiserver.scheduling.placing.pod import wants
from octoedge.apiserver.scheduling.placing.podview import PlacedPod
from octoedge.apiserver.writing.ownership import is_leaving
from octoedge.kube.read import Item

Json = dict[str, Any]

RESOURCE = "daemonsets.apps"
_NODE = "node.kubernetes.io/"
_TOLERATED = (
    ("not-ready", "NoExecute"),
    ("unreachable", "NoExecute"),
    ("disk-pressure", "NoSchedule"),
    ("memory-pressure", "NoSchedule"),
    ("pid-pressure", "NoSchedule"),
    ("unschedulable", "NoSchedule"),
)
_ALSO = ("not-ready", "unreachable")
"""A taint of these keys with NoSchedule keeps new Pods away from a node, but never a DaemonSet's."""


def daemonset_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("daemonset-controller", RESOURCE, hands, reconcile)
    return controller.attend("pods", controller.controlled()).attend("nodes", _every_daemonset(hands))


def _every_daemonset(hands: Hands) -> Concern:
    """A node concerns all DaemonSets when anything about it changed that counts; a heartbeat does not."""
    known: dict[str, tuple[Any, ...]] = {}

    def concern(item: Item) -> Iterable[Key]:
        node = view(Node, item.data)
        counts = (node.metadata.labels, node.spec, _is_away(node), node.metadata.uid)
        present = hands.rest.backend.get("nodes", "", item.name) is not None
        if present and known.get(item.name) == counts:
            return []
        known[item.name] = counts
        if not present:
            del known[item.name]
        return [owner.key for owner in hands.rest.backend.items(RESOURCE)]

    return concern


def reconcile(turn: Turn, owner: Json) -> None:
    """One turn of one DaemonSet."""
    revisions = keep_revisions(turn, owner)
    digest = digest_of(revisions.newest)
    pods: dict[str, list[Json]] = {}
    for pod in turn.claim("pods", owner):
        pods.setdefault(str(pod["spec"].get("nodeName") or ""), []).append(pod)
    places = _places(turn, owner)
    wait = owner["spec"].get("minReadySeconds") or 0
    known = {name: [_daemon(turn, pod, digest, wait) for pod in found] for name, found in pods.items()}
    if not is_leaving(owner):
        _act(turn, owner, places, known, pods, digest)
        labels = [one["metadata"].get("labels") or {} for found in pods.values() for one in found]
        cut_revisions(turn, owner, revisions, {one.get(LABEL, "") for one in labels})
    _report(turn, owner, places, known, pods)


def _places(turn: Turn, owner: Json) -> dict[str, daemons.Place]:
    template = owner["spec"]["template"]
    spec = {**(template.get("spec") or {}), "tolerations": _tolerations(template)}
    pod = wants(msgspec.convert({"spec": spec}, PlacedPod))
    places = {}
    for item in turn.items("nodes"):
        node = view(Node, item.data)
        chosen = selects(pod, node.metadata.labels or {}, item.name) and not node.metadata.deletion_timestamp
        against = [taint for taint in node.spec.taints if not tolerates(pod.tolerations, taint)]
        places[item.name] = daemons.Place(
            should_run=chosen and not any(_keeps_away(taint) for taint in against),
            may_stay=chosen and not any(taint.effect == "NoExecute" for taint in against),
            is_away=_is_away(node),
        )
    return places


def _keeps_away(taint: Taint) -> bool:
    ours = taint.key in tuple(_NODE + key for key in _ALSO) and taint.effect == "NoSchedule"
    return taint.effect in ("NoSchedule", "NoExecute") and not ours


def _is_away(node: Node) -> bool:
    return any(one.type == "Ready" and one.status == "Unknown" for one in node.status.conditions)


def _tolerations(template: Json) -> list[Json]:
    own = list((template.get("spec") or {}).get("tolerations") or [])
    return own + [{"key": _NODE + key, "operator": "Exists", "effect": effect} for key, effect in _TOLERATED]


def _daemon(turn: Turn, pod: Json, digest: str, min_ready_seconds: int) -> daemons.Daemon:
    wait = facts.available_in(pod, min_ready_seconds, turn.now)
    if wait:
        turn.again(wait)
    about = pod["metadata"]
    return daemons.Daemon(
        name=about["name"],
        updated=(about.get("labels") or {}).get(LABEL) == digest,
        available=wait == 0.0,
        failed=facts.is_finished(pod),
        leaving=is_leaving(pod),
        created=facts.created(pod),
    )


def _act(
    turn: Turn,
    owner: Json,
    places: dict[str, daemons.Place],
    known: dict[str, list[daemons.Daemon]],
    pods: dict[str, list[Json]],
    digest: str,
) -> None:
    strategy = owner["spec"].get("updateStrategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    wanted = sum(place.should_run for place in places.values())
    # Both are rounded up here, so that a small share of few nodes is not nothing.
    surge = rollout.fence(rolling.get("maxSurge", 0), 1, wanted)[0]
    unavailable = rollout.fence(rolling.get("maxUnavailable", 1), 0, wanted)[0]
    rolls = strategy.get("type") != "OnDelete"
    step = daemons.plan(places, known, unavailable=unavailable, surge=surge, rolling=rolls)
    by_name = {pod["metadata"]["name"]: pod for found in pods.values() for pod in found}
    for name in step.delete:
        pause = pause_after_failures(turn, owner, [by_name[name]])
        if pause > 0:
            turn.again(pause)
        else:
            turn.delete("pods", by_name[name], owner)
    for name in step.make:
        template = owner["spec"]["template"]
        pod = facts.from_template(owner, template, labels={LABEL: digest})
        pod["spec"] |= {"nodeName": name, "tolerations": _tolerations(template)}
        if not turn.create("pods", pod, owner):
            return


def _report(
    turn: Turn,
    owner: Json,
    places: dict[str, daemons.Place],
    known: dict[str, list[daemons.Daemon]],
    pods: dict[str, list[Json]],
) -> None:
    wanted = [name for name, place in places.items() if place.should_run]
    living = {name: [pod for pod in known.get(name, ()) if not pod.failed] for name in {*places, *known}}
    ready = {name for name, found in pods.items() if any(facts.is_ready(pod) for pod in found)}
    available = sum(any(pod.available for pod in living.get(name, ())) for name in wanted)
    status = {
        "currentNumberScheduled": sum(bool(living.get(name)) for name in wanted),
        "desiredNumberScheduled": len(wanted),
        "numberMisscheduled": sum(bool(found) for name, found in living.items() if name and name not in wanted),
        "numberReady": sum(name in ready for name in wanted),
        "observedGeneration": owner["metadata"].get("generation") or 0,
        "updatedNumberScheduled": sum(any(pod.updated for pod in living.get(name, ())) for name in wanted),
        "numberAvailable": available,
        "numberUnavailable": len(wanted) - available,
    }
    kept = ("currentNumberScheduled", "desiredNumberScheduled", "numberMisscheduled", "numberReady")
    turn.set_status(RESOURCE, owner, {key: value for key, value in status.items() if value or key in kept})
