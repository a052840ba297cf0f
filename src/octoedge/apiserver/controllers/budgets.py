"""The status of PodDisruptionBudgets."""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.behaviours.disruption import RESOURCE, budget_of
from octoedge.apiserver.controllers.controller import Controller
from octoedge.apiserver.controllers.turn import Hands, Turn
from octoedge.runtime.clock import rfc3339

Json = dict[str, Any]


def budget_controller(hands: Hands) -> Controller:
    """The module."""
    controller = Controller("disruption-controller", RESOURCE, hands, reconcile)
    return controller.attend("pods", controller.choosing)


def reconcile(turn: Turn, obj: Json) -> None:
    """One turn of one budget."""
    budget = budget_of(turn.view, obj)
    status = budget.status(obj.get("status") or {}, obj["metadata"].get("generation") or 0, rfc3339(turn.now))
    turn.set_status(RESOURCE, obj, status)
