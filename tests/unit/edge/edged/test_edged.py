"""Edged as a whole, in virtual time, against the in-memory runtime: what users see of a pod's life."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

from octoedge.edge.edged.edged import Edged
from octoedge.protocol.resource import Resource
from octoedge.testing.clock import run
from octoedge.testing.cri import MemoryRuntime, Program, image
from octoedge.testing.node import (
    BUSYBOX,
    World,
    condition,
    container,
    deleting,
    is_running,
    pod,
    scenario,
    waiting_reason,
)


def test_a_pod_becomes_a_ready_container(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod())
        status = await world.metadata.until_status("uid-web", is_running)
        assert condition(status, "Ready")["status"] == "True"
        assert status["podIP"].startswith("10.88.")
        assert status["hostIP"] == "192.0.2.7"
        assert status["containerStatuses"][0]["restartCount"] == 0
        assert len(world.runtime.running()) == 1
        await edged.sync.idle()
        await asyncio.sleep(0)
        assert world.metadata.reasons() == ["MissingClusterDNS", "Pulled", "Created", "Started"]

    scenario(tmp_path, body)


def test_a_deleted_pod_leaves_nothing(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        obj = pod(volumes=[{"name": "scratch", "emptyDir": {}}])
        await world.metadata.put("pod", obj)
        await world.metadata.until_status("uid-web", is_running)
        await world.metadata.put("pod", deleting(obj))
        await world.metadata.until_deleted("uid-web")
        final = world.metadata.status("uid-web")
        assert final["containerStatuses"][0]["state"]["terminated"]["exitCode"] == 137
        assert world.runtime.containers == {}
        assert world.runtime.sandboxes == {}
        assert not (tmp_path / "kubelet/pods/uid-web").exists()
        assert list((tmp_path / "logs").iterdir()) == []
        await world.metadata.delete(Resource("default", "pod", "web"))
        await asyncio.sleep(1)
        assert world.metadata.deleted == [("default/pod/web", "uid-web")]

    scenario(tmp_path, body)


def test_a_crashing_container_backs_off_as_the_kubelet_does(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        world.runtime.programs[("crash",)] = Program(seconds=1, exit_code=3)
        await world.metadata.put("pod", pod(containers=[container("main", "crash")]))
        await world.metadata.until_status("uid-web", lambda s: waiting_reason(s) == "CrashLoopBackOff")
        await asyncio.sleep(3600)
        starts = sorted(c.started_at / 1e9 for c in world.runtime.containers.values())
        waits = [later - earlier for earlier, later in itertools.pairwise(starts)]
        assert all(wait > 295 for wait in waits)
        status = await world.metadata.until_status("uid-web", lambda s: waiting_reason(s) == "CrashLoopBackOff")
        state = status["containerStatuses"][0]
        assert state["lastState"]["terminated"]["exitCode"] == 3
        assert "back-off 5m0s restarting failed container=main" in state["state"]["waiting"]["message"]
        assert status["phase"] == "Running"
        # 0, 10, 20, 40, 80, 160 s, then every 300 s, each with a second of running.
        assert 15 <= state["restartCount"] <= 18

    scenario(tmp_path, body)


def test_a_restart_of_edged_touches_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged() as edged:
            await world.metadata.put("pod", pod())
            await world.metadata.until_status("uid-web", is_running)
            await edged.sync.idle()
        started, calls = world.started(), len(world.runtime.calls)
        reported = len(world.metadata.statuses["uid-web"])
        stored = dict(pod(), status=world.metadata.status("uid-web"))
        await world.metadata.put("pod", stored)
        async with world.edged() as edged:
            await asyncio.sleep(120)
            await edged.sync.idle()
        assert world.started() == started
        changing = {"run_sandbox", "create_container", "start_container", "stop_container", "remove_container"}
        assert changing.isdisjoint(world.runtime.calls[calls:])
        assert len(world.metadata.statuses["uid-web"]) == reported

    run(main())


def test_an_unknown_pod_is_taken_down_only_when_the_cloud_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await world.metadata.put("pod", pod())
            await world.metadata.until_status("uid-web", is_running)
        world.metadata.objects.clear()
        world.metadata.set_online(False)
        async with world.edged():
            await asyncio.sleep(600)
            assert len(world.runtime.running()) == 1
            world.metadata.set_online(True)
            await asyncio.sleep(120)
            assert world.runtime.running() == []
            assert world.runtime.sandboxes == {}

    run(main())


def test_a_new_store_is_no_proof_against_a_running_pod(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await world.metadata.put("pod", pod(volumes=[{"name": "v", "emptyDir": {}}]))
            await world.metadata.until_status("uid-web", is_running)
        world.metadata.objects.clear()
        world.metadata.rebuilt = True
        async with world.edged():
            await asyncio.sleep(600)
            assert len(world.runtime.running()) == 1
            assert (tmp_path / "kubelet/pods/uid-web").exists()

    run(main())


def test_a_pod_that_is_only_in_another_uid_is_taken_down(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await world.metadata.put("pod", pod(uid="old"))
            await world.metadata.until_status("old", is_running)
        await world.metadata.put("pod", pod(uid="new"))
        async with world.edged():
            await world.metadata.until_status("new", is_running)
            await asyncio.sleep(60)
            [only] = world.runtime.running()
            assert only.config.labels["io.kubernetes.pod.uid"] == "new"
            assert world.metadata.deleted == []

    run(main())


def test_foreign_pods_are_left_alone(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        from octoedge.edge.edged.cri import fields as f

        labels = {"io.kubernetes.pod.uid": "foreign", "io.kubernetes.pod.name": "x"}
        config = f.SandboxConfig(f.SandboxMetadata("x", "foreign", "default"), labels=labels)
        await world.runtime.run_sandbox(config)
        await asyncio.sleep(300)
        assert [s.state for s in world.runtime.sandboxes.values()] == [f.SandboxState.READY]

    scenario(tmp_path, body)


def test_a_replaced_sandbox_gets_the_next_attempt(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod(terminationGracePeriodSeconds=1))
        await world.metadata.until_status("uid-web", is_running)
        first = next(iter(world.runtime.sandboxes))
        world.runtime.kill_sandbox(first)
        await asyncio.sleep(60)
        await world.metadata.until_status("uid-web", is_running)
        await edged.sync.idle()
        [sandbox] = world.runtime.sandboxes.values()
        assert sandbox.config.metadata.attempt == 1
        [main] = world.runtime.containers.values()
        assert main.config.metadata.attempt == 1
        addresses = world.metadata.status("uid-web")["podIPs"]
        assert [address.get("$patch") for address in addresses] == [None, "delete"]

    scenario(tmp_path, body)


def test_a_pull_that_fails_waits_and_says_so(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod(image="edge.local/other:1"))
        await world.metadata.until_status("uid-web", lambda s: waiting_reason(s) == "ErrImagePull")
        status = await world.metadata.until_status("uid-web", lambda s: waiting_reason(s) == "ImagePullBackOff")
        assert status["phase"] == "Pending"
        world.runtime.registry["edge.local/other:1"] = image("edge.local/other:1")
        await world.metadata.until_status("uid-web", is_running, 700)

    scenario(tmp_path, body)


def test_a_missing_config_map_holds_the_pod_until_it_comes(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        obj = pod(
            containers=[container(volumeMounts=[{"name": "config", "mountPath": "/etc/web"}])],
            volumes=[{"name": "config", "configMap": {"name": "web"}}],
        )
        await world.metadata.put("pod", obj)
        await asyncio.sleep(5)
        assert waiting_reason(world.metadata.status("uid-web")) == "ContainerCreating"
        assert "FailedMount" in world.metadata.reasons()
        assert world.runtime.sandboxes == {}
        config = {"kind": "ConfigMap", "metadata": {"name": "web", "namespace": "default"}, "data": {"page": "one"}}
        await world.metadata.put("configmap", config)
        await world.metadata.until_status("uid-web", is_running, 1)
        [main] = world.runtime.running()
        mount = next(m for m in main.config.mounts if m.container_path == "/etc/web")
        page = Path(mount.host_path) / "page"
        assert page.read_text() == "one"
        await world.metadata.put("configmap", {**config, "data": {"page": "two"}})
        await asyncio.sleep(0.5)
        assert page.read_text() == "two"
        assert world.runtime.running() == [main]

    scenario(tmp_path, body)


def test_a_field_that_is_not_supported_refuses_the_pod_by_name(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod(volumes=[{"name": "data", "image": {"reference": "x"}}]))
        status = await world.metadata.until_status("uid-web", lambda s: "message" in s)
        assert "image volumes are not supported yet" in status["message"]
        assert waiting_reason(status) == "CreateContainerConfigError"
        await asyncio.sleep(60)
        assert world.runtime.sandboxes == {}
        assert world.metadata.reasons() == ["Unsupported"]

    scenario(tmp_path, body)


def test_init_containers_run_in_order_then_a_job_succeeds(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        world.runtime.programs[("short",)] = Program(seconds=2)
        obj = pod(
            restartPolicy="Never",
            initContainers=[container("first", "short"), container("second", "short")],
            containers=[container("main", "short")],
        )
        await world.metadata.put("pod", obj)
        status = await world.metadata.until_status("uid-web", lambda s: s.get("phase") == "Succeeded")
        ended = {c.config.metadata.name: (c.started_at, c.finished_at) for c in world.runtime.containers.values()}
        assert ended["first"][1] <= ended["second"][0]
        assert ended["second"][1] <= ended["main"][0]
        assert condition(status, "Ready")["reason"] == "PodCompleted"
        await edged.sync.idle()
        assert [s.state for s in world.runtime.sandboxes.values()] == [1]

    scenario(tmp_path, body)


def test_a_forced_deletion_cuts_a_long_grace_short(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        obj = pod(terminationGracePeriodSeconds=3600)
        await world.metadata.put("pod", obj)
        await world.metadata.until_status("uid-web", is_running)
        await world.metadata.put("pod", deleting(obj, 3600))
        await asyncio.sleep(10)
        assert len(world.runtime.running()) == 1
        await world.metadata.put("pod", deleting(obj, 0))
        await world.metadata.until_deleted("uid-web", 5)
        assert world.runtime.containers == {}

    scenario(tmp_path, body)


def test_the_runtime_goes_away_and_returns(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod())
        await world.metadata.until_status("uid-web", is_running)
        world.runtime.set_away(True)
        await asyncio.sleep(30)
        ready = condition(world.metadata.node_statuses[-1], "Ready")
        assert ready["status"] == "False"
        assert "container runtime is down" in ready["message"]
        world.runtime.set_away(False)
        await asyncio.sleep(5)
        assert condition(world.metadata.node_statuses[-1], "Ready")["status"] == "True"
        assert world.metadata.status("uid-web")["phase"] == "Running"
        assert len(world.metadata.statuses["uid-web"]) <= 3

    scenario(tmp_path, body)


def test_on_a_full_disk_pods_go_on_and_what_was_not_told_is_told_when_there_is_room(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod())
        await world.metadata.until_status("uid-web", is_running)
        world.metadata.full = True
        [main_container] = world.runtime.running()
        world.runtime.exit_container(main_container.id, 1)
        await asyncio.sleep(60)
        [again] = world.runtime.running()
        assert again.id != main_container.id
        assert world.metadata.status("uid-web")["containerStatuses"][0]["restartCount"] == 0
        world.metadata.full = False
        told = await world.metadata.until_status("uid-web", lambda s: s["containerStatuses"][0]["restartCount"], 30)
        assert is_running(told)

    scenario(tmp_path, body)


def test_without_an_event_stream_an_exit_is_seen_within_a_second(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        world.runtime = MemoryRuntime(world.clock, images=(BUSYBOX,), events=False)
        async with world.edged():
            await world.metadata.put("pod", pod())
            await world.metadata.until_status("uid-web", is_running)
            [main_container] = world.runtime.running()
            world.runtime.exit_container(main_container.id, 1)
            restarted = lambda s: s["containerStatuses"][0]["restartCount"] == 1  # noqa: E731
            await world.metadata.until_status("uid-web", restarted, 1.2)

    run(main())


def test_the_node_is_registered_with_labels_and_keeps_its_lease(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await asyncio.sleep(601)
        assert world.metadata.node["metadata"]["labels"]["node-role.kubernetes.io/edge"] == ""
        status = world.metadata.node_statuses[0]
        assert status["nodeInfo"]["kubeletVersion"].startswith("v1.32.10-octoedge-v")
        assert status["nodeInfo"]["containerRuntimeVersion"] == "memory://1.0.0"
        assert condition(status, "Ready")["status"] == "True"
        assert len(world.metadata.leases) == 61
        assert len(world.metadata.node_statuses) == 3  # at registration, then every five minutes

    scenario(tmp_path, body)
