"""A cloud and its nodes as one: pods run, links break, agents and clouds die, and the status arrives."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

import msgspec

from octoedge.edge.metamanager import records
from octoedge.kube.kinds import CONFIGMAPS, NODES, PODS
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction
from octoedge.protocol.usage import BELOW
from octoedge.runtime.clock import parse_rfc3339
from octoedge.testing.clock import run
from octoedge.testing.cluster import Cluster, cluster

NAMES = ("edge-1", "edge-2", "edge-3")


def play(tmp_path: Path, test: Callable[[Cluster], Awaitable[None]], *nodes: str) -> None:
    async def main() -> None:
        async with cluster(tmp_path, *(nodes or NAMES)) as world:
            await test(world)

    run(main())


async def is_running(world: Cluster, name: str) -> bool:
    return await world.phase(name) == "Running"


def test_a_pod_on_each_of_three_nodes_runs_and_says_so(tmp_path: Path) -> None:
    async def test(world: Cluster) -> None:
        for name in NAMES:
            await world.create_pod(f"web-{name}", name)
        for name in NAMES:
            await world.until(partial(is_running, world, f"web-{name}"))
            assert world.nodes[name].running() == [f"web-{name}"]
        ready = [
            condition["status"]
            for node in world.api.within("/api/v1/nodes")
            for condition in node["status"]["conditions"]
            if condition["type"] == "Ready"
        ]
        assert ready == ["True"] * 3

    play(tmp_path, test)


def test_a_cut_link_leaves_the_pod_alone_and_its_status_arrives_later(tmp_path: Path) -> None:
    async def test(world: Cluster) -> None:
        node = world.nodes["edge-1"]
        await world.create_pod("web", "edge-1")
        await world.until(lambda: is_running(world, "web"))
        await node.cable.cut()
        (container,) = node.runtime.running()
        node.runtime.exit_container(container.id, 1, "Error")
        await asyncio.sleep(300)
        assert node.running() == ["web"]
        assert (await world.pod("web"))["status"]["containerStatuses"][0]["restartCount"] == 0
        await world.create_pod("new", "edge-1")
        node.cable.mend()

        async def restarted() -> bool:
            return bool((await world.pod("web"))["status"]["containerStatuses"][0]["restartCount"] == 1)

        await world.until(restarted)
        await world.until(lambda: is_running(world, "new"))

    play(tmp_path, test, "edge-1")


def test_a_killed_agent_touches_no_container_when_it_comes_back(tmp_path: Path) -> None:
    async def test(world: Cluster) -> None:
        node = world.nodes["edge-1"]
        await world.create_pod("web", "edge-1")
        await world.until(lambda: is_running(world, "web"))
        (before,) = node.runtime.running()
        await node.restart()
        await asyncio.sleep(60)
        (after,) = node.runtime.running()
        assert (after.id, after.started_at) == (before.id, before.started_at)

    play(tmp_path, test, "edge-1")


def test_without_a_cloud_a_killed_agent_and_its_killed_containers_come_back(tmp_path: Path) -> None:
    async def test(world: Cluster) -> None:
        node = world.nodes["edge-1"]
        await world.create_pod("web", "edge-1")
        await world.until(lambda: is_running(world, "web"))
        await world.kill_cloud()
        await node.kill()
        for container in node.runtime.running():
            node.runtime.exit_container(container.id, 137)
        await node.start()
        await world.until(lambda: node.running() == ["web"])
        await world.start_cloud()
        await world.until(lambda: node.meta is not None and node.meta.online)
        await world.until(lambda: is_running(world, "web"))

    play(tmp_path, test, "edge-1")


def test_a_pod_deleted_while_the_node_was_away_goes_and_the_one_that_stays_stays(tmp_path: Path) -> None:
    async def test(world: Cluster) -> None:
        node = world.nodes["edge-1"]
        for name in ("stays", "goes"):
            await world.create_pod(name, "edge-1")
        for name in ("stays", "goes"):
            await world.until(partial(is_running, world, name))
        await node.cable.cut()
        await world.client.delete(PODS, "default", "goes")
        await asyncio.sleep(100)
        assert node.running() == ["goes", "stays"]
        node.cable.mend()
        await world.until(lambda: node.running() == ["stays"])

        async def gone() -> bool:
            return await world.phase("goes") == ""

        await world.until(gone)
        assert node.meta is not None
        await world.until(lambda: len(node.meta.outbox) == 0)  # type: ignore[union-attr]
        assert len(await node.meta.list("pod")) == 1

    play(tmp_path, test, "edge-1")


def test_a_killed_cloud_loses_nothing_and_has_its_nodes_back_soon(tmp_path: Path) -> None:
    async def test(world: Cluster) -> None:
        await world.create_pod("web", "edge-1")
        await world.until(lambda: is_running(world, "web"))
        await asyncio.sleep(60)
        await world.kill_cloud()
        await asyncio.sleep(3)
        await world.create_pod("later", "edge-2")
        await world.start_cloud()
        began = asyncio.get_running_loop().time()
        await world.until(lambda: all(node.meta is not None and node.meta.online for node in world.nodes.values()))
        assert asyncio.get_running_loop().time() - began < 2
        await world.until(lambda: is_running(world, "later"))
        assert world.nodes["edge-1"].running() == ["web"]

    play(tmp_path, test)


def test_a_lost_database_costs_no_container_and_is_filled_again(tmp_path: Path) -> None:
    """The cloud has written down that the node holds everything; by the store's new name it knows better."""

    async def test(world: Cluster) -> None:
        node = world.nodes["edge-1"]
        await world.create_pod("web", "edge-1")
        await world.until(lambda: is_running(world, "web"))
        (before,) = node.runtime.running()
        await node.lose_database()
        await node.start()
        assert node.meta is not None
        assert node.meta.rebuilt
        await world.until(lambda: node.meta is not None and node.meta.online)
        await asyncio.sleep(120)
        assert len(await node.meta.list("pod")) == 1
        assert not node.meta.rebuilt
        [told] = [e for e in world.api.within("/api/v1/events") if e["reason"] == "DatabaseReplaced"]
        assert "edgecore.db.corrupt-" in told["message"]
        (after,) = node.runtime.running()
        assert after.id == before.id

    play(tmp_path, test, "edge-1")


