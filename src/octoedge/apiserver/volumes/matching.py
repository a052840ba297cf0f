"""Which volume a claim gets: pure.

`Claim × Volumes ──choose──► the one made for it, else the smallest that will do; ties go by name`
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Any

import msgspec

from octoedge.apiserver.schema.quantity import parse
from octoedge.kube.selector import Selector, from_label_selector

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Reference:
    """The claim that a volume is for; without uid, one that may come yet."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class Volume:
    """A PersistentVolume."""

    name: str
    labels: Mapping[str, str]
    storage_class: str
    mode: str
    access: frozenset[str]
    size: Fraction
    claim: Reference | None
    terms: tuple[tuple[Selector, Selector], ...] | None
    """Nodes that reach it, one of: (labels, fields); None when all do."""
    leaving: bool

    def reached_from(self, name: str, labels: Mapping[str, str]) -> bool:
        """Whether a node reaches it."""
        if self.terms is None:
            return True
        return any(chosen.matches(labels) and fields.matches({"metadata.name": name}) for chosen, fields in self.terms)


@dataclass(frozen=True, slots=True)
class Claim:
    """A PersistentVolumeClaim."""

    namespace: str
    name: str
    uid: str
    storage_class: str
    mode: str
    access: frozenset[str]
    size: Fraction
    selector: Selector | None
    volume: str
    """The volume that it has, or wishes for."""
    leaving: bool

    def is_meant_by(self, reference: Reference | None) -> bool:
        """Whether a volume is for this claim."""
        if reference is None or (reference.namespace, reference.name) != (self.namespace, self.name):
            return False
        return reference.uid in ("", self.uid)


def choose(claim: Claim, volumes: Iterable[Volume], node: tuple[str, Mapping[str, str]] | None = None) -> Volume | None:
    """The volume for a claim, one that `node` (name, labels) reaches if it is given; None when there is none."""
    fitting: list[tuple[Fraction, str, Volume]] = []
    for volume in volumes:
        if node is not None and not volume.reached_from(*node):
            continue
        if claim.is_meant_by(volume.claim):
            if not volume.leaving:
                return volume
        elif volume.claim is None and not obstacle(claim, volume):
            fitting.append((volume.size, volume.name, volume))
    return min(fitting, key=lambda one: one[:2])[2] if fitting else None


def obstacle(claim: Claim, volume: Volume) -> str:
    """Why a volume will not do for a claim; empty when it will."""
    if volume.leaving:
        return "it is being deleted"
    if volume.mode != claim.mode:
        return "incompatible volumeMode"
    if volume.size < claim.size:
        return "requested PV is too small"
    if volume.storage_class != claim.storage_class:
        return "storageClassName does not match"
    if not claim.access <= volume.access:
        return "incompatible accessMode"
    if claim.selector is not None and not claim.selector.matches(volume.labels):
        return "its labels do not match the selector"
    return ""


@lru_cache(maxsize=4096)
def volume_of(data: bytes) -> Volume:
    """A stored PersistentVolume; remembered, since every claim looks at all of them."""
    obj: Json = msgspec.json.decode(data)
    about, spec = obj["metadata"], obj.get("spec") or {}
    reference = spec.get("claimRef")
    affinity = (spec.get("nodeAffinity") or {}).get("required")
    return Volume(
        about["name"],
        about.get("labels") or {},
        spec.get("storageClassName") or "",
        spec.get("volumeMode") or "Filesystem",
        frozenset(spec.get("accessModes") or ()),
        parse(str((spec.get("capacity") or {}).get("storage") or "0")),
        _reference(reference) if reference else None,
        tuple(_term(one) for one in affinity.get("nodeSelectorTerms") or ()) if affinity else None,
        bool(about.get("deletionTimestamp")),
    )


def claim_of(obj: Json) -> Claim:
    """A PersistentVolumeClaim."""
    about, spec = obj["metadata"], obj.get("spec") or {}
    wished = (spec.get("resources") or {}).get("requests") or {}
    selector = spec.get("selector")
    return Claim(
        about["namespace"],
        about["name"],
        about["uid"],
        spec.get("storageClassName") or "",
        spec.get("volumeMode") or "Filesystem",
        frozenset(spec.get("accessModes") or ()),
        parse(str(wished.get("storage") or "0")),
        from_label_selector(selector) if selector is not None else None,
        spec.get("volumeName") or "",
        bool(about.get("deletionTimestamp")),
    )


def _reference(one: Json) -> Reference:
    return Reference(one.get("namespace") or "", one.get("name") or "", one.get("uid") or "")


def _term(term: Json) -> tuple[Selector, Selector]:
    labels = from_label_selector({"matchExpressions": term.get("matchExpressions") or []})
    return labels, from_label_selector({"matchExpressions": term.get("matchFields") or []})
