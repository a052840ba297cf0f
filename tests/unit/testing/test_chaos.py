"""Two nodes and a cloud under random cuts, kills and restarts, between any two steps of the event loop.

Whatever happened: once everything is whole again, each node holds and runs exactly the pods that the API has for it,
each once, and the API says Running. The seeds are fixed, so a failure repeats.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from octoedge.api.meta import view
from octoedge.errors import ApiError
from octoedge.kube.kinds import PODS
from octoedge.testing.clock import run
from octoedge.testing.cluster import Cluster, EdgeNode, cluster

RUNS = 150
STEPS = 40
NODES = ("edge-1", "edge-2")


class Chaos:
    """Does one random thing after another."""

    def __init__(self, world: Cluster, seed: int) -> None:
        self.world = world
        self.rng = random.Random(seed)
        self.made = 0
        self.did: list[str] = []

    async def go(self) -> None:
        actions: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self.create),
            (3, self.delete),
            (3, self.cut),
            (4, self.mend),
            (4, self.restart_node),
            (2, self.restart_cloud),
            (2, self.end_container),
            (5, self.rest),
        ]
        weights, choices = zip(*actions, strict=True)
        for _ in range(STEPS):
            (action,) = self.rng.choices(choices, weights)
            self.did.append(action.__name__)
            await action()
            await self.ticks()

    async def ticks(self) -> None:
        """Let the loop make some steps: what comes next falls between any two of them."""
        for _ in range(self.rng.choice((0, 1, 2, 5, 10, 20, 40, 80, 160))):
            await asyncio.sleep(0)

    async def allowing(self, code: int, request: Awaitable[object]) -> None:
        """What a user asks may come too late; any other refusal is a defect."""
        try:
            await request
        except ApiError as error:
            if error.code != code:
                raise

    def node(self) -> EdgeNode:
        return self.world.nodes[self.rng.choice(NODES)]

    async def create(self) -> None:
        self.made += 1
        # Some names are taken again, so that a pod of another uid follows one that may not have gone everywhere.
        name = f"pod-{self.made % 7}"
        await self.allowing(409, self.world.create_pod(name, self.rng.choice(NODES)))

    async def delete(self) -> None:
        pods = self.world.api.within("/api/v1/pods")
        if pods:
            name = self.rng.choice(pods)["metadata"]["name"]
            await self.allowing(404, self.world.client.delete(PODS, "default", name))

    async def cut(self) -> None:
        await self.node().cable.cut()

    async def mend(self) -> None:
        self.node().cable.mend()

    async def restart_node(self) -> None:
        node = self.node()
        await node.kill()
        await self.ticks()
        await node.start()

    async def lose_database(self) -> None:
        node = self.node()
        await node.lose_database()
        await node.start()

    async def restart_cloud(self) -> None:
        await self.world.kill_cloud()
        await self.ticks()
        await self.world.start_cloud()

    async def end_container(self) -> None:
        node = self.node()
        running = node.runtime.running()
        if running:
            node.runtime.exit_container(self.rng.choice(running).id, 1)

    async def rest(self) -> None:
        await asyncio.sleep(self.rng.choice((0.01, 0.3, 1.0, 7.0, 30.0)))


async def _settled(world: Cluster) -> bool:
    pods = world.api.within("/api/v1/pods")
    if any("deletionTimestamp" in pod["metadata"] for pod in pods):
        return False
    for name, node in world.nodes.items():
        mine = {pod["metadata"]["uid"]: pod for pod in pods if pod["spec"]["nodeName"] == name}
        assert node.meta is not None
        held = {uid for obj in await node.meta.list("pod") for uid in [_uid(obj)]}
        wanted = sorted(pod["metadata"]["name"] for pod in mine.values())
        said = all(pod.get("status", {}).get("phase") == "Running" for pod in mine.values())
        if held != set(mine) or node.running() != wanted or not said or len(node.meta.outbox):
            return False
    return True


def _uid(obj: bytes) -> str:
    return view(obj).metadata.uid


@pytest.mark.parametrize("seed", range(RUNS))
def test_nothing_is_lost_and_nothing_doubled(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        async with cluster(tmp_path, *NODES) as world:
            chaos = Chaos(world, seed)
            await chaos.go()
            for node in world.nodes.values():
                node.cable.mend()
            try:
                await world.until(lambda: _settled(world), 600)
            except TimeoutError:
                raise AssertionError(_picture(world, chaos)) from None
            await asyncio.sleep(30)
            assert await _settled(world)

    run(main())


def _picture(world: Cluster, chaos: Chaos) -> str:
    api = {
        pod["metadata"]["name"]: (
            pod["metadata"]["uid"],
            pod["spec"]["nodeName"],
            pod["status"].get("phase"),
            "deletionTimestamp" in pod["metadata"],
        )
        for pod in world.api.within("/api/v1/pods")
    }
    nodes = {
        name: (node.running(), node.meta is not None and node.meta.online, len(node.meta.outbox) if node.meta else 0)
        for name, node in world.nodes.items()
    }
    return f"did not settle after {chaos.did}: API {api}, nodes {nodes}"