def test_a_hundred_nodes_share_a_process(tmp_path: Path) -> None:
    async def test(world: Cluster) -> None:
        await world.until(lambda: len(world.api.within("/api/v1/nodes")) == 100)
        found = await world.client.list(NODES)
        assert found

    play(tmp_path, test, *(f"edge-{number}" for number in range(100)))


def test_an_idle_node_costs_less_than_two_megabytes_a_day(tmp_path: Path) -> None:
    """With a pod that runs and nothing that happens; TLS, TCP and IP counted as `octoedge usage` says."""

    async def main() -> None:
        async with cluster(tmp_path, "edge-1") as world:
            await world.create_pod("web", "edge-1")
            await world.until(partial(is_running, world, "web"))
            await asyncio.sleep(600)
            assert world.cloud is not None
            assert world.nodes["edge-1"].uplink is not None
            here, there = world.cloud.sessions.usage["edge-1"], world.nodes["edge-1"].uplink.usage
            before = [here.total(direction) for direction in Direction]
            await asyncio.sleep(7200)
            after = [here.total(direction) for direction in Direction]
            size = sum(new.size - old.size for new, old in zip(after, before, strict=True))
            messages = sum(new.messages - old.messages for new, old in zip(after, before, strict=True))
            assert 12 * size < 500_000, there.rows()
            assert 12 * (size + messages * BELOW) < 2_000_000, there.rows()
            for direction in Direction:
                assert abs(here.total(direction).messages - there.total(direction).messages) <= 1

    run(main())


def large(line: str) -> dict[str, object]:
    """A ConfigMap of 200 kB in which a line differs."""
    rng = random.Random(1)
    lines = [f"rule {number}: {rng.getrandbits(180):x}" for number in range(3500)]
    about = {"name": "rules", "namespace": "default"}
    return {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": about,
        "data": {"t": "\n".join([*lines, line, *lines])},
    }


