"""A deadline that is put off again and again, as at every message, and nearly never comes.

set(at) → rings at that time, unless it was set anew or switched off before. A timer is made only when the one before
has gone off, so what is put off a thousand times a second costs one timer for each stretch of waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

_NEVER = float("inf")


class Timers(Protocol):
    """What is needed of an event loop."""

    def time(self) -> float:
        """Seconds."""
        ...

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        """Call at this time."""
        ...


class Alarm:
    """Calls `ring` once, at the time that was set last (the loop's seconds)."""

    __slots__ = ("_at", "_looks_at", "_loop", "_ring", "_timer")

    def __init__(self, loop: Timers, ring: Callable[[], object]) -> None:
        self._loop = loop
        self._ring = ring
        self._at = self._looks_at = _NEVER
        self._timer: asyncio.TimerHandle | None = None

    def set(self, at: float) -> None:
        """Ring at this time and at none that was set before."""
        self._at = at
        if at < self._looks_at:
            self._look_at(at)

    def off(self) -> None:
        """Do not ring."""
        self._at = _NEVER

    def close(self) -> None:
        """Do not ring, and keep no timer."""
        self.off()
        self._look_at(_NEVER)

    def _look_at(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._looks_at = at
        self._timer = self._loop.call_at(at, self._look) if at < _NEVER else None

    def _look(self) -> None:
        self._timer = None
        if self._loop.time() < self._at:
            self._look_at(self._at)
            return
        self._at = self._looks_at = _NEVER
        self._ring()
