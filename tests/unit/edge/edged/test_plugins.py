"""Plugins that put a socket into the registry's directory: asked, told how it went, and noticed when they leave."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from octoedge.edge.edged import csiapi as c
from octoedge.edge.edged.csiapi import CsiError
from octoedge.edge.edged.csidrivers import Drivers
from octoedge.edge.edged.plugins import Plugins
from octoedge.testing.csi import DirectoryDriver, MemoryHands, methods, registration
from octoedge.transport.grpc_server import serving

NAME = "dir.example.com"


class Desk:
    def __init__(self, root: Path) -> None:
        self.registry = root / "registry"
        self.endpoint = root / "csi.sock"
        self.driver = DirectoryDriver(root / "volumes", MemoryHands())
        self.changes = 0
        self.drivers = Drivers(self._count)
        self.plugins = Plugins(self.registry, {"CSIPlugin": self.drivers})
        self.told: list[c.RegistrationStatus] = []
        self.registry.mkdir()

    def _count(self) -> None:
        self.changes += 1

    def registrar(self) -> dict[str, Callable[[bytes], Awaitable[bytes]]]:
        return registration(NAME, self.endpoint, self.told.append)


def test_a_driver_registers_through_its_sockets_and_leaves(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        (desk.registry / "no-socket").touch()
        async with serving(desk.endpoint, 0o600, methods(desk.driver)):
            async with serving(desk.registry / "dir-reg.sock", 0o600, desk.registrar()):
                await desk.plugins.look()
                assert desk.told == [c.RegistrationStatus(True)]
                known = desk.drivers.find(NAME)
                assert known is not None
                assert (known.node_id, known.abilities) == ("node-of-driver", frozenset({1, 2}))
                assert (await known.driver.stats(c.StatsRequest("h", "/p"))).usage[0] == c.Usage(30, 100, 70, 1)
                await desk.plugins.look()
                assert len(desk.told) == 1
            await desk.plugins.look()
            assert desk.drivers.find(NAME) is None
            assert desk.changes == 2

    asyncio.run(main())


def test_a_driver_that_starts_again_is_asked_again_and_not_missed_in_between(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        async with serving(desk.endpoint, 0o600, methods(desk.driver)):
            async with serving(desk.registry / "a.sock", 0o600, desk.registrar()):
                await desk.plugins.look()
            os.close(os.open(tmp_path / "holds-the-number", os.O_CREAT))
            async with serving(desk.registry / "a.sock", 0o600, desk.registrar()):
                await desk.plugins.look()
                assert len(desk.told) == 2
                assert desk.drivers.find(NAME) is not None

    asyncio.run(main())


def test_what_cannot_be_used_is_told_why_and_asked_less_often(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        desk.driver.failing["info"] = CsiError("rpc error: code = Unavailable desc = not ready")
        async with (
            serving(desk.endpoint, 0o600, methods(desk.driver)),
            serving(desk.registry / "a.sock", 0o600, desk.registrar()),
        ):
            for _ in range(3):
                await desk.plugins.look()
            [status] = desk.told
            assert not status.registered
            assert "not ready" in status.error
            assert desk.drivers.find(NAME) is None

    asyncio.run(main())


def test_versions_and_node_ids_are_looked_at(tmp_path: Path) -> None:
    async def refused(drivers: Drivers, *versions: str) -> str:
        try:
            await drivers.register(NAME, Path("x"), versions)
        except CsiError as error:
            return str(error)
        return ""

    async def main() -> None:
        driver = DirectoryDriver(tmp_path, MemoryHands(), node_id="")
        drivers = Drivers(connect=lambda _: driver)
        assert "speaks no version 1" in await refused(drivers, "0.3.0")
        assert "gives this node no id" in await refused(drivers, "0.3.0", "v1.5.0")
        driver.node_id = "n"
        assert await refused(drivers, "1.0.0") == ""
        assert drivers.node_ids() == {NAME: "n"}
        drivers.close()
        assert driver.closed == 2

    asyncio.run(main())