def test_a_line_of_a_large_configmap_costs_a_few_bytes_and_a_node_with_other_bytes_gets_the_whole(
    tmp_path: Path,
) -> None:
    async def test(world: Cluster) -> None:
        node = world.nodes["edge-1"]
        await world.create(CONFIGMAPS, "default", large("a"))
        await world.create_pod("web", "edge-1", volumes=[{"name": "rules", "configMap": {"name": "rules"}}])
        await world.until(partial(is_running, world, "web"))
        assert world.cloud is not None
        usage = world.cloud.sessions.usage["edge-1"]

        async def change(line: str) -> dict[str, tuple[int, int]]:
            before = down()
            patch = msgspec.json.encode({"data": large(line)["data"]})
            wanted = msgspec.json.decode(await world.client.patch(CONFIGMAPS, "default", "rules", patch))
            await world.until(lambda: stored() == wanted)
            await asyncio.sleep(2)
            return {cause: (new[0] - before[cause][0], new[1] - before[cause][1]) for cause, new in down().items()}

        def down() -> dict[str, tuple[int, int]]:
            found = dict.fromkeys(("delta configmap", "update configmap"), (0, 0))
            rows = [row for row in usage.rows() if row["cause"] in found]
            return found | {str(row["cause"]): (int(row["messages"]), int(row["bytes"])) for row in rows}

        def stored() -> object:
            assert node.database is not None
            where = Resource("default", "configmap", "rules")
            held = node.database.read_now(lambda connection: records.get(connection, where))
            return msgspec.json.decode(held or b"null")

        told = await change("b")
        assert told["update configmap"] == (0, 0)
        assert told["delta configmap"][0] == 1
        assert told["delta configmap"][1] < 400

        assert node.database is not None
        spoil = "UPDATE meta SET value = replace(value, 'rule 17:', 'rule xx:') WHERE key = 'default/configmap/rules'"
        await node.database.write(lambda connection: connection.execute(spoil).rowcount)
        told = await change("c")
        assert (told["delta configmap"][0], told["update configmap"][0]) == (1, 1)
        assert (await change("d"))["update configmap"][0] == 0

        await node.restart()
        await world.until(lambda: node.meta is not None and node.meta.online)
        assert (await change("e"))["update configmap"][0] == 0, "a base outlives the session"

    play(tmp_path, test, "edge-1")


def test_the_cloud_renews_the_lease_by_its_own_clock(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path, "edge-1") as world:
            await asyncio.sleep(60)
            lease = world.api.find("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", "edge-1")
            assert lease["spec"]["holderIdentity"] == "edge-1"
            assert world.clock.now() - parse_rfc3339(lease["spec"]["renewTime"]) < 20
            assert lease["metadata"]["ownerReferences"][0]["name"] == "edge-1"
            await world.nodes["edge-1"].cable.cut()
            await asyncio.sleep(60)
            lease = world.api.find("/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases", "edge-1")
            assert world.clock.now() - parse_rfc3339(lease["spec"]["renewTime"]) > 50, "nobody speaks for who is away"

    run(main())


def test_a_node_that_returns_costs_the_api_two_requests_and_no_list(tmp_path: Path) -> None:
    async def main() -> None:
        names = [f"edge-{number}" for number in range(20)]
        async with cluster(tmp_path, *names) as world:
            for name in names:
                await world.create_pod(f"web-{name}", name)
            await asyncio.sleep(60)
            for name in names:
                await world.nodes[name].cable.cut()
            await asyncio.sleep(20)
            world.api.requests.clear()
            for name in names:
                world.nodes[name].cable.mend()
            await asyncio.sleep(25)
            assert world.cloud is not None
            assert len(world.cloud.sessions.connected) == len(names)
            assert len(world.api.requests) <= 3 * len(names), world.api.requests
            assert {method for method, _ in world.api.requests} == {"PATCH"}

    run(main())
