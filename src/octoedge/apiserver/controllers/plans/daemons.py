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
    places: Mapping[str, Place],
    daemons: Mapping[str, Sequence[Daemon]],
    *,
    unavailable: int,
    rolling: bool,
    surge: int = 0,
) -> Step:
    """The next step of an update.

    `unavailable` nodes may be without a Pod that is available; or, when `surge` is not 0, so many may have an old and a
    new one side by side until the new one is available.
    """
    step = Step()
    for name, place in places.items():
        _settle(name, place, daemons.get(name, ()), step, pairs=rolling and surge > 0)
    if rolling and surge:
        _surge(places, daemons, surge, step)
    elif rolling:
        _renew(places, daemons, unavailable, step)
    return step


def _settle(name: str, place: Place, pods: Sequence[Daemon], step: Step, *, pairs: bool) -> None:
    living = [pod for pod in pods if not pod.leaving and not pod.failed]
    step.delete += [pod.name for pod in pods if pod.failed and not pod.leaving]
    if not place.may_stay:
        step.delete += [pod.name for pod in living]
    elif place.should_run and not pods:
        step.make.append(name)
    else:
        best = sorted(living, key=lambda pod: (not pod.available, pairs and not pod.updated, pod.created, pod.name))
        kept = best[:1]
        if pairs and kept and not (kept[0].updated and kept[0].available):
            # The other one of the pair: a new one beside the old one, or the old one while the new one is not ready.
            kept += [pod for pod in best[1:] if pod.updated != kept[0].updated][:1]
        step.delete += [pod.name for pod in best if pod not in kept]


def _surge(places: Mapping[str, Place], daemons: Mapping[str, Sequence[Daemon]], surge: int, step: Step) -> None:
    """Make successors beside old Pods; those that are not available need not wait for their turn."""
    going = set(step.delete)
    waiting: list[tuple[float, str]] = []
    for name, place in places.items():
        if not place.should_run or place.is_away:
            continue
        living = [pod for pod in daemons.get(name, ()) if not pod.leaving and not pod.failed and pod.name not in going]
        old = [pod for pod in living if not pod.updated]
        if old and len(old) < len(living):
            surge -= 1
        elif any(pod.available for pod in old):
            waiting.append((old[0].created, name))
        elif old:
            step.make.append(name)
    step.make += [name for _, name in sorted(waiting)[: max(0, surge)]]


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
