"""Which node a Pod goes to: the rules of `placing`, in Kubernetes' order and in the words that its users know. Pure.

`Wants × Site ──choose──► node name, or Unplaceable: why not, node by node`
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from octoedge.apiserver.scheduling.placing import preemption, spread
from octoedge.apiserver.scheduling.placing.neighbours import FAR, Neighbours
from octoedge.apiserver.scheduling.placing.nodes import Place, is_closed, selects, untolerated
from octoedge.apiserver.scheduling.placing.pod import Wants
from octoedge.apiserver.scheduling.placing.preemption import Budget, Room
from octoedge.apiserver.scheduling.placing.score import best
from octoedge.apiserver.scheduling.placing.site import Load, Site
from octoedge.apiserver.scheduling.placing.spread import Spread

Expected = Sequence[tuple[Wants, str]]
"""Pods that are not placed yet, with the node that is kept for them."""
Volumes = Callable[[Wants, Place], str]
"""Why a Pod's volumes cannot be had on a node; empty when they can."""


def no_volumes(_pod: Wants, _place: Place) -> str:
    """Every volume can be had everywhere."""
    return ""


@dataclass(frozen=True, slots=True)
class Obstacle:
    """Why a node does not take a Pod."""

    text: str
    lasting: bool = False
    """Whether it would still be there if other Pods went."""


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No node takes the Pod."""

    obstacles: Mapping[str, Sequence[Obstacle]]
    """By node."""

    @property
    def message(self) -> str:
        """The text of the FailedScheduling event."""
        if not self.obstacles:
            return "no nodes available to schedule pods"
        return _counted(len(self.obstacles), [one.text for found in self.obstacles.values() for one in found])

    def worth_a_try(self) -> list[str]:
        """Nodes on which there might be room if others went."""
        return [name for name, found in self.obstacles.items() if not any(one.lasting for one in found)]


def choose(pod: Wants, site: Site, expected: Expected = (), volumes: Volumes = no_volumes) -> str | Unplaceable:
    """The best node for a Pod; the one that is kept for it, if it fits there."""
    with site.supposing(more=expected):
        found = _look(pod, site, site.nodes.values(), volumes)
    if expected:
        # Who is expected may not come: the Pod must fit without them too.
        free = [site.nodes[name] for name, obstacles in found.items() if not obstacles]
        found |= _look(pod, site, free, volumes)
    fitting = [site.nodes[name] for name, obstacles in found.items() if not obstacles]
    if not fitting:
        return Unplaceable(found)
    if any(place.name == pod.nominated for place in fitting):
        return pod.nominated
    return best(pod, fitting, site)


def make_room(
    pod: Wants,
    site: Site,
    refused: Unplaceable,
    budgets: Sequence[Budget],
    expected: Expected = (),
    volumes: Volumes = no_volumes,
) -> Room | str:
    """Who has to go so that the Pod finds a node, or in the known words why nobody does."""
    if not pod.preempts:
        return f"preemption: {preemption.NEVER}"
    if preemption.is_waiting(pod, site):
        return f"preemption: {preemption.WAITS}"

    def fits(node: str) -> bool:
        with site.supposing(more=expected):
            return not _look(pod, site, [site.nodes[node]], volumes)[node]

    tried = refused.worth_a_try()
    room = preemption.make_room(pod, site, tried, budgets, fits)
    if room is not None:
        return room
    texts = [preemption.NO_VICTIMS] * len(tried) + [preemption.NO_HELP] * (len(refused.obstacles) - len(tried))
    return f"preemption: {_counted(len(refused.obstacles), texts)}" if texts else ""


def _look(pod: Wants, site: Site, places: Iterable[Place], volumes: Volumes) -> dict[str, Sequence[Obstacle]]:
    neighbours, even = Neighbours(pod, site), Spread(pod, site)
    return {place.name: _obstacles(pod, place, site, neighbours, even, volumes) for place in places}


def _obstacles(
    pod: Wants, place: Place, site: Site, neighbours: Neighbours, even: Spread, volumes: Volumes
) -> Sequence[Obstacle]:
    """Why this node does not take the Pod: what the first rule says that has something to say."""
    closed = _closed(pod, place)
    if closed:
        return [Obstacle(closed, lasting=True)]
    load = site.load(place.name)
    if any(port.clashes(other) for port in pod.demand.ports for other in load.ports):
        return [Obstacle("node(s) didn't have free ports for the requested pod ports")]
    short = _shortages(pod, place, load)
    if short:
        return short
    text = volumes(pod, place)
    if text:
        return [Obstacle(text, lasting=True)]
    text = even.obstacle(place)
    if text:
        return [Obstacle(text, lasting=text == spread.NO_LABEL)]
    text = neighbours.obstacle(place)
    return [Obstacle(text, lasting=text == FAR)] if text else ()


def _closed(pod: Wants, place: Place) -> str:
    if place.leaving:
        return "node(s) were being deleted"
    if is_closed(pod, place):
        return "node(s) were unschedulable"
    taint = untolerated(pod, place)
    if taint is not None:
        return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    if not selects(pod, place.labels, place.name):
        return "node(s) didn't match Pod's node affinity/selector"
    return ""


def _shortages(pod: Wants, place: Place, load: Load) -> list[Obstacle]:
    found = [Obstacle("Too many pods")] if len(load.pods) + 1 > place.room["pods"] else []
    for name, wanted in pod.demand.amounts.items():
        room = place.room.get(name, 0)
        if load.amounts.get(name, 0) + wanted > room:
            found.append(Obstacle(f"Insufficient {name}", lasting=wanted > room))
    return found


def _counted(total: int, texts: Iterable[str]) -> str:
    # What is said of the pod is so on every node: no number of nodes stands before it.
    parts = sorted(text if text.startswith("pod ") else f"{count} {text}" for text, count in Counter(texts).items())
    return f"0/{total} nodes are available: {', '.join(parts)}."
