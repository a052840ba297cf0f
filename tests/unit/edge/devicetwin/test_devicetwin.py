"""DeviceTwin on a real store: MQTT clients, Device objects, a cloud that comes and goes, mappers over real sockets."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.dmi import messages as m
from octoedge.dmi.services import MANAGER, call
from octoedge.edge.devicetwin.devicetwin import socket_path
from octoedge.errors import OctoedgeError
from octoedge.protocol import payloads as p
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, RememberingMapper, device
from octoedge.testing.eventually import comes_true
from octoedge.testing.inline import InlineDatabase
from octoedge.transport.grpc import Channel, GrpcError

TOPIC = "$hw/events/device/plant/boiler"
SECONDS = 10.0

Play = Callable[[DeviceWorld], Awaitable[None]]


def play(path: Path, test: Play) -> None:
    """In virtual time; each call is a restart on the same file."""

    async def main() -> None:
        world = DeviceWorld(path, CloudLink(), VirtualClock(), InlineDatabase)
        async with world.running():
            await test(world)

    run(main())


def for_real(path: Path, test: Play) -> None:
    """With real sockets and a real database."""

    async def main() -> None:
        world = DeviceWorld(path, CloudLink(), SystemClock(), Database)
        async with asyncio.timeout(SECONDS * 3), world.running():
            await test(world)

    asyncio.run(main())


async def known(world: DeviceWorld) -> None:
    """The model and the device have come."""
    await world.push("insert", "plant/devicemodel/probe", MODEL)
    await world.put(device())
    await world.bus.until("membership/updated")


def test_a_value_of_an_mqtt_client_is_answered_and_reaches_the_cloud(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        await known(world)
        delta = await world.bus.until("twin/update/delta")
        assert delta["delta"] == {"setpoint": "40"}, "what a Device wants reaches clients that only speak MQTT"
        await world.say(f"{TOPIC}/twin/update", {"event_id": "m1", "twin": {"setpoint": {"actual": {"value": "38"}}}})
        result = await world.bus.until("twin/update/result")
        assert (result["event_id"], result["twin"]["setpoint"]["actual"]["value"]) == ("m1", "38")
        assert (await world.bus.until("twin/update/document", 2))["twin"]["setpoint"]["last"]["expected"][
            "value"
        ] == "40"
        await asyncio.sleep(1)
        [report] = world.reports()
        assert str(report.resource) == "plant/device/boiler"
        assert report.json()["twin"]["setpoint"]["actual_version"] == {"cloud": 0, "edge": 1}

    play(tmp_path, test)


def test_values_that_came_while_the_cloud_was_away_are_sent_once_the_latest_of_each(tmp_path: Path) -> None:
    async def away(world: DeviceWorld) -> None:
        await known(world)
        world.cloud.set_connected(False)
        for value in ("1", "2", "3"):
            await world.say(f"{TOPIC}/twin/update", {"twin": {"setpoint": {"actual": {"value": value}}}})
        await world.say(f"{TOPIC}/twin/update", {"twin": {"temperature": {"actual": {"value": "63.5"}}}})
        await world.say(f"{TOPIC}/state/update", {"state": "ok"})
        await world.bus.until("twin/update/result", 4)
        await world.bus.until("state/update/result")
        assert world.reports() == []

    async def back(world: DeviceWorld) -> None:
        await asyncio.sleep(5)
        state, twins = sorted(world.reports(), key=lambda report: type(report).__name__)
        assert state.json()["device"]["state"] == "ok"
        assert "lastOnlineTime" in state.json()["device"]
        told = {name: twin["actual"]["value"] for name, twin in twins.json()["twin"].items()}
        assert told == {"setpoint": "3", "temperature": "63.5"}
        await asyncio.sleep(60)
        assert len(world.reports()) == 2, "what was answered is not sent again"

    play(tmp_path, away)
    play(tmp_path, back)


@pytest.mark.parametrize(
    ("topic", "payload", "ending", "code"),
    [
        ("twin/update", b"oops", "device//twin/update/result", 400),
        (
            "twin/update",
            {"event_id": "e", "twin": {"setpoint": {"actual": {"value": "warm"}}}},
            "twin/update/result",
            400,
        ),
        ("twin/get", b"", "twin/get/result", 400),
        ("state/update", {"event_id": "e", "state": "tired"}, "state/update/result", 400),
    ],
)
def test_what_cannot_be_done_is_answered_with_a_reason(
    tmp_path: Path, topic: str, payload: Any, ending: str, code: int
) -> None:
    async def test(world: DeviceWorld) -> None:
        await known(world)
        await world.say(f"{TOPIC}/{topic}", payload)
        answer = await world.bus.until(ending)
        assert answer["code"] == code
        assert answer["reason"]

    play(tmp_path, test)


def test_who_asks_for_a_device_that_is_not_there_is_told_so(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        for request in ("twin/update", "twin/get", "state/update"):
            body = {"event_id": "e", "state": "ok", "twin": {"t": {"actual": {"value": "1"}}}}
            await world.say(f"{TOPIC}/{request}", body)
            answer = await world.bus.until(f"{request}/result")
            assert (answer["code"], answer["event_id"]) == (404, "e")
        await world.say("$hw/events/device/oops", {})
        await world.say(f"{TOPIC}/twin/cloud_updated", {"twin": {"t": {"expected": {"value": "1"}}}})

    play(tmp_path, test)


def test_clients_read_devices_and_values(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        await known(world)
        await world.say(f"{TOPIC}/twin/get", {"event_id": "a2"})
        twins = (await world.bus.until("twin/get/result"))["twin"]
        assert twins["setpoint"]["expected"]["value"] == "40"
        assert twins["temperature"]["metadata"]["type"] == "float"
        await world.say("$hw/events/node/edge-1/membership/get", {"event_id": "a1"})
        listed = await world.bus.until("membership/get/result")
        assert (listed["event_id"], listed["devices"]) == ("a1", [{"id": "plant/boiler", "name": "boiler"}])

    play(tmp_path, test)


def test_a_device_that_was_deleted_while_nobody_looked_is_gone_after_a_restart(tmp_path: Path) -> None:
    async def first(world: DeviceWorld) -> None:
        await known(world)
        # The object goes from the store and DeviceTwin hears nothing, as when the process is killed in between.
        await world.store.database.write(lambda c: c.execute("DELETE FROM meta WHERE type = 'device'").rowcount)

    async def second(world: DeviceWorld) -> None:
        gone = await world.bus.until("membership/updated")
        assert gone["removed_devices"] == [{"id": "plant/boiler", "name": "boiler"}]
        await world.say("$hw/events/node/edge-1/membership/get", {})
        assert (await world.bus.until("membership/get/result"))["devices"] == []

    play(tmp_path, first)
    play(tmp_path, second)


def test_a_restart_tells_clients_nothing_new(tmp_path: Path) -> None:
    async def second(world: DeviceWorld) -> None:
        await asyncio.sleep(1)
        assert world.bus.told == []
        assert world.reports() == []

    play(tmp_path, known)
    play(tmp_path, second)


def test_the_memberships_of_a_kubeedge_cloud_are_followed(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        wanted = {"expected": {"value": "50"}, "expected_version": {"cloud": 7, "edge": 0}, "metadata": {"type": "int"}}
        added = p.DeviceMembership(
            body=b'{"added_devices":[{"id":"boiler","name":"boiler","twin":{"setpoint":%s}}],"removed_devices":null}'
            % msgspec.json.encode(wanted)
        )
        await world.twin.from_cloud(None, added)  # type: ignore[arg-type]
        assert (await world.bus.until("membership/updated"))["added_devices"] == [{"id": "boiler", "name": "boiler"}]
        assert (await world.bus.until("twin/update/delta"))["delta"] == {"setpoint": "50"}
        removed = p.DeviceMembership(body=b'{"added_devices":null,"removed_devices":[{"id":"boiler"}]}')
        await world.twin.from_cloud(None, removed)  # type: ignore[arg-type]
        assert world.twin.health()["devices"] == 0
        await world.twin.from_cloud(None, p.DeviceMembership(body=b"[]"))  # type: ignore[arg-type]

    play(tmp_path, test)


@pytest.mark.parametrize("with_data", [True, False])
def test_a_mapper_learns_what_it_should_know_whenever_it_comes(tmp_path: Path, with_data: bool) -> None:
    async def test(world: DeviceWorld) -> None:
        mapper = RememberingMapper("modbus", tmp_path / "modbus.sock")
        async with mapper.serving():
            await known(world)
            await world.bus.until("twin/update/delta")
            said = await mapper.register(world.socket, with_data=with_data)
            if with_data:
                assert [model.name for model in said.models] == ["probe"]
                assert [boiler.name for boiler in said.devices] == ["boiler"]
            else:
                names = [name for name, _ in await mapper.until(2)]
                assert names == ["CreateDeviceModel", "RegisterDevice"]
            before = len(mapper.calls)
            changed = device()
            changed["spec"]["properties"][1]["desired"]["value"] = "45"
            await world.put(changed, "update")
            name, told = (await mapper.until(before + 1))[-1]
            assert (name, told.spec.properties[1].desired.value) == ("UpdateDevice", "45")
            await world.push("delete", "plant/device/boiler", changed)
            names = [name for name, _ in (await mapper.until(before + 3))[before + 1 :]]
            assert names == ["RemoveDevice", "RemoveDeviceModel"]

    for_real(tmp_path, test)


def test_a_mapper_that_is_away_or_refuses_is_told_again(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        mapper = RememberingMapper("modbus", tmp_path / "modbus.sock")
        await mapper.register(world.socket, with_data=True)
        await known(world)
        await comes_true(lambda: "plant/boiler" in world.twin.health()["troubles"])
        assert "does not answer" in world.twin.health()["troubles"]["plant/boiler"]
        mapper.fail = OctoedgeError("the bus is busy")
        async with mapper.serving():
            await comes_true(lambda: "the bus is busy" in world.twin.health()["troubles"].get("plant/boiler", ""))
            mapper.fail = None
            assert [name for name, _ in await mapper.until(2)] == ["CreateDeviceModel", "RegisterDevice"]
            await comes_true(lambda: not world.twin.health()["troubles"])

    for_real(tmp_path, test)


def test_a_restart_of_edgecore_tells_a_mapper_only_what_changed(tmp_path: Path) -> None:
    mapper_path = tmp_path / "modbus.sock"

    async def first(world: DeviceWorld) -> None:
        await known(world)
        await world.bus.until("twin/update/delta")
        await RememberingMapper("modbus", mapper_path).register(world.socket, with_data=True)

    async def second(world: DeviceWorld) -> None:
        mapper = RememberingMapper("modbus", mapper_path)
        async with mapper.serving():
            changed = device(methods=[{"name": "set", "propertyNames": ["setpoint"]}])
            await world.put(changed, "update")
            assert [name for name, _ in await mapper.until(1)] == ["UpdateDevice"]

    for_real(tmp_path, first)
    for_real(tmp_path, second)


def test_what_a_mapper_reports_is_stored_and_sent_with_its_remarks(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        await known(world)
        channel = Channel(str(world.socket))
        reported = m.TwinProperty("38", {"timestamp": "1769847300000", "type": "int", "quality": "good"})
        twin = m.Twin("setpoint", m.TwinProperty("35"), reported)
        report = m.ReportDeviceStatusRequest("boiler", m.DeviceStatus((twin,)), "plant")
        await call(channel, MANAGER["ReportDeviceStatus"], report, SECONDS)
        await call(
            channel, MANAGER["ReportDeviceStates"], m.ReportDeviceStatesRequest("boiler", "plant", "OK"), SECONDS
        )
        await comes_true(lambda: len(world.reports()) == 2)
        told = next(sent for sent in world.reports() if isinstance(sent, p.TwinReport)).json()["twin"]["setpoint"]
        assert told["actual"]["metadata"]["quality"] == "good"
        assert told["actual"]["metadata"]["sourceTime"] == "1769847300000"
        assert told["expected"]["value"] == "35", "the desired value that the mapper worked with"
        await world.say(f"{TOPIC}/twin/get", {"event_id": "a"})
        kept = (await world.bus.until("twin/get/result"))["twin"]["setpoint"]["expected"]["value"]
        assert kept == "40", "… which is no wish of its own"
        for bad in (
            m.ReportDeviceStatusRequest("boiler", None, "plant"),
            m.ReportDeviceStatusRequest("", m.DeviceStatus((twin,)), "plant"),
            m.ReportDeviceStatusRequest("strange", m.DeviceStatus((twin,)), "plant"),
        ):
            with pytest.raises(GrpcError):
                await call(channel, MANAGER["ReportDeviceStatus"], bad, SECONDS)
        info = m.MapperInfo("x", protocol="y", address=b"unix:///x.sock")
        with pytest.raises(GrpcError, match="absolute path"):
            await call(channel, MANAGER["MapperRegister"], m.MapperRegisterRequest(True, info), SECONDS)
        channel.close()

    for_real(tmp_path, test)


def test_why_a_device_is_offline_goes_up_with_its_state_and_is_over_with_it(tmp_path: Path) -> None:
    async def test(world: DeviceWorld) -> None:
        await known(world)
        channel = Channel(str(world.socket))
        why = "temperature: no answer from 10.0.0.5:502"
        for count, said in enumerate((("offline", why), ("online", "")), 1):
            report = m.ReportDeviceStatesRequest("boiler", "plant", *said)
            await call(channel, MANAGER["ReportDeviceStates"], report, SECONDS)
            told = await world.bus.until("state/update/result", count)
            assert (told["device"]["state"], told["device"].get("reason", "")) == said
            assert world.twin.health()["troubles"].get("plant/boiler", "") == said[1]
            await comes_true(functools.partial(_reported, world, said))
        channel.close()

    for_real(tmp_path, test)


def _reported(world: DeviceWorld, state: tuple[str, str]) -> bool:
    told = [sent.json()["device"] for sent in world.reports() if isinstance(sent, p.DeviceStateReport)]
    return any((one["state"], one.get("reason", "")) == state for one in told)


def test_the_socket_lies_where_kubeedge_has_it() -> None:
    assert socket_path("") == Path("/etc/kubeedge/dmi.sock")
    assert socket_path("/run/edge/") == Path("/run/edge/dmi.sock")
    assert socket_path("/run/edge/other.sock") == Path("/run/edge/dmi.sock")
