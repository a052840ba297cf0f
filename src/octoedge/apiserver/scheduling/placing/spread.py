"""Topology spread constraints: pure."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from octoedge.apiserver.scheduling.placing.nodes import Place, selects, untolerated
from octoedge.apiserver.scheduling.placing.pod import Constraint, Wants
from octoedge.apiserver.scheduling.placing.site import Site

UNEVEN = "node(s) didn't match pod topology spread constraints"
NO_LABEL = f"{UNEVEN} (missing required label)"


@dataclass(frozen=True, slots=True)
class _Rule:
    constraint: Constraint
    counts: Counter[str]
    """Pods that count, by domain."""
    least: int
    counts_itself: bool


class Spread:
    """What the required constraints of a Pod mean for where it may go; made anew for every Pod."""

    def __init__(self, pod: Wants, site: Site) -> None:
        hard = [one for one in pod.constraints if one.required]
        self._rules = [_rule(one, pod, site, hard) for one in hard]

    def obstacle(self, place: Place) -> str:
        """Why the Pod may not go there; empty when it may."""
        for rule in self._rules:
            domain = place.labels.get(rule.constraint.topology)
            if domain is None:
                return NO_LABEL
            if rule.counts[domain] + rule.counts_itself - rule.least > rule.constraint.max_skew:
                return UNEVEN
        return ""


def _rule(constraint: Constraint, pod: Wants, site: Site, together: list[Constraint]) -> _Rule:
    counts = count(constraint, pod, site, together)
    least = min(counts.values(), default=0) if len(counts) >= constraint.min_domains else 0
    return _Rule(constraint, counts, least, constraint.counts(pod))


def count(constraint: Constraint, pod: Wants, site: Site, together: list[Constraint]) -> Counter[str]:
    """Pods that count, by domain: of nodes that have all the labels and that the Pod might go to."""
    counts: Counter[str] = Counter()
    for place in site.nodes.values():
        if any(one.topology not in place.labels for one in together):
            continue
        if constraint.honours_affinity and not selects(pod, place.labels, place.name):
            continue
        if constraint.honours_taints and untolerated(pod, place) is not None:
            continue
        counts[place.labels[constraint.topology]] += sum(
            other.namespace == pod.namespace and not other.leaving and constraint.counts(other)
            for other in site.load(place.name).pods.values()
        )
    return counts
