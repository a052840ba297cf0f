"""The Node object: its labels and its status, from facts. Pure."""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.api.core import (
    Condition,
    DaemonEndpoint,
    DaemonEndpoints,
    NodeAddress,
    NodeStatus,
    NodeSystemInfo,
)
from octoedge.api.quantity import milli, whole
from octoedge.edge.edged.limits import PodLimits
from octoedge.edge.edged.machine import Disk, Machine
from octoedge.edge.edged.pressure import bytes_of
from octoedge.edge.edged.resources import shares
from octoedge.runtime.clock import rfc3339

_PORT = 10350
NODE_IDS = "csi.volume.kubernetes.io/nodeid"
"""Annotation of a Node: what each CSI driver calls it, as JSON."""


class NodeSettings(msgspec.Struct, frozen=True):
    """What the configuration says of the node."""

    name: str
    ip: str = ""
    labels: dict[str, str] = {}
    schedulable: bool = True
    taints: tuple[tuple[str, str, str], ...] = ()
    """(key, value, effect)."""
    max_pods: int = 110
    reserved: tuple[dict[str, str], ...] = ()
    """systemReserved and kubeReserved."""
    eviction: dict[str, str] = {}
    """evictionHard."""
    enforce: bool = True
    """Whether what is reserved is kept from pods by the kernel (enforceNodeAllocatable: pods)."""


class RuntimeHealth(msgspec.Struct, frozen=True):
    """What is known of the container runtime; reasons are empty when all is well."""

    name: str = "containerd"
    version: str = ""
    runtime: str = "container runtime status check may not have completed yet"
    network: str = ""


class Attached(msgspec.Struct, frozen=True):
    """What CSI drivers say of this node, and which attached volumes are in use."""

    node_ids: dict[str, str] = {}
    topology: dict[str, str] = {}
    in_use: list[str] | None = []
    """None: not certain; what the cloud knows stands."""


class Reading(msgspec.Struct, frozen=True):
    """What changes: read before each status."""

    disk: Disk
    addresses: tuple[str, ...]
    runtime: RuntimeHealth
    pressures: frozenset[str] = frozenset()
    """Pressure conditions that are true."""
    devices: dict[str, tuple[int, int]] = {}
    """(all, healthy) of what device plugins offer."""
    leaving: bool = False
    """The machine goes down."""


def labels(settings: NodeSettings, machine: Machine) -> dict[str, str]:
    """The labels that a node registers with; configured ones may override."""
    return {
        "beta.kubernetes.io/arch": machine.architecture,
        "beta.kubernetes.io/os": "linux",
        "kubernetes.io/arch": machine.architecture,
        "kubernetes.io/hostname": settings.name,
        "kubernetes.io/os": "linux",
        "node-role.kubernetes.io/agent": "",
        "node-role.kubernetes.io/edge": "",
        **settings.labels,
    }


def node(settings: NodeSettings, machine: Machine, status: NodeStatus) -> bytes:
    """The object that registers the node."""
    taints = [{"key": key, **({"value": value} if value else {}), "effect": effect}
              for key, value, effect in settings.taints]  # fmt: skip
    spec: dict[str, Any] = {"taints": taints} if taints else {}
    if not settings.schedulable:
        spec["unschedulable"] = True
        spec["taints"] = [*taints, {"key": "node.kubernetes.io/unschedulable", "effect": "NoSchedule"}]
    return msgspec.json.encode(
        {
            "kind": "Node",
            "apiVersion": "v1",
            "metadata": {
                "name": settings.name,
                "labels": labels(settings, machine),
                "annotations": {"volumes.kubernetes.io/controller-managed-attach-detach": "true"},
            },
            "spec": spec,
            "status": status,
        }
    )


def node_status(
    settings: NodeSettings, machine: Machine, reading: Reading, before: list[Condition], now: float
) -> NodeStatus:
    """The node's whole status; `before` are the conditions reported last."""
    capacity = {
        "cpu": str(machine.cpus),
        "memory": f"{machine.memory // 1024}Ki",
        "ephemeral-storage": f"{reading.disk.size // 1024}Ki",
        "pods": str(settings.max_pods),
        **{name: str(amount) for name, amount in machine.hugepages.items()},
        **{name: str(count) for name, (count, _) in reading.devices.items()},
    }
    conditions = [_since(condition, before, now) for condition in _conditions(reading)]
    return NodeStatus(
        capacity=capacity,
        allocatable=_allocatable(settings, machine, reading, capacity),
        conditions=conditions,
        addresses=[
            *(NodeAddress("InternalIP", address) for address in reading.addresses),
            NodeAddress("Hostname", settings.name),
        ],
        daemon_endpoints=DaemonEndpoints(DaemonEndpoint(_PORT)),
        node_info=info(machine, reading.runtime),
    )


