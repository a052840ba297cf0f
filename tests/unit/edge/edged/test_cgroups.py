"""Pod cgroups on a made-up cgroup file system of both versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from octoedge.edge.edged.cgroups import Cgroups
from octoedge.edge.edged.cri.fields import Resources

LIMITS = Resources(cpu_period=100_000, cpu_quota=50_000, cpu_shares=256, memory_limit_in_bytes=64 << 20)
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
    Cgroups(version_1).create(POD, LIMITS)
    assert (version_1 / "cpu/octoedge/burstable/pod1/cpu.shares").read_text() == "256"
    assert (version_1 / "cpu/octoedge/burstable/pod1/cpu.cfs_quota_us").read_text() == "50000"
    assert (version_1 / "memory/octoedge/burstable/pod1/memory.limit_in_bytes").read_text() == str(64 << 20)
    assert (version_1 / "pids/octoedge/burstable/pod1").is_dir()
    assert not (version_1 / "unified/octoedge").exists()
    assert not (version_1 / "hugetlb/octoedge").exists(), "a folder where no hierarchy is mounted"


def test_version_2_has_one_group_and_hands_controllers_down(tmp_path: Path) -> None:
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    Cgroups(tmp_path).create(POD, LIMITS)
    pod = tmp_path / "octoedge/burstable/pod1"
    assert (pod / "cpu.max").read_text() == "50000 100000"
    assert (pod / "cpu.weight").read_text() == "10"
    assert (pod / "memory.max").read_text() == str(64 << 20)
    assert (tmp_path / "octoedge/cgroup.subtree_control").read_text() == "+cpu +memory +pids"


def test_a_group_in_use_stays_and_is_reported(version_1: Path) -> None:
    cgroups = Cgroups(version_1)
    cgroups.create(POD, Resources())
    for file in version_1.glob("*/octoedge/burstable/pod1/*"):
        file.unlink()  # The real file system lets a group go with its files in it.
    (version_1 / "memory/octoedge/burstable/pod1/container").mkdir()
    (version_1 / "memory/octoedge/burstable/pod1/container/in-use").touch()
    assert not cgroups.remove(POD)
    assert not (version_1 / "pids/octoedge/burstable/pod1").exists()
    (version_1 / "memory/octoedge/burstable/pod1/container/in-use").unlink()
    assert cgroups.remove(POD)
    assert cgroups.remove(POD)


def test_a_system_without_cgroups_runs_pods_all_the_same(tmp_path: Path) -> None:
    cgroups = Cgroups(tmp_path / "none")
    cgroups.create(POD, LIMITS)
    assert cgroups.remove(POD)
    (tmp_path / "file").write_text("")
    Cgroups(tmp_path / "file").create(POD, LIMITS)
