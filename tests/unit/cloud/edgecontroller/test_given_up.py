"""A node that was given up (Unknown) while its session lived on: the session ends, and the node says anew how it is."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api.config.load import parse_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.cloud.edgecontroller.requests import Requests
from octoedge.kube.kinds import NODES
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cluster import Cluster, EdgeNode, cluster
from octoedge.testing.kube import MemoryApi

EDGE = {"node-role.kubernetes.io/edge": ""}


def in_cluster(directory: Path, test: Callable[[Cluster, EdgeNode], Awaitable[None]]) -> None:
    async def main() -> None:
        async with cluster(directory, "edge-1") as world:
            await world.until(lambda: is_ready(world))
            await test(world, world.nodes["edge-1"])

    run(main())


def is_ready(world: Cluster) -> bool:
    conditions = [
        condition
        for node in world.api.within("/api/v1/nodes")
        for condition in node.get("status", {}).get("conditions", [])
    ]
    return any((condition["type"], condition["status"]) == ("Ready", "True") for condition in conditions)


async def give_up(world: Cluster) -> None:
    """What the node lifecycle controller does after a silence."""
    node = msgspec.json.decode(await world.client.get(NODES, "", "edge-1"))
    for condition in node["status"]["conditions"]:
        condition["status"] = "Unknown"
    await world.client.patch(NODES, "", "edge-1", msgspec.json.encode({"status": node["status"]}))


def test_it_is_ready_again_after_the_next_heartbeat(tmp_path: Path) -> None:
    async def test(world: Cluster, node: EdgeNode) -> None:
        await asyncio.sleep(30)
        dials = node.cable.dials
        await give_up(world)
        await world.until(lambda: is_ready(world), 25)
        assert node.cable.dials == dials + 1, "one new session was enough"
        await asyncio.sleep(60)
        assert node.cable.dials == dials + 1, "and it is left alone from then on"
        assert world.cloud is not None
        assert world.cloud.sessions.connected == {"edge-1"}

    in_cluster(tmp_path, test)


def test_a_pod_is_not_touched_by_it(tmp_path: Path) -> None:
    async def test(world: Cluster, node: EdgeNode) -> None:
        await world.create_pod("web", "edge-1")
        await world.until(lambda: node.running() == ["web"])
        began = [container.started_at for container in node.runtime.running()]
        await asyncio.sleep(20)
        await give_up(world)
        await world.until(lambda: is_ready(world), 25)
        assert [container.started_at for container in node.runtime.running()] == began

    in_cluster(tmp_path, test)


def test_a_session_that_has_just_begun_is_given_time_to_say_how_it_is(tmp_path: Path) -> None:
    async def test(world: Cluster, node: EdgeNode) -> None:
        await node.cable.cut()
        await asyncio.sleep(60)
        await give_up(world)
        node.cable.mend()
        dials = node.cable.dials
        await world.until(lambda: is_ready(world), 30)
        assert world.cloud is not None
        began = node.cable.dials
        await asyncio.sleep(60)
        assert node.cable.dials == began, "the session that brought the status is not ended"
        assert began > dials

    in_cluster(tmp_path, test)


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        ({}, False),
        ({"conditions": None}, False),
        ({"conditions": []}, False),
        ({"conditions": [{"type": "Ready", "status": "True"}]}, False),
        ({"conditions": [{"type": "Ready", "status": "False"}]}, False),
        ({"conditions": [{"type": "MemoryPressure", "status": "Unknown"}]}, False),
        ({"conditions": [{"type": "MemoryPressure"}, {"type": "Ready", "status": "Unknown"}]}, True),
    ],
)
def test_only_unknown_is_given_up(status: dict[str, Any], expected: bool) -> None:
    async def main() -> None:
        api = MemoryApi()
        await api.client().create(
            NODES, "", msgspec.json.encode({"metadata": {"name": "edge-1", "labels": EDGE}, "status": status})
        )
        core = CloudCore(parse_cloudcore(b"{}", "test"), api.client(), VirtualClock(), listen=False)
        requests = Requests(api.client(), core.downstream, address="192.0.2.1")
        async with asyncio.TaskGroup() as group:
            task = group.create_task(core.run())
            await core.ready()
            assert requests.given_up("edge-1") is expected
            assert requests.given_up("nobody") is False
            task.cancel()

    run(main())
