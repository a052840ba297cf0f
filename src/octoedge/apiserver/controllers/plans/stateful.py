"""Which Pods of a StatefulSet to make and to take away: pure.

`Wish × Pods by ordinal ──plan──► Step`

In order, one at a time, each when those before it are ready (or all at once, when the policy is Parallel); from the top
down when there are too many or a new template comes. Unlike Kubernetes, an outdated Pod that is not ready is replaced
although it is not ready: a template that was wrong can be put right without deleting Pods by hand.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Wish:
    """What the StatefulSet asks for."""

    replicas: int
    start: int = 0
    parallel: bool = False
    partition: int = 0
    rolling: bool = True

    def ordinals(self) -> range:
        """The ordinals that should be there."""
        return range(self.start, self.start + self.replicas)


@dataclass(frozen=True, slots=True)
class Replica:
    """A Pod as it is."""

    updated: bool
    """Whether it has the present template."""
    available: bool = False
    ended: bool = False
    """Whether it failed or succeeded, which it should not."""
    leaving: bool = False


@dataclass(slots=True)
class Step:
    """What to do now: ordinals to make (with the present template or the one before), ordinals to delete."""

    make_new: list[int] = field(default_factory=list)
    make_old: list[int] = field(default_factory=list)
    delete: list[int] = field(default_factory=list)


def plan(wish: Wish, pods: Mapping[int, Replica]) -> Step:
    """The next step."""
    step = Step()
    settled = _fill(wish, pods, step)
    if settled or wish.parallel:
        settled = _cut(wish, pods, step) and settled
    if settled and wish.rolling:
        _renew(wish, pods, step)
    return step


def _fill(wish: Wish, pods: Mapping[int, Replica], step: Step) -> bool:
    """Make what is missing; whether everybody who should be there is, and is well."""
    settled = True
    for ordinal in wish.ordinals():
        if _is_well(wish, ordinal, pods.get(ordinal), step):
            continue
        settled = False
        if not wish.parallel:
            return False
    return settled


def _is_well(wish: Wish, ordinal: int, pod: Replica | None, step: Step) -> bool:
    if pod is None:
        (step.make_old if _keeps_old(wish, ordinal) else step.make_new).append(ordinal)
        return False
    if pod.leaving:
        return False
    outdated = wish.rolling and not pod.updated and not _keeps_old(wish, ordinal)
    if pod.ended or (outdated and not pod.available):
        step.delete.append(ordinal)
        return False
    return pod.available


def _keeps_old(wish: Wish, ordinal: int) -> bool:
    return wish.rolling and ordinal < wish.start + wish.partition


def _cut(wish: Wish, pods: Mapping[int, Replica], step: Step) -> bool:
    """Take away those beyond the wish, the last one first; whether none is left."""
    condemned = sorted((ordinal for ordinal in pods if ordinal not in wish.ordinals()), reverse=True)
    for ordinal in condemned:
        if not pods[ordinal].leaving:
            step.delete.append(ordinal)
        if not wish.parallel:
            break
    return not condemned


def _renew(wish: Wish, pods: Mapping[int, Replica], step: Step) -> None:
    """Replace the last Pod that has an old template."""
    for ordinal in reversed(wish.ordinals()):
        if not pods[ordinal].updated and not _keeps_old(wish, ordinal):
            step.delete.append(ordinal)
            return
