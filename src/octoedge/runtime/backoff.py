"""The one way to wait longer after each failure."""

from __future__ import annotations

import random

import msgspec


class Backoff(msgspec.Struct):
    """Waiting times that double up to a limit, spread by jitter so that a fleet does not knock at once.

    `first` and `limit` are seconds; `jitter` 0.2 means ±20 %. One object per thing that is retried; `reset()` after
    a success. The random source is an argument, or seeded from `random` itself, so that simulations repeat.
    """

    first: float = 0.5
    limit: float = 30.0
    factor: float = 2.0
    jitter: float = 0.2
    rng: random.Random = msgspec.field(default_factory=lambda: random.Random(random.random()))  # noqa: S311 - spreads in time
    _next: float | None = None

    def next(self) -> float:
        """Seconds to wait before the next try."""
        base = self.first if self._next is None else self._next
        self._next = min(base * self.factor, self.limit)
        return min(base, self.limit) * (1 + self.jitter * (2 * self.rng.random() - 1))

    def reset(self) -> None:
        """Begin again with the first waiting time."""
        self._next = None
