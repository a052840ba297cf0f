"""The beat of readings."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from octoedge.mappers.framework.schedule import Schedule


def test_properties_of_one_cycle_fall_due_together() -> None:
    schedule = Schedule({"a": 1.0, "b": 1.0, "c": 2.5}, 10.0)
    assert schedule.due(10.0) == ["a", "b", "c"]
    assert schedule.due(10.5) == []
    assert schedule.next() == 11.0
    assert schedule.due(11.0) == ["a", "b"]
    assert schedule.due(12.5) == ["a", "b", "c"]


def test_a_late_round_is_not_made_up_for() -> None:
    schedule = Schedule({"a": 1.0}, 0.0)
    assert schedule.due(7.3) == ["a"]
    assert schedule.next() == 8.0


def test_what_was_written_is_read_soon() -> None:
    schedule = Schedule({"a": 60.0}, 0.0)
    schedule.due(0.0)
    schedule.soon(["a", "never read"], 5.0)
    assert schedule.due(5.0) == ["a"]
    assert schedule.next() == 60.0


def test_nothing_to_read_is_never_due() -> None:
    assert Schedule({}, 0.0).next() is None


@given(st.floats(0.01, 100), st.lists(st.floats(0, 50), min_size=1, max_size=50))
def test_each_beat_counts_once(cycle: float, steps: list[float]) -> None:
    schedule, now, count = Schedule({"a": cycle}, 0.0), 0.0, 0
    for step in steps:
        now += step
        count += len(schedule.due(now))
        following = schedule.next()
        assert following is not None
        assert following > now
    assert count <= now / cycle + 2