def pod_root_limits(settings: NodeSettings, machine: Machine) -> PodLimits | None:
    """What all pods together may use where something is reserved; None where nothing is."""
    if not settings.enforce or not any(settings.reserved):
        return None
    cpu = machine.cpus * 1000 - sum(milli(table["cpu"]) for table in settings.reserved if "cpu" in table)
    memory = machine.memory - sum(whole(table["memory"]) for table in settings.reserved if "memory" in table)
    return PodLimits(shares=shares(max(cpu, 0)), memory=max(memory, 1))


def info(machine: Machine, runtime: RuntimeHealth) -> NodeSystemInfo:
    """nodeInfo; the runtime's version is empty until it answered once."""
    return machine.info(f"{runtime.name}://{runtime.version}")


def patch(status: NodeStatus, attached: Attached | None = None) -> bytes:
    """A strategic merge patch that carries the whole status but for the kubelet's port, which the cloud decides.

    `attached` is None where no CSI driver has ever registered: then nothing is said of them.
    """
    said: dict[str, Any] = {"status": msgspec.structs.replace(status, daemon_endpoints=None)}
    if attached is not None:
        ids = msgspec.json.encode(attached.node_ids).decode() if attached.node_ids else None
        said["metadata"] = {"annotations": {NODE_IDS: ids}}
        if attached.topology:
            said["metadata"]["labels"] = attached.topology
        if attached.in_use is not None:
            said["status"] = {**msgspec.to_builtins(said["status"]), "volumesInUse": attached.in_use}
    return msgspec.json.encode(said)


def same(one: NodeStatus, other: NodeStatus) -> bool:
    """Whether two statuses say the same, heartbeats apart."""
    return _without_heartbeats(one) == _without_heartbeats(other)


def _allocatable(
    settings: NodeSettings, machine: Machine, reading: Reading, capacity: dict[str, str]
) -> dict[str, str]:
    cpu = machine.cpus * 1000 - sum(milli(table["cpu"]) for table in settings.reserved if "cpu" in table)
    memory = machine.memory - sum(whole(table["memory"]) for table in settings.reserved if "memory" in table)
    memory -= sum(machine.hugepages.values())
    memory -= bytes_of(settings.eviction.get("memory.available", "0"), machine.memory)
    disk = reading.disk.size - bytes_of(settings.eviction.get("nodefs.available", "0"), reading.disk.size)
    return {
        "cpu": str(cpu // 1000) if cpu % 1000 == 0 else f"{max(cpu, 0)}m",
        "memory": f"{max(memory, 0) // 1024}Ki",
        "ephemeral-storage": str(max(disk, 0)),
        "pods": capacity["pods"],
        **{name: str(amount) for name, amount in machine.hugepages.items()},
        **{name: str(healthy) for name, (_, healthy) in reading.devices.items()},
    }


def _conditions(reading: Reading) -> list[Condition]:
    true = reading.pressures
    return [
        _pressure("MemoryPressure", "MemoryPressure" in true, _MEMORY),
        _pressure("DiskPressure", "DiskPressure" in true, _DISK),
        _pressure("PIDPressure", "PIDPressure" in true, _PIDS),
        _ready(reading),
    ]


_MEMORY = ("InsufficientMemory", "insufficient memory available", "SufficientMemory", "sufficient memory available")
_DISK = ("DiskPressure", "disk pressure", "NoDiskPressure", "no disk pressure")
_PIDS = ("InsufficientPID", "insufficient PID available", "SufficientPID", "sufficient PID available")


def _pressure(kind: str, high: bool, words: tuple[str, str, str, str]) -> Condition:
    reason, text = words[:2] if high else words[2:]
    return Condition(kind, "True" if high else "False", f"KubeletHas{reason}", f"kubelet has {text}")


def _ready(reading: Reading) -> Condition:
    said = (reading.runtime.runtime, reading.runtime.network, "node is shutting down" if reading.leaving else "")
    reasons = [reason for reason in said if reason]
    if reasons:
        return Condition("Ready", "False", "KubeletNotReady", ", ".join(reasons))
    return Condition("Ready", "True", "KubeletReady", "kubelet is posting ready status")


def _since(condition: Condition, before: list[Condition], now: float) -> Condition:
    old = next((known for known in before if known.type == condition.type), None)
    keep = old is not None and old.status == condition.status and old.last_transition_time
    since = old.last_transition_time if old is not None and keep else rfc3339(now)
    return msgspec.structs.replace(condition, last_transition_time=since, last_heartbeat_time=rfc3339(now))


def _without_heartbeats(status: NodeStatus) -> NodeStatus:
    conditions = [msgspec.structs.replace(condition, last_heartbeat_time=None) for condition in status.conditions]
    return msgspec.structs.replace(status, conditions=conditions)
