"""Pod cgroups on a made-up cgroup file system of both versions."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.edged.cgroups import Cgroups
from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.limits import PodLimits
from octoedge.protocol.resource import Resource
from octoedge.testing.clock import run
from octoedge.testing.node import World, container, deleting, is_running, pod, scenario

LIMITS = PodLimits(shares=256, quota=50_000, memory=64 << 20, pids=100)
POD = "/octoedge/burstable/pod1"


@pytest.fixture
def version_1(tmp_path: Path) -> Path:
    for name in ("cpu", "memory", "cpuset", "pids", "systemd", "unified"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "cgroup.procs").touch()
    (tmp_path / "hugetlb").mkdir()
    (tmp_path / "cpuset/cpuset.cpus").write_text("0-1\n")
    (tmp_path / "cpuset/cpuset.mems").write_text("0\n")
    (tmp_path / "cpuacct").symlink_to("cpu")
    return tmp_path


def test_version_1_gets_a_group_in_every_hierarchy_with_its_limits(version_1: Path) -> None:
    run(Cgroups(version_1).create(POD, LIMITS))
    assert (version_1 / "cpu/octoedge/burstable/pod1/cpu.shares").read_text() == "256"
    assert (version_1 / "cpu/octoedge/burstable/pod1/cpu.cfs_quota_us").read_text() == "50000"
    assert (version_1 / "memory/octoedge/burstable/pod1/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (version_1 / "pids/octoedge/burstable/pod1/pids.max").read_text() == "100"
    assert not (version_1 / "unified/octoedge").exists()
    assert not (version_1 / "hugetlb/octoedge").exists(), "a folder where no hierarchy is mounted"


def test_version_2_has_one_group_and_hands_controllers_down(tmp_path: Path) -> None:
    for folder in (".", "octoedge", "octoedge/burstable"):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / "cgroup.controllers").write_text("cpu io memory pids\n")
    run(Cgroups(tmp_path).create(POD, LIMITS))
    pod = tmp_path / "octoedge/burstable/pod1"
    assert (pod / "cpu.max").read_text() == "50000 100000"
    assert (pod / "cpu.weight").read_text() == "10"
    assert (pod / "memory.max").read_text() == str(64 << 20)
    assert (pod / "pids.max").read_text() == "100"
    assert (tmp_path / "octoedge/cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_a_group_in_use_stays_and_is_reported(version_1: Path) -> None:
    cgroups = Cgroups(version_1)
    run(cgroups.create(POD, PodLimits()))
    for file in version_1.glob("*/octoedge/burstable/pod1/*"):
        file.unlink()  # The real file system lets a group go with its files in it.
    (version_1 / "memory/octoedge/burstable/pod1/container").mkdir()
    (version_1 / "memory/octoedge/burstable/pod1/container/in-use").touch()
    assert not run(cgroups.remove(POD))
    assert not (version_1 / "pids/octoedge/burstable/pod1").exists()
    (version_1 / "memory/octoedge/burstable/pod1/container/in-use").unlink()
    assert run(cgroups.remove(POD))
    assert run(cgroups.remove(POD))


def test_a_system_without_cgroups_runs_pods_all_the_same(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path / "none")
    run(cgroups.create(POD, LIMITS))
    assert run(cgroups.remove(POD))
    (tmp_path / "file").write_text("")
    run(Cgroups(tmp_path / "file").create(POD, LIMITS))


def test_processes_are_counted_where_the_group_is(version_1: Path) -> None:
    cgroups = Cgroups(version_1)
    assert cgroups.processes(POD) is None
    run(cgroups.create(POD, LIMITS))
    (version_1 / "pids/octoedge/burstable/pod1/pids.current").write_text("17\n")
    assert cgroups.processes(POD) == 17


def test_slices_are_made_and_ended_by_systemd(tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    async def command(words: Sequence[str]) -> None:
        asked.append(words)

    cgroups = Cgroups(tmp_path, systemd=True, command=command)
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    run(cgroups.create(POD, LIMITS))
    assert [words[1] for words in asked] == ["start", "set-property"]
    (tmp_path / "octoedge.slice/octoedge-burstable.slice/octoedge-burstable-pod1.slice").mkdir(parents=True)
    assert run(cgroups.remove(POD))
    assert asked[-1] == ("systemctl", "stop", "octoedge-burstable-pod1.slice")


def test_a_system_where_systemd_refuses_runs_pods_all_the_same(tmp_path: Path) -> None:
    async def command(words: Sequence[str]) -> None:
        raise OSError(f"{words[0]}: System has not been booted with systemd")

    run(Cgroups(tmp_path, systemd=True, command=command).create(POD, LIMITS))
    assert run(Cgroups(tmp_path, systemd=True, command=command).remove(POD))


def test_all_burstable_pods_together_weigh_what_they_ask_for(tmp_path: Path) -> None:
    hierarchy = tmp_path / "cgroup/cpu"
    hierarchy.mkdir(parents=True)
    (hierarchy / "cgroup.procs").touch()

    def asking(name: str, cpu: str) -> dict[str, Any]:
        return pod(name, containers=[container(resources={"requests": {"cpu": cpu}})])

    async def body(world: World, edged: Edged) -> None:
        for name, cpu in (("a", "200m"), ("b", "300m")):
            await world.metadata.put("pod", asking(name, cpu))
            await world.metadata.until_status(f"uid-{name}", is_running)
        weight = hierarchy / "octoedge/burstable/cpu.shares"
        assert weight.read_text() == "512"
        await world.metadata.put("pod", deleting(asking("a", "200m"), 1))
        await world.metadata.until_deleted("uid-a")
        await world.metadata.delete(Resource("default", "pod", "a"))
        await world.metadata.put("pod", asking("c", "700m"))
        await world.metadata.until_status("uid-c", is_running)
        assert weight.read_text() == "1024"

    scenario(tmp_path, body)
