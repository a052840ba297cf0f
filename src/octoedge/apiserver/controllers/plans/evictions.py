"""How long a Pod may stay on a node with NoExecute taints: pure.

Kubernetes' rule: every such taint needs a toleration; the first one that covers it says for how long. A taint without
one ends the stay at once, a toleration without tolerationSeconds never does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from octoedge.api.core import Taint, Toleration
from octoedge.apiserver.scheduling.placing.nodes import covers

FOREVER = float("inf")


class TimedToleration(Toleration, frozen=True):
    """A toleration with its end."""

    toleration_seconds: int | None = None


@dataclass(frozen=True, slots=True)
class Since:
    """A taint, and since when it is there."""

    taint: Taint
    time: float
    not_before: float = 0.0
    """Nobody has to go because of it before that time."""


def stay(tolerations: Sequence[TimedToleration], taints: Sequence[Since]) -> float:
    """Until when a Pod may stay; `FOREVER` when nothing ends it."""
    return min((_end(tolerations, one) for one in taints), default=FOREVER)


def _end(tolerations: Sequence[TimedToleration], one: Since) -> float:
    covering = next((each for each in tolerations if covers(each, one.taint)), None)
    if covering is not None and covering.toleration_seconds is None:
        return FOREVER
    seconds = max(0, covering.toleration_seconds or 0) if covering is not None else 0
    return max(one.time + seconds, one.not_before)
