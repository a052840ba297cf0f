"""Edged cut off at any moment, again and again: each pod runs once or not at all, and in the end as it should."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from octoedge.protocol.resource import Resource
from octoedge.testing.clock import run
from octoedge.testing.node import World, deleting, pod

NAMES = ("a", "b")
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["put", "delete", "forget", "crash", "sandbox", "away", "nothing"]),
        st.sampled_from(NAMES),
        st.floats(0.001, 3.0),
    ),
    max_size=12,
)


class Cloud:
    """What the cloud wants, and what it does when a node reports that a pod has ended."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.generation: Counter[str] = Counter()
        self.wanted: dict[str, str] = {}
        self.ending: dict[str, str] = {}

    async def put(self, name: str) -> None:
        if name in self.wanted or name in self.ending:
            return
        self.generation[name] += 1
        uid = self.wanted[name] = f"{name}-{self.generation[name]}"
        await self.world.metadata.put("pod", pod(name, uid=uid, terminationGracePeriodSeconds=2))

    async def delete(self, name: str) -> None:
        """`kubectl delete`."""
        if name in self.wanted:
            uid = self.ending[name] = self.wanted.pop(name)
            await self.world.metadata.put("pod", deleting(pod(name, uid=uid), 2))

    async def forget(self, name: str) -> None:
        """`kubectl delete --force`."""
        if self.wanted.pop(name, None) or self.ending.pop(name, None):
            await self.world.metadata.delete(Resource("default", "pod", name))

    async def settle(self) -> None:
        """Remove what the node reported as ended."""
        for name, uid in list(self.ending.items()):
            if any(known == uid for _, known in self.world.metadata.deleted):
                del self.ending[name]
                await self.world.metadata.delete(Resource("default", "pod", name))


async def one_step(cloud: Cloud, kind: str, name: str) -> None:
    world = cloud.world
    if kind in ("put", "delete", "forget"):
        await {"put": cloud.put, "delete": cloud.delete, "forget": cloud.forget}[kind](name)
    elif kind == "crash" and world.runtime.running():
        world.runtime.exit_container(world.runtime.running()[0].id, 1)
    elif kind == "sandbox" and world.runtime.sandboxes:
        world.runtime.kill_sandbox(next(iter(world.runtime.sandboxes)))
    elif kind == "away":
        world.runtime.set_away(not world.runtime.away)


def check(world: World) -> None:
    uids = Counter(c.config.labels["io.kubernetes.pod.uid"] for c in world.runtime.running())
    assert all(count == 1 for count in uids.values()), f"a pod runs twice: {uids}"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_whatever_is_cut_off_each_pod_runs_once_and_ends_as_wanted(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, str, float]]
) -> None:
    async def main() -> None:
        world = World(tmp_path_factory.mktemp("node"))
        world.runtime.latency = world.runtime.answer_latency = 0.05
        cloud = Cloud(world)
        for kind, name, seconds in steps:
            await one_step(cloud, kind, name)
            async with world.edged():
                await asyncio.sleep(seconds)
                check(world)
            await cloud.settle()
        world.runtime.set_away(False)
        async with world.edged():
            for _ in range(10):
                await asyncio.sleep(60)
                check(world)
                await cloud.settle()
            assert {c.config.labels["io.kubernetes.pod.uid"] for c in world.runtime.running()} == set(
                cloud.wanted.values()
            )
            assert cloud.ending == {}
            sandboxes = Counter(s.config.metadata.uid for s in world.runtime.sandboxes.values())
            assert set(sandboxes) == set(cloud.wanted.values())

    run(main())
