"""Power fails between any two steps, the cloud and the broker come and go: no value is lost, no device doubled, and
when everything is said there is silence.

A schedule of clients' values, wishes of Devices and deaths is drawn from a seed and played in virtual time. A death
stops every task right before or right after some commit; the next life begins on the same file. The broker gives again
what was not acknowledged, in its order, and so does the cloud.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import msgspec
import pytest

from octoedge.edge.devicetwin import records
from octoedge.errors import DeadlineError, OfflineError
from octoedge.protocol import payloads as p
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, device
from octoedge.testing.inline import InlineDatabase

T = TypeVar("T")
DEVICES = ("a", "b")
PROPERTIES = ("setpoint", "temperature")
LIVES = 6


class Fuse:
    """Says when this life ends: right before or right after its `steps`-th commit."""

    def __init__(self, steps: int, *, committed: bool) -> None:
        self.steps = steps
        self.committed = committed
        self.blown = asyncio.Event()

    def database(self) -> type[InlineDatabase]:
        """A database that is there until then."""
        fuse = self

        class Mortal(InlineDatabase):
            async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
                fuse.steps -= 1
                if fuse.steps <= 0:
                    if fuse.steps == 0 and fuse.committed:
                        await super().write(work)
                    fuse.blown.set()
                    await asyncio.Event().wait()
                return await super().write(work)

        return Mortal


class Broker:
    """Keeps what was not acknowledged, and gives it again in its order."""

    def __init__(self) -> None:
        self.kept: dict[int, tuple[str, bytes]] = {}
        self._number = 0

    def publish(self, topic: str, payload: Any) -> None:
        self._number += 1
        self.kept[self._number] = (topic, msgspec.json.encode(payload))

    def _forget(self, number: int) -> None:
        self.kept.pop(number, None)

    async def deliver(self, world: DeviceWorld) -> None:
        """As EventBus: one after the other, without waiting for the acknowledgement of the one before."""
        under_way: set[int] = set()
        while True:
            for number, (topic, payload) in list(self.kept.items()):
                if number not in under_way:
                    under_way.add(number)
                    await world.twin.receive(topic, payload, functools.partial(self._forget, number))
            await asyncio.sleep(0.5)


class Cloud(CloudLink):
    """Loses some answers after it has done what was asked."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self.fail = lambda _: self._lost(chance)
        self.calm = False

    def _lost(self, chance: random.Random) -> Exception | None:
        if self.calm or chance.random() > 0.2:
            return None
        return chance.choice([OfflineError("gone"), DeadlineError("late")])

    def knows(self) -> dict[str, dict[str, str]]:
        """Device → property → value, as the reports have told it."""
        known: dict[str, dict[str, str]] = {}
        for sent in self.requests:
            if isinstance(sent, p.TwinReport):
                for name, twin in sent.json()["twin"].items():
                    if "actual" in twin:
                        known.setdefault(sent.resource.name, {})[name] = twin["actual"]["value"]
        return known


class History:
    """What was said by clients and wished by Devices, last."""

    def __init__(self) -> None:
        self.values: dict[str, dict[str, str]] = {name: {} for name in DEVICES}
        self.wishes: dict[str, str] = {}


async def life(
    path: Path, cloud: Cloud, broker: Broker, said: History, chance: random.Random, fuse: Fuse
) -> DeviceWorld:
    """Say and wish things until the fuse blows; then everything stops where it is."""
    world = DeviceWorld(path, cloud, VirtualClock(), fuse.database())
    async with asyncio.TaskGroup() as group:
        living = group.create_task(_live(world, broker, said, chance))
        await fuse.blown.wait()
        living.cancel()
    return world


async def _live(world: DeviceWorld, broker: Broker, said: History, chance: random.Random) -> None:
    async with world.running(), asyncio.TaskGroup() as group:
        group.create_task(broker.deliver(world))
        await tell(world, said)
        while True:
            await one_event(world, broker, said, chance)
            await asyncio.sleep(chance.random() * 2)


async def one_event(world: DeviceWorld, broker: Broker, said: History, chance: random.Random) -> None:
    name, value = chance.choice(DEVICES), str(chance.randrange(1000))
    match chance.randrange(6):
        case 0 | 1 | 2:
            prop = chance.choice(PROPERTIES)
            said.values[name][prop] = value
            twin = {prop: {"actual": {"value": value}}}
            broker.publish(f"$hw/events/device/plant/{name}/twin/update", {"twin": twin})
        case 3 | 4:
            said.wishes[name] = value
            await tell(world, said)
        case _:
            world.cloud.set_connected(not world.cloud.connected)


async def tell(world: DeviceWorld, said: History) -> None:
    """What the cloud sends while it is there: objects that the node has not acknowledged, again and again."""
    with contextlib.suppress(OfflineError):
        if world.cloud.connected:
            await world.push("insert", "plant/devicemodel/probe", MODEL)
            for name in DEVICES:
                await world.put(wished(name, said), "update")


def wished(name: str, said: History) -> dict[str, Any]:
    properties = [{"name": "temperature"}, {"name": "setpoint", "desired": {"value": said.wishes.get(name, "40")}}]
    return device(name, properties=properties)


@pytest.mark.parametrize("seed", range(40))
def test_power_fails_between_any_two_steps(tmp_path: Path, seed: int) -> None:
    async def main() -> None:
        chance = random.Random(seed)
        cloud, broker, said = Cloud(chance), Broker(), History()
        for _ in range(LIVES):
            fuse = Fuse(chance.randrange(1, 40), committed=chance.random() < 0.5)
            await life(tmp_path, cloud, broker, said, chance, fuse)
        cloud.calm = True
        cloud.set_connected(True)
        world = DeviceWorld(tmp_path, cloud, VirtualClock(), InlineDatabase)
        async with world.running(), asyncio.TaskGroup() as group:
            delivering = group.create_task(broker.deliver(world))
            await tell(world, said)
            await asyncio.sleep(600)
            assert not broker.kept
            assert len(world.meta.outbox) == 0
            check(world, cloud, said)
            told, reported = len(world.bus.told), len(cloud.requests)
            await asyncio.sleep(3600)
            assert (len(world.bus.told), len(cloud.requests)) == (told, reported), "nobody answers himself"
            delivering.cancel()

    run(main())


def check(world: DeviceWorld, cloud: Cloud, said: History) -> None:
    database = world.store.database
    kept = database.read_now(records.devices)
    assert sorted(kept) == [f"plant/{name}" for name in DEVICES]
    for name in DEVICES:
        twins = database.read_now(functools.partial(records.twins, device_id=f"plant/{name}"))
        assert sorted(twins) == sorted(PROPERTIES)
        assert (twins["setpoint"].expected.value if twins["setpoint"].expected else None) == said.wishes.get(name, "40")
        actual = {prop: twin.actual.value for prop, twin in twins.items() if twin.actual is not None}
        assert actual == said.values[name]
        assert cloud.knows().get(name, {}) == said.values[name]
