"""DaemonSets simulated: one Pod for each node, few nodes without one, nodes that are away left alone."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.apiserver.controllers.plans.daemons import Daemon, Place, plan

names = [f"n{number}" for number in range(6)]
places = st.builds(Place, should_run=st.booleans(), may_stay=st.just(True), is_away=st.just(False))


class World:
    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.pods: dict[str, list[Daemon]] = {}
        self.made = 0

    def live(self, nodes: dict[str, Place], unavailable: int, surge: int = 0) -> None:
        step = plan(nodes, self.pods, unavailable=unavailable, surge=surge, rolling=True)
        for name in step.make:
            self.made += 1
            self.pods.setdefault(name, []).append(Daemon(f"p{self.made}", updated=True, created=float(self.made)))
        for pods in self.pods.values():
            pods[:] = [replace(pod, leaving=True) if pod.name in step.delete else pod for pod in pods]
        node = self.rng.choice(names)
        if not nodes[node].is_away:
            found = [pod for pod in self.pods.get(node, []) if not pod.leaving]
            self.pods[node] = [replace(pod, available=True) for pod in found]


@settings(max_examples=100, deadline=None)
@given(st.lists(places, min_size=6, max_size=6), st.integers(1, 3), st.integers(0, 2**32))
def test_an_update_reaches_every_node_few_at_a_time(chosen: list[Place], unavailable: int, seed: int) -> None:
    nodes = dict(zip(names, chosen, strict=True))
    world = World(seed)
    wanted = [name for name, place in nodes.items() if place.should_run]
    world.pods = {name: [Daemon(name, updated=False, available=True)] for name in names}
    for _ in range(400):
        world.live(nodes, unavailable)
        without = [name for name in wanted if not any(p.available and not p.leaving for p in world.pods.get(name, []))]
        assert len(without) <= unavailable
    assert all([pod.updated for pod in world.pods[name]] == [True] for name in wanted)


@settings(max_examples=100, deadline=None)
@given(st.lists(places, min_size=6, max_size=6), st.integers(1, 3), st.integers(0, 2**32))
def test_with_a_surge_no_node_is_ever_without(chosen: list[Place], surge: int, seed: int) -> None:
    nodes = dict(zip(names, chosen, strict=True))
    world = World(seed)
    wanted = [name for name, place in nodes.items() if place.should_run]
    world.pods = {name: [Daemon(name, updated=False, available=True)] for name in names}
    for _ in range(400):
        world.live(nodes, 0, surge)
        living = {name: [pod for pod in world.pods.get(name, []) if not pod.leaving] for name in wanted}
        assert all(any(pod.available for pod in pods) for pods in living.values())
        assert sum(len(pods) > 1 and not all(pod.available for pod in pods) for pods in living.values()) <= surge
        assert all(len(pods) <= 2 for pods in living.values())
    assert all([pod.updated for pod in world.pods[name]] == [True] for name in wanted)


def test_old_pods_that_are_not_available_do_not_wait_for_their_turn() -> None:
    here = {name: Place(should_run=True, may_stay=True) for name in names}
    pods = {name: [Daemon(name, updated=False)] for name in names}
    step = plan(here, pods, unavailable=0, surge=1, rolling=True)
    assert (sorted(step.make), step.delete) == (names, [])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32))
def test_nodes_that_are_away_keep_what_they_have_and_hold_up_nobody(seed: int) -> None:
    nodes = {name: Place(should_run=True, may_stay=True, is_away=index < 3) for index, name in enumerate(names)}
    world = World(seed)
    world.pods = {name: [Daemon(name, updated=False, available=True)] for name in names}
    for _ in range(300):
        world.live(nodes, 1)
    for index, name in enumerate(names):
        assert [(pod.updated, pod.leaving) for pod in world.pods[name]] == [(index >= 3, False)]


def test_a_node_that_refuses_the_daemon_loses_it() -> None:
    step = plan(
        {"n": Place(should_run=False, may_stay=False)}, {"n": [Daemon("p", updated=True)]}, unavailable=1, rolling=True
    )
    assert step.delete == ["p"]


def test_of_two_on_one_node_the_better_stays() -> None:
    pods = [Daemon("new", updated=True, created=2.0), Daemon("old", updated=True, available=True, created=1.0)]
    step = plan({"n": Place(should_run=True, may_stay=True)}, {"n": pods}, unavailable=1, rolling=True)
    assert step.delete == ["new"]
