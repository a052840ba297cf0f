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
    limit_per_index: int | None = None
    """Failures of one index that are borne; None when only those of the whole Job count."""
    max_failed_indexes: int | None = None
    success: tuple[tuple[frozenset[int] | None, int | None], ...] = ()
    """Rules of which one is enough: (indexes that have to succeed, any when None; how many of them, all when None)."""


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
    failed_indexes: frozenset[int] = frozenset()
    """Indexes that are not tried again."""
    fatal: str = ""
    """Why a failure has ended the whole Job."""


@dataclass(slots=True)
class Step:
    """What to do now."""

    make: list[int | None] = field(default_factory=list)
    """Pods to make, each with its index if the Job has indexes."""
    delete: list[str] = field(default_factory=list)
    complete: bool = False
    success_rule: int | None = None
    """The rule by which it is complete before all of it is done."""
    failed: tuple[str, str] = ("", "")
    """Reason and message of a Job that has failed."""


def plan(wish: Wish, done: Done, living: Sequence[Attempt], *, overdue: bool, held: Sequence[Attempt] = ()) -> Step:
    """The next step. `living` comes in the order in which Pods are missed least; `held` are those that are being
    deleted and whose place is taken only when they have ended."""
    step = Step()
    step.success_rule = _success_rule(wish, done)
    step.failed = ("", "") if step.success_rule is not None else _failure(wish, done, living, overdue=overdue)
    step.complete = not step.failed[0] and (step.success_rule is not None or _is_complete(wish, done, living))
    if step.failed[0] or step.complete or wish.suspended:
        step.delete = [one.name for one in living]
        return step
    if wish.indexed:
        _work_indexes(wish, done, living, held, step)
    else:
        wanted = _at_once(wish, done, len(living))
        step.make = [None] * max(0, wanted - len(living) - len(held))
        step.delete = [one.name for one in living[: max(0, len(living) - wanted)]]
    return step


def pause(failures: Iterable[float]) -> float:
    """Seconds to wait after the last of several failures in a row, given the times at which they happened."""
    count = min(len(list(failures)), 8)
    return min(FIRST_PAUSE * 2.0 ** (count - 1), LONGEST_PAUSE) if count else 0.0


def _success_rule(wish: Wish, done: Done) -> int | None:
    for number, (indexes, count) in enumerate(wish.success):
        reached = done.indexes if indexes is None else done.indexes & indexes
        if len(reached) >= (count if count is not None else len(indexes or ())):
            return number
    return None


def _failure(wish: Wish, done: Done, living: Sequence[Attempt], *, overdue: bool) -> tuple[str, str]:
    if done.fatal:
        return ("PodFailurePolicy", done.fatal)
    if wish.max_failed_indexes is not None and len(done.failed_indexes) > wish.max_failed_indexes:
        return ("MaxFailedIndexesExceeded", "Job has exceeded the specified maximal number of failed indexes")
    if done.failed_indexes and len(done.indexes | done.failed_indexes) >= (wish.completions or 0):
        return ("FailedIndexes", "Job has failed indexes")
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


def _work_indexes(wish: Wish, done: Done, living: Sequence[Attempt], held: Sequence[Attempt], step: Step) -> None:
    taken = {one.index for one in held if one.index is not None} | done.failed_indexes
    kept = 0
    for one in sorted(living, key=lambda one: (one.index if one.index is not None else -1, one.name)):
        fine = one.index is not None and one.index < (wish.completions or 0) and one.index not in taken | done.indexes
        if fine and kept < wish.parallelism:
            taken |= {one.index} if one.index is not None else set()
            kept += 1
        else:
            step.delete.append(one.name)
    free = (index for index in range(wish.completions or 0) if index not in taken and index not in done.indexes)
    step.make = [index for index, _ in zip(free, range(wish.parallelism - kept - len(held)), strict=False)]


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
