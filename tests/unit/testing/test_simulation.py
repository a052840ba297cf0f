"""Histories of random faults, each a seed: `octoedge.testing.simulation` says what happens and what must hold.

`make soak` runs on from a random seed; `make soak SEED=N` replays the history of a trace.
"""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from octoedge.errors import StoreFull
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import Resource
from octoedge.store.sqlite import Database
from octoedge.testing.clock import run
from octoedge.testing.cluster import Cluster, cluster
from octoedge.testing.goedge import GoEdge
from octoedge.testing.inline import InlineDatabase
from octoedge.testing.simulation import History, play
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import MemoryConnection, pair

SEEDS = 2000
TOGETHER = 10


@pytest.mark.parametrize("first", range(0, SEEDS, TOGETHER))
def test_nothing_is_lost_doubled_or_taken_back(tmp_path: Path, first: int) -> None:
    for seed in range(first, first + TOGETHER):
        play(seed, tmp_path / str(seed))


@pytest.mark.parametrize("seed", [26, 39])
def test_a_seed_is_one_history(tmp_path: Path, seed: int) -> None:
    assert play(seed, tmp_path / "a") == play(seed, tmp_path / "b")


def test_a_go_edge_drops_the_oldest_and_acknowledges_slowly() -> None:
    async def main() -> None:
        clouds: list[MemoryConnection] = []

        async def dial(headers: dict[str, str]) -> Connection:
            edge, cloud = pair(Peer("go", headers=headers), capacity=1000)
            clouds.append(cloud)
            return edge

        edge = GoEdge("go", dial)
        task = asyncio.get_running_loop().create_task(edge.live())
        await asyncio.sleep(0)
        for number in range(300):
            payload = p.ObjectInsert(
                resource=Resource("default", "pod", f"p{number}"), body=b'{"metadata":{"uid":"u"}}', version="1"
            )
            message = routes.compose(payload, message_id=str(number), timestamp=0)
            await clouds[0].send(codec.encode(message))
        await asyncio.sleep(1)
        heard = 0
        with contextlib.suppress(TimeoutError):
            while True:
                async with asyncio.timeout(0.001):
                    heard += codec.decode(await clouds[0].receive()).route.operation == "response"
        assert 60 <= heard <= 95
        await asyncio.sleep(60)
        assert 100 <= len(edge.held) < 250, "the rest was dropped"
        assert handshake.STORE not in clouds[0].peer.headers
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_a_node_that_moves_has_a_new_session_before_all_of_the_old_one_has_arrived(tmp_path: Path) -> None:
    async def main() -> None:
        async with cluster(tmp_path, "edge-1") as world:
            node = world.nodes["edge-1"]
            node.cable.lag = 5.0
            await node.cable.drop()
            await world.until(lambda: node.cable.dials == 2 and node.meta is not None and node.meta.online)
            await asyncio.sleep(30)
            await world.create_pod("web", "edge-1")
            await world.until(lambda: node.running() == ["web"])
            assert await world.phase("web") == "Pending", "its status is on its way, for five seconds"
            node.cable.lag = 60.0
            await node.cable.move()
            await world.until(lambda: node.cable.dials == 3)
            # By the old connection: by the new one it would take a minute.
            await world.until(lambda: _runs(world, "web"), 20)
            node.cable.mend()
            await world.until(lambda: node.cable.dials > 3)
            await asyncio.sleep(60)
            assert world.cloud is not None
            assert world.cloud.sessions.unconfirmed() == {"edge-1": 0}

    run(main())


async def _runs(world: Cluster, name: str) -> bool:
    return await world.phase(name) == "Running"


def test_a_full_disk_and_a_crash_before_the_commit_lose_the_write_and_nothing_else(tmp_path: Path) -> None:
    async def main() -> None:
        database = InlineDatabase.open(tmp_path / "a.db", ["CREATE TABLE t (n INTEGER)"])
        assert isinstance(database, InlineDatabase)
        database.breakable = True
        await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (1)").rowcount)
        database.full = True
        with pytest.raises(StoreFull):
            await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (2)").rowcount)
        database.full = False
        crashed = asyncio.get_running_loop().create_task(
            database.write(lambda connection: connection.execute("INSERT INTO t VALUES (3)").rowcount)
        )
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        crashed.cancel()
        await asyncio.wait([crashed])
        await database.write(lambda connection: connection.execute("INSERT INTO t VALUES (4)").rowcount)
        assert _numbers(database) == [1, 4]
        database.close()

    run(main())


def _numbers(database: Database) -> list[int]:
    return database.read_now(lambda connection: [row[0] for row in connection.execute("SELECT n FROM t ORDER BY n")])


def test_the_history_is_told_when_a_promise_is_broken(tmp_path: Path) -> None:
    class Backwards(History):
        def _look(self) -> None:
            raise AssertionError("edge-1 went back")

    async def main() -> None:
        history = Backwards(3)
        with pytest.raises((AssertionError, ExceptionGroup)):
            await history.run(tmp_path, 5)
        assert len(history.trace) == 1

    run(main())
