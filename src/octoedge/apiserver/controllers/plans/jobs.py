"""What a Job does next: pure.

`Wish × what is done × Pods ──plan──► Step: how many (or which indexes) to make, Pods to take away, how it ended`
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

FIRST_PAUSE = 10.0
LONGEST_PAUSE = 360.0


@dataclass(frozen=True, slots=True)
class Wish:
    """What the Job asks for."""

    completions: int | None
    parallelism: int
    backoff_limit: int = 6
    indexed: bool = False
    suspended: bool = False


@dataclass(frozen=True, slots=True)
class Attempt:
    """A Pod that lives."""

    name: str
    index: int | None = None
    restarts: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """What has been counted so far; the counts are stored, a Pod is counted once."""

    succeeded: int = 0
    failed: int = 0
    indexes: frozenset[int] = frozenset()


@dataclass(slots=True)
class Step:
    """What to do now."""

    make: list[int | None] = field(default_factory=list)
    """Pods to make, each with its index if the Job has indexes."""
    delete: list[str] = field(default_factory=list)
    complete: bool = False
    failed: tuple[str, str] = ("", "")
    """Reason and message of a Job that has failed."""


def plan(wish: Wish, done: Done, living: Sequence[Attempt], *, overdue: bool) -> Step:
    """The next step. `living` comes in the order in which Pods are missed least."""
    step = Step()
    step.failed = _failure(wish, done, living, overdue=overdue)
    step.complete = not step.failed[0] and _is_complete(wish, done, living)
    if step.failed[0] or step.complete or wish.suspended:
        step.delete = [one.name for one in living]
        return step
    if wish.indexed:
        _work_indexes(wish, done, living, step)
    else:
        wanted = _at_once(wish, done, len(living))
        step.make = [None] * max(0, wanted - len(living))
        step.delete = [one.name for one in living[: max(0, len(living) - wanted)]]
    return step


def pause(failures: Iterable[float]) -> float:
    """Seconds to wait after the last of several failures in a row, given the times at which they happened."""
    count = min(len(list(failures)), 8)
    return min(FIRST_PAUSE * 2.0 ** (count - 1), LONGEST_PAUSE) if count else 0.0


def _failure(wish: Wish, done: Done, living: Sequence[Attempt], *, overdue: bool) -> tuple[str, str]:
    if done.failed > wish.backoff_limit or _restarted_too_often(wish, living):
        return ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
    if overdue:
        return ("DeadlineExceeded", "Job was active longer than specified deadline")
    return ("", "")


def _restarted_too_often(wish: Wish, living: Sequence[Attempt]) -> bool:
    """Pods that are restarted in place count their restarts; those of other Pods are 0."""
    total = sum(one.restarts for one in living)
    return total > 0 if wish.backoff_limit == 0 else total >= wish.backoff_limit > 0 and total > 0


def _is_complete(wish: Wish, done: Done, living: Sequence[Attempt]) -> bool:
    if wish.indexed:
        return len(done.indexes) >= (wish.completions or 0)
    if wish.completions is None:
        return done.succeeded > 0 and not living
    return done.succeeded >= wish.completions


def _at_once(wish: Wish, done: Done, living: int) -> int:
    if wish.completions is None:
        return min(living, wish.parallelism) if done.succeeded else wish.parallelism
    return min(wish.parallelism, wish.completions - done.succeeded)


def _work_indexes(wish: Wish, done: Done, living: Sequence[Attempt], step: Step) -> None:
    taken: set[int] = set()
    kept = 0
    for one in sorted(living, key=lambda one: (one.index if one.index is not None else -1, one.name)):
        fine = one.index is not None and one.index < (wish.completions or 0) and one.index not in taken | done.indexes
        if fine and kept < wish.parallelism:
            taken.add(one.index if one.index is not None else -1)
            kept += 1
        else:
            step.delete.append(one.name)
    free = (index for index in range(wish.completions or 0) if index not in taken and index not in done.indexes)
    step.make = [index for index, _ in zip(free, range(wish.parallelism - kept), strict=False)]


def shorten(indexes: Iterable[int]) -> str:
    """`{0, 1, 2, 5}` as `0-2,5`."""
    parts: list[list[int]] = []
    for index in sorted(indexes):
        if parts and index == parts[-1][1] + 1:
            parts[-1][1] = index
        else:
            parts.append([index, index])
    return ",".join(f"{low}-{high}" if high > low else str(low) for low, high in parts)


def lengthen(text: str) -> frozenset[int]:
    """`0-2,5` as `{0, 1, 2, 5}`."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        if low.isdecimal() and (not high or high.isdecimal()):
            found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)
