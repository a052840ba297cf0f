"""What a Pod wants of its node and its neighbours, made of its bytes once, so that deciding is quick."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, TypeVar

from octoedge.api.core import Toleration, view
from octoedge.apiserver.scheduling.placing.demand import Demand, demand_of
from octoedge.apiserver.scheduling.placing.podview import PlacedPod
from octoedge.kube.selector import Requirement, Selector, from_label_selector

Json = dict[str, Any]
T = TypeVar("T", bound=Hashable)
Key = tuple[str, str]
"""(namespace, name)"""
NO_LABELS: Mapping[str, str] = MappingProxyType({})
FINISHED = ("Succeeded", "Failed")
_REQUIRED = "requiredDuringSchedulingIgnoredDuringExecution"
_PREFERRED = "preferredDuringSchedulingIgnoredDuringExecution"


@dataclass(frozen=True, slots=True)
class NodeTerm:
    """One term of a node affinity: labels and fields, each by expressions that must all hold."""

    labels: Selector
    fields: Selector

    def matches(self, labels: Mapping[str, str], name: str) -> bool:
        """Whether a node is meant; a term without expressions means none."""
        if not self.labels and not self.fields:
            return False
        return self.labels.matches(labels) and self.fields.matches({"metadata.name": name})


@dataclass(frozen=True, slots=True)
class PodTerm:
    """One term of an affinity between Pods."""

    topology: str
    selector: Selector | None
    """None chooses nothing."""
    namespaces: frozenset[str]
    elsewhere: Selector | None
    """Chooses further namespaces by their labels."""

    def matches(self, pod: Wants, namespaces: Mapping[str, Mapping[str, str]]) -> bool:
        """Whether the other Pod is meant; `namespaces` are labels by name."""
        if self.selector is None or not self.selector.matches(pod.labels):
            return False
        if pod.namespace in self.namespaces:
            return True
        return self.elsewhere is not None and self.elsewhere.matches(namespaces.get(pod.namespace, {}))


@dataclass(frozen=True, slots=True)
class Constraint:
    """One topology spread constraint."""

    max_skew: int
    topology: str
    required: bool
    selector: Selector | None
    min_domains: int
    honours_affinity: bool
    honours_taints: bool

    def counts(self, pod: Wants) -> bool:
        """Whether a Pod (of the same namespace) counts."""
        return self.selector is not None and self.selector.matches(pod.labels)


@dataclass(frozen=True, slots=True)
class Wants:
    """A Pod: what it is, and what it wants of its node and its neighbours."""

    key: Key
    uid: str
    owner: str
    """uid of its controller."""
    labels: Mapping[str, str]
    node: str
    """Where it is already."""
    nominated: str
    leaving: bool
    gated: bool
    priority: int
    preempts: bool
    created: str
    started: str
    demand: Demand
    tolerations: tuple[Toleration, ...]
    node_selector: Mapping[str, str]
    node_terms: tuple[NodeTerm, ...] | None
    """One of them must hold; None when there is no such wish."""
    node_preferences: tuple[tuple[int, NodeTerm], ...]
    near: tuple[PodTerm, ...]
    apart: tuple[PodTerm, ...]
    preferences: tuple[tuple[int, PodTerm], ...]
    """(weight, term); a weight below zero wishes to be apart."""
    constraints: tuple[Constraint, ...]
    claims: tuple[str, ...]
    """PersistentVolumeClaims that it mounts."""

    @property
    def namespace(self) -> str:
        """Its namespace."""
        return self.key[0]


def read(data: bytes, labels: Mapping[str, str] | None = None) -> Wants:
    """What a Pod wants. `OctoedgeError` or `ValueError` when it cannot be understood.

    `labels` are the Pod's, where the caller has them already: they need not be kept twice.
    """
    return wants(view(PlacedPod, data), labels)


def wants(pod: PlacedPod, labels: Mapping[str, str] | None = None) -> Wants:
    """What a Pod wants."""
    about, spec = pod.metadata, pod.spec
    affinity = spec.affinity or {}
    on_nodes, near = affinity.get("nodeAffinity") or {}, affinity.get("podAffinity") or {}
    apart = affinity.get("podAntiAffinity") or {}
    required = on_nodes.get(_REQUIRED)
    own = (about.namespace, labels if labels is not None else about.labels or {})
    return Wants(
        key=(_once(about.namespace), about.name),
        uid=about.uid,
        owner=_once(next((one.uid for one in about.owner_references or () if one.controller), "")),
        labels=own[1],
        node=_once(spec.node_name),
        nominated=pod.status.nominated_node_name,
        leaving=about.deletion_timestamp is not None,
        gated=bool(spec.scheduling_gates),
        priority=spec.priority,
        preempts=spec.preemption_policy != "Never",
        created=_once(about.creation_timestamp or ""),
        started=_once(pod.status.start_time or ""),
        demand=demand_of(pod),
        tolerations=_once(tuple(spec.tolerations)),
        node_selector=spec.node_selector or NO_LABELS,
        node_terms=tuple(_node_terms(required.get("nodeSelectorTerms"))) if required else None,
        node_preferences=tuple(
            (int(one.get("weight", 1)), term)
            for one in on_nodes.get(_PREFERRED) or ()
            for term in _node_terms([one.get("preference") or {}])
        ),
        near=tuple(_pod_term(one, *own) for one in near.get(_REQUIRED) or ()),
        apart=tuple(_pod_term(one, *own) for one in apart.get(_REQUIRED) or ()),
        preferences=(*_weighted(near, 1, own), *_weighted(apart, -1, own)),
        constraints=tuple(_constraint(one, own[1]) for one in spec.topology_spread_constraints),
        claims=tuple(_claims(spec.volumes, about.name)),
    )


@lru_cache(maxsize=4096)
def _once(value: T) -> T:
    """The same object for equal values: thousands of Pods share what they were made of."""
    return value


def _node_terms(terms: Iterable[Json] | None) -> Iterable[NodeTerm]:
    for term in terms or ():
        labels = from_label_selector({"matchExpressions": term.get("matchExpressions") or []})
        for one in labels.requirements:
            if one.operator in ("gt", "lt") and not (len(one.values) == 1 and _is_whole(*one.values)):
                raise ValueError(f"Gt and Lt compare {one.key} with one whole number, not with {sorted(one.values)}")
        yield NodeTerm(labels, from_label_selector({"matchExpressions": term.get("matchFields") or []}))


def _is_whole(text: str) -> bool:
    return text.removeprefix("-").isdecimal() and len(text) < 19


def _weighted(affinity: Json, sign: int, own: tuple[str, Mapping[str, str]]) -> Iterable[tuple[int, PodTerm]]:
    for one in affinity.get(_PREFERRED) or ():
        yield sign * int(one.get("weight", 1)), _pod_term(one.get("podAffinityTerm") or {}, *own)


def _pod_term(term: Json, namespace: str, labels: Mapping[str, str]) -> PodTerm:
    elsewhere = term.get("namespaceSelector")
    listed = term.get("namespaces") or ([] if elsewhere is not None else [namespace])
    selector = _selector(term.get("labelSelector"), labels, term.get("matchLabelKeys"), term.get("mismatchLabelKeys"))
    return PodTerm(
        topology=term.get("topologyKey") or "",
        selector=selector,
        namespaces=frozenset(listed),
        elsewhere=from_label_selector(elsewhere) if elsewhere is not None else None,
    )


def _constraint(one: Json, labels: Mapping[str, str]) -> Constraint:
    return Constraint(
        max_skew=max(1, int(one.get("maxSkew") or 1)),
        topology=one.get("topologyKey") or "",
        required=one.get("whenUnsatisfiable") != "ScheduleAnyway",
        selector=_selector(one.get("labelSelector"), labels, one.get("matchLabelKeys")),
        min_domains=int(one.get("minDomains") or 1),
        honours_affinity=one.get("nodeAffinityPolicy") != "Ignore",
        honours_taints=one.get("nodeTaintsPolicy") == "Honor",
    )


def _selector(
    selector: Json | None,
    labels: Mapping[str, str],
    same: Iterable[str] | None = None,
    other: Iterable[str] | None = None,
) -> Selector | None:
    """The selector, with the Pod's own values of some labels required or ruled out."""
    if selector is None:
        return None
    own = [Requirement(key, "in", frozenset({labels[key]})) for key in same or () if key in labels]
    own += [Requirement(key, "notin", frozenset({labels[key]})) for key in other or () if key in labels]
    return Selector((*from_label_selector(selector).requirements, *own))


def _claims(volumes: Iterable[Json], pod: str) -> Iterable[str]:
    for volume in volumes:
        claim = (volume.get("persistentVolumeClaim") or {}).get("claimName")
        if claim:
            yield str(claim)
        elif volume.get("ephemeral"):
            yield f"{pod}-{volume.get('name', '')}"
