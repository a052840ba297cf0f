"""Which Pods of a DaemonSet to make and to take away: pure.

`nodes × Pods by node ──plan──► Step`

A node that is away is left alone: what runs there runs on, an update waits for its return and nobody waits for it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Place:
    """A node, as far as one DaemonSet is concerned."""

    should_run: bool
    may_stay: bool
    """Whether a Pod that is there already may go on."""
    is_away: bool = False


@dataclass(frozen=True, slots=True)
class Daemon:
    """A Pod as it is."""

    name: str
    updated: bool
    available: bool = False
    failed: bool = False
    leaving: bool = False
    created: float = 0.0


@dataclass(slots=True)
class Step:
    """What to do now: nodes that get a Pod, Pods that go."""

    make: list[str] = field(default_factory=list)
    delete: list[str] = field(default_factory=list)


def plan(
    places: Mapping[str, Place], daemons: Mapping[str, Sequence[Daemon]], *, unavailable: int, rolling: bool
) -> Step:
    """The next step. `unavailable` nodes may be without a Pod that is available during an update."""
    step = Step()
    for name, place in places.items():
        _settle(name, place, daemons.get(name, ()), step)
    if rolling:
        _renew(places, daemons, unavailable, step)
    return step


def _settle(name: str, place: Place, pods: Sequence[Daemon], step: Step) -> None:
    living = [pod for pod in pods if not pod.leaving and not pod.failed]
    step.delete += [pod.name for pod in pods if pod.failed and not pod.leaving]
    if not place.may_stay:
        step.delete += [pod.name for pod in living]
    elif place.should_run and not pods:
        step.make.append(name)
    else:
        best = sorted(living, key=lambda pod: (not pod.available, pod.created, pod.name))
        step.delete += [pod.name for pod in best[1:]]


def _renew(places: Mapping[str, Place], daemons: Mapping[str, Sequence[Daemon]], unavailable: int, step: Step) -> None:
    """Take away old Pods; their successors are made when they have gone."""
    going = set(step.delete)
    present = [name for name, place in places.items() if place.should_run and not place.is_away]
    missing = 0
    old: list[Daemon] = []
    for name in present:
        living = [pod for pod in daemons.get(name, ()) if not pod.leaving and pod.name not in going]
        missing += not any(pod.available for pod in living)
        old += [pod for pod in living if not pod.updated]
    step.delete += [pod.name for pod in old if not pod.available]
    available = sorted((pod for pod in old if pod.available), key=lambda pod: (pod.created, pod.name))
    step.delete += [pod.name for pod in available[: max(0, unavailable - missing)]]
