"""What is checked, run and cleaned around containers: non-root, hooks, termination messages, hosts."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edged.containers import Network
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.termination import MOST_BYTES, read_tail
from octoedge.errors import CriError
from octoedge.testing.cri import Program, image
from octoedge.testing.node import World, container, deleting, is_running, pod, scenario, waiting_reason

USER_IMAGE = "edge.local/user:1"


@pytest.mark.parametrize(
    ("user", "username", "context", "refusal"),
    [
        (0, "", {"runAsNonRoot": True}, "image will run as root"),
        (None, "app", {"runAsNonRoot": True}, "image has non-numeric user (app)"),
        (0, "", {"runAsNonRoot": True, "runAsUser": 0}, "container's runAsUser breaks non-root policy"),
        (1000, "", {"runAsNonRoot": True}, ""), (0, "", {"runAsNonRoot": True, "runAsUser": 7}, ""), (0, "", {}, ""),
    ],
)  # fmt: skip
def test_run_as_non_root(
    tmp_path: Path, user: int | None, username: str, context: dict[str, Any], refusal: str
) -> None:
    async def body(world: World, _edged: Any) -> None:
        world.runtime.images[USER_IMAGE] = image(USER_IMAGE, user=user, username=username)
        await world.metadata.put("pod", pod(containers=[container(image=USER_IMAGE, securityContext=context)]))
        await asyncio.sleep(5)
        status = world.metadata.status("uid-web")
        if refusal:
            waiting = status["containerStatuses"][0]["state"]["waiting"]
            assert waiting["reason"] == "CreateContainerConfigError"
            assert refusal in waiting["message"]
            assert world.runtime.containers == {}
        else:
            assert is_running(status)

    scenario(tmp_path, body)


def test_a_pre_stop_hook_runs_once_and_within_the_grace(tmp_path: Path) -> None:
    async def body(world: World, _edged: Any) -> None:
        ran: list[tuple[str, ...]] = []

        def hook(_container: str, command: tuple[str, ...]) -> f.ExecSyncResponse:
            ran.append(command)
            return f.ExecSyncResponse()

        world.runtime.run_command = hook
        world.runtime.programs[("serve",)] = Program(on_term=0)
        lifecycle = {"preStop": {"exec": {"command": ["bye"]}}}
        obj = pod(containers=[container("main", "serve", lifecycle=lifecycle)])
        await world.metadata.put("pod", obj)
        await world.metadata.until_status("uid-web", is_running)
        await world.metadata.put("pod", deleting(obj))
        await world.metadata.until_deleted("uid-web", 10)
        assert ran == [("bye",)]

    scenario(tmp_path, body)


def test_a_failed_post_start_hook_ends_the_container(tmp_path: Path) -> None:
    async def body(world: World, _edged: Any) -> None:
        world.runtime.run_command = lambda _id, _command: f.ExecSyncResponse(exit_code=1, stderr=b"no")
        lifecycle = {"postStart": {"exec": {"command": ["hello"]}}}
        obj = pod(restartPolicy="Never", containers=[container(lifecycle=lifecycle)], terminationGracePeriodSeconds=1)
        await world.metadata.put("pod", obj)
        await world.metadata.until_status("uid-web", lambda s: s.get("phase") == "Failed", 60)
        assert "FailedPostStartHook" in world.metadata.reasons()

    scenario(tmp_path, body)


def test_a_container_that_cannot_be_created_or_started_says_why(tmp_path: Path) -> None:
    async def body(world: World, _edged: Any) -> None:
        world.runtime.fail_next("create_container", CriError("CreateContainer", 2, "no such device"))
        await world.metadata.put("pod", pod())
        await asyncio.sleep(1)
        waiting = world.metadata.status("uid-web")["containerStatuses"][0]["state"]["waiting"]
        assert waiting == {"reason": "CreateContainerError", "message": "no such device"}
        await world.metadata.until_status("uid-web", is_running, 11)
        world.runtime.programs[("none",)] = Program(start_error='exec: "none": not found')
        await world.metadata.put("pod", pod("other", containers=[container("main", "none")]))
        await asyncio.sleep(1)
        status = world.metadata.status("uid-other")
        assert waiting_reason(status) == "RunContainerError"
        assert status["containerStatuses"][0]["lastState"]["terminated"]["exitCode"] == 128
        assert "Failed" in world.metadata.reasons()

    scenario(tmp_path, body)


def test_a_pod_whose_name_is_too_long_for_its_log_directory_says_so_and_can_be_deleted(tmp_path: Path) -> None:
    """A name may have 253 characters, and namespace and uid follow in the directory's, which may have 255."""
    name = ".".join(["n" * 62] * 4)

    async def body(world: World, _edged: Any) -> None:
        obj = pod(name, uid="uid-long")
        await world.metadata.put("pod", obj)
        await asyncio.sleep(1)
        assert waiting_reason(world.metadata.status("uid-long")) == "ContainerCreating"
        [said] = [event["message"] for event in world.metadata.events if event["reason"] == "FailedCreatePodSandBox"]
        assert "File name too long" in said
        await world.metadata.put("pod", deleting(obj))
        await world.metadata.until_deleted("uid-long", 30)

    scenario(tmp_path, body)


