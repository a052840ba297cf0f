"""One device at work, in virtual time."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from octoedge.dmi import messages as m
from octoedge.errors import DeviceError
from octoedge.mappers import Device, Mapper, Property, read, write
from octoedge.mappers.framework.work import State, Work
from octoedge.testing.clock import VirtualClock, run


class Plant:
    """A device that can be away, slow, or answer nonsense."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {"temperature": 63.5, "setpoint": 20}
        self.away = False
        self.delay = 0.0
        self.writes: list[tuple[str, Any]] = []
        self.reads = 0
        self.connections = 0


class Probe(Mapper, protocol="probe"):
    """A mapper of one `Plant`."""

    def __init__(self, plant: Plant) -> None:
        self.plant = plant

    async def connect(self, device: Device) -> Plant:
        if self.plant.away:
            raise DeviceError("nobody answers")
        self.plant.connections += 1
        return self.plant

    @read("temperature", unit="°C")
    async def temperature(self, device: Plant) -> Any:
        return await self._value(device, "temperature")

    @read("setpoint")
    async def setpoint(self, device: Plant) -> Any:
        return await self._value(device, "setpoint")

    @write("setpoint")
    async def write_setpoint(self, device: Plant, value: int) -> None:
        await self._value(device, "setpoint")
        device.values["setpoint"] = value
        device.writes.append(("setpoint", value))

    async def _value(self, device: Plant, name: str) -> Any:
        await asyncio.sleep(device.delay)
        device.reads += 1
        if device.away:
            raise DeviceError("nobody answers")
        return device.values[name]


class Told:
    """Implements `ports.Teller`."""

    def __init__(self) -> None:
        self.twins: list[m.Twin] = []
        self.states: list[str] = []

    def report(self, device: tuple[str, str], twins: Sequence[m.Twin]) -> None:
        self.twins += twins

    def state(self, device: tuple[str, str], state: str, why: str) -> None:
        self.states.append(state)

    def last(self, name: str) -> m.TwinProperty:
        return [twin.reported for twin in self.twins if twin.property_name == name][-1]


def _device(**setpoint: Any) -> Device:
    properties = (
        Property("temperature", "FLOAT", writable=False, cycle=1.0, reported=True),
        Property("setpoint", "INT", minimum="5", maximum="90", cycle=1.0, reported=True, **setpoint),
    )
    return Device("plant", "boiler", properties={prop.name: prop for prop in properties}, state_cycle=10.0)


@asynccontextmanager
async def _working(plant: Plant, device: Device) -> AsyncIterator[tuple[Work, Told]]:
    told = Told()
    work = Work(Probe(plant), device, told, VirtualClock())
    task = asyncio.get_running_loop().create_task(work.run())
    await asyncio.sleep(0.1)
    try:
        yield work, told
    finally:
        task.cancel()
        await asyncio.wait([task])


def test_values_are_read_on_the_beat_and_told_together() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device()) as (work, told):
            await asyncio.sleep(9.5)
            assert len(told.twins) == 20
            assert told.last("temperature").value == "63.5"
            assert told.last("temperature").metadata["timestamp"].isdecimal()
            assert work.state is State.ONLINE
            assert told.states[0] == "online"

    run(main())


def test_a_wish_is_set_once_and_read_back() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device(desired="40")) as (work, told):
            await asyncio.sleep(5.0)
            assert plant.writes == [("setpoint", 40)]
            assert told.last("setpoint").value == "40"
            work.change(_device(desired="41"))
            await asyncio.sleep(0.01)
            assert plant.writes[1:] == [("setpoint", 41)]
            assert told.last("setpoint").value == "41"
            assert plant.connections == 1

    run(main())


def test_a_wish_that_will_not_do_says_why_and_is_not_tried_again() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device(desired="400")) as (work, told):
            await asyncio.sleep(5.0)
            assert plant.writes == []
            assert told.last("setpoint").metadata["reason"] == "not applied: 400 is over the maximum of 90"
            work.change(_device(desired="warm"))
            await asyncio.sleep(1.5)
            assert "no value of type INT" in told.last("setpoint").metadata["reason"]
            work.change(_device(desired="50"))
            await asyncio.sleep(1.5)
            assert "reason" not in told.last("setpoint").metadata

    run(main())


def test_a_wish_that_is_set_already_is_looked_at_anew_when_the_model_changes() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device(desired="40")) as (work, told):
            await asyncio.sleep(1.0)
            narrower = replace(_device(desired="40").properties["setpoint"], maximum="30")
            work.change(replace(work.device, properties={**work.device.properties, "setpoint": narrower}))
            await asyncio.sleep(1.5)
            assert told.last("setpoint").metadata["reason"] == "not applied: 40 is over the maximum of 30"
            slower = {name: replace(prop, cycle=2.0) for name, prop in _device(desired="40").properties.items()}
            work.change(replace(work.device, properties=slower))
            await asyncio.sleep(5.0)
            assert plant.writes == [("setpoint", 40)] * 2, "once more, for it is allowed again"
            work.change(replace(work.device, properties=_device(desired="40").properties))
            await asyncio.sleep(5.0)
            assert len(plant.writes) == 2, "another beat alone writes nothing"

    run(main())


