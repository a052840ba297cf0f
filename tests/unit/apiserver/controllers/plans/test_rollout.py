"""Roll-outs simulated with arbitrary sizes, surges and interruptions: never too many, never too few, always an end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.apiserver.controllers.plans.rollout import Size, Wish, fence, plan

shares = st.one_of(st.integers(0, 8), st.integers(0, 100).map(lambda part: f"{part}%"))


class Simulated:
    """ReplicaSets whose Pods come, become available and go a little later than they should."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.sets: dict[str, dict[str, int]] = {}
        self.order: list[str] = []
        self.desired: dict[str, int] = {}
        self.most: dict[str, int] = {}

    def size(self, name: str) -> Size:
        one = self.sets[name]
        return Size(
            name, one["replicas"], one["available"], float(self.order.index(name)), self.most[name],
            self.desired[name], one["pods"], one["pods"],
        )  # fmt: skip

    def step(self, wish: Wish, new: str) -> None:
        old = [self.size(name) for name in self.order if name != new]
        step = plan(wish, self.size(new) if new in self.sets else None, old)
        for name, replicas in step.sizes.items():
            assert replicas >= 0
            self.sets[name]["replicas"] = replicas
        if step.create is not None:
            self.order.append(new)
            self.sets[new] = {"replicas": step.create, "pods": 0, "available": 0}
        for name in self.sets:
            self.desired[name], self.most[name] = wish.replicas, wish.replicas + wish.surge

    def live(self) -> None:
        """One of the ReplicaSets brings its Pods into line, or a Pod becomes available."""
        one = self.sets[self.rng.choice(self.order)]
        if one["pods"] > one["replicas"]:
            gone = one["pods"] - one["replicas"]
            one["available"] -= max(0, gone - (one["pods"] - one["available"]))
            one["pods"] = one["replicas"]
        elif one["pods"] < one["replicas"]:
            one["pods"] += 1
        elif one["available"] < one["pods"]:
            one["available"] += 1

    def total(self, what: str) -> int:
        return sum(one[what] for one in self.sets.values())


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 12), shares, shares, st.integers(0, 2**32), st.lists(st.integers(5, 60), max_size=3))
def test_a_rolling_update_ends_and_keeps_its_limits(
    replicas: int, surge: int | str, unavailable: int | str, seed: int, interruptions: list[int]
) -> None:
    up, down = fence(surge, unavailable, replicas)
    wish = Wish(replicas, up, down)
    world = Simulated(seed)
    versions = [f"v{number}" for number in range(len(interruptions) + 2)]
    lengths = [400, *interruptions, 600]
    reached = False
    for version, length in zip(versions, lengths, strict=True):
        for _ in range(length):
            world.step(wish, version)
            if world.order:
                world.live()
            assert world.total("pods") <= replicas + up
            reached = reached or world.total("available") >= replicas - down
            assert not reached or world.total("available") >= replicas - down
    last = world.sets[versions[-1]]
    assert (last["pods"], last["available"], world.total("pods")) == (replicas, replicas, replicas)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 12), st.integers(0, 12), st.integers(1, 5), st.integers(0, 40), st.integers(0, 2**32))
def test_a_size_that_changes_in_the_middle_is_reached(
    before: int, after: int, surge: int, middle: int, seed: int
) -> None:
    world = Simulated(seed)
    story = [("v0", before, 300), ("v1", before, middle), ("v1", after, 600)]
    for version, replicas, length in story:
        for _ in range(length):
            world.step(Wish(replicas, surge, 1), version)
            if world.order:
                world.live()
    assert world.sets["v1"]["available"] == after == world.total("pods")


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 8), st.integers(0, 2**32))
def test_recreate_waits_for_the_last_old_pod(replicas: int, seed: int) -> None:
    world = Simulated(seed)
    for version, length in (("v0", 200), ("v1", 400)):
        for _ in range(length):
            world.step(Wish(replicas, recreate=True), version)
            if world.order:
                world.live()
            assert sum(one["pods"] > 0 for one in world.sets.values()) <= 1
    assert world.sets["v1"]["available"] == replicas


@pytest.mark.parametrize(
    ("surge", "unavailable", "replicas", "expected"),
    [
        ("25%", "25%", 10, (3, 2)),
        ("25%", "25%", 1, (1, 0)),
        (0, "10%", 5, (0, 1)),
        (0, 0, 3, (0, 1)),
        (None, None, 3, (0, 1)),
    ],
)
def test_percentages_become_numbers(
    surge: int | str | None, unavailable: int | str | None, replicas: int, expected: tuple[int, int]
) -> None:
    assert fence(surge, unavailable, replicas) == expected