def test_without_a_pod_network_host_pods_run_and_the_others_say_what_is_missing(tmp_path: Path) -> None:
    async def body(world: World, _edged: Any) -> None:
        world.runtime.network_ready = False
        await world.metadata.put("pod", pod("inside"))
        await world.metadata.put("pod", pod("outside", hostNetwork=True))
        await world.metadata.until_status("uid-outside", is_running, 5)
        await asyncio.sleep(10)
        assert waiting_reason(world.metadata.status("uid-inside")) == "ContainerCreating"
        assert "FailedCreatePodSandBox" in world.metadata.reasons()
        ready = next(c for c in world.metadata.node_statuses[-1]["conditions"] if c["type"] == "Ready")
        assert "container runtime network not ready" in ready["message"]
        world.runtime.network_ready = True
        await world.metadata.until_status("uid-inside", is_running, 15)

    scenario(tmp_path, body)


def test_the_deadline_of_a_pod_ends_it(tmp_path: Path) -> None:
    async def body(world: World, _edged: Any) -> None:
        await world.metadata.put("pod", pod(activeDeadlineSeconds=60, terminationGracePeriodSeconds=1))
        status = await world.metadata.until_status("uid-web", lambda s: s.get("phase") == "Failed", 70)
        assert status["reason"] == "DeadlineExceeded"
        await asyncio.sleep(60)
        assert world.runtime.running() == []

    scenario(tmp_path, body)


@pytest.mark.parametrize("api_server", [("", ""), ("169.254.30.10", "10550")])
def test_the_address_of_the_api_is_the_nodes_word_against_the_pods(tmp_path: Path, api_server: tuple[str, str]) -> None:
    async def body(world: World, _edged: Any) -> None:
        env = [{"name": "KUBERNETES_SERVICE_HOST", "value": "evil.example"}, {"name": "A", "value": "b"}]
        await world.metadata.put("pod", pod(containers=[container(env=env)]))
        await world.metadata.until_status("uid-web", is_running)
        [running] = world.runtime.running()
        assert {pair.key: pair.value for pair in running.config.envs} == {
            "A": "b", "KUBERNETES_SERVICE_HOST": api_server[0], "KUBERNETES_SERVICE_PORT": api_server[1],
        }  # fmt: skip

    scenario(tmp_path, body, network=Network(api_server=api_server))


def write(path: str, text: str) -> None:
    Path(path).write_text(text)


def test_a_termination_message_reaches_the_status(tmp_path: Path) -> None:
    async def body(world: World, _edged: Any) -> None:
        world.runtime.programs[("speak",)] = Program(seconds=1, exit_code=1)
        await world.metadata.put("pod", pod(restartPolicy="Never", containers=[container("main", "speak")]))
        await world.metadata.until_status("uid-web", is_running)
        [running] = world.runtime.running()
        mount = next(m for m in running.config.mounts if m.container_path == "/dev/termination-log")
        write(mount.host_path, "out of coffee")
        status = await world.metadata.until_status("uid-web", lambda s: s.get("phase") == "Failed", 5)
        assert status["containerStatuses"][0]["state"]["terminated"]["message"] == "out of coffee"

    scenario(tmp_path, body)


def test_a_silent_failure_shows_the_end_of_its_log_when_asked_to(tmp_path: Path) -> None:
    async def body(world: World, _edged: Any) -> None:
        world.runtime.programs[("speak",)] = Program(seconds=1, exit_code=1, output=("first", "last words"))
        spoken = container("main", "speak", terminationMessagePolicy="FallbackToLogsOnError")
        await world.metadata.put("pod", pod(restartPolicy="Never", containers=[spoken]))
        status = await world.metadata.until_status("uid-web", lambda s: s.get("phase") == "Failed", 5)
        assert status["containerStatuses"][0]["state"]["terminated"]["message"] == "first\nlast words\n"

    scenario(tmp_path, body)


def test_a_tail_is_bounded_and_reads_only_files(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 10_000 + b"end")
    assert read_tail(tmp_path / "big", MOST_BYTES).endswith(b"end")
    assert len(read_tail(tmp_path / "big", MOST_BYTES)) == MOST_BYTES
    (tmp_path / "link").symlink_to(tmp_path / "big")
    assert read_tail(tmp_path / "link", MOST_BYTES) == b""
    assert read_tail(tmp_path / "none", MOST_BYTES) == b""
