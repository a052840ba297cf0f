"""Silence: three cycles of it, a mapper's socket that is gone, and devices that are heard again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from octoedge.api.devicelimits import unfit
from octoedge.api.devices import ModelProperty
from octoedge.edge.devicetwin.attention import listens
from octoedge.edge.devicetwin.hearing import Hearing
from octoedge.protocol import payloads as p
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, RememberingMapper, device
from octoedge.testing.eventually import comes_true
from octoedge.testing.inline import InlineDatabase
from octoedge.transport.grpc import GrpcError

TOPIC = "$hw/events/device/plant/boiler"
Play = Callable[[DeviceWorld], Awaitable[None]]


def play(path: Path, test: Play) -> None:
    async def main() -> None:
        world = DeviceWorld(path, CloudLink(), VirtualClock(), InlineDatabase)
        async with world.running():
            await test(world)

    run(main())


def states(world: DeviceWorld) -> list[str]:
    """The states that the cloud was told."""
    return [sent.json()["device"]["state"] for sent in world.reports() if isinstance(sent, p.DeviceStateReport)]


def reasons(world: DeviceWorld, name: str) -> list[str]:
    """What the cloud was told of why a desired value is not applied, "" where it is."""
    twins = [sent.json()["twin"].get(name, {}) for sent in world.reports() if isinstance(sent, p.TwinReport)]
    return [twin["expected"].get("metadata", {}).get("reason", "") for twin in twins if "expected" in twin]


def test_three_cycles_of_silence_are_too_many() -> None:
    hearing = Hearing()
    hearing.expect("a", 2000, 100.0)
    assert hearing.overdue(106.0) == {}
    assert hearing.overdue(106.5) == {"a": 6.5}
    hearing.heard("a", 107.0)
    hearing.expect("a", 10_000, 110.0)
    assert hearing.overdue(130.0) == {}, "a change of the Device is no word of its mapper, and no silence either"
    hearing.expect("a", 0, 140.0)
    assert not hearing.expects
    hearing.heard("b", 1.0)
    assert hearing.overdue(1e9) == {}


def test_a_device_of_which_nobody_speaks_is_offline_until_somebody_does(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        await world.put(device(stateReport={"reportToCloud": True, "reportCycle": 10_000}))
        await world.bus.until("membership/updated")
        await world.say(f"{TOPIC}/state/update", {"state": "ok"})
        await asyncio.sleep(29)
        assert states(world) == ["ok"]
        await asyncio.sleep(3)
        assert states(world) == ["ok", "offline"]
        assert "3 cycles" in world.twin.health()["troubles"]["plant/boiler"]
        await asyncio.sleep(300)
        assert states(world) == ["ok", "offline"], "said once"
        await world.say(f"{TOPIC}/twin/update", {"twin": {"setpoint": {"actual": {"value": "1"}}}})
        await asyncio.sleep(1)
        assert states(world) == ["ok", "offline", "ok"]
        await asyncio.sleep(60)
        await world.say(f"{TOPIC}/state/update", {"state": "unhealthy"})
        await asyncio.sleep(1)
        assert states(world)[-2:] == ["offline", "unhealthy"], "what its mapper says counts"
        assert world.twin.health()["troubles"] == {}

    play(tmp_path, test)


def test_silence_survives_a_restart(tmp_path: Path) -> None:
    async def silent(world: DeviceWorld) -> None:
        await world.put(device(stateReport={"reportToCloud": True, "reportCycle": 10_000}))
        await world.bus.until("membership/updated")
        await asyncio.sleep(40)
        assert states(world) == ["offline"]

    async def heard(world: DeviceWorld) -> None:
        await world.say(f"{TOPIC}/twin/update", {"twin": {"setpoint": {"actual": {"value": "1"}}}})
        await asyncio.sleep(1)
        assert states(world) == ["online"]

    play(tmp_path, silent)
    play(tmp_path, heard)


@pytest.mark.parametrize(
    ("prop", "value", "why"),
    [
        (None, "1", ""),
        (ModelProperty("a", type="INT", access_mode="ReadOnly"), "1", "only be read"),
        (ModelProperty("a", type="INT", access_mode="ReadWrite", minimum="1", maximum="9"), "5", ""),
        (ModelProperty("a", type="INT", minimum="1", maximum="9"), "10", "range, 1 to 9"),
        (ModelProperty("a", type="FLOAT", minimum="-1.5"), "-2", "range, -1.5 to …"),
        (ModelProperty("a", type="INT", minimum="much"), "1", ""),
        (ModelProperty("a", type="INT", maximum="9"), "x", ""),
        (ModelProperty("a", type="STRING", maximum="9"), "10", ""),
    ],
)
def test_what_a_model_does_not_allow(prop: ModelProperty | None, value: str, why: str) -> None:
    assert why in unfit(prop, value)
    assert bool(why) == bool(unfit(prop, value))


def test_why_a_desired_value_is_not_applied_reaches_the_cloud(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        properties = [{**prop, "minimum": "0", "maximum": "90"} for prop in MODEL["spec"]["properties"]]
        await world.push("insert", "plant/devicemodel/probe", {**MODEL, "spec": {"properties": properties}})
        for value in ("100", "hot", "50"):
            wish = [{"name": "setpoint", "desired": {"value": value}}]
            await world.put(device(properties=wish), "update")
            await asyncio.sleep(1)
        out_of_range, no_number, applied = reasons(world, "setpoint")
        assert "outside of the model's range" in out_of_range
        assert "no int" in no_number
        assert not applied
        told = [payload["delta"] for payload in world.bus.on("twin/update/delta")]
        assert told == [{"setpoint": "50"}], "clients are only told of what can be"
        assert len(world.reports()) == 3

    play(tmp_path, test)


def test_a_mapper_that_refuses_or_is_gone_is_the_reason(tmp_path: Path) -> None:
    async def main() -> None:
        world = DeviceWorld(tmp_path, CloudLink(), SystemClock(), Database)
        mapper = RememberingMapper("modbus", tmp_path / "mapper.sock")
        mapper.fail = GrpcError(2, "register 7 is not there")
        async with asyncio.timeout(40), world.running():
            await world.push("insert", "plant/devicemodel/probe", MODEL)
            await world.put(device())
            await asyncio.sleep(1.5)  # until nobody looks any more
            async with mapper.serving():
                await mapper.register(world.socket, with_data=False)
                await comes_true(lambda: any("register 7" in why for why in reasons(world, "setpoint")))
                assert "register 7" in world.twin.health()["troubles"]["plant/boiler"]
                mapper.fail = None
                await comes_true(lambda: not reasons(world, "setpoint")[-1])
                assert listens(str(mapper.path))
                assert world.twin.health()["gone"] == []
            assert not listens(str(mapper.path))
            assert world.twin.health()["gone"] == ["modbus"]
            await comes_true(lambda: states(world) == ["offline"])
            async with mapper.serving():
                await comes_true(lambda: states(world) == ["offline", "online"])

    asyncio.run(main())


def test_a_node_without_devices_is_not_looked_at(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        await asyncio.sleep(1000)
        assert world.twin.health() == {"devices": 0, "mappers": {}, "troubles": {}}

    play(tmp_path, test)
