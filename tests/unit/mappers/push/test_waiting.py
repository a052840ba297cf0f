"""What waits for a server: order of each property, turns between them, and what is dropped of too many."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import Redis
from octoedge.mappers.push.waiting import Waiting

HERE = Redis("here", 6379, 0)


def sample(prop: int, time: int) -> Sample:
    return Sample(HERE, "plant", "boiler", f"p{prop}", "int", str(time), time)


def test_properties_take_turns_each_in_its_order() -> None:
    waiting = Waiting(100)
    for time in range(3):
        for prop in range(2 if time else 3):
            waiting.put(sample(prop, time))
    taken = [(one.prop, one.time) for one in waiting.take(4)]
    assert taken == [("p0", 0), ("p1", 0), ("p2", 0), ("p0", 1)]
    assert [(one.prop, one.time) for one in waiting.take(10)] == [("p1", 1), ("p0", 2), ("p1", 2)]
    assert waiting.take(1) == []


def test_what_comes_back_is_next() -> None:
    waiting = Waiting(100)
    for time in range(2):
        for prop in range(3):
            waiting.put(sample(prop, time))
    taken = waiting.take(4)
    assert waiting.give_back(taken) == 0
    assert waiting.take(4) == taken


def test_before_a_server_that_is_too_slow_each_of_thousands_has_its_turn() -> None:
    waiting, sent, dropped = Waiting(5000), set[str](), 0
    for time in range(10):
        for prop in range(6000):
            dropped += waiting.put(sample(prop, time))
        sent |= {one.prop for one in waiting.take(1000)}
    assert len(sent) == 6000
    assert dropped == 60_000 - 10_000 - len(waiting)
    assert len(waiting) <= 12_000
    assert {one.prop for one in waiting.take(12_000) if one.time == 9} | sent == {f"p{prop}" for prop in range(6000)}


def test_a_beat_of_thousands_drops_nothing_of_the_one_before() -> None:
    waiting = Waiting(5000)
    assert sum(waiting.put(sample(prop, time)) for time in range(2) for prop in range(6000)) == 0
    assert sum(waiting.put(sample(prop, 2)) for prop in range(6000)) == 6000
    assert {one.time for one in waiting.take(6000)} == {1}


STEPS = st.tuples(st.sampled_from(["put", "take", "back"]), st.integers(0, 4))


@given(st.integers(1, 8), st.lists(STEPS))
def test_nothing_is_doubled_or_lost_without_being_counted(limit: int, steps: list[tuple[str, int]]) -> None:
    waiting, put, gone, dropped = Waiting(limit), 0, list[Sample](), 0
    for step, number in steps:
        if step == "take":
            gone += waiting.take(number)
        else:
            taken = waiting.take(number) if step == "back" else []
            dropped += waiting.put(sample(number, put))
            dropped += waiting.give_back(taken)
            put += 1
        assert put == len(waiting) + len(gone) + dropped
        assert len(waiting) <= max(limit + 5, 10)
    gone += waiting.take(1000)
    assert len(gone) + dropped == put
    for prop in range(5):
        times = [one.time for one in gone if one.prop == f"p{prop}"]
        assert times == sorted(set(times)), "the order of a property"
