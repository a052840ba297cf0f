"""A device whose properties are pushed, in virtual time: what is read, what EdgeCore hears, what is pushed."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from octoedge.dmi import messages as m
from octoedge.errors import DeviceError
from octoedge.mappers import Device, Mapper, Property
from octoedge.mappers.framework.work import Work
from octoedge.mappers.push.hub import Hub
from octoedge.mappers.push.outgoing import Outgoing
from octoedge.mappers.push.sending import Sample, Taken
from octoedge.mappers.push.settings import Redis, Target
from octoedge.testing.clock import VirtualClock, run

TARGET = Redis("r", 6379, 0)


class Counting(Mapper, protocol="counting"):
    """Each reading is another number."""

    def __init__(self) -> None:
        self.readings = 0
        self.away = False
        self.written: list[Any] = []

    async def connect(self, device: Device) -> Device:
        return device

    async def read_all(self, link: Any, wanted: Sequence[Property]) -> dict[str, Any]:
        if self.away:
            raise DeviceError("nobody answers")
        self.readings += 1
        return {prop.name: self.readings for prop in wanted}

    async def write_one(self, link: Any, prop: Property, value: Any) -> None:
        self.written.append(value)


class World:
    """One device at work, and all that it says."""

    def __init__(self) -> None:
        self.mapper = Counting()
        self.told: list[m.Twin] = []
        self.pushed: list[Sample] = []

    batch = 100

    def report(self, device: tuple[str, str], twins: list[m.Twin]) -> None:
        self.told += twins

    def state(self, device: tuple[str, str], state: str, why: str) -> None:
        pass

    async def send(self, samples: Sequence[Sample]) -> Taken:
        self.pushed += samples
        return Taken()

    async def close(self) -> None:
        pass

    def opened(self, target: Target, group: asyncio.TaskGroup) -> World:
        return self


def at_work(world: World, prop: Property, main: Any) -> None:
    async def whole() -> None:
        async with asyncio.TaskGroup() as group:
            hub = Hub(group, world.opened)

            def pushing(device: Device) -> Outgoing | None:
                now = asyncio.get_running_loop().time()
                if any(one.pushes for one in device.properties.values()):
                    return Outgoing(device, hub, now)
                hub.wants(device.id, ())
                return None

            device = Device("plant", "boiler", properties={prop.name: prop})
            work = Work(world.mapper, device, world, VirtualClock(), pushing)
            task = group.create_task(work.run())
            await main(work)
            task.cancel()
            hub.wants(device.id, ())

    run(whole())


def pushed(prop: Property) -> Property:
    return replace(prop, pushes=(TARGET,))


def test_a_property_is_read_on_the_quicker_beat_and_each_value_goes_its_own_ways() -> None:
    world = World()
    prop = pushed(Property("t", "FLOAT", cycle=10.0, reported=True, push_cycle=1.0, said_type="double"))

    async def main(work: Work) -> None:
        await asyncio.sleep(30.5)
        assert world.mapper.readings == 31
        assert [sample.value for sample in world.pushed] == [str(number) for number in range(1, 32)]
        assert [twin.reported.value for twin in world.told] == ["1", "11", "21", "31"]
        first = world.pushed[0]
        assert (first.namespace, first.device, first.prop, first.type) == ("plant", "boiler", "t", "double")
        assert first.time == 1_790_000_000_000

    at_work(world, prop, main)


def test_a_slow_push_gets_the_latest_value_of_a_quick_reading() -> None:
    world = World()

    async def main(work: Work) -> None:
        await asyncio.sleep(30.5)
        assert [sample.value for sample in world.pushed] == ["1", "11", "21", "31"]
        assert len(world.told) == 31

    at_work(world, pushed(Property("t", "INT", cycle=1.0, reported=True, push_cycle=10.0)), main)


def test_what_edgecore_is_not_to_hear_is_pushed_all_the_same() -> None:
    world = World()

    async def main(work: Work) -> None:
        await asyncio.sleep(5.5)
        assert len(world.pushed) == 6
        assert world.pushed[0].type == "int"
        assert world.told == []

    at_work(world, pushed(Property("t", "INT", push_cycle=1.0)), main)


def test_nothing_is_pushed_while_the_device_is_away() -> None:
    world = World()

    async def main(work: Work) -> None:
        await asyncio.sleep(5.5)
        world.mapper.away = True
        await asyncio.sleep(100.0)
        assert len(world.pushed) == 6
        world.mapper.away = False
        await asyncio.sleep(40.0)
        assert len(world.pushed) > 6

    at_work(world, pushed(Property("t", "INT", push_cycle=1.0)), main)


def test_a_push_that_comes_changes_and_goes_does_not_touch_the_device() -> None:
    world = World()
    plain = Property("t", "INT", cycle=1.0, reported=True, desired="7")

    async def main(work: Work) -> None:
        await asyncio.sleep(5.5)
        work.change(replace(work.device, properties={"t": pushed(plain)}))
        await asyncio.sleep(5.0)
        assert 4 <= len(world.pushed) <= 7
        work.change(replace(work.device, properties={"t": plain}))
        count = len(world.pushed)
        await asyncio.sleep(5.0)
        assert len(world.pushed) == count
        assert len(world.told) >= 15
        assert world.mapper.written == [7]

    at_work(world, plain, main)


def test_news_go_to_edgecore_at_once_and_are_pushed_on_the_beat() -> None:
    world = World()

    async def main(work: Work) -> None:
        await asyncio.sleep(2.5)
        before = len(world.told)
        await work.write_now("t", "3")
        await asyncio.sleep(0.1)
        assert len(world.told) == before + 1
        assert len(world.pushed) == 3

    at_work(world, pushed(Property("t", "INT", cycle=10.0, reported=True, push_cycle=1.0)), main)
