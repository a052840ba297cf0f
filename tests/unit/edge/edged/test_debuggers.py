"""Ephemeral containers: added to a pod that runs, started once, never in the way of the others."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.edged import Edged
from octoedge.edge.ports import StreamAction, StreamRequest
from octoedge.errors import ApiError
from octoedge.testing.clock import run
from octoedge.testing.cri import Program, _Container
from octoedge.testing.node import BUSYBOX, World, container, deleting, is_running, pod, scenario

Json = dict[str, Any]


def debugged(*debuggers: Json, **spec: Any) -> Json:
    return pod(ephemeralContainers=list(debuggers), **spec)


def debugger(*command: str, **fields: Any) -> Json:
    return container("debug", *command, **fields)


def state(status: Json) -> Json:
    [found] = status.get("ephemeralContainerStatuses") or [{}]
    return dict(found.get("state") or {})


def named(world: World, name: str) -> list[_Container]:
    return [c for c in world.runtime.containers.values() if c.config.metadata.name == name]


async def up(world: World) -> Json:
    await world.metadata.put("pod", pod())
    return await world.metadata.until_status("uid-web", is_running)


def test_it_is_started_beside_what_runs_and_sees_its_target(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        before = await up(world)
        await world.metadata.put("pod", debugged(debugger(targetContainerName="main", stdin=True)))
        status = await world.metadata.until_status("uid-web", lambda s: "running" in state(s))
        [made] = named(world, "debug")
        [main] = named(world, "main")
        assert made.config.linux is not None
        assert made.config.linux.security_context is not None
        options = made.config.linux.security_context.namespace_options
        assert options is not None
        assert (options.pid, options.target_id) == (f.NamespaceMode.TARGET, main.id)
        assert made.config.stdin
        assert status["containerStatuses"] == before["containerStatuses"]
        assert [(c["name"], c["ready"], c.get("started")) for c in status["ephemeralContainerStatuses"]] == [
            ("debug", False, None)
        ]
        # Those who stream and read logs find it.
        world.runtime.streams_at = "http://127.0.0.1:1/attach"
        request = StreamRequest(StreamAction.ATTACH, "default", "web", container="debug", stdin=True, stdout=True)
        assert await edged.stream_url(request) == world.runtime.streams_at

    scenario(tmp_path, body)


def test_it_is_never_restarted_and_the_pod_stays_ready(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await up(world)
        world.runtime.programs[("fails",)] = Program(seconds=1, exit_code=3)
        await world.metadata.put("pod", debugged(debugger("fails")))
        status = await world.metadata.until_status("uid-web", lambda s: "terminated" in state(s))
        assert state(status)["terminated"]["exitCode"] == 3
        await asyncio.sleep(3600)
        assert len(named(world, "debug")) == 1
        assert is_running(world.metadata.status("uid-web"))
        assert len(named(world, "main")) == 1

    scenario(tmp_path, body)


def test_it_does_not_start_again_when_its_record_is_lost_with_a_reboot(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await up(world)
        await world.metadata.put("pod", debugged(debugger()))
        await world.metadata.until_status("uid-web", lambda s: "running" in state(s))
        world.runtime.containers.clear()
        world.runtime.sandboxes.clear()
        status = await world.metadata.until_status("uid-web", lambda s: "terminated" in state(s))
        assert state(status)["terminated"]["reason"] == "ContainerStatusUnknown"
        await world.metadata.until_status("uid-web", is_running)
        await asyncio.sleep(600)
        assert named(world, "debug") == []

    scenario(tmp_path, body)


def test_edged_may_end_between_create_and_start(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await up(world)
            world.runtime.answer_latency = 3600.0
            await world.metadata.put("pod", debugged(debugger()))
            await asyncio.sleep(60)
            assert len(named(world, "debug")) == 1
        world.runtime.answer_latency = 0.0
        async with world.edged():
            await world.metadata.until_status("uid-web", lambda s: "running" in state(s))
            [made] = named(world, "debug")
            assert made.config.metadata.attempt == 0
            assert len(named(world, "main")) == 1

    run(main())


@pytest.mark.parametrize(
    ("fields", "reason", "text"),
    [
        ({"targetContainerName": "gone"}, "CreateContainerConfigError", "unable to find target container gone"),
        ({"image": "edge.local/none:1"}, "ErrImagePull", "not found"),
        ({"somethingNew": 1}, "CreateContainerConfigError", "somethingNew is not supported yet"),
    ],
)
def test_what_cannot_start_says_why_and_harms_nobody(tmp_path: Path, fields: Json, reason: str, text: str) -> None:
    async def body(world: World, edged: Edged) -> None:
        await up(world)
        await world.metadata.put("pod", debugged({**debugger(), **fields}))
        status = await world.metadata.until_status(
            "uid-web", lambda s: state(s).get("waiting", {}).get("reason") == reason
        )
        assert text in state(status)["waiting"]["message"]
        assert is_running(status)
        # The pod is looked after as before.
        [main] = named(world, "main")
        world.runtime.exit_container(main.id, 1)
        await world.metadata.until_status("uid-web", lambda s: s["containerStatuses"][0]["restartCount"] == 1)
        await world.metadata.until_status("uid-web", is_running)

    scenario(tmp_path, body)


def test_it_goes_with_its_pod_even_while_init_containers_run(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        waits: Json = {"initContainers": [container("init", "waits")]}
        await world.metadata.put("pod", pod(**waits))
        await world.metadata.until_status("uid-web", lambda s: bool(world.runtime.running()))
        obj = debugged(debugger(image=BUSYBOX), **waits)
        await world.metadata.put("pod", obj)
        status = await world.metadata.until_status("uid-web", lambda s: "running" in state(s))
        assert status["phase"] == "Pending"
        await world.metadata.put("pod", deleting(obj))
        await world.metadata.until_deleted("uid-web")
        assert world.runtime.containers == {}

    scenario(tmp_path, body)


def test_a_container_that_does_not_exist_is_still_not_found(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await up(world)
        with pytest.raises(ApiError, match="not found"):
            await edged.stream_url(StreamRequest(StreamAction.ATTACH, "default", "web", container="debug"))

    scenario(tmp_path, body)
