"""A Device that can be reached no more, or again, is an Event on it: one for each change, and not without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import msgspec

from octoedge.cloud.devicecontroller.events import Events
from octoedge.cloud.devicecontroller.facts import Facts, facts
from octoedge.cloud.devicecontroller.reach import BURST, Reachability
from octoedge.errors import ConnectError
from octoedge.kube.kinds import EVENTS, Kind
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.devices import device
from octoedge.testing.kube import MemoryApi, MemoryClient

SILENT = "temperature: no answer from 10.0.0.5:502"


class Flaky(MemoryClient):
    """A way to the API that may be gone."""

    away = False

    async def create(self, kind: Kind, namespace: str, body: bytes, *, name: str = "", sub: str = "") -> bytes:
        if self.away:
            raise ConnectError("no way")
        return await super().create(kind, namespace, body, name=name, sub=sub)


class World:
    """A Device, and who tells of it."""

    def __init__(self) -> None:
        self.client = Flaky(MemoryApi())
        self.reachability = Reachability(Events(self.client, VirtualClock()))
        self.device = _facts("u1")
        self.state = ""

    async def is_now(self, state: str, why: str = "") -> None:
        """Its node says so."""
        before, self.state = self.state, state
        self.reachability.changed(self.device, before, state, why)
        await asyncio.sleep(1)

    async def told(self) -> list[tuple[str, str, str, int]]:
        """What the Events say, and how often."""
        events: list[dict[str, Any]] = [msgspec.json.decode(one) for one in (await self.client.list(EVENTS)).items]
        assert all(one["involvedObject"]["uid"] for one in events)
        return sorted((one["type"], one["reason"], one["message"], one["count"]) for one in events)


@asynccontextmanager
async def _world() -> AsyncIterator[World]:
    world = World()
    task = asyncio.create_task(world.reachability.run())
    yield world
    task.cancel()
    await asyncio.wait([task])


def _facts(uid: str) -> Facts:
    made = device()
    made["metadata"] = {**made["metadata"], "uid": uid}
    return facts(msgspec.json.encode(made))


def test_each_change_is_told_once_with_its_reason_and_counted_when_it_comes_back() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.is_now("online")
            assert await world.told() == [], "a device that comes is no news"
            await world.is_now("offline", SILENT)
            await world.is_now("Offline", "it says the same in other words")
            assert await world.told() == [("Warning", "DeviceOffline", SILENT, 1)]
            await world.is_now("ok")
            await world.is_now("online")
            online = ("Normal", "DeviceOnline", "node edge-1 reaches it", 1)
            assert await world.told() == [online, ("Warning", "DeviceOffline", SILENT, 1)]
            await world.is_now("unhealthy", "bad for a moment")
            await world.is_now("offline", SILENT)
            assert await world.told() == [online, ("Warning", "DeviceOffline", SILENT, 2)]
            await world.is_now("unhealthy", "bad")
            await asyncio.sleep(10)
            assert ("Warning", "DeviceUnhealthy", "bad", 1) in await world.told()

    run(main())


def test_a_device_is_told_of_also_without_a_reason_and_without_control_characters() -> None:
    async def main() -> None:
        async with _world() as world:
            await world.is_now("offline")
            await world.is_now("unknown")
            await world.is_now("unhealthy", "\x1b[2Jgone\n" + "x" * 5000)
            await asyncio.sleep(10)
            [unhealthy, offline] = [text for _, _, text, _ in reversed(await world.told())]
            assert offline == "node edge-1 says that it is offline, and no reason"
            assert unhealthy.startswith(" [2Jgone x")
            assert len(unhealthy) <= 1024

    run(main())


def test_a_device_that_flaps_is_held_back_and_its_last_state_is_told_all_the_same() -> None:
    async def main() -> None:
        async with _world() as world:
            for _ in range(500):
                await world.is_now("offline", SILENT)
                await world.is_now("online")
            assert BURST <= sum(count for *_, count in await world.told()) <= BURST + 4
            await world.is_now("offline", "the last word")
            await asyncio.sleep(301)
            assert ("Warning", "DeviceOffline", "the last word", 1) in await world.told()

    run(main())


def test_an_event_that_cannot_be_written_is_written_later_unless_it_was_taken_back() -> None:
    async def main() -> None:
        async with _world() as world:
            world.client.away = True
            await world.is_now("offline", SILENT)
            await world.is_now("online")
            await asyncio.sleep(60)
            world.client.away = False
            await asyncio.sleep(60)
            assert await world.told() == []
            world.client.away = True
            await world.is_now("offline", SILENT)
            world.client.away = False
            await asyncio.sleep(60)
            assert await world.told() == [("Warning", "DeviceOffline", SILENT, 1)]

    run(main())


def test_a_device_that_is_gone_is_forgotten_and_one_of_its_name_is_another() -> None:
    async def main() -> None:
        async with _world() as world:
            world.client.away = True
            await world.is_now("offline", SILENT)
            world.reachability.forget(world.device)
            world.client.away = False
            await asyncio.sleep(60)
            assert await world.told() == []
            world.device, world.state = _facts("u2"), ""
            await world.is_now("offline", SILENT)
            assert len(await world.told()) == 1

    run(main())
