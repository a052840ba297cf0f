"""ClusterRoles that are put together of others: their rules follow the roles that their selectors choose by label."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from octoedge.apiserver.access.rbac.policy import CLUSTERROLES
from octoedge.apiserver.controllers.controller import Controller
from octoedge.apiserver.controllers.turn import Hands, Turn, decoded
from octoedge.apiserver.store.backend import View
from octoedge.kube.read import Item, Reader
from octoedge.kube.selector import from_label_selector

Json = dict[str, Any]


def aggregation_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("clusterrole-aggregation", CLUSTERROLES, hands, reconcile)
    backend = hands.rest.backend

    def aggregating(_item: Item) -> Iterable[tuple[str, str]]:
        return [one.key for one in backend.items(CLUSTERROLES) if b'"aggregationRule"' in one.data]

    return controller.attend(CLUSTERROLES, aggregating)


def reconcile(turn: Turn, obj: Json) -> None:
    """One turn of one role."""
    if not obj.get("aggregationRule"):
        return
    rules = aggregated(turn.view, obj)
    if rules != (obj.get("rules") or []):
        turn.put(CLUSTERROLES, {**obj, "rules": rules})


def aggregated(reader: Reader | View, obj: Json) -> list[Json]:
    """The rules of all the roles that are chosen, in the order of their names, each once."""
    selectors = [from_label_selector(one) for one in obj["aggregationRule"].get("clusterRoleSelectors") or []]
    rules: list[Json] = []
    for item in sorted(reader.items(CLUSTERROLES), key=lambda item: item.name):
        if item.name != obj["metadata"]["name"] and any(one.matches(item.labels) for one in selectors):
            rules += [rule for rule in decoded(item).get("rules") or [] if rule not in rules]
    return rules
