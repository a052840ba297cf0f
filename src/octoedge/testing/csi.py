"""A CSI driver for tests: directories as volumes, in memory or bind mounted by a process of its own.

    python -m octoedge.testing.csi --name dir.example.com --home /tmp/x --registry <root>/plugins_registry

`DirectoryDriver` keeps to what CSI demands of a driver (every call may be repeated, nothing is published that is not
staged, nothing is unstaged that is published) and refuses the rest, so that a node that gets the order wrong is seen.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import subprocess
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Protocol

from octoedge.edge.edged import csiapi as c
from octoedge.edge.edged.csiapi import Able, CsiError
from octoedge.edge.edged.mounts import mounted_below
from octoedge.protocol.protobuf import Message
from octoedge.transport.grpc_server import Handler, serving

log = logging.getLogger(__name__)

STAGES = frozenset({Able.STAGE, Able.STATS})


class Hands(Protocol):
    """How a driver shows one directory at another place."""

    def mount(self, source: Path, target: Path, *, read_only: bool) -> None:
        """Show it; the target is made."""
        ...

    def unmount(self, target: Path) -> None:
        """Take it away with the target; no error where nothing is."""
        ...

    def below(self, folder: Path) -> list[Path]:
        """What is mounted at or below a directory."""
        ...


class MemoryHands:
    """Mounts that are only remembered."""

    def __init__(self) -> None:
        self.mounts: dict[Path, tuple[Path, bool]] = {}

    def mount(self, source: Path, target: Path, *, read_only: bool) -> None:
        target.mkdir(exist_ok=True)
        self.mounts[target] = (source, read_only)

    def unmount(self, target: Path) -> None:
        self.mounts.pop(target, None)
        if target.is_dir():
            target.rmdir()

    def below(self, folder: Path) -> list[Path]:
        return [path for path in self.mounts if path == folder or folder in path.parents]


class SystemHands:
    """Real bind mounts."""

    def mount(self, source: Path, target: Path, *, read_only: bool) -> None:
        target.mkdir(exist_ok=True)
        if not self.below(target):
            _system("mount", "--bind", str(source), str(target))
            if read_only:
                _system("mount", "-o", "remount,bind,ro", str(target))

    def unmount(self, target: Path) -> None:
        for point in self.below(target):
            _system("umount", str(point))
        if target.is_dir():
            target.rmdir()

    def below(self, folder: Path) -> list[Path]:
        return mounted_below(folder)


def _system(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        raise CsiError(f"rpc error: code = Internal desc = {done.stderr.decode().strip()}")


class DirectoryDriver:
    """A driver whose volumes are directories below `home`; implements `csiapi.Driver`."""

    def __init__(
        self, home: Path, hands: Hands, abilities: frozenset[int] = STAGES, node_id: str = "node-of-driver"
    ) -> None:
        self.home = home
        self.hands = hands
        self.node_id = node_id
        self._abilities = abilities
        self.calls: list[tuple[str, Any]] = []
        self.failing: dict[str, CsiError] = {}
        """By method: with what it fails until it is taken out."""
        self.hanging: set[str] = set()
        """Methods that never come to an end."""
        self.closed = 0

    def requests(self, method: str) -> list[Any]:
        """What was asked so far."""
        return [request for name, request in self.calls if name == method]

    async def info(self) -> c.NodeInfo:
        await self._begin("info", None)
        return c.NodeInfo(self.node_id, 0, c.Topology({"topology.example.com/rack": "r1"}))

    async def abilities(self) -> frozenset[int]:
        return self._abilities

    async def stage(self, request: c.StageRequest) -> None:
        await self._begin("stage", request)
        self.hands.mount(self._volume(request.volume_id), Path(request.staging), read_only=False)

    async def unstage(self, request: c.UnstageRequest) -> None:
        await self._begin("unstage", request)
        self.hands.unmount(Path(request.staging))

    async def publish(self, request: c.PublishRequest) -> None:
        await self._begin("publish", request)
        source = self._volume(request.volume_id)
        if request.staging:
            source = Path(request.staging)
            if source not in self.hands.below(source):
                raise CsiError("rpc error: code = FailedPrecondition desc = the volume is not staged")
        if not Path(request.target).parent.is_dir():
            raise CsiError("rpc error: code = Internal desc = the node has not made the parent of the target")
        self.hands.mount(source, Path(request.target), read_only=request.read_only)

    async def unpublish(self, request: c.UnpublishRequest) -> None:
        await self._begin("unpublish", request)
        self.hands.unmount(Path(request.target))

    async def stats(self, request: c.StatsRequest) -> c.Stats:
        await self._begin("stats", request)
        return c.Stats((c.Usage(30, 100, 70, 1), c.Usage(3, 10, 7, 2)))

    def close(self) -> None:
        self.closed += 1

    async def _begin(self, method: str, request: Any) -> None:
        self.calls.append((method, request))
        if method in self.hanging:
            await asyncio.Event().wait()
        if method in self.failing:
            raise self.failing[method]

    def _volume(self, volume_id: str) -> Path:
        folder = self.home / volume_id
        folder.mkdir(parents=True, exist_ok=True)
        return folder


def methods(driver: DirectoryDriver) -> dict[str, Handler]:
    """The driver's calls as a gRPC server wants them."""

    def empty(kind: type[Message], work: Callable[[Any], Awaitable[None]]) -> Handler:
        async def handle(request: bytes) -> bytes:
            await work(c.CODEC.decode(request, kind))
            return b""

        return handle

    async def info(_: bytes) -> bytes:
        return c.CODEC.encode(await driver.info(), c.NodeInfo)

    async def abilities(_: bytes) -> bytes:
        able = tuple(c.NodeCapability(c.Rpc(number)) for number in sorted(await driver.abilities()))
        return c.CODEC.encode(c.NodeCapabilities(able), c.NodeCapabilities)

    async def stats(request: bytes) -> bytes:
        return c.CODEC.encode(await driver.stats(c.CODEC.decode(request, c.StatsRequest)), c.Stats)

    node = "/csi.v1.Node/Node"
    return {
        f"{node}GetInfo": info,
        f"{node}GetCapabilities": abilities,
        f"{node}GetVolumeStats": stats,
        f"{node}StageVolume": empty(c.StageRequest, driver.stage),
        f"{node}UnstageVolume": empty(c.UnstageRequest, driver.unstage),
        f"{node}PublishVolume": empty(c.PublishRequest, driver.publish),
        f"{node}UnpublishVolume": empty(c.UnpublishRequest, driver.unpublish),
    }


def registration(name: str, endpoint: Path, told: Callable[[c.RegistrationStatus], None]) -> dict[str, Handler]:
    """What a registrar answers; `told` hears how it went."""

    async def about(_: bytes) -> bytes:
        return c.CODEC.encode(c.PluginInfo("CSIPlugin", name, str(endpoint), ("1.0.0",)), c.PluginInfo)

    async def notified(request: bytes) -> bytes:
        told(c.CODEC.decode(request, c.RegistrationStatus))
        return b""

    return {c.GET_INFO: about, c.NOTIFY: notified}


async def serve(name: str, home: Path, registry: Path) -> None:
    """A driver with its registrar, until cancelled."""
    driver = DirectoryDriver(home / "volumes", SystemHands())
    endpoint = home / "csi.sock"
    async with serving(endpoint, 0o600, methods(driver)):
        told = registration(name, endpoint, lambda status: log.info("registered: %s", status))
        async with serving(registry / f"{name}-reg.sock", 0o600, told):
            await asyncio.Event().wait()


def main() -> None:
    """Run the driver."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", required=True)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--registry", type=Path, required=True)
    given = parser.parse_args()
    asyncio.run(serve(given.name, given.home, given.registry))


if __name__ == "__main__":
    main()
