"""The node object, its conditions and its lease, in virtual time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.edge.edged import machine, nodestatus
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.machine import Disk
from octoedge.edge.edged.node import NodeKeeper
from octoedge.edge.edged.nodestatus import NodeSettings, Reading, RuntimeHealth
from octoedge.errors import ApiError, CriError
from octoedge.testing import node
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime
from octoedge.testing.metadata import MemoryMetadata

SETTINGS = NodeSettings(node.NODE, ip="192.0.2.7")
EVICTION = {"memory.available": "100Mi", "nodefs.available": "10%", "nodefs.inodesFree": "5%", "pid.available": "10%"}
WELL = RuntimeHealth("containerd", "1.7.2", "", "")


def reading(**changes: Any) -> Reading:
    disk = Disk(100 << 30, 50 << 30, 1000, 500)
    usual = {"disk": disk, "addresses": ("192.0.2.7",)}
    return Reading(**{**usual, "runtime": WELL, **changes})


def status(settings: NodeSettings = SETTINGS, **changes: Any) -> dict[str, Any]:
    made = nodestatus.node_status(settings, node.MACHINE, reading(**changes), [], 1_800_000_000.0)
    decoded: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(made))
    return decoded


def condition(said: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(c for c in said["conditions"] if c["type"] == kind)


def test_a_status_has_what_kubectl_shows() -> None:
    said = status()
    assert said["capacity"] == {"cpu": "2", "memory": "4194304Ki", "ephemeral-storage": "104857600Ki", "pods": "110"}
    assert said["addresses"] == [
        {"type": "InternalIP", "address": "192.0.2.7"}, {"type": "Hostname", "address": node.NODE}
    ]  # fmt: skip
    assert said["daemonEndpoints"] == {"kubeletEndpoint": {"Port": 10350}}
    assert said["nodeInfo"]["containerRuntimeVersion"] == "containerd://1.7.2"
    assert said["nodeInfo"]["kubeProxyVersion"] == ""
    assert condition(said, "Ready") == {
        "type": "Ready", "status": "True", "reason": "KubeletReady", "message": "kubelet is posting ready status",
        "lastTransitionTime": "2027-01-15T08:00:00Z", "lastHeartbeatTime": "2027-01-15T08:00:00Z",
    }  # fmt: skip


def test_a_report_leaves_the_kubelets_port_to_the_cloud() -> None:
    made = nodestatus.node_status(SETTINGS, node.MACHINE, reading(), [], 1_800_000_000.0)
    patch = msgspec.json.decode(nodestatus.patch(made))["status"]
    assert patch == {key: value for key, value in status().items() if key != "daemonEndpoints"}


def test_allocatable_is_capacity_less_what_is_reserved_and_evicted_at() -> None:
    settings = NodeSettings(
        node.NODE, reserved=({"cpu": "250m", "memory": "100Mi"}, {"cpu": "250m"}), eviction=EVICTION
    )
    assert status(settings)["allocatable"] == {
        "cpu": "1500m", "memory": f"{4194304 - 204800}Ki", "ephemeral-storage": str(90 << 30), "pods": "110",
    }  # fmt: skip


def test_what_is_reserved_is_kept_from_all_pods_together() -> None:
    assert nodestatus.pod_root_limits(SETTINGS, node.MACHINE) is None
    settings = NodeSettings(node.NODE, reserved=({"cpu": "500m", "memory": "1Gi"}, {"memory": "512Mi"}))
    limits = nodestatus.pod_root_limits(settings, node.MACHINE)
    assert limits is not None
    assert (limits.shares, limits.memory) == (1536, (4 << 30) - (1536 << 20))


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("MemoryPressure", "KubeletHasInsufficientMemory"),
        ("DiskPressure", "KubeletHasDiskPressure"),
        ("PIDPressure", "KubeletHasInsufficientPID"),
    ],
)
def test_pressure(kind: str, reason: str) -> None:
    assert condition(status(), kind)["status"] == "False"
    said = condition(status(pressures=frozenset({kind})), kind)
    assert (said["status"], said["reason"]) == ("True", reason)


def test_a_network_that_is_not_ready_is_named() -> None:
    said = condition(
        status(runtime=RuntimeHealth("containerd", "1", "", "container runtime network not ready: x")), "Ready"
    )
    assert (said["status"], said["reason"]) == ("False", "KubeletNotReady")
    assert said["message"] == "container runtime network not ready: x"


def test_a_node_that_takes_no_pods_is_tainted() -> None:
    settings = NodeSettings(
        node.NODE, schedulable=False, taints=(("a", "b", "NoExecute"),), labels={"kubernetes.io/os": "x"}
    )
    made = nodestatus.node_status(settings, node.MACHINE, reading(), [], 0.0)
    obj = msgspec.json.decode(nodestatus.node(settings, node.MACHINE, made))
    assert obj["spec"] == {
        "unschedulable": True,
        "taints": [{"key": "a", "value": "b", "effect": "NoExecute"},
                   {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}],
    }  # fmt: skip
    assert obj["metadata"]["labels"]["kubernetes.io/os"] == "x"


class Desk:
    def __init__(self, root: Path) -> None:
        self.clock = VirtualClock()
        self.runtime = MemoryRuntime(self.clock)
        self.metadata = MemoryMetadata(self.clock)
        recorder = Recorder(node.NODE, self.metadata, self.clock)
        self.keeper = NodeKeeper(SETTINGS, self.runtime, self.metadata, recorder, self.clock, root, node.MACHINE)
        self.backs = 0

    def back(self) -> None:
        self.backs += 1

    def ready(self) -> str:
        return str(condition(self.metadata.node_statuses[-1], "Ready")["status"])


def scenario(
    root: Path, body: Callable[[Desk], Awaitable[None]], prepare: Callable[[Desk], None] = lambda _: None
) -> None:
    async def main() -> None:
        desk = Desk(root)
        prepare(desk)
        await desk.keeper.check_runtime()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.keeper.run(desk.back))
            await body(desk)
            task.cancel()

    run(main())


def test_a_runtime_that_restarts_quickly_does_not_make_the_node_flap(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(6)
        desk.runtime.set_away(True)
        await asyncio.sleep(6)
        desk.runtime.set_away(False)
        await asyncio.sleep(60)
        assert len(desk.metadata.node_statuses) == 1
        assert desk.backs == 1

    scenario(tmp_path, body)


def test_a_runtime_that_stays_away_makes_the_node_unready_until_it_returns(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(6)
        desk.runtime.set_away(True)
        await asyncio.sleep(15)
        assert desk.ready() == "False"
        desk.runtime.set_away(False)
        await asyncio.sleep(2)
        assert desk.ready() == "True"

    scenario(tmp_path, body)


def test_a_node_whose_runtime_is_away_from_the_start_says_so(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(1)
        assert desk.ready() == "False"
        desk.runtime.set_away(False)
        await asyncio.sleep(3)
        assert desk.ready() == "True"

    scenario(tmp_path, body, lambda desk: desk.runtime.set_away(True))


def test_offline_the_node_waits_and_registers_on_return(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(3600)
        assert (desk.metadata.node, desk.metadata.leases) == ({}, [])
        desk.metadata.set_online(True)
        await asyncio.sleep(1)
        assert desk.metadata.node["metadata"]["name"] == node.NODE
        assert len(desk.metadata.leases) == 1

    scenario(tmp_path, body, lambda desk: desk.metadata.set_online(False))


def test_a_lease_is_renewed_at_once_after_an_outage(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(25)
        desk.metadata.set_online(False)
        await asyncio.sleep(300)
        before = len(desk.metadata.leases)
        desk.metadata.set_online(True)
        await asyncio.sleep(1)
        assert len(desk.metadata.leases) == before + 1
        spec = desk.metadata.leases[-1]["spec"]
        assert (spec["holderIdentity"], spec["leaseDurationSeconds"]) == (node.NODE, 40)
        assert spec["renewTime"].endswith("Z")
        assert desk.metadata.leases[-1]["metadata"]["ownerReferences"][0]["uid"] == "node-uid"

    scenario(tmp_path, body)


@pytest.mark.parametrize("silence", [5, 100])
def test_after_a_silence_the_status_is_told_again_though_nothing_changed(tmp_path: Path, silence: float) -> None:
    """The cloud may have judged the node Unknown meanwhile, and does not take that back by itself."""

    async def body(desk: Desk) -> None:
        await asyncio.sleep(29)
        told = len(desk.metadata.node_statuses)
        desk.metadata.set_online(False)
        await asyncio.sleep(silence)
        assert len(desk.metadata.node_statuses) == told
        desk.metadata.set_online(True)
        await asyncio.sleep(11)
        assert len(desk.metadata.node_statuses) == told + 1
        assert desk.ready() == "True"
        await asyncio.sleep(60)
        assert len(desk.metadata.node_statuses) == told + 1

    scenario(tmp_path, body)


def test_a_refused_registration_is_tried_again(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(5)
        assert desk.metadata.refuse_node == []
        assert desk.metadata.node["metadata"]["name"] == node.NODE

    def prepare(desk: Desk) -> None:
        desk.metadata.refuse_node = [ApiError(403, "Forbidden", "no"), ApiError(500, "InternalError", "odd")]

    scenario(tmp_path, body, prepare)


def test_a_status_that_finds_no_room_on_the_disk_is_told_later_and_ends_nothing(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(6)
        desk.metadata.full = True
        desk.runtime.set_away(True)
        await asyncio.sleep(60)
        assert desk.ready() == "True"
        desk.metadata.full = False
        await asyncio.sleep(15)
        assert desk.ready() == "False"

    scenario(tmp_path, body)


def test_a_runtime_that_refuses_is_not_ready_either(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await asyncio.sleep(1)
        for _ in range(20):
            desk.runtime.fail_next("status", CriError("Status", 12, "unknown service runtime.v1.RuntimeService"))
        await asyncio.sleep(16)
        assert desk.ready() == "False"

    scenario(tmp_path, body)


def test_this_machine_can_be_read(tmp_path: Path) -> None:
    found = machine.read_machine()
    assert found.memory > 1 << 20
    assert found.cpus >= 1
    assert machine.disk(tmp_path / "not/there").size > 0
    used, most = machine.processes()
    assert 0 < used < most
    assert machine.default_address()
    assert machine.interface_address("lo") == "127.0.0.1"
    assert machine.interface_address("none") == ""
