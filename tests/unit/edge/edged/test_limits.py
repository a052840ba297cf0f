"""Golden files: what the kubelet writes for the same pods, for both cgroup versions and for systemd.

Version 1 by files is also proved on a real kernel (end to end); the others only here.
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged import limits
from octoedge.edge.edged.limits import PodLimits
from octoedge.edge.edged.resources import container_resources, pod_limits
from octoedge.testing import node

UID = "0a1b2c3d-0000-4000-8000-123456789abc"
FULL = PodLimits(shares=512, quota=150_000, memory=64 << 20, pids=100, hugepages={"2MB": 4 << 20})
NONE = PodLimits(shares=2)

GOLDEN_1 = {
    "cpu": [("cpu.shares", "512"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "150000")],
    "memory": [("memory.limit_in_bytes", "67108864")],
    "pids": [("pids.max", "100")],
    "hugetlb": [("hugetlb.2MB.limit_in_bytes", "4194304")],
}
GOLDEN_2 = [
    ("cpu.weight", "20"), ("cpu.max", "150000 100000"), ("memory.max", "67108864"), ("pids.max", "100"),
    ("hugetlb.2MB.max", "4194304"),
]  # fmt: skip


def test_version_1() -> None:
    assert limits.version_1(FULL) == GOLDEN_1
    assert limits.version_1(NONE) == {"cpu": [("cpu.shares", "2")], "memory": [], "pids": [], "hugetlb": []}


def test_version_2() -> None:
    assert limits.version_2(FULL) == GOLDEN_2
    assert limits.version_2(NONE) == [("cpu.weight", "1")]


def test_systemd() -> None:
    path = f"/octoedge/burstable/pod{UID}"
    name = "octoedge-burstable-pod0a1b2c3d_0000_4000_8000_123456789abc.slice"
    assert limits.slice_name(path) == name
    assert limits.slice_path(path) == f"/octoedge.slice/octoedge-burstable.slice/{name}"
    wanted = ("CPUWeight=20", "CPUQuota=150%", "MemoryMax=67108864", "TasksMax=100")
    assert limits.systemd_start(path, FULL, unified=True) == [
        ("systemctl", "start", name),
        ("systemctl", "set-property", "--runtime", name, *wanted),
    ]
    old = ("CPUShares=512", "CPUQuota=150%", "MemoryLimit=67108864", "TasksMax=100")
    assert limits.systemd_start(path, FULL, unified=False)[1][4:] == old
    assert limits.systemd_start(path, PodLimits(), unified=True) == [("systemctl", "start", name)]
    assert limits.systemd_stop(path) == ("systemctl", "stop", name)


@pytest.mark.parametrize(("shares", "weight"), [(0, 0), (2, 1), (1024, 39), (262_144, 10_000), (10**9, 10_000)])
def test_weights_are_the_kubelets(shares: int, weight: int) -> None:
    assert limits.weight(shares) == weight


@given(st.integers(2, 262_144), st.integers(2, 262_144))
def test_more_shares_never_weigh_less(one: int, two: int) -> None:
    low, high = sorted((one, two))
    assert 1 <= limits.weight(low) <= limits.weight(high) <= 10_000


def make(resources: dict[str, Any], **spec: Any) -> Pod:
    return view(Pod, msgspec.json.encode(node.pod(containers=[node.container(resources=resources)], **spec)))


def test_a_pod_with_overhead_and_hugepages() -> None:
    wants = {"cpu": "1", "memory": "64Mi", "hugepages-2Mi": "4Mi", "hugepages-1Gi": "1Gi"}
    pod = make({"limits": wants}, overhead={"cpu": "250m", "memory": "16Mi"})
    assert pod_limits(pod, 64) == PodLimits(
        shares=1280, quota=125_000, memory=80 << 20, pids=64, hugepages={"2MB": 4 << 20, "1GB": 1 << 30}
    )
    pages = container_resources(pod, pod.spec.containers[0], 4 << 30, True).hugepage_limits
    assert {(page.page_size, page.limit) for page in pages} == {("2MB", 4 << 20), ("1GB", 1 << 30)}


def test_overhead_makes_no_limit_where_there_is_none() -> None:
    pod = make({"requests": {"cpu": "100m"}}, overhead={"cpu": "100m", "memory": "16Mi"})
    assert pod_limits(pod) == PodLimits(shares=204)
