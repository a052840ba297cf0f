"""A node that runs short: what goes, in what order, and what users read of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.eviction import Measured
from octoedge.edge.edged.machine import Disk
from octoedge.edge.edged.podusage import tree
from octoedge.edge.edged.pressure import Amount, EvictionSettings
from octoedge.testing.clock import run
from octoedge.testing.cri import image
from octoedge.testing.node import World, condition, container, is_running, pod

Json = dict[str, Any]
MIB = 1 << 20


class Machine:
    """A machine whose want the test sets."""

    def __init__(self) -> None:
        self.memory, self.free = 2000, 50
        self.relief: Callable[[], int] = lambda: 0
        """MiB more that are free."""

    async def measure(self) -> Measured:
        disk = Disk(100 * MIB, (self.free + self.relief()) * MIB, 0, 0)
        return Measured(Amount(self.memory * MIB, 4000 * MIB), disk, disk, Amount(30_000, 32_768))


def check(tmp_path: Path, body: Callable[[World, Edged, Machine], Awaitable[None]], **settings: Any) -> None:
    async def main() -> None:
        world, machine = World(tmp_path), Machine()
        eviction = EvictionSettings(**{"hard": {"memory.available": "100Mi", "nodefs.available": "10%"}, **settings})
        async with world.edged(eviction=eviction, measure=machine.measure) as edged:
            await body(world, edged, machine)

    run(main())


async def up(world: World, name: str, memory: str = "", **fields: Any) -> Json:
    resources: Json = {"requests": {"memory": memory}} if memory else {}
    obj = pod(name, containers=[container(resources=resources)], **fields)
    await world.metadata.put("pod", obj)
    await world.metadata.until_status(f"uid-{name}", is_running)
    return obj


def failed(status: Json) -> bool:
    return status.get("phase") == "Failed"


def test_memory_takes_one_pod_at_a_time_and_says_why(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        # Each uses 10 MiB in this runtime.
        await up(world, "modest", "20Mi")
        await up(world, "greedy", "1Mi")
        machine.memory = 99
        status = await world.metadata.until_status("uid-greedy", failed)
        assert status["reason"] == "Evicted"
        assert status["message"] == (
            "The node was low on resource: memory. Threshold quantity: 100Mi, available: 99Mi. "
            "Container main was using 10Mi, request is 1Mi, has larger consumption of memory. "
        )
        target = condition(status, "DisruptionTarget")
        assert (target["status"], target["reason"]) == ("True", "TerminationByKubelet")
        assert condition(status, "Ready")["reason"] == "PodFailed"
        machine.memory = 2000
        await asyncio.sleep(60)
        assert is_running(world.metadata.status("uid-modest"))
        assert [c["type"] for c in world.metadata.node_statuses[-1]["conditions"] if c["status"] == "True"] == [
            "MemoryPressure", "Ready",
        ]  # fmt: skip
        assert {"Evicted", "EvictionThresholdMet"} <= set(world.metadata.reasons())
        await asyncio.sleep(300)
        assert condition(world.metadata.node_statuses[-1], "MemoryPressure")["status"] == "False"
        # The evicted pod stays as it is until somebody deletes it.
        assert [c.config.labels["io.kubernetes.pod.name"] for c in world.runtime.running()] == ["modest"]

    check(tmp_path, body)


def test_a_hard_want_gives_little_time_a_soft_one_what_is_set(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        await up(world, "one", terminationGracePeriodSeconds=600)
        machine.memory = 400
        began = asyncio.get_running_loop().time()
        await world.metadata.until_status("uid-one", failed)
        took = asyncio.get_running_loop().time() - began
        assert 60 <= took <= 60 + 10 + 7 + 1

    soft = {"soft": {"memory.available": "500Mi"}, "soft_grace": {"memory.available": "1m"}, "max_pod_grace": 7}
    check(tmp_path, body, **soft)


def test_a_full_disk_takes_images_first(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        await up(world, "one")
        world.runtime.images["un/used:1"] = image("un/used:1")
        await asyncio.sleep(600)
        machine.relief = lambda: 0 if "un/used:1" in world.runtime.images else 35
        machine.free = 5
        await asyncio.sleep(20)
        assert "un/used:1" not in world.runtime.images
        assert is_running(world.metadata.status("uid-one"))
        machine.relief = lambda: 0
        status = await world.metadata.until_status("uid-one", failed)
        assert status["message"].startswith("The node was low on resource: ephemeral-storage. ")

    check(tmp_path, body)


def test_static_pods_stay_and_the_node_says_so_by_its_condition(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        await up(world, "critical", priority=2_000_001_000)
        machine.memory = 1
        await asyncio.sleep(300)
        assert is_running(world.metadata.status("uid-critical"))
        assert condition(world.metadata.node_statuses[-1], "MemoryPressure")["status"] == "True"

    check(tmp_path, body)


def test_under_pressure_best_effort_pods_are_turned_away(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        await up(world, "critical", priority=2_000_001_000)
        machine.memory = 1
        await asyncio.sleep(30)
        await world.metadata.put("pod", pod("late"))
        status = await world.metadata.until_status("uid-late", failed)
        assert status["reason"] == "Evicted"
        assert status["message"] == "Pod was rejected: The node had condition: [MemoryPressure]. "
        assert len(world.runtime.sandboxes) == 1

    check(tmp_path, body)


def test_an_empty_dir_over_its_limit_ends_its_pod_however_well_the_node_is(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        scratch = {"name": "scratch", "emptyDir": {"sizeLimit": "64Ki"}}
        await up(world, "full", volumes=[scratch])
        await up(world, "fine", volumes=[scratch])
        folder = tmp_path / "kubelet/pods/uid-full/volumes/kubernetes.io~empty-dir/scratch"
        (folder / "data").write_bytes(b"x" * 80_000)
        status = await world.metadata.until_status("uid-full", failed)
        assert status["message"] == 'Usage of EmptyDir volume "scratch" exceeds the limit "64Ki". '
        await asyncio.sleep(300)
        assert is_running(world.metadata.status("uid-fine"))

    check(tmp_path, body)


def test_a_pod_over_its_storage_limit_ends(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        limited = container(resources={"limits": {"ephemeral-storage": "64Ki"}})
        await world.metadata.put("pod", pod(containers=[limited]))
        await world.metadata.until_status("uid-web", is_running)
        log = tmp_path / "logs/default_web_uid-web/main/0.log"
        log.write_bytes(b"x" * 80_000)
        status = await world.metadata.until_status("uid-web", failed)
        assert status["message"] == "Pod ephemeral local storage usage exceeds the total limit of containers 64Ki. "

    check(tmp_path, body)


def test_a_pod_that_does_not_fit_the_labels_gets_a_second_look(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged, machine: Machine) -> None:
        about = {"name": "edge-1", "namespace": "null", "labels": {"disk": "hdd"}}
        await world.metadata.put("node", {"metadata": about})
        await world.metadata.put("pod", pod("wrong", nodeSelector={"disk": "nvme"}))
        await world.metadata.put("pod", pod("right", nodeSelector={"disk": "ssd"}))
        await asyncio.sleep(1)
        # The label was set before the pod was scheduled, and comes after it.
        await world.metadata.put("node", {"metadata": {**about, "labels": {"disk": "ssd"}}})
        await world.metadata.until_status("uid-right", is_running)
        status = await world.metadata.until_status("uid-wrong", failed)
        assert status["reason"] == "NodeAffinity"
        assert "containerStatuses" not in status

    check(tmp_path, body)


def test_what_runs_is_not_asked_again_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await up(world, "one", nodeSelector={"disk": "ssd"})
        about = {"name": "edge-1", "namespace": "null", "labels": {"disk": "hdd"}}
        await world.metadata.put("node", {"metadata": about})
        async with world.edged():
            await asyncio.sleep(60)
            assert is_running(world.metadata.status("uid-one"))

    run(main())


def test_what_ended_for_good_stays_so_after_a_boot_without_a_cloud(tmp_path: Path) -> None:
    async def main() -> None:
        world, machine = World(tmp_path), Machine()
        world.metadata.set_online(False)
        eviction = EvictionSettings(hard={"memory.available": "100Mi"})
        async with world.edged(eviction=eviction, measure=machine.measure):
            await up(world, "evicted")
            machine.memory = 1
            await world.metadata.until_status("uid-evicted", failed)
            await world.metadata.put("pod", pod("late"))
            await world.metadata.until_status("uid-late", failed)
            machine.memory = 2000
        # The store has the pods as they came; the runtime may have lost its records.
        for lost in (False, True):
            if lost:
                world.runtime.containers.clear()
                world.runtime.sandboxes.clear()
            async with world.edged():
                await asyncio.sleep(600)
                assert world.runtime.running() == []
                assert world.metadata.status("uid-evicted")["reason"] == "Evicted"
                assert world.metadata.status("uid-late")["phase"] == "Failed"

    run(main())


def test_a_pod_that_was_here_before_a_boot_is_not_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged():
            await up(world, "one", nodeSelector={"disk": "ssd"})
        world.runtime.containers.clear()
        world.runtime.sandboxes.clear()
        about = {"name": "edge-1", "namespace": "null", "labels": {"disk": "hdd"}}
        await world.metadata.put("node", {"metadata": about})
        async with world.edged():
            await asyncio.sleep(60)
            assert len(world.runtime.running()) == 1

    run(main())


def test_the_size_of_a_tree(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(b"x" * 10_000)
    (tmp_path / "a/link").symlink_to("/usr")
    size, inodes = run(tree(tmp_path / "a"))
    assert inodes == 3
    assert 10_000 <= size < 100_000
    assert run(tree(tmp_path / "none")) == (0, 0)
