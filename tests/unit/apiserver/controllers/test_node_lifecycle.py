"""A node that stops renewing its lease becomes Unknown and tainted, loses nothing else, and recovers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec

from octoedge.apiserver.controllers.node_lifecycle import LEASE_NAMESPACE, LEASES, UNREACHABLE, NodeLifecycle
from octoedge.apiserver.store.backend import Backend, Put
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.inline import InlineDatabase


class World:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def put_node(self, ready: str, beat: str = "1", *pressures: str) -> None:
        condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": beat}
        pressed = [{"type": kind, "status": "True", "lastHeartbeatTime": beat} for kind in pressures]
        node = {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {"name": "edge-1", "uid": "u"},
            "spec": {"taints": [{"key": "mine", "effect": "NoSchedule"}]},
            "status": {"conditions": [condition, *pressed]},
        }
        await self.backend.change(lambda _: [Put("nodes", node)])

    async def renew(self) -> None:
        metadata = {"name": "edge-1", "namespace": LEASE_NAMESPACE, "uid": "l"}
        lease = {"kind": "Lease", "apiVersion": "coordination.k8s.io/v1", "metadata": metadata}
        await self.backend.change(lambda _: [Put(LEASES, lease)])

    def node(self) -> dict[str, Any]:
        item = self.backend.get("nodes", "", "edge-1")
        assert item is not None
        found: dict[str, Any] = msgspec.json.decode(item.data)
        return found

    def ready(self) -> str:
        return str(next(c["status"] for c in self.node()["status"]["conditions"] if c["type"] == "Ready"))

    def taints(self) -> set[str]:
        return {taint["key"] for taint in self.node()["spec"].get("taints", [])}


@asynccontextmanager
async def world(path: Path) -> AsyncIterator[World]:
    backend = Backend(path / "state.db", lambda _resource, _obj: {}, database=InlineDatabase)
    async with asyncio.TaskGroup() as group:
        tasks = [
            group.create_task(backend.run(lambda: None)),
            group.create_task(NodeLifecycle(backend, VirtualClock()).run(lambda: None)),
        ]
        try:
            yield World(backend)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            backend.close()


def in_world(path: Path, story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        async with world(path) as at:
            await story(at)

    run(main())


def test_silence_makes_a_node_unknown_and_a_sign_of_life_heals_it(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.put_node("True")
        for _ in range(10):
            await at.renew()
            await asyncio.sleep(10)
        assert at.ready() == "True"
        assert at.taints() == {"mine"}
        await asyncio.sleep(60)
        assert at.ready() == "Unknown"
        assert at.taints() == {"mine", UNREACHABLE}
        await asyncio.sleep(600)
        assert at.ready() == "Unknown"
        await at.renew()
        await at.put_node("True", "2")
        await asyncio.sleep(6)
        assert at.ready() == "True"
        assert at.taints() == {"mine"}

    in_world(tmp_path, story)


def test_a_node_in_want_is_tainted_while_it_lasts(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.put_node("True", "1", "MemoryPressure", "PIDPressure")
        await asyncio.sleep(6)
        pressed = {"mine", "node.kubernetes.io/memory-pressure", "node.kubernetes.io/pid-pressure"}
        assert at.taints() == pressed
        node = at.node()
        node["status"]["conditions"][1]["status"] = "False"
        await at.backend.change(lambda _: [Put("nodes", node)])
        await asyncio.sleep(6)
        assert at.taints() == pressed - {"node.kubernetes.io/memory-pressure"}

    in_world(tmp_path, story)


def test_a_restart_of_the_cloud_neither_kills_nor_revives_a_node(tmp_path: Path) -> None:
    async def gone(at: World) -> None:
        await at.put_node("True")
        await asyncio.sleep(60)
        assert at.ready() == "Unknown"

    async def still_gone(at: World) -> None:
        await asyncio.sleep(20)
        assert at.ready() == "Unknown"
        await at.put_node("True", "2")
        await asyncio.sleep(6)
        assert at.ready() == "True"

    async def still_there(at: World) -> None:
        await asyncio.sleep(30)
        assert at.ready() == "True"

    for story in (gone, still_gone, still_there):
        in_world(tmp_path, story)
