"""Mapper, device, EdgeCore and the cloud go and come back in every order: what the device says reaches the cloud, what
is wished for reaches the device, and when everything is said nobody writes any more.

A schedule is drawn from a seed and played in virtual time; the DMI sockets are real. EdgeCore dies right before or
right after some commit, a mapper between any two steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from octoedge.edge.devicetwin import records
from octoedge.errors import DeviceError, OfflineError
from octoedge.mappers.framework import run as mappers
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.mapper import Mapper
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.devices import MODEL, DeviceWorld, device
from octoedge.testing.inline import InlineDatabase

from .test_crashes import Cloud, Fuse

DEVICES = ("a", "b")
LIVES = 5
REPORTED = {"reportToCloud": True, "collectCycle": 1000}


class Plant:
    """Devices that keep what they are set to."""

    def __init__(self) -> None:
        self.values = {name: {"temperature": 20.0, "setpoint": 0} for name in DEVICES}
        self.writes: list[tuple[str, str, Any]] = []
        self.away = False


class Driver(Mapper, protocol="modbus"):
    """Speaks with the plant."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    async def connect(self, device: Device) -> str:
        self._there()
        return device.name

    async def read_all(self, link: str, wanted: Sequence[Property]) -> dict[str, Any]:
        self._there()
        return {prop.name: self._plant.values[link][prop.name] for prop in wanted}

    async def write_one(self, link: str, prop: Property, value: Any) -> None:
        self._there()
        await asyncio.sleep(0.05)  # room to die in
        self._plant.values[link][prop.name] = value
        self._plant.writes.append((link, prop.name, value))

    def _there(self) -> None:
        if self._plant.away:
            raise DeviceError("nobody answers")


class Site:
    """What does not die with a process."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.chance = random.Random(seed)
        self.folder = folder
        self.cloud = Cloud(self.chance)
        self.plant = Plant()
        self.wishes = dict.fromkeys(DEVICES, 40)
        self._mapper: asyncio.Task[None] | None = None

    def start_mapper(self) -> None:
        if self._mapper is None:
            settings = mappers.Settings(self.folder / "dmi.sock", self.folder / "m.sock", http_port=0)
            work = mappers.serve(Driver(self.plant), settings, VirtualClock())
            self._mapper = asyncio.get_running_loop().create_task(work)

    async def kill_mapper(self) -> None:
        task, self._mapper = self._mapper, None
        if task is not None:
            task.cancel()
            await asyncio.wait([task])

    async def life(self, fuse: Fuse) -> None:
        """One life of EdgeCore, until the fuse blows."""
        world = DeviceWorld(self.folder, self.cloud, VirtualClock(), fuse.database())
        async with asyncio.TaskGroup() as group:
            living = group.create_task(self._live(world))
            await fuse.blown.wait()
            living.cancel()

    async def _live(self, world: DeviceWorld) -> None:
        async with world.running():
            await self.tell(world)
            while True:
                await self._event(world)
                await asyncio.sleep(self.chance.random() * 3)

    async def _event(self, world: DeviceWorld) -> None:
        name = self.chance.choice(DEVICES)
        match self.chance.randrange(9):
            case 0 | 1:
                self.plant.values[name]["temperature"] = float(self.chance.randrange(100))
            case 2 | 3:
                self.wishes[name] = self.chance.randrange(5, 90)
                await self.tell(world)
            case 4 | 5:
                self.start_mapper()
            case 6:
                await self.kill_mapper()
            case 7:
                self.plant.away = not self.plant.away
            case _:
                self.cloud.set_connected(not self.cloud.connected)

    async def tell(self, world: DeviceWorld) -> None:
        """The cloud sends what the node has not acknowledged, while it is there."""
        with contextlib.suppress(OfflineError):
            if self.cloud.connected:
                await world.push("insert", "plant/devicemodel/probe", MODEL)
                for name in DEVICES:
                    await world.put(wished(name, self.wishes[name]), "update")


def wished(name: str, setpoint: int) -> dict[str, Any]:
    properties = [
        {"name": "temperature", **REPORTED},
        {"name": "setpoint", "desired": {"value": str(setpoint)}, **REPORTED},
    ]
    return device(name, properties=properties)


@pytest.mark.parametrize("seed", [*range(8), 105, 121, 144, 192])
def test_mapper_device_edgecore_and_cloud_die_in_any_order(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        site = Site(tmp_path, seed)
        for _ in range(LIVES):
            await site.life(Fuse(site.chance.randrange(1, 60), committed=site.chance.random() < 0.5))
            if site.chance.random() < 0.3:
                await asyncio.sleep(20)  # nobody but a mapper is there
        site.cloud.calm, site.plant.away = True, False
        site.cloud.set_connected(True)
        world = DeviceWorld(tmp_path, site.cloud, VirtualClock(), InlineDatabase)
        async with world.running():
            await site.tell(world)
            site.start_mapper()
            await asyncio.sleep(200)
            writes = len(site.plant.writes)
            check(world, site)
            await asyncio.sleep(200)
            assert len(site.plant.writes) == writes, "what is as it should be is left alone"
            check(world, site)
            await site.kill_mapper()

    run(main())


def check(world: DeviceWorld, site: Site) -> None:
    database = world.store.database
    assert sorted(database.read_now(records.devices)) == [f"plant/{name}" for name in DEVICES]
    for name in DEVICES:
        real = site.plant.values[name]
        assert real["setpoint"] == site.wishes[name]
        said = {"temperature": f"{real['temperature']:g}", "setpoint": str(real["setpoint"])}
        twins = database.read_now(functools.partial(records.twins, device_id=f"plant/{name}"))
        assert {prop: twin.actual.value for prop, twin in twins.items() if twin.actual is not None} == said
        assert site.cloud.knows()[name] == said
