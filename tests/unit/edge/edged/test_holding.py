"""Held upgrades: a pod waits for a word on its node, and says that it does."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edged.edged import Edged
from octoedge.errors import ApiError
from octoedge.testing.clock import run
from octoedge.testing.node import World, condition, deleting, is_running, pod, scenario

Json = dict[str, Any]


def held(name: str = "web", value: str = "true") -> Json:
    obj = pod(name)
    obj["metadata"]["annotations"] = {"edge.kubeedge.io/hold-upgrade": value}
    return obj


def waits(status: Json) -> bool:
    return any(one["type"] == "HeldUpgrade" and one["status"] == "True" for one in status.get("conditions", []))


def test_a_held_pod_starts_when_it_is_released(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", held())
        await world.metadata.put("pod", held("other"))
        said = condition(await world.metadata.until_status("uid-web", waits), "HeldUpgrade")
        assert (said["reason"], said["message"]) == (
            "HoldUpgradeEnabled", "Upgrade is currently held due to edge-hold-upgrade annotation",
        )  # fmt: skip
        await asyncio.sleep(600)
        assert world.runtime.sandboxes == {}
        assert len(world.metadata.statuses["uid-web"]) == 1
        assert edged.release("default", "none") == 0
        assert edged.release("default", "web") == 1
        status = await world.metadata.until_status("uid-web", is_running)
        assert condition(status, "HeldUpgrade")["status"] == "False"
        assert edged.release("default", "web") == 0
        assert edged.release_all() == 1
        await world.metadata.until_status("uid-other", is_running)

    scenario(tmp_path, body)


def test_the_annotation_gone_releases_too(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", held())
        await world.metadata.until_status("uid-web", waits)
        await world.metadata.put("pod", held(value="false"))
        await world.metadata.until_status("uid-web", is_running)

    scenario(tmp_path, body)


def test_a_held_pod_can_be_deleted(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", held())
        await world.metadata.until_status("uid-web", waits)
        await world.metadata.put("pod", deleting(held()))
        await world.metadata.until_deleted("uid-web")

    scenario(tmp_path, body)


def test_what_runs_is_not_held_after_a_restart_and_what_waited_waits_again(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged() as edged:
            await world.metadata.put("pod", held())
            await world.metadata.put("pod", held("other"))
            await world.metadata.until_status("uid-other", waits)
            edged.release("default", "web")
            await world.metadata.until_status("uid-web", is_running)
        async with world.edged():
            await asyncio.sleep(60)
            assert is_running(world.metadata.status("uid-web"))
            assert len(world.runtime.running()) == 1
            assert waits(world.metadata.status("uid-other"))

    run(main())


def test_a_pod_that_is_restarted_gets_new_containers(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod("web"))
        await world.metadata.until_status("uid-web", is_running)
        before = set(world.runtime.containers)
        await edged.restart("default", "web")
        status = await world.metadata.until_status("uid-web", lambda seen: is_running(seen) and _restarts(seen) == 1)
        assert status["containerStatuses"][0]["containerID"].removeprefix("containerd://") not in before
        with pytest.raises(ApiError, match="not found"):
            await edged.restart("default", "none")

    scenario(tmp_path, body)


def _restarts(status: Json) -> int:
    return int(status["containerStatuses"][0]["restartCount"])
