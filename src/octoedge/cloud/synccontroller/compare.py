"""What a node lacks and what it has too much of: a comparison without I/O.

    checkpoints (what the node is known to have) × intent (what it should have) → repairs

Level-triggered: it needs no history, so whatever event was missed is made good by the next comparison.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from octoedge.cloud.ports import Live, Wanted
from octoedge.protocol.resource import Resource


@dataclass(frozen=True, slots=True)
class Known:
    """One checkpoint: the node has this object in at least this version (0: it may have something)."""

    resource: Resource
    uid: str
    version: int


@dataclass(frozen=True, slots=True)
class Missing:
    """The node lacks this version."""

    wanted: Wanted
    first: bool
    """The node is not known to have any version of it."""


@dataclass(frozen=True, slots=True)
class Surplus:
    """The object with this uid is gone, or belongs elsewhere, and the node may still have it."""

    known: Known
    now: Live | None = None
    """The object, where it lives on and belongs to another node."""


Repair = Missing | Surplus


def compare(
    known: Mapping[str, Known],
    wanted: Iterable[Wanted],
    tracks: Callable[[str], bool],
    live: Callable[[Resource], Live | None],
    node: str = "",
) -> list[Repair]:
    """What to send to `node`: removals first, then what it lacks in the order of the intent.

    `known` is by uid. Objects that exist but are not wanted (a ConfigMap that no pod of the node uses any more) stay;
    kinds that nobody `tracks` here say nothing by their absence.
    """
    repairs: list[Repair] = []
    for checkpoint in known.values():
        if tracks(checkpoint.resource.type):
            now = live(checkpoint.resource)
            if now is None or now.uid != checkpoint.uid:
                repairs.append(Surplus(checkpoint))
            elif now.node is not None and now.node != node:
                repairs.append(Surplus(checkpoint, now))
    for item in wanted:
        has = known.get(item.uid)
        if has is None or has.version < item.version:
            repairs.append(Missing(item, first=has is None or has.version == 0))
    return repairs
