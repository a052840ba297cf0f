"""One edged with everything around it: a MetaManager in memory, a runtime of the test's choice, its own directories."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.csiapi import Driver, DriverClient
from octoedge.edge.edged.edged import Edged, EdgedSettings
from octoedge.edge.edged.eviction import Measured
from octoedge.edge.edged.machine import Disk, Machine
from octoedge.edge.edged.mounts import Mounter, MountFailed
from octoedge.edge.edged.nodestatus import NodeSettings
from octoedge.edge.edged.pressure import Amount
from octoedge.runtime.clock import Clock
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime
from octoedge.testing.csi import MemoryHands
from octoedge.testing.metadata import MemoryMetadata

NODE = "edge-1"
BUSYBOX = "edge.local/busybox:1"
MACHINE = Machine(
    architecture="amd64",
    kernel="6.1.0",
    os_image="Debian GNU/Linux 12 (bookworm)",
    machine_id="0123456789abcdef0123456789abcdef",
    system_uuid="01234567-89ab-cdef-0123-456789abcdef",
    boot_id="11111111-2222-3333-4444-555555555555",
    cpus=2,
    memory=4 << 30,
)


class PlainMounter:
    """Directories instead of mounts; remembers what was asked."""

    def __init__(self) -> None:
        self.tmpfs_sizes: dict[Path, int] = {}
        self.others: dict[Path, str] = {}
        """What else would be mounted where."""
        self.hands = MemoryHands()
        """Those of CSI drivers on the same node."""

    async def tmpfs(self, path: Path, size: int, mode: int) -> None:
        _make(path, mode)
        self.tmpfs_sizes[path] = size

    async def hugepages(self, path: Path, page: int) -> None:
        _make(path, 0o777)
        self.others[path] = f"pages of {page}"

    async def nfs(self, source: str, path: Path, options: Sequence[str]) -> None:
        _make(path, 0o755)
        self.others[path] = " ".join((source, *options))

    async def bind(self, source: str, target: Path) -> None:
        raise MountFailed(f"cannot bind {source} on {target} without a system")

    def below(self, folder: Path) -> list[Path]:
        return sorted(self.hands.below(folder), reverse=True)

    async def unmount(self, path: Path) -> None:
        self.hands.mounts.pop(path, None)
        self.tmpfs_sizes.pop(path, None)


def _make(path: Path, mode: int) -> None:
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(mode)


async def plenty() -> Measured:
    """A machine that is short of nothing, whatever the one is like that the test runs on."""
    disk = Disk(100 << 30, 50 << 30, 1_000_000, 500_000)
    return Measured(Amount(2 << 30, 4 << 30), disk, disk, Amount(30_000, 32_768))


async def goes_on() -> bool:
    """A machine that does not go down."""
    return False


def settings(root: Path, **changes: Any) -> EdgedSettings:
    """Settings of a node that keeps everything below `root`."""
    defaults: dict[str, Any] = {
        "node": NodeSettings(NODE, ip="192.0.2.7"),
        "root": root / "kubelet",
        "logs": root / "logs",
        "cgroup_mount": root / "cgroup",
    }
    return EdgedSettings(**{**defaults, **changes})


@contextlib.asynccontextmanager
async def running(
    root: Path,
    runtime: ContainerRuntime,
    metadata: MemoryMetadata,
    clock: Clock,
    *,
    mounter: Mounter | None = None,
    measure: Callable[[], Awaitable[Measured]] = plenty,
    stopping: Callable[[], Awaitable[bool]] = goes_on,
    connect_driver: Callable[[Path], Driver] = DriverClient,
    **changes: Any,
) -> AsyncIterator[Edged]:
    """An edged that runs; leaving the block stops it, as kill -9 would, with containers left as they are."""
    edged = Edged(
        settings(root, **changes),
        runtime,
        metadata,
        metadata.changes,
        clock=clock,
        mounter=mounter or PlainMounter(),
        machine=MACHINE,
        measure=measure,
        stopping=stopping,
        connect_driver=connect_driver,
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(edged.run(ready.set), name="edged")
        try:
            waiting = group.create_task(ready.wait(), name="ready")
            await asyncio.wait([task, waiting], return_when=asyncio.FIRST_COMPLETED)
            yield edged
        finally:
            task.cancel()
            waiting.cancel()


def pod(name: str = "web", *, uid: str = "", image: str = "edge.local/busybox:1", **spec: Any) -> dict[str, Any]:
    """A pod as the API server sends it, bound to the node; keywords are fields of its spec."""
    container = {"name": "main", "image": image, "imagePullPolicy": "IfNotPresent"}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {
            "name": name,
            "namespace": "default",
            "uid": uid or f"uid-{name}",
            "resourceVersion": "1",
            "creationTimestamp": "2026-01-01T00:00:00Z",
        },
        "spec": {
            "nodeName": NODE,
            "restartPolicy": "Always",
            "terminationGracePeriodSeconds": 30,
            "dnsPolicy": "ClusterFirst",
            "containers": [container],
            **spec,
        },
        "status": {"phase": "Pending", "qosClass": "BestEffort"},
    }


def container(name: str = "main", *command: str, image: str = "edge.local/busybox:1", **fields: Any) -> dict[str, Any]:
    """A container of a pod."""
    said = {"command": list(command)} if command else {}
    return {"name": name, "image": image, "imagePullPolicy": "IfNotPresent", **said, **fields}


def deleting(obj: dict[str, Any], grace: int = 30) -> dict[str, Any]:
    """The pod after `kubectl delete`."""
    meta = {**obj["metadata"], "deletionTimestamp": "2026-01-01T01:00:00Z", "deletionGracePeriodSeconds": grace}
    return {**obj, "metadata": meta}


class World:
    """One node and its cloud."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.clock = VirtualClock()
        self.runtime = MemoryRuntime(self.clock, images=(BUSYBOX,))
        self.metadata = MemoryMetadata(self.clock)

    def edged(self, **changes: Any) -> Any:
        return running(self.root, self.runtime, self.metadata, self.clock, **changes)

    def started(self) -> list[int]:
        return [c.started_at for c in self.runtime.running()]


def scenario(tmp_path: Path, body: Callable[[World, Edged], Awaitable[None]], **changes: Any) -> None:
    """Run `body` in virtual time with a node that is up."""

    async def main() -> None:
        world = World(tmp_path)
        async with world.edged(**changes) as edged:
            await body(world, edged)

    run(main())


def is_running(status: dict[str, Any]) -> bool:
    return status.get("phase") == "Running" and all(c["ready"] for c in status["containerStatuses"])


def waiting_reason(status: dict[str, Any]) -> str:
    for known in status.get("containerStatuses", []):
        reason = known["state"].get("waiting", {}).get("reason", "")
        if reason:
            return str(reason)
    return ""


def condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    return next(c for c in status["conditions"] if c["type"] == kind)
