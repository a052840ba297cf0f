"""How many Pods each ReplicaSet of a Deployment should have: pure.

`Wish × new ReplicaSet × old ReplicaSets ──plan──► Step: sizes to set, whether to make the new one`

One step at a time: when it has been carried out, what came of it is looked at again. The arithmetic is Kubernetes' own,
with one difference: Pods that are one too many already count against the surge as long as they live, and do not count
as available, so they neither crowd the nodes nor excuse taking others away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace


@dataclass(frozen=True, slots=True)
class Wish:
    """What the Deployment asks for; surge and unavailable are numbers already."""

    replicas: int
    surge: int = 0
    unavailable: int = 0
    recreate: bool = False
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Size:
    """A ReplicaSet as it is."""

    name: str
    replicas: int
    available: int = 0
    created: float = 0.0
    most: int = 0
    """The size of the whole Deployment, surge included, when this one was last sized; 0 when unknown."""
    desired: int | None = None
    """The replicas of the Deployment when this one was last sized."""
    living: int = 0
    """Pods that live, also those that are one too many already."""
    pods_running: int = 0
    """Pods of it that have not ended, those being deleted included."""

    @property
    def counted(self) -> int:
        """Available Pods that it may keep."""
        return min(self.available, self.replicas)


@dataclass(slots=True)
class Step:
    """What to do now."""

    sizes: dict[str, int] = field(default_factory=dict)
    create: int | None = None
    """The size of the new ReplicaSet that is to be made; None when none is."""

    def resize(self, one: Size, replicas: int) -> None:
        """Set a size, if it is another."""
        if replicas != one.replicas:
            self.sizes[one.name] = replicas


def fence(surge: int | str | None, unavailable: int | str | None, replicas: int) -> tuple[int, int]:
    """Surge and unavailable as numbers: percentages rounded up and down, and never both zero."""
    up, down = _share(surge, replicas, up=True), _share(unavailable, replicas, up=False)
    return (up, down) if up or down else (0, 1)


def _share(value: int | str | None, whole: int, *, up: bool) -> int:
    if value is None:
        return 0
    if isinstance(value, int):
        return max(0, value)
    part = int(value.rstrip("%") or 0) * whole
    return -(-part // 100) if up else part // 100


def plan(wish: Wish, new: Size | None, old: Sequence[Size]) -> Step:
    """The next step."""
    everyone = [*([new] if new else []), *old]
    if wish.paused or _is_resized(wish, everyone):
        return _scale(wish, new, old)
    if wish.recreate:
        return _recreate(wish, new, old)
    return _roll(wish, new, old)


def _is_resized(wish: Wish, everyone: Iterable[Size]) -> bool:
    """Whether the Deployment's size was changed since its ReplicaSets were sized."""
    return any(one.replicas > 0 and one.desired is not None and one.desired != wish.replicas for one in everyone)


def _recreate(wish: Wish, new: Size | None, old: Sequence[Size]) -> Step:
    step = Step()
    for one in old:
        step.resize(one, 0)
    if step.sizes or any(one.pods_running for one in old):
        return step
    return _grow(step, new, wish.replicas)


def _roll(wish: Wish, new: Size | None, old: Sequence[Size]) -> Step:
    step = _grow(Step(), new, _new_size(wish, new, old))
    if new is None or step.sizes:
        return step
    return _shrink(wish, new, old)


def _grow(step: Step, new: Size | None, replicas: int) -> Step:
    if new is None:
        step.create = replicas
    else:
        step.resize(new, replicas)
    return step


def _new_size(wish: Wish, new: Size | None, old: Sequence[Size]) -> int:
    """As many as there is room for below replicas plus surge."""
    present = new.replicas if new else 0
    if present >= wish.replicas:
        return wish.replicas
    room = wish.replicas + wish.surge - present - sum(max(one.replicas, one.living) for one in old)
    return present + max(0, min(room, wish.replicas - present))


def _shrink(wish: Wish, new: Size, old: Sequence[Size]) -> Step:
    """Take away old Pods: the broken ones first, the others as far as enough are available."""
    step = Step()
    ages = sorted((one for one in old if one.replicas), key=lambda one: (one.created, one.name))
    needed = wish.replicas - wish.unavailable
    spare = sum(one.replicas for one in ages) + new.replicas - needed - (new.replicas - new.counted)
    if spare <= 0:
        return step
    left = []
    for one in ages:
        broken = min(spare, one.replicas - one.counted)
        spare -= broken
        left.append(replace(one, replicas=one.replicas - broken))
    excess = sum(one.counted for one in left) + new.counted - needed
    for before, one in zip(ages, left, strict=True):
        taken = max(0, min(excess, one.replicas))
        excess -= taken
        step.resize(before, one.replicas - taken)
    return step


def _scale(wish: Wish, new: Size | None, old: Sequence[Size]) -> Step:
    """The Deployment's size was changed, perhaps in the middle of a roll-out: each ReplicaSet gets its share."""
    step = Step()
    everyone = [*([new] if new else []), *old]
    active = [one for one in everyone if one.replicas]
    if len(active) <= 1:
        only = active[0] if active else new or max(old, key=lambda one: one.created, default=None)
        if only is not None:
            step.resize(only, wish.replicas)
        return step
    if new and (new.replicas, new.desired, new.available) == (wish.replicas,) * 3:
        for one in old:
            step.resize(one, 0)
        return step
    if not wish.recreate:
        _proportionally(wish, active, step)
    return step


def _proportionally(wish: Wish, active: Sequence[Size], step: Step) -> None:
    most = wish.replicas + wish.surge if wish.replicas else 0
    missing = most - sum(one.replicas for one in active)
    newest_first = missing > 0
    order = sorted(active, key=lambda one: (-one.replicas, -one.created if newest_first else one.created, one.name))
    sizes: dict[str, int] = {}
    added = 0
    for one in order:
        share = _proportion(one, wish, most) if missing else 0
        rest = missing - added
        share = min(share, rest) if missing > 0 else max(share, rest)
        sizes[one.name] = one.replicas + share
        added += share
    if added != missing:
        sizes[order[0].name] = max(0, sizes[order[0].name] + missing - added)
    for one in order:
        step.resize(one, sizes[one.name])


def _proportion(one: Size, wish: Wish, most: int) -> int:
    if not wish.replicas:
        return -one.replicas
    return round(one.replicas * most / (one.most or most)) - one.replicas
