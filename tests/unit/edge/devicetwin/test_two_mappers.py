"""Two mappers of one protocol under different names: the last one serves it, and the other when that one has ended."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from pathlib import Path

from octoedge.edge.devicetwin import registrations
from octoedge.edge.devicetwin.registrations import MAX_DISPLACED, Registration
from octoedge.edge.devicetwin.tell import Call, Verb
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, RememberingMapper, device
from octoedge.testing.inline import InlineDatabase

from .test_records import opened

GONE_SECONDS = 15.0
"""Until a socket on which nobody listens was tried often enough."""


def play(path: Path, test: Callable[[DeviceWorld], Awaitable[None]]) -> None:
    async def main() -> None:
        world = DeviceWorld(path, CloudLink(), VirtualClock(), InlineDatabase)
        async with world.running():
            await test(world)

    run(main())


def wishing(setpoint: int, name: str = "boiler") -> dict[str, object]:
    return device(name, properties=[{"name": "setpoint", "desired": {"value": str(setpoint)}}])


def names(mapper: RememberingMapper) -> list[str]:
    return [name for name, _ in mapper.calls]


def test_the_one_that_was_displaced_serves_again_and_learns_what_it_missed(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        first = RememberingMapper("modbus", tmp_path / "a.sock", name="first")
        second = RememberingMapper("modbus", tmp_path / "b.sock", name="second")
        await world.push("insert", "plant/devicemodel/probe", MODEL)
        for name in ("boiler", "kettle"):
            await world.put(wishing(40, name))
        async with first.serving():
            await first.register(world.socket, with_data=True)
            async with second.serving():
                await second.register(world.socket, with_data=True)
                await world.put(wishing(41), "update")
                await world.push("delete", "plant/device/kettle", wishing(40, "kettle"))
                await second.until(2)
            assert names(first) == [], "the last one to register serves the protocol"
            await asyncio.sleep(GONE_SECONDS)
            assert sorted(names(first)) == ["RemoveDevice", "UpdateDevice"]
            await world.put(wishing(42), "update")
            name, told = (await first.until(3))[-1]
            assert (name, told.spec.properties[0].desired.value) == ("UpdateDevice", "42")
            assert world.twin.health()["mappers"] == {"modbus": "first"}
        assert world.twin.health()["troubles"] == {}
        await asyncio.sleep(GONE_SECONDS)
        assert "its mapper is gone" in world.twin.health()["troubles"]["plant/boiler"]

    play(tmp_path, test)


def test_a_restart_of_edgecore_finds_the_one_that_is_left(tmp_path: Path) -> None:
    async def before(world: DeviceWorld) -> None:
        await world.push("insert", "plant/devicemodel/probe", MODEL)
        await world.put(wishing(40))
        for name in ("first", "second"):
            await RememberingMapper("modbus", tmp_path / f"{name}.sock", name=name).register(
                world.socket, with_data=True
            )

    async def after(world: DeviceWorld) -> None:
        first = RememberingMapper("modbus", tmp_path / "first.sock", name="first")
        async with first.serving():
            await asyncio.sleep(GONE_SECONDS)
            await world.put(wishing(41), "update")
            assert [name for name, _ in await first.until(1)] == ["UpdateDevice"]

    async def once_more(world: DeviceWorld) -> None:
        await asyncio.sleep(0.1)
        assert world.twin.health()["mappers"] == {"modbus": "first"}

    play(tmp_path, before)
    play(tmp_path, after)
    play(tmp_path, once_more)


def test_while_both_are_there_the_last_one_to_register_serves(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for name in ("first", "second", "first"):
                mapper = RememberingMapper("modbus", tmp_path / f"{name}.sock", name=name)
                if not mapper.path.exists():
                    await stack.enter_async_context(mapper.serving())
                await mapper.register(world.socket, with_data=True)
                await asyncio.sleep(GONE_SECONDS)
                assert world.twin.health()["mappers"] == {"modbus": name}

    play(tmp_path, test)


def mapper(name: str, path: str = "", protocol: str = "modbus") -> Registration:
    return Registration(name, protocol=protocol, address=(path or f"/{name}.sock").encode())


def test_what_each_was_told_is_kept_apart() -> None:
    connection = opened()
    one, other = mapper("one"), mapper("other")
    a, b = ("device", "plant/a"), ("device", "plant/b")
    registrations.keep(connection, one, {a: "1"}, None)
    registrations.keep(connection, other, {a: "2", b: "2"}, one)
    registrations.note(connection, "modbus", Call(Verb.DEVICE_GONE, b))
    assert registrations.told(connection, "modbus") == {a: "2"}
    registrations.keep_again(connection, one, other)
    assert registrations.told(connection, "modbus") == {a: "1"}
    assert [known.name for known in registrations.stored(connection)] == ["other", "one"]
    registrations.keep_again(connection, other, one)
    assert registrations.told(connection, "modbus") == {a: "2"}
    registrations.keep(connection, other, {}, other)
    assert registrations.told(connection, "modbus") == {}, "it began anew"


def test_no_more_are_remembered_than_can_be_and_none_under_another_name_at_the_same_socket() -> None:
    connection = opened()
    before = None
    for number in range(MAX_DISPLACED + 5):
        new = mapper(f"m{number}")
        registrations.keep(connection, new, {("device", "plant/a"): "1"}, before)
        before = new
    registrations.keep(connection, mapper("sensors", protocol="ble"), {}, None)
    renamed = mapper("renamed", "/m12.sock")
    registrations.keep(connection, renamed, {}, before)
    known = registrations.stored(connection)
    assert [one.name for one in known] == [*(f"m{number}" for number in range(4, 12)), "sensors", "renamed"]
    assert [one.name for one in registrations.displaced(known, renamed)][:2] == ["m11", "m10"]
    [rows] = connection.execute("SELECT count(DISTINCT protocol) FROM mapper_told").fetchall()
    assert rows == (MAX_DISPLACED,)
