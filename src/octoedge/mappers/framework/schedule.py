"""When to read which property. Pure; times are seconds of any clock.

Properties of one cycle fall due together, so that a driver may read them in one request. A round that comes late is not
made up for: the next one is the next on the beat.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

_TOGETHER = 0.005
"""Seconds within which properties count as due together."""


class Schedule:
    """The beat of one device's properties."""

    def __init__(self, cycles: Mapping[str, float], start: float) -> None:
        self._cycles = dict(cycles)
        self._start = start
        self._next = dict.fromkeys(cycles, start)

    def due(self, now: float) -> list[str]:
        """What is to be read now, and not again before its next beat."""
        names = [name for name, when in self._next.items() if when <= now + _TOGETHER]
        for name in names:
            cycle = self._cycles[name]
            beats = math.floor((now + _TOGETHER - self._start) / cycle) + 1
            self._next[name] = self._start + beats * cycle
        return names

    def soon(self, names: Iterable[str], now: float) -> None:
        """Read these at once, those that are read at all."""
        for name in names:
            if name in self._next:
                self._next[name] = now

    def next(self) -> float | None:
        """When something is due; None when nothing ever is."""
        return min(self._next.values(), default=None)
