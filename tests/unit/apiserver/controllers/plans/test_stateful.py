"""StatefulSets simulated: one at a time, in order, and out of every mess to the end."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.apiserver.controllers.plans.stateful import Replica, Wish, plan


def live(pods: dict[int, Replica], wish: Wish, rng: random.Random, *, broken_old: bool) -> None:
    """Carry out a plan, then let something happen to a Pod."""
    step = plan(wish, pods)
    for ordinal in step.delete:
        pods[ordinal] = replace(pods[ordinal], leaving=True)
    for ordinal in (*step.make_new, *step.make_old):
        assert ordinal not in pods
        pods[ordinal] = Replica(updated=ordinal in step.make_new)
    if not wish.parallel:
        assert len(step.delete) + len(step.make_new) + len(step.make_old) <= 1
        if step.make_new or step.make_old:
            made = (*step.make_new, *step.make_old)[0]
            assert all(pods[ordinal].available for ordinal in range(wish.start, made))
    if pods:
        ordinal = rng.choice(sorted(pods))
        if pods[ordinal].leaving:
            del pods[ordinal]
        elif pods[ordinal].updated or not broken_old:
            pods[ordinal] = replace(pods[ordinal], available=True)


@settings(max_examples=150, deadline=None)
@given(
    st.builds(
        Wish,
        replicas=st.integers(0, 6),
        start=st.integers(0, 2),
        parallel=st.booleans(),
        partition=st.just(0),
        rolling=st.just(True),
    ),
    st.dictionaries(st.integers(0, 8), st.builds(Replica, st.booleans(), st.booleans(), st.booleans(), st.booleans())),
    st.booleans(),
    st.integers(0, 2**32),
)
def test_every_mess_ends_in_order(wish: Wish, pods: dict[int, Replica], broken_old: bool, seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(800):
        live(pods, wish, rng, broken_old=broken_old)
    assert pods == {ordinal: Replica(updated=True, available=True) for ordinal in wish.ordinals()}


def test_a_partition_keeps_those_below_it_old() -> None:
    pods = {ordinal: Replica(updated=False, available=True) for ordinal in range(4)}
    rng = random.Random(1)
    for _ in range(200):
        live(pods, Wish(4, partition=2), rng, broken_old=False)
    assert [pods[ordinal].updated for ordinal in range(4)] == [False, False, True, True]