def test_a_device_that_answers_something_else_is_said_to_do_so() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device(desired="40")) as (_, told):
            plant.values["setpoint"] = 38
            await asyncio.sleep(2.0)
            assert told.last("setpoint").metadata["reason"] == "the device was set to 40 and answers 38"

    run(main())


def test_a_device_that_goes_away_comes_back_with_its_wish() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device(desired="40")) as (work, told):
            plant.away = True
            await asyncio.sleep(60.0)
            states = [work.state]
            assert told.states[-1] == "offline"
            plant.values["setpoint"] = 20  # it lost power
            plant.away = False
            await asyncio.sleep(60.0)
            assert [*states, work.state] == [State.OFFLINE, State.ONLINE]
            assert plant.writes == [("setpoint", 40), ("setpoint", 40)]

    run(main())


def test_a_slow_device_ends_its_round_by_the_deadline() -> None:
    async def main() -> None:
        plant = Plant()
        plant.delay = 100.0
        async with _working(plant, _device()) as (work, told):
            await asyncio.sleep(35.0)
            assert told.twins == []
            states = [work.state]
            plant.delay = 0.0
            await asyncio.sleep(60.0)
            assert [state is State.ONLINE for state in (*states, work.state)] == [False, True]

    run(main())


def test_one_property_that_fails_leaves_the_others() -> None:
    async def main() -> None:
        plant = Plant()
        plant.values["temperature"] = float("nan")
        async with _working(plant, _device()) as (work, told):
            await asyncio.sleep(5.0)
            assert {twin.property_name for twin in told.twins} == {"setpoint"}
            assert work.state is State.UNHEALTHY
            assert "temperature" in work.trouble

    run(main())


def test_what_is_told_of_a_trouble_is_one_line_however_much_a_device_said() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device()) as (work, _):
            plant.values["temperature"] = DeviceError("it said\n\x1b[31m" + "x" * 100_000)
            await asyncio.sleep(2.0)
            assert work.trouble.startswith("temperature: it said ")
            assert work.trouble.isprintable()
            assert len(work.trouble) < 500

    run(main())


def test_a_method_writes_past_the_wish_which_stays_as_it_was() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device(desired="40")) as (work, told):
            await work.write_now("setpoint", "45")
            await asyncio.sleep(3.0)
            assert plant.writes == [("setpoint", 40), ("setpoint", 45)]
            assert told.last("setpoint").value == "45"
            assert await work.read_now("temperature") == "63.5"

    run(main())


def test_other_settings_are_another_connection() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device()) as (work, _):
            work.change(replace(_device(), settings={"ip": "192.0.2.9"}))
            await asyncio.sleep(3.0)
            assert plant.connections == 2
            assert work.state is State.ONLINE

    run(main())


def test_a_device_that_is_never_there_does_not_keep_the_processor_busy() -> None:
    async def main() -> None:
        plant = Plant()
        plant.away = True
        async with _working(plant, _device()) as (work, _):
            work.change(_device(desired="7"))
            await asyncio.sleep(3600.0)
            assert work.state is State.OFFLINE
            assert plant.connections == 0

    run(main())


class Blind(Mapper, protocol="blind"):
    """A mapper of what can only be written."""

    def __init__(self) -> None:
        self.written: list[Any] = []

    @write("lamp")
    async def lamp(self, device: Device, value: bool) -> None:
        self.written.append(value)


def test_what_can_only_be_written_has_what_was_written() -> None:
    async def main() -> None:
        told, mapper = Told(), Blind()
        lamp = Property("lamp", "BOOLEAN", desired="true", reported=True)
        work = Work(mapper, Device("plant", "lamp", properties={"lamp": lamp}), told, VirtualClock())
        task = asyncio.get_running_loop().create_task(work.run())
        await asyncio.sleep(2.0)
        assert (mapper.written, told.last("lamp").value, work.state) == ([True], "true", State.ONLINE)
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_another_mapper_takes_over_and_sets_what_is_wished() -> None:
    async def main() -> None:
        plant, spare = Plant(), Plant()
        async with _working(plant, _device(desired="40")) as (work, told):
            work.swap(Probe(spare))
            await asyncio.sleep(1.0)
            assert (spare.writes, told.last("setpoint").value) == ([("setpoint", 40)], "40")

    run(main())


class Deaf(Probe, protocol="deaf"):
    """A mapper on a library that loses cancellations."""

    async def read_all(self, link: Any, wanted: Sequence[Property]) -> dict[str, Any]:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(0.5)
        return await super().read_all(link, wanted)


def test_a_cancellation_that_a_library_loses_is_heeded_all_the_same() -> None:
    async def main() -> None:
        work = Work(Deaf(Plant()), _device(), Told(), VirtualClock())
        task = asyncio.get_running_loop().create_task(work.run())
        await asyncio.sleep(0.2)
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=5.0)
        assert done == {task}

    run(main())


