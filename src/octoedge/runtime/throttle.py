"""A token bucket: so many at once, so many a second; time is an argument."""

from __future__ import annotations


class Throttle:
    """Says how long to wait before the next message may go."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = max(1, burst)
        self._left = float(self._burst)
        self._at = 0.0

    def take(self, now: float) -> float:
        """Take one; seconds to wait until it may be used, 0 when at once. No limit when the rate is 0."""
        if self._per_second <= 0:
            return 0.0
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second) - 1
        self._at = now
        return max(0.0, -self._left / self._per_second)
