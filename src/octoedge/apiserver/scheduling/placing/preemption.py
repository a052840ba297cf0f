"""Whose Pods have to go so that a more important one finds a node: pure.

As few and as unimportant as can be, and of those on the node with the fewest disruption budgets broken: a budget is
honoured as long as there is another way, which is what Kubernetes promises too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from octoedge.apiserver.scheduling.placing.pod import Wants
from octoedge.apiserver.scheduling.placing.site import Site
from octoedge.kube.selector import Selector

NEVER = "not eligible due to preemptionPolicy=Never."
WAITS = "not eligible due to a terminating pod on the nominated node."
NO_VICTIMS = "No preemption victims found for incoming pod"
NO_HELP = "Preemption is not helpful for scheduling"

Fits = Callable[[str], bool]
"""Whether the Pod fits on a node, as the site is now."""


@dataclass(slots=True)
class Budget:
    """A PodDisruptionBudget, as far as it matters here."""

    namespace: str
    selector: Selector
    allowed: int


@dataclass(frozen=True, slots=True)
class Room:
    """Where there would be room, and who has to go."""

    node: str
    victims: tuple[Wants, ...]


def is_waiting(pod: Wants, site: Site) -> bool:
    """Whether those who had to go for it are still on their way out."""
    load = site.load(pod.nominated) if pod.nominated in site.nodes else None
    return load is not None and any(one.leaving and one.priority < pod.priority for one in load.pods.values())


def make_room(pod: Wants, site: Site, nodes: Iterable[str], budgets: Sequence[Budget], fits: Fits) -> Room | None:
    """The best of `nodes` to make room on; None when sending others away helps nowhere."""
    found: list[tuple[tuple[object, ...], Room]] = []
    for node in nodes:
        chosen = _victims(pod, site, node, budgets, fits)
        if chosen is not None:
            broken, victims = chosen
            found.append((_cost(node, broken, victims), Room(node, victims)))
    return min(found, key=lambda one: one[0])[1] if found else None


def _victims(
    pod: Wants, site: Site, node: str, budgets: Sequence[Budget], fits: Fits
) -> tuple[int, tuple[Wants, ...]] | None:
    """(budgets broken, who has to go) on one node."""
    lower = [one for one in site.load(node).pods.values() if one.priority < pod.priority]
    with site.supposing(fewer=lower):
        if not lower or not fits(node):
            return None
    breaking, others = _sorted_by_budget(sorted(lower, key=_importance), budgets)
    gone = {one.key: one for one in lower}
    broken = 0
    for one in [*breaking, *others]:
        rest = [other for key, other in gone.items() if key != one.key]
        with site.supposing(fewer=rest):
            spared = not one.leaving and fits(node)
        if spared:
            del gone[one.key]
        elif one in breaking:
            broken += 1
    return broken, tuple(sorted(gone.values(), key=_importance))


def _sorted_by_budget(pods: Sequence[Wants], budgets: Sequence[Budget]) -> tuple[list[Wants], list[Wants]]:
    """(those whose going would break a budget, the others), the most important first."""
    left = {id(one): one.allowed for one in budgets}
    breaking: list[Wants] = []
    others: list[Wants] = []
    for pod in pods:
        mine = [one for one in budgets if one.namespace == pod.namespace and one.selector.matches(pod.labels)]
        for one in mine:
            left[id(one)] -= not pod.leaving
        (breaking if any(left[id(one)] < 0 for one in mine) and not pod.leaving else others).append(pod)
    return breaking, others


def _importance(pod: Wants) -> tuple[object, ...]:
    """The most important first: by priority, then who has run for longer."""
    return (-pod.priority, pod.started or pod.created or "~", pod.key)


def _cost(node: str, broken: int, victims: Sequence[Wants]) -> tuple[object, ...]:
    highest = max((one.priority for one in victims), default=-(2**31))
    shifted = sum(one.priority + 2**31 for one in victims)
    since = min((one.started or one.created for one in victims if one.priority == highest), default="")
    # Of two that have run for different times, the one that began later is missed less.
    return (broken, highest, shifted, len(victims), [-ord(letter) for letter in since], node)
