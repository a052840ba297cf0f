"""Where a Pod's volumes can be had: what the scheduler asks about each node, and does when it has chosen one.

    obstacle(pod, node)  why not there, in the known words; empty when they can be had there
    bind(turn, pod, node)  the claims that waited for their first consumer get volumes of that node, in the same commit

A claim that is bound fixes the nodes by its volume; one whose class waits for the first consumer may get any free
volume that the node reaches; any other must be bound first.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from octoedge.apiserver.controllers.turn import Turn
from octoedge.apiserver.volumes.binding import COMPLETED, bind
from octoedge.apiserver.volumes.matching import Volume, choose, claim_of, volume_of
from octoedge.apiserver.volumes.objects import CLAIMS, CLASSES, LATE, VOLUMES
from octoedge.kube.read import Item

Json = dict[str, Any]
Node = tuple[str, Mapping[str, str]]
"""(name, labels)"""

UNBOUND = "pod has unbound immediate PersistentVolumeClaims"
CONFLICT = "node(s) had volume node affinity conflict"
NONE_LEFT = "node(s) didn't find available persistent volumes to bind"


class Store(Protocol):
    """What is stored, or what one turn sees of it."""

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        """One object."""
        ...

    def items(self, resource: str, namespace: str = "") -> Sequence[Item]:
        """All objects of a resource."""
        ...


def obstacle(store: Store, namespace: str, claims: Iterable[str], node: Node) -> str:
    """Why the claims of a Pod cannot be had on a node; empty when they can."""
    taken: set[str] = set()
    for name in claims:
        item = store.get(CLAIMS, namespace, name)
        if item is None:
            return f'persistentvolumeclaim "{name}" not found'
        why = _obstacle(store, msgspec.json.decode(item.data), node, taken)
        if why:
            return why
    return ""


def _obstacle(store: Store, obj: Json, node: Node, taken: set[str]) -> str:
    claim = claim_of(obj)
    if claim.leaving:
        return f'persistentvolumeclaim "{claim.name}" is being deleted'
    if is_bound(obj):
        item = store.get(VOLUMES, "", claim.volume)
        if item is None:
            return f'persistentvolume "{claim.volume}" not found'
        return "" if volume_of(item.data).reached_from(*node) else CONFLICT
    if claim.volume or not binds_late(store, claim.storage_class):
        return UNBOUND
    chosen = choose(claim, _free(store, taken), node)
    if chosen is None:
        return NONE_LEFT
    taken.add(chosen.name)
    return ""


def bind_late(turn: Turn, namespace: str, claims: Iterable[str], node: Node) -> bool:
    """Bind the claims of a Pod that waited for it to volumes of its node; False, and nothing written, if one cannot."""
    pairs: list[tuple[Json, Json]] = []
    taken: set[str] = set()
    for name in claims:
        claim = turn.get(CLAIMS, namespace, name)
        if claim is None:
            return False
        if is_bound(claim):
            continue
        present = (turn.get(VOLUMES, "", item.name) for item in turn.items(VOLUMES))
        volumes = {one["metadata"]["name"]: one for one in present if one is not None}
        free = (volume_of(msgspec.json.encode(one)) for name, one in volumes.items() if name not in taken)
        chosen = choose(claim_of(claim), free, node)
        if chosen is None:
            return False
        taken.add(chosen.name)
        pairs.append((claim, volumes[chosen.name]))
    for claim, volume in pairs:
        bind(turn, claim, volume)
    return True


def is_bound(claim: Json) -> bool:
    """Whether claim and volume have found each other."""
    marks = claim["metadata"].get("annotations") or {}
    return bool(claim["spec"].get("volumeName")) and COMPLETED in marks


def binds_late(store: Store, storage_class: str) -> bool:
    """Whether the class waits for the first consumer."""
    item = store.get(CLASSES, "", storage_class) if storage_class else None
    return item is not None and msgspec.json.decode(item.data).get("volumeBindingMode") == LATE


def _free(store: Store, taken: set[str]) -> list[Volume]:
    found = (volume_of(item.data) for item in store.items(VOLUMES))
    return [one for one in found if one.name not in taken]
