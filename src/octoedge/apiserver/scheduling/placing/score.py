"""Which of the nodes that fit is best: Kubernetes' weights, a little simpler. Pure, and the same answer every time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from octoedge.apiserver.scheduling.placing.neighbours import attraction
from octoedge.apiserver.scheduling.placing.nodes import Place, tolerates
from octoedge.apiserver.scheduling.placing.pod import Wants
from octoedge.apiserver.scheduling.placing.site import USUAL, Load, Site
from octoedge.apiserver.scheduling.placing.spread import count

_ZONE = "topology.kubernetes.io/zone"

Score = Callable[[Wants, Sequence[Place], Site], list[float]]


def best(pod: Wants, places: Sequence[Place], site: Site) -> str:
    """The name of the best node; among equals the one with the fewest Pods, then the first by name."""
    if len(places) == 1:
        return places[0].name
    totals = [0.0] * len(places)
    for weight, score in _SCORES:
        for index, value in enumerate(score(pod, places, site)):
            totals[index] += weight * value
    ranked = [
        (-round(total, 6), len(site.load(place.name).pods), place.name)
        for total, place in zip(totals, places, strict=True)
    ]
    return min(ranked)[2]


def _taints(pod: Wants, places: Sequence[Place], _site: Site) -> list[float]:
    """Nodes that would rather not."""
    unwanted = [
        sum(one.effect == "PreferNoSchedule" and not tolerates(pod.tolerations, one) for one in place.taints)
        for place in places
    ]
    return _scaled([-value for value in unwanted])


def _node_affinity(pod: Wants, places: Sequence[Place], _site: Site) -> list[float]:
    return _scaled(
        [sum(weight for weight, term in pod.node_preferences if term.matches(one.labels, one.name)) for one in places]
    )


def _pod_affinity(pod: Wants, places: Sequence[Place], site: Site) -> list[float]:
    found = attraction(pod, site)
    if not found:
        return [0.0] * len(places)
    return _scaled(
        [sum(value for (key, name), value in found.items() if one.labels.get(key) == name) for one in places]
    )


def _spread(pod: Wants, places: Sequence[Place], site: Site) -> list[float]:
    """The wishes of the Pod; without any, away from those of the same controller."""
    soft = [one for one in pod.constraints if not one.required]
    if not pod.constraints:
        return _scaled([-_crowd(pod, place, site) for place in places]) if pod.owner else [0.0] * len(places)
    totals = [0.0] * len(places)
    for constraint in soft:
        counts = count(constraint, pod, site, soft)
        most = max(counts.values(), default=0) + 1
        for index, place in enumerate(places):
            domain = place.labels.get(constraint.topology)
            totals[index] -= counts[domain] if domain is not None else most
    return _scaled(totals)


def _crowd(pod: Wants, place: Place, site: Site) -> float:
    """Pods of the same controller on the node, and half as heavy those in its zone."""
    owned = site.owned(pod.owner)
    zone = place.labels.get(_ZONE)
    near = [number for name, number in owned.items() if zone and _zone_of(name, site) == zone]
    return owned.get(place.name, 0) + 0.5 * sum(near)


def _zone_of(name: str, site: Site) -> str | None:
    place = site.nodes.get(name)
    return place.labels.get(_ZONE) if place is not None else None


def _free(pod: Wants, places: Sequence[Place], site: Site) -> list[float]:
    """The share that would be left of cpu and memory."""
    return [_left(pod, place, site.load(place.name)) for place in places]


def _left(pod: Wants, place: Place, load: Load) -> float:
    shares = []
    for name, usual in USUAL.items():
        room = place.room.get(name, 0)
        taken = load.likely[name] + (pod.demand.amounts.get(name) or usual)
        shares.append(max(0.0, 100.0 * (room - taken) / room) if room else 0.0)
    return sum(shares) / len(shares)


def _scaled(values: Sequence[float]) -> list[float]:
    """0 for the worst, 100 for the best."""
    low, high = min(values), max(values)
    return [100.0 * (value - low) / (high - low) if high > low else 0.0 for value in values]


_SCORES: tuple[tuple[int, Score], ...] = (
    (3, _taints),
    (2, _node_affinity),
    (2, _pod_affinity),
    (2, _spread),
    (1, _free),
)
