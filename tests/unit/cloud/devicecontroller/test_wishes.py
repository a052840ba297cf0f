"""A wish that a model does not allow is an Event on its Device: one for each cause."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec

from octoedge.api import devices as api
from octoedge.cloud.devicecontroller.events import Events
from octoedge.cloud.devicecontroller.wishes import REASON, Wishes
from octoedge.errors import ConnectError
from octoedge.kube.informer import Key
from octoedge.kube.kinds import EVENTS, Kind
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.devices import device
from octoedge.testing.kube import MemoryApi, MemoryClient

Json = dict[str, Any]
BOILER = ("plant", "boiler")


class Flaky(MemoryClient):
    """A way to the API that may be gone."""

    away = False

    async def create(self, kind: Kind, namespace: str, body: bytes, *, name: str = "", sub: str = "") -> bytes:
        if self.away:
            raise ConnectError("no way")
        return await super().create(kind, namespace, body, name=name, sub=sub)


class World:
    """A Device, its model, and who looks at them."""

    def __init__(self) -> None:
        self.api = MemoryApi()
        self.client = Flaky(self.api)
        self.clock = VirtualClock()
        self.objects: dict[tuple[str, Key], Json] = {}
        self.wishes = self.anew()

    def anew(self) -> Wishes:
        """As a CloudCore that has just started."""
        return Wishes(Events(self.client, self.clock), self.find)

    def find(self, kind: str, key: Key) -> bytes | None:
        found = self.objects.get((kind, key))
        return msgspec.json.encode(found) if found is not None else None

    def wish(self, uid: str = "u1", **values: str) -> None:
        """The Device wishes these values."""
        properties = [{"name": name, "desired": {"value": value}} for name, value in values.items()]
        made = device(properties=properties)
        made["metadata"] = {**made["metadata"], "uid": uid}
        self.objects[api.DEVICE, BOILER] = made

    def model(self, maximum: str) -> None:
        """The model is there, or another now."""
        properties = [
            {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite", "maximum": maximum},
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly"},
        ]
        self.objects[api.MODEL, ("plant", "probe")] = {"spec": {"properties": properties}}

    async def told(self, wishes: Wishes | None = None) -> list[tuple[str, int]]:
        """What the Events say, and how often, after a look."""
        looking = wishes or self.wishes
        task = asyncio.create_task(looking.run())
        looking.look(BOILER)
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        events = [msgspec.json.decode(one) for one in (await self.client.list(EVENTS)).items]
        assert all((one["reason"], one["type"]) == (REASON, "Warning") for one in events)
        assert all(one["involvedObject"]["name"] == "boiler" for one in events)
        return sorted((one["message"], one["count"]) for one in events)


RANGE = "the desired value '90' of property 'setpoint' is not applied: 90 is outside of the model's range, … to 80"


def test_each_cause_is_told_once_and_counted_when_it_comes_back() -> None:
    async def main() -> None:
        world = World()
        world.wish(setpoint="90", temperature="1", colour="")
        assert await world.told() == [], "its model is not there yet"
        world.model("80")
        first = await world.told()
        assert [count for _, count in first] == [1, 1, 1]
        assert (RANGE, 1) in first
        assert any("only be read" in text for text, _ in first)
        assert any("'colour' is none of DeviceModel 'probe'" in text for text, _ in first)
        assert await world.told() == first, "nothing is new"
        world.wish(setpoint="80")
        await world.told()
        world.wish(setpoint="90")
        assert (RANGE, 2) in await world.told()
        assert (RANGE, 3) in await world.told(world.anew()), "after a restart of CloudCore"
        del world.objects[api.DEVICE, BOILER]
        assert (RANGE, 3) in await world.told()

    run(main())


def test_a_model_that_changes_and_a_device_that_is_another_are_looked_at_anew() -> None:
    async def main() -> None:
        world = World()
        world.model("99")
        world.wish(setpoint="90")
        assert await world.told() == []
        world.model("80")
        assert await world.told() == [(RANGE, 1)]
        world.wish("u2", setpoint="90")
        assert await world.told() == [(RANGE, 1), (RANGE, 1)]
        world.wish(setpoint="warm")
        assert any("no value of type INT" in text for text, _ in await world.told())

    run(main())


def test_an_event_that_cannot_be_written_is_written_later() -> None:
    async def main() -> None:
        world = World()
        world.model("80")
        world.wish(setpoint="90")
        world.client.away = True
        task = asyncio.create_task(world.wishes.run())
        world.wishes.look(BOILER)
        await asyncio.sleep(100)
        assert (await world.client.list(EVENTS)).items == []
        world.client.away = False
        await asyncio.sleep(60)
        assert len((await world.client.list(EVENTS)).items) == 1
        task.cancel()
        await asyncio.wait([task])

    run(main())
