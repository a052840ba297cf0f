"""The token bucket keeps its rate over any span, lets a burst through, and never starves anyone."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from octoedge.runtime.throttle import Throttle


@given(st.floats(1, 100), st.integers(1, 60), st.lists(st.floats(0, 2), min_size=1, max_size=200))
def test_no_span_sees_more_than_burst_and_rate(rate: float, burst: int, gaps: list[float]) -> None:
    throttle = Throttle(rate, burst)
    now, used = 0.0, []
    for gap in gaps:
        now += gap
        used.append(now + throttle.take(now))
        now = used[-1]
    for first, begin in enumerate(used):
        for last in range(first, len(used)):
            assert last - first + 1 <= burst + rate * (used[last] - begin) + 1.001


def test_a_burst_at_once_then_one_by_one() -> None:
    throttle = Throttle(2, 3)
    assert [throttle.take(100.0) for _ in range(5)] == [0, 0, 0, 0.5, 1.0]
    assert throttle.take(200.0) == 0


def test_zero_is_no_limit() -> None:
    throttle = Throttle(0, 1)
    assert {throttle.take(0.0) for _ in range(1000)} == {0.0}
