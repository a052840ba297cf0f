"""A runtime that is not there, or hangs; a pod that flaps for days; a disk without room: edged lives, and says why."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edged.cri.client import CriClient
from octoedge.edge.edged.edged import Edged
from octoedge.protocol.resource import Resource
from octoedge.runtime.clock import SystemClock
from octoedge.testing.clock import run
from octoedge.testing.cri import Program
from octoedge.testing.metadata import MemoryMetadata
from octoedge.testing.node import World, condition, container, deleting, is_running, pod, running, scenario

Json = dict[str, Any]


def is_ready(status: Json) -> bool:
    return bool(status) and condition(status, "Ready")["status"] == "True"


def last_node_status(world: World) -> Json:
    return world.metadata.node_statuses[-1] if world.metadata.node_statuses else {}


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_a_runtime_that_is_missing_at_start_is_said_and_waited_for(tmp_path: Path, how: str) -> None:
    async def main() -> None:
        world = World(tmp_path)
        setattr(world.runtime, how, True)
        async with asyncio.timeout(10), world.edged():
            pass
        async with world.edged() as edged:
            await world.metadata.put("pod", pod())
            await asyncio.sleep(30)
            said = condition(last_node_status(world), "Ready")
            assert (said["status"], said["reason"]) == ("False", "KubeletNotReady")
            assert "container runtime is down" in said["message"]
            assert edged.health
            setattr(world.runtime, how, False)
            await world.metadata.until_status("uid-web", is_running, 60)
            await asyncio.sleep(30)
            assert is_ready(last_node_status(world))
            assert world.runtime.starts == {("uid-web", "main"): 1}

    run(main())


@pytest.mark.parametrize("how", ["away", "hangs"])
def test_a_runtime_that_stops_answering_under_running_pods_costs_nothing(tmp_path: Path, how: str) -> None:
    async def body(world: World, edged: Edged) -> None:
        await world.metadata.put("pod", pod())
        await world.metadata.until_status("uid-web", is_running)
        setattr(world.runtime, how, True)
        await world.metadata.put("pod", pod("later"))
        await asyncio.sleep(600)
        assert not is_ready(last_node_status(world))
        assert is_running(world.metadata.status("uid-web"))
        setattr(world.runtime, how, False)
        await world.metadata.until_status("uid-later", is_running, 60)
        await asyncio.sleep(30)
        assert is_ready(last_node_status(world))
        assert set(world.runtime.starts.values()) == {1}
        assert len(world.runtime.sandboxes) == 2

    scenario(tmp_path, body)


def test_a_socket_that_takes_calls_and_never_answers_keeps_nothing_from_starting(tmp_path: Path) -> None:
    """The real client; in real time, so only the start."""

    async def main() -> None:
        path, clock = f"/tmp/octoedge-hang-{os.getpid()}.sock", SystemClock()
        server = await asyncio.get_running_loop().create_unix_server(asyncio.Protocol, path)
        try:
            began = time.monotonic()
            async with running(tmp_path, CriClient(path), MemoryMetadata(clock), clock) as edged:
                assert time.monotonic() - began < 30
                assert edged.observer.pods == {}
        finally:
            server.close()
            os.unlink(path)

    asyncio.run(main())


def test_a_pod_that_flaps_for_days_leaves_no_more_than_one_that_does_not(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        world.runtime.programs[("crash",)] = Program(seconds=0.2, exit_code=1, output=("no",))
        await world.metadata.put("pod", pod(containers=[container("main", "crash")]))
        await asyncio.sleep(3600)
        early = size(world, edged)
        await asyncio.sleep(2 * 86_400)
        assert size(world, edged) == early
        assert early["containers"] <= 2
        assert early["logs"] <= 2
        # A status for each turn: waiting, running, ended; five minutes a turn.
        turns = world.metadata.status("uid-web")["containerStatuses"][0]["restartCount"]
        assert 570 <= turns <= 620
        assert len(world.metadata.statuses["uid-web"]) <= 4 * turns
        await world.metadata.put("pod", deleting(pod(containers=[container("main", "crash")])))
        await world.metadata.until_deleted("uid-web")
        await world.metadata.delete(Resource("default", "pod", "web"))
        await asyncio.sleep(1)
        assert edged.sync.history("uid-web") is None

    scenario(tmp_path, body)


def test_a_hundred_pods_at_once_run_once_each_outlive_what_happens_and_leave_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        metadata, runtime = world.metadata, world.runtime
        names = [f"p{number}" for number in range(100)]
        page = [{"name": "page", "configMap": {"name": "page"}}]
        pods = {name: pod(name, volumes=page) for name in names}
        await metadata.put("configmap", {"metadata": {"name": "page", "namespace": "default"}, "data": {"a": "1"}})
        async with world.edged():
            for one in pods.values():
                await metadata.put("pod", one)
            for name in names:
                await metadata.until_status(f"uid-{name}", is_running, 60)
        async with world.edged():  # Started anew, its runtime goes away and comes back.
            await asyncio.sleep(30)
            runtime.set_away(True)
            await asyncio.sleep(60)
            runtime.set_away(False)
            await asyncio.sleep(60)
            assert runtime.starts == {(f"uid-{name}", "main"): 1 for name in names}
            assert len(runtime.running()) == 100
            for one in pods.values():
                await metadata.put("pod", deleting(one, 1))
            for name in names:
                await metadata.until_deleted(f"uid-{name}")
        assert not runtime.sandboxes
        assert not runtime.containers
        assert not list((tmp_path / "kubelet/pods").iterdir())

    run(main())


def size(world: World, edged: Edged) -> dict[str, int]:
    history = edged.sync.history("uid-web")
    assert history is not None
    return {
        "containers": len(world.runtime.containers),
        "sandboxes": len(world.runtime.sandboxes),
        "logs": len([path for path in (world.root / "logs").rglob("*") if path.is_file()]),
        "files": len(list((world.root / "kubelet").rglob("*"))),
        "crashes": len(history.crashes),
        "health": len(history.health),
        "waiting": len(history.waiting),
    }


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """256 KiB for everything that a node keeps."""
    disk = tmp_path / "disk"
    disk.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "small", str(disk)], check=False).returncode:
        pytest.skip("needs the right to mount")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount a small disk")
def test_a_full_disk_is_said_and_what_runs_goes_on(small_disk: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        page = {"metadata": {"name": "page", "namespace": "default"}, "data": {"index.html": "first"}}
        volumes = [{"name": "page", "configMap": {"name": "page"}}]
        await world.metadata.put("configmap", page)
        await world.metadata.put("pod", pod("before", volumes=volumes))
        await world.metadata.until_status("uid-before", is_running)
        shown = small_disk / "kubelet/pods/uid-before/volumes/kubernetes.io~configmap/page/index.html"
        await world.metadata.put("configmap", {**page, "data": {"index.html": "x" * 300_000}})
        await asyncio.sleep(60)
        assert shown.read_text() == "first"
        assert room(small_disk) > 100_000
        fill = small_disk / "fill"
        fill.write_bytes(bytes(room(small_disk)))
        await world.metadata.put("pod", pod("during", volumes=volumes))
        await asyncio.sleep(120)
        assert any("No space left on device" in event["message"] for event in world.metadata.events)
        assert is_running(world.metadata.status("uid-before"))
        assert world.runtime.starts == {("uid-before", "main"): 1}
        fill.unlink()
        await world.metadata.put("configmap", {**page, "data": {"index.html": "second"}})
        await world.metadata.until_status("uid-during", is_running, 60)
        assert shown.read_text() == "second"

    scenario(small_disk, body)


def room(disk: Path) -> int:
    stat = os.statvfs(disk)
    return stat.f_bavail * stat.f_frsize
