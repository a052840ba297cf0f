"""Static pods run from their files, cloud or no cloud; the API sees mirrors of them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.edge.edged.edged import Edged
from octoedge.protocol.resource import Resource
from octoedge.testing.clock import run
from octoedge.testing.node import World, container, deleting, is_running, pod

Json = dict[str, Any]
GATE = Resource("default", "pod", "gate-edge-1")


def write(root: Path, name: str = "gate", **fields: Any) -> Path:
    spec = {"containers": [container(**fields)], "terminationGracePeriodSeconds": 1}
    obj = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": spec}
    file = root / "manifests" / f"{name}.json"
    file.parent.mkdir(exist_ok=True)
    file.write_bytes(msgspec.json.encode(obj))
    return file


def node(world: World) -> Any:
    return world.edged(manifests=world.root / "manifests")


def check(tmp_path: Path, body: Callable[[World, Edged], Awaitable[None]]) -> None:
    async def main() -> None:
        world = World(tmp_path)
        write(tmp_path)
        async with node(world) as edged:
            await body(world, edged)

    run(main())


def mirror(world: World) -> Json:
    found = world.metadata.objects.get(GATE)
    return dict(msgspec.json.decode(found)) if found is not None else {}


async def shown(world: World, uid: str) -> Json:
    return await world.metadata.until_status(uid, is_running)


def test_a_static_pod_runs_and_has_a_mirror_with_its_status(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await shown(world, "mirror-1")
        made = mirror(world)
        notes = made["metadata"]["annotations"]
        assert notes["kubernetes.io/config.mirror"] == notes["kubernetes.io/config.hash"]
        assert made["metadata"]["ownerReferences"][0]["kind"] == "Node"
        assert made["spec"]["nodeName"] == "edge-1"
        # The static pod runs, its mirror does not.
        assert len(world.runtime.running()) == 1
        await asyncio.sleep(600)
        assert world.metadata.mirrors_made == 1
        assert set(world.metadata.statuses) == {"mirror-1"}

    check(tmp_path, body)


def test_it_runs_from_boot_without_a_cloud(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        world.metadata.set_online(False)
        write(tmp_path)
        async with node(world):
            await asyncio.sleep(60)
            [first] = world.runtime.running()
            assert world.metadata.statuses == {}
            world.metadata.set_online(True)
            await shown(world, "mirror-1")
        # A restart finds it by its uid, and its mirror in the store.
        async with node(world):
            await asyncio.sleep(60)
            assert [c.id for c in world.runtime.running()] == [first.id]
            assert world.metadata.mirrors_made == 1

    run(main())


def test_who_deletes_the_mirror_gets_a_new_one_and_the_pod_goes_on(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await shown(world, "mirror-1")
        [first] = world.runtime.running()
        await world.metadata.put("pod", deleting(mirror(world)))
        await world.metadata.until_deleted("mirror-1")
        await world.metadata.delete(GATE)
        await shown(world, "mirror-2")
        # Without a word before (kubectl delete --force), and without a uid.
        obj = world.metadata.objects.pop(GATE)
        world.metadata.objects[GATE] = b""
        await world.metadata.delete(GATE)
        assert obj
        await shown(world, "mirror-3")
        assert [c.id for c in world.runtime.running()] == [first.id]

    check(tmp_path, body)


def test_a_changed_manifest_replaces_pod_and_mirror(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await shown(world, "mirror-1")
        write(tmp_path, command=["other"])
        await world.metadata.until_deleted("mirror-1")
        await world.metadata.delete(GATE)
        await shown(world, "mirror-2")
        [running] = world.runtime.running()
        assert running.config.command == ("other",)

    check(tmp_path, body)


def test_a_removed_manifest_ends_pod_and_mirror(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await shown(world, "mirror-1")
        (tmp_path / "manifests/gate.json").unlink()
        await world.metadata.until_deleted("mirror-1")
        await asyncio.sleep(10)
        assert world.runtime.sandboxes == {}
        await world.metadata.delete(GATE)
        await asyncio.sleep(60)
        assert world.metadata.mirrors_made == 1

    check(tmp_path, body)


def test_a_manifest_that_went_while_the_agent_was_down_ends_its_pod(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        file = write(tmp_path)
        async with node(world):
            await shown(world, "mirror-1")
        file.unlink()
        world.metadata.set_online(False)
        async with node(world):
            await asyncio.sleep(60)
            assert world.runtime.sandboxes == {}
            world.metadata.set_online(True)
            await world.metadata.until_deleted("mirror-1")

    run(main())


def test_a_folder_that_is_away_ends_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        write(tmp_path)
        async with node(world):
            await shown(world, "mirror-1")
        (tmp_path / "manifests").rename(tmp_path / "unmounted")
        world.metadata.set_online(False)
        async with node(world):
            await asyncio.sleep(60)
            assert len(world.runtime.running()) == 1

    run(main())


def test_a_cloud_that_takes_no_mirror_keeps_no_pod_from_running(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        write(tmp_path)
        # Somebody has a pod of that name already.
        other = {**pod("gate-edge-1"), "spec": {"nodeName": "edge-9", "containers": [{"name": "x"}]}}
        world.metadata.objects[GATE] = msgspec.json.encode(other)
        async with node(world):
            await asyncio.sleep(120)
            assert len(world.runtime.running()) == 1
            assert world.metadata.mirrors_made == 0
            await world.metadata.delete(GATE)
            await shown(world, "mirror-1")

    run(main())


def test_the_page_of_pods_shows_the_static_pod_and_not_its_mirror(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await shown(world, "mirror-1")
        await world.metadata.put("pod", pod("other"))
        await world.metadata.until_status("uid-other", is_running)
        answer = await edged.page("/pods")
        text = b"".join([chunk async for chunk in answer.body])
        items = {item["metadata"]["name"]: item for item in msgspec.json.decode(text)["items"]}
        assert sorted(items) == ["gate-edge-1", "other"]
        gate = items["gate-edge-1"]
        assert gate["metadata"]["uid"] == gate["metadata"]["annotations"]["kubernetes.io/config.hash"]
        assert is_running(gate["status"])

    check(tmp_path, body)
