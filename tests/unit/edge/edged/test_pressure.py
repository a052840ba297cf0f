"""Thresholds and what follows from them, without a machine."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.config.kubelet import EVICTION_HARD
from octoedge.edge.edged.pressure import Amount, EvictionSettings, Pressures, Signal, Threshold, thresholds
from octoedge.errors import ConfigError

MIB = 1 << 20
HARD = Threshold(Signal.MEMORY, "100Mi")
DISK = Threshold(Signal.NODE_DISK, "10%", reclaim="5%")
SOFT = Threshold(Signal.MEMORY, "300Mi", hard=False, grace=90.0)


SHORT = frozenset({"MemoryPressure"})


def memory(mib: int) -> dict[Signal, Amount]:
    return {Signal.MEMORY: Amount(mib * MIB, 1000 * MIB)}


def disk(percent: int) -> dict[Signal, Amount]:
    return {Signal.NODE_DISK: Amount(percent, 100)}


def test_kubeedges_defaults_are_five_hard_thresholds() -> None:
    found = thresholds(EvictionSettings(hard=EVICTION_HARD))
    assert len(found) == 5
    assert all(one.hard and one.grace == 0 for one in found)


def test_a_hard_threshold_is_due_at_once_and_its_condition_lasts() -> None:
    pressures = Pressures((HARD,), 300.0)
    assert pressures.look(memory(100), 0).due is None
    verdict = pressures.look(memory(99), 10)
    assert (verdict.due, verdict.conditions) == (HARD, SHORT)
    verdict = pressures.look(memory(500), 20)
    assert (verdict.due, verdict.conditions) == (None, SHORT)
    assert pressures.look(memory(500), 309).conditions == {"MemoryPressure"}
    assert pressures.look(memory(500), 310).conditions == frozenset()


def test_a_soft_threshold_waits_and_starts_anew_when_it_was_not_met() -> None:
    pressures = Pressures((SOFT,), 0.0)
    assert pressures.look(memory(200), 0).due is None
    assert pressures.look(memory(200), 0).conditions == {"MemoryPressure"}
    assert pressures.look(memory(200), 89).due is None
    assert pressures.look(memory(400), 89.5).due is None
    assert pressures.look(memory(200), 90).due is None
    assert pressures.look(memory(200), 180).due == SOFT


def test_more_than_the_limit_must_come_back() -> None:
    pressures = Pressures((DISK,), 0.0)
    assert pressures.look(disk(12), 0).due is None
    assert pressures.look(disk(9), 1).due == DISK
    assert pressures.look(disk(12), 2).due == DISK
    assert pressures.look(disk(15), 3).due is None
    assert pressures.look(disk(12), 4).due is None


def test_memory_comes_before_disks() -> None:
    both = {**memory(1), **disk(1)}
    assert Pressures((DISK, SOFT, HARD), 0.0).look(both, 0).due == HARD


def test_what_has_no_size_is_never_short() -> None:
    inodes = Threshold(Signal.NODE_INODES, "5%")
    assert Pressures((inodes,), 0.0).look({Signal.NODE_INODES: Amount(0, 0)}, 0).due is None
    assert Pressures((inodes,), 0.0).look({}, 0).due is None


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (EvictionSettings(hard={"memory.free": "1Mi"}), "evictionHard: 'memory.free' is no eviction signal"),
        (EvictionSettings(hard={"memory.available": "lots"}), "evictionHard.memory.available: 'lots' is neither"),
        (EvictionSettings(hard={"memory.available": "-1"}), "must not be negative"),
        (EvictionSettings(hard={"memory.available": "101%"}), "nor above 100%"),
        (EvictionSettings(soft={"memory.available": "1Mi"}), "has no grace period"),
        (EvictionSettings(soft={"memory.available": "1Mi"}, soft_grace={"memory.available": "soon"}), "no grace"),
        (EvictionSettings(reclaim={"x": "1"}), "evictionMinimumReclaim: 'x'"),
        (EvictionSettings(hard={"memory.available": "1Mi"}, reclaim={"memory.available": "?"}),
         "evictionMinimumReclaim.memory.available"),
    ],
)  # fmt: skip
def test_what_is_no_threshold_is_named(settings: EvictionSettings, said: str) -> None:
    with pytest.raises(ConfigError) as caught:
        thresholds(settings)
    assert said in str(caught.value)


@pytest.mark.parametrize("limit", ["0", "0%", "100%"])
def test_a_limit_of_nothing_switches_off(limit: str) -> None:
    assert thresholds(EvictionSettings(hard={"nodefs.available": limit})) == ()


@given(st.lists(st.tuples(st.integers(0, 400), st.floats(0.1, 400)), max_size=30), st.floats(0, 600))
def test_pressure_is_reported_whenever_something_is_due(steps: list[tuple[int, float]], transition: float) -> None:
    pressures = Pressures((HARD, SOFT), transition)
    now, last_met = 0.0, float("-inf")
    for mib, seconds in steps:
        now += seconds
        verdict = pressures.look(memory(mib), now)
        if mib < 300:
            last_met = now
        assert verdict.due is None or "MemoryPressure" in verdict.conditions
        assert ("MemoryPressure" in verdict.conditions) == (last_met == now or now - last_met < transition)
        assert (verdict.due == HARD) == (mib < 100) or verdict.due == SOFT
