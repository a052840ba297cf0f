"""The status of ResourceQuotas: what of each is used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from octoedge.apiserver.behaviours.quotas import RESOURCE, status
from octoedge.apiserver.controllers.controller import Controller
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.kube.read import Item

Json = dict[str, Any]

_CHANGES = ("pods", "services", "persistentvolumeclaims", "configmaps", "secrets", "deployments.apps", "jobs.batch")
"""Kinds whose coming and going is heard of at once; others count when one of these does, or the quota changes."""


def quota_controller(hands: Hands) -> Controller:
    """The module."""
    backend = hands.rest.backend
    controller = Controller("resourcequota-controller", RESOURCE, hands, reconcile)

    def of_namespace(item: Item) -> Iterable[tuple[str, str]]:
        return [quota.key for quota in backend.items(RESOURCE, item.namespace)]

    for resource in _CHANGES:
        controller.attend(resource, of_namespace)
    return controller


def reconcile(turn: Turn, obj: Json) -> None:
    """One turn of one quota."""
    turn.set_status(RESOURCE, obj, status(turn.view, obj))
