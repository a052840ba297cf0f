"""Waiting times double up to the limit, spread, and begin again after a success."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from octoedge.runtime.backoff import Backoff


def test_waiting_doubles_up_to_the_limit_and_begins_again() -> None:
    backoff = Backoff(first=1, limit=10, jitter=0)
    assert [backoff.next() for _ in range(6)] == [1, 2, 4, 8, 10, 10]
    backoff.reset()
    assert backoff.next() == 1


def test_a_limit_below_the_first_wait_counts() -> None:
    assert Backoff(first=5, limit=2, jitter=0).next() == 2


@given(st.integers(), st.integers(1, 50))
def test_the_spread_stays_within_its_share(seed: int, tries: int) -> None:
    backoff = Backoff(first=1, limit=30, jitter=0.2, rng=random.Random(seed))
    for number in range(tries):
        assert 0.8 * min(2**number, 30) <= backoff.next() <= 1.2 * min(2**number, 30)


def test_a_fleet_does_not_knock_at_once() -> None:
    rng = random.Random(1)
    assert len({round(Backoff(rng=rng).next(), 3) for _ in range(100)}) > 50