def test_a_wish_for_what_is_read_on_no_beat_is_read_back_all_the_same() -> None:
    async def main() -> None:
        plant = Plant()
        plant.writes = _Forgetful(plant)
        quiet = replace(_device(desired="40").properties["setpoint"], reported=False)
        async with _working(plant, Device("plant", "boiler", properties={"setpoint": quiet})) as (work, told):
            assert told.last("setpoint").metadata["reason"] == "the device was set to 40 and answers 20"
            reads = plant.reads
            await asyncio.sleep(10.0)
            assert (plant.reads, work.state) == (reads, State.ONLINE)

    run(main())


class _Forgetful(list[tuple[str, Any]]):
    """A device that takes what is written and keeps what it had."""

    def __init__(self, plant: Plant) -> None:
        self._plant = plant

    def append(self, written: tuple[str, Any]) -> None:
        self._plant.values["setpoint"] = 20


def test_a_stream_is_told_with_the_reason_why_it_has_no_value() -> None:
    async def main() -> None:
        camera = Property("camera", "STREAM", desired="on", reported=True)
        plant = Plant()
        device = Device("plant", "gate", properties={"camera": camera, **_device().properties})
        async with _working(plant, device) as (work, told):
            await asyncio.sleep(3.0)
            assert told.last("camera").metadata["reason"].startswith("properties[camera] is of type STREAM: ")
            assert [twin.property_name for twin in told.twins].count("camera") == 1
            assert (work.state, plant.writes) == (State.ONLINE, [])

    run(main())


class Peculiar(Probe, protocol="peculiar"):
    """A mapper on a library that has a kind of cancellation of its own, as asyncua has."""

    async def read_all(self, link: Any, wanted: Sequence[Property]) -> dict[str, Any]:
        try:
            return await super().read_all(link, wanted)
        except asyncio.CancelledError as error:
            raise _CancelledWithResult from error


class _CancelledWithResult(asyncio.CancelledError):
    pass


def test_a_librarys_own_kind_of_cancellation_is_a_deadline_like_any_other() -> None:
    async def main() -> None:
        plant, told = Plant(), Told()
        plant.delay = 100.0
        work = Work(Peculiar(plant), _device(), told, VirtualClock())
        task = asyncio.get_running_loop().create_task(work.run())
        await asyncio.sleep(12.0)
        assert (work.state, "no answer within 10 s" in work.trouble) == (State.UNHEALTHY, True)
        plant.delay = 0.0
        await asyncio.sleep(60.0)
        assert work.state is State.ONLINE
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_a_property_that_lies_elsewhere_now_is_connected_anew() -> None:
    async def main() -> None:
        plant = Plant()
        async with _working(plant, _device()) as (work, _):
            moved = replace(work.device.properties["setpoint"], visitor={"offset": 7})
            work.change(replace(work.device, properties={**work.device.properties, "setpoint": moved}))
            await asyncio.sleep(0.1)
            assert plant.connections == 2, "drivers take places when they connect"
            later = replace(moved, cycle=5.0, desired="30")
            work.change(replace(work.device, properties={**work.device.properties, "setpoint": later}))
            await asyncio.sleep(0.1)
            assert plant.connections == 2

    run(main())


class Chatty:
    """A link that says a hundred times a second that there is something new, and is over after three seconds."""

    def __init__(self) -> None:
        self.reads = 0

    async def read(self, wanted: Sequence[Property]) -> dict[str, Any]:
        self.reads += 1
        return {prop.name: self.reads for prop in wanted}

    async def listen(self, news: Any) -> None:
        for _ in range(300):
            await asyncio.sleep(0.01)
            news(["level"])
        raise DeviceError("the connection is over")


class Pushed(Mapper, protocol="pushed"):
    """A mapper of what sends by itself."""

    def __init__(self) -> None:
        self.links: list[Chatty] = []

    async def connect(self, device: Device) -> Chatty:
        self.links.append(Chatty())
        return self.links[-1]


def test_what_comes_by_itself_is_told_at_once_but_not_too_often_and_a_link_that_ends_is_connected_again() -> None:
    async def main() -> None:
        told, mapper = Told(), Pushed()
        level = Property("level", "INT", cycle=60.0, reported=True)
        work = Work(mapper, Device("plant", "tank", properties={"level": level}), told, VirtualClock())
        task = asyncio.get_running_loop().create_task(work.run())
        await asyncio.sleep(1.0)
        assert 15 <= mapper.links[0].reads <= 22
        assert len(told.twins) == mapper.links[0].reads
        await asyncio.sleep(2.2)
        assert work.state is State.OFFLINE
        assert "the connection is over" in work.trouble
        await asyncio.sleep(1.0)
        assert (len(mapper.links), work.state) == (2, State.ONLINE)
        task.cancel()
        await asyncio.wait([task])

    run(main())
