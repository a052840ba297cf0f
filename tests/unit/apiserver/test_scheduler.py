"""The scheduler binds each pod once, waits for a node when there is none, and tells what it did."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.apiserver.backend import Backend, Drop, Put
from octoedge.apiserver.scheduler import Scheduler
from octoedge.testing.clock import VirtualClock, run

Json = dict[str, Any]


def fields_of(resource: str, obj: Json) -> dict[str, str]:
    return {"spec.nodeName": obj["spec"].get("nodeName", "")} if resource == "pods" else {}


def node(name: str, cpu: str = "1") -> Json:
    return {
        "kind": "Node",
        "apiVersion": "v1",
        "metadata": {"name": name, "uid": name},
        "status": {"allocatable": {"cpu": cpu}, "conditions": [{"type": "Ready", "status": "True"}]},
    }


def pod(name: str, cpu: str) -> Json:
    container = {"name": "c", "image": "i", "resources": {"requests": {"cpu": cpu}}}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "namespace": "default", "uid": f"uid-{name}"},
        "spec": {"containers": [container]},
    }


class World:
    def __init__(self, backend: Backend) -> None:
        self.backend = backend

    async def put(self, resource: str, *objects: Json) -> None:
        await self.backend.change(lambda _: [Put(resource, obj) for obj in objects])

    def pod(self, name: str) -> Json:
        item = self.backend.get("pods", "default", name)
        assert item is not None
        found: Json = msgspec.json.decode(item.data)
        return found

    def node_of(self, name: str) -> str:
        return str(self.pod(name)["spec"].get("nodeName", ""))

    def told(self) -> list[str]:
        return [msgspec.json.decode(item.data)["message"] for item in self.backend.items("events")]


def in_world(path: Path, story: Callable[[World], Awaitable[None]]) -> None:
    async def main() -> None:
        backend = Backend(path / "state.db", fields_of)
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(backend.run(lambda: None)),
                group.create_task(Scheduler(backend, VirtualClock()).run(lambda: None)),
            ]
            try:
                await story(World(backend))
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
                backend.close()

    run(main(), patience_for_threads=0.02)


def test_pods_fill_the_nodes_and_the_rest_waits_with_a_reason(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.put("nodes", node("a"), node("b"))
        await at.put("pods", *(pod(f"p{number}", "600m") for number in range(3)))
        await asyncio.sleep(1)
        placed = sorted(at.node_of(f"p{number}") for number in range(3))
        assert placed == ["", "a", "b"]
        waiting = next(f"p{number}" for number in range(3) if not at.node_of(f"p{number}"))
        assert "0/2 nodes are available: 2 Insufficient cpu." in at.told()
        condition = at.pod(waiting)["status"]["conditions"][0]
        assert [condition[key] for key in ("type", "status", "reason")] == ["PodScheduled", "False", "Unschedulable"]
        await at.put("nodes", node("c"))
        await asyncio.sleep(1)
        assert at.node_of(waiting) == "c"
        assert at.pod(waiting)["status"]["conditions"][0]["status"] == "True"
        assert f"Successfully assigned default/{waiting} to c" in at.told()

    in_world(tmp_path, story)


def test_a_pod_that_goes_makes_room(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        await at.put("nodes", node("a"))
        await at.put("pods", pod("first", "1"))
        await asyncio.sleep(1)
        await at.put("pods", pod("second", "1"))
        await asyncio.sleep(1)
        assert (at.node_of("first"), at.node_of("second")) == ("a", "")
        await at.backend.change(lambda _: [Drop("pods", "default", "first")])
        await asyncio.sleep(1)
        assert at.node_of("second") == "a"

    in_world(tmp_path, story)


def test_a_pod_bound_by_somebody_else_is_left_alone(tmp_path: Path) -> None:
    async def story(at: World) -> None:
        bound = pod("mine", "100m")
        bound["spec"]["nodeName"] = "elsewhere"
        await at.put("nodes", node("a"))
        await at.put("pods", bound)
        await asyncio.sleep(1)
        assert at.node_of("mine") == "elsewhere"
        assert at.told() == []

    in_world(tmp_path, story)
