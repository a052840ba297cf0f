"""Affinity and anti-affinity between Pods, in both directions: pure.

A domain is a label of a node with its value; two nodes are in the same domain when they share it.
"""

from __future__ import annotations

from collections import Counter

from octoedge.apiserver.scheduling.placing.nodes import Place
from octoedge.apiserver.scheduling.placing.pod import PodTerm, Wants
from octoedge.apiserver.scheduling.placing.site import Site

FAR = "node(s) didn't match pod affinity rules"
TOO_NEAR = "node(s) didn't match pod anti-affinity rules"
UNWELCOME = "node(s) didn't satisfy existing pods anti-affinity rules"

Domain = tuple[str, str]


class Neighbours:
    """What the neighbours of a Pod mean for where it may go; made anew for every Pod."""

    def __init__(self, pod: Wants, site: Site) -> None:
        self._pod = pod
        self._near: set[Domain] = set()
        self._apart: set[Domain] = set()
        self._unwelcome: set[Domain] = set()
        namespaces = site.namespaces
        for place, other in site.everybody() if pod.near or pod.apart else ():
            if pod.near and all(term.matches(other, namespaces) for term in pod.near):
                self._near.update(_domains(pod.near, place))
            self._apart.update(_domains([term for term in pod.apart if term.matches(other, namespaces)], place))
        for place, other in site.choosy():
            against = [term for term in other.apart if term.matches(pod, namespaces)]
            self._unwelcome.update(_domains(against, place))
        self._is_first = not self._near and all(term.matches(pod, namespaces) for term in pod.near)
        """Whether nobody is there whom it wants to be near, and it would be such a one itself."""

    def obstacle(self, place: Place) -> str:
        """Why the Pod may not go there; empty when it may."""
        if self._pod.near and not self._is_near(place):
            return FAR
        if self._apart and any(one in self._apart for one in _domains(self._pod.apart, place)):
            return TOO_NEAR
        if any(place.labels.get(key) == value for key, value in self._unwelcome):
            return UNWELCOME
        return ""

    def _is_near(self, place: Place) -> bool:
        domains = _domains(self._pod.near, place)
        if len(domains) < len(self._pod.near):
            return False
        return self._is_first or all(one in self._near for one in domains)


def attraction(pod: Wants, site: Site) -> Counter[Domain]:
    """How much preferences, the Pod's own and those of others, speak for each domain."""
    found: Counter[Domain] = Counter()
    for place, other in site.everybody() if pod.preferences else ():
        for weight, term in pod.preferences:
            if term.matches(other, site.namespaces):
                _count(found, term, place, weight)
    for place, other in site.choosy():
        for weight, term in [*other.preferences, *((1, term) for term in other.near)]:
            if term.matches(pod, site.namespaces):
                _count(found, term, place, weight)
    return found


def _count(found: Counter[Domain], term: PodTerm, place: Place, weight: int) -> None:
    if term.topology in place.labels:
        found[term.topology, place.labels[term.topology]] += weight


def _domains(terms: tuple[PodTerm, ...] | list[PodTerm], place: Place) -> list[Domain]:
    return [(term.topology, place.labels[term.topology]) for term in terms if term.topology in place.labels]
