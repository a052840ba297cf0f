"""Wall-clock time as an argument.

Two times are in use: *monotonic* time is the event loop's (`loop.time()`, `asyncio.sleep`) and is what waits and
deadlines are counted in; *wall-clock* time is what is written into objects and compared with what others wrote. The
wall clock may jump; nothing waits by it.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Tells wall-clock time."""

    def now(self) -> float:
        """Seconds since the Unix epoch."""
        ...


class SystemClock:
    """The machine's own clock."""

    def now(self) -> float:
        return time.time()


def milliseconds(clock: Clock) -> int:
    """Now, as messages carry it."""
    return int(clock.now() * 1000)


def rfc3339(seconds: float) -> str:
    """`2026-01-02T03:04:05Z`, as metav1.Time is written."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def rfc3339_micro(seconds: float) -> str:
    """`2026-01-02T03:04:05.000000Z`, as metav1.MicroTime is written."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def parse_rfc3339(text: str) -> float:
    """Seconds since the epoch of an RFC 3339 time; `ValueError` when it is none."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return moment.timestamp()
