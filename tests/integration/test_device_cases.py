"""KubeEdge's way with devices, case by case: what its demonstrations and its limits promise, on real sockets.

Here, with a real mosquitto and DMI sockets: 2 a counter over DMI, 8 a conflict of versions, 10 limits, 12 states.
In `tests/e2e/test_devices.py`, with kubectl and real Modbus servers: 1 the counter of 1.11, 3 the Modbus thermometer,
4 two namespaces, 5 offline, 6 restarts.
"""

from __future__ import annotations

import asyncio
import functools
import time
import urllib.request
from collections.abc import Callable, Sized
from pathlib import Path
from typing import Any

import msgspec

from octoedge.dmi import messages as m
from octoedge.dmi.services import MANAGER, call
from octoedge.dmi.values import unpack
from octoedge.mappers.framework import run as mappers
from octoedge.protocol import payloads as p
from octoedge.testing.devices import MODEL, DeviceWorld, RememberingMapper, device
from octoedge.testing.eventually import comes_true
from octoedge.testing.mosquitto import Mosquitto
from octoedge.transport.grpc import Channel

from .test_mapper import _free_port, _task
from .test_mqtt import TOPIC, Node, listening, run

COUNTER: dict[str, Any] = {
    "protocol": "virtual",
    "properties": [
        {"name": "status", "type": "STRING", "accessMode": "ReadWrite"},
        {
            "name": "count", "type": "INT", "accessMode": "ReadWrite",
            "visitors": {"protocolName": "virtual", "configData": {"kind": "counter", "stepMs": 50}},
        },
    ],
}  # fmt: skip


def told(world: DeviceWorld, name: str) -> list[str]:
    """Every value of a property that the cloud was told, in order."""
    twins = [one.json().get("twin", {}).get(name) for one in world.reports() if isinstance(one, p.TwinReport)]
    return [twin["actual"]["value"] for twin in twins if twin and "actual" in twin]


def test_case_2_a_counter_over_dmi_with_methods_and_without_settings(tmp_path: Path) -> None:
    async def main() -> None:
        port = _free_port()
        async with Mosquitto(tmp_path) as broker, listening(broker) as client:
            node = Node(tmp_path, broker)
            settings = mappers.Settings(node.world.socket, tmp_path / "mapper.sock", http_port=port)
            async with node.running(), _task(mappers.serve(mappers.load("virtual"), settings)):
                world = node.world
                await world.push("insert", "plant/devicemodel/probe", {**MODEL, "spec": COUNTER})
                methods = [
                    {"name": "UpdateStatus", "propertyNames": ["status"]},
                    {"name": "GetCount", "propertyNames": ["count"]},
                ]
                properties = [{"name": name, "reportToCloud": True, "collectCycle": 50} for name in ("status", "count")]
                protocol = {"protocolName": "virtual", "configData": None}
                await world.put(device("counter", protocol=protocol, properties=properties, methods=methods))
                await comes_true(lambda: len(told(world, "count")) > 1 and int(told(world, "count")[-1]) > 1)
                counts = [int(value) for value in told(world, "count")]
                assert counts == sorted(counts)
                url = f"http://127.0.0.1:{port}/api/v1/devicemethod/plant/counter/UpdateStatus/status/1"
                await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=10).read())
                await comes_true(lambda: told(world, "status")[-1:] == ["1"])
                await world.put(device("counter", protocol=protocol), "delete")
                await comes_true(lambda: client.on("membership/updated")[-1]["removed_devices"])
                await comes_true(lambda: world.twin.health()["devices"] == 0)
                before = len(world.reports())
                await asyncio.sleep(0.3)  # several beats of the device that is gone
                assert len(world.reports()) == before

    run(main)


def test_case_8_an_older_version_of_a_cloud_does_not_win(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker, listening(broker) as client:
            node = Node(tmp_path, broker)
            async with node.running():
                world = node.world
                await world.push("insert", "plant/devicemodel/probe", MODEL)
                await world.put(device())
                for value in ("44", "45"):
                    await client.say(f"{TOPIC}/twin/update", {"twin": {"setpoint": {"expected": {"value": value}}}})
                await comes_true(lambda: len(client.on("twin/update/result")) == 2)
                old = {"expected": {"value": "39"}, "expected_version": {"cloud": 1, "edge": 1}, "metadata": {}}
                told_before = len(world.reports())
                await client.say(f"{TOPIC}/twin/cloud_updated", {"twin": {"setpoint": old}})
                await comes_true(lambda: len(world.reports()) > told_before)
                said = world.reports()[-1].json()["twin"]["setpoint"]
                assert (said["expected"]["value"], said["expected_version"]["edge"]) == ("45", 2)
                await client.say(f"{TOPIC}/twin/get", {"event_id": "now"})
                await comes_true(lambda: client.on("twin/get/result"))
                assert client.on("twin/get/result")[-1]["twin"]["setpoint"]["expected"]["value"] == "45"

    run(main)


def test_case_10_limits_of_mqtt_clients(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker, listening(broker) as client:
            node = Node(tmp_path, broker)
            async with node.running():
                await node.world.push("insert", "plant/devicemodel/probe", MODEL)
                await node.world.put(device())

                async def answer(number: int, **twin: Any) -> Any:
                    await client.say(f"{TOPIC}/twin/update", {"event_id": f"e{number}", "twin": twin})
                    await comes_true(lambda: len(client.on("twin/update/result")) == number)
                    return client.heard[
                        max(n for n, (topic, _) in enumerate(client.heard) if topic.endswith("twin/update/result"))
                    ]

                topic, refused = await answer(1, **{"k" * 129: {"actual": {"value": "1"}}})
                assert (topic, refused["code"]) == ("$hw/events/device//twin/update/result", 400)
                assert "1 to 128" in refused["reason"]
                _, taken = await answer(2, **{"k" * 128: {"actual": {"value": "1"}}})
                assert "code" not in taken
                _, taken = await answer(3, note={"actual": {"value": "two words, 21 °C"}})
                assert taken["twin"]["note"]["actual"]["value"] == "two words, 21 °C", "KubeEdge takes no blanks; we do"
                _, taken = await answer(4, ratio={"actual": {"value": "0.5"}, "metadata": {"type": "double"}})
                assert taken["twin"]["ratio"]["metadata"]["type"] == "double", "KubeEdge's models have DOUBLE"
                topic, refused = await answer(5, odd={"actual": {"value": "1"}, "metadata": {"type": "no-such-type"}})
                assert (topic, refused["code"]) == (f"{TOPIC}/twin/update/result", 400)

    run(main)


def test_case_10_limits_of_mappers(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker:
            node = Node(tmp_path, broker)
            async with node.running():
                world = node.world
                mapper = RememberingMapper("modbus", tmp_path / "go.sock")
                await world.push("insert", "plant/devicemodel/probe", MODEL)
                data = {"slaveID": 3, "data": {"a": 1}, "nested": {"er": [1, 2]}, "large": 16777217, "gone": None}
                bare = [{"name": "temperature", "reportToCloud": True}, {"name": "setpoint"}]
                await world.put(device(protocol={"protocolName": "modbus", "configData": data}, properties=bare))
                async with mapper.serving():
                    known = await mapper.register(world.socket, with_data=True)
                (given,) = known.devices
                settings = {one.key: unpack(one.value) for one in given.spec.protocol.config_data.data}
                assert settings["slaveID"] == 3
                assert settings["large"] == 16777217, "more than the 24 bits of KubeEdge's number"
                assert msgspec.json.decode(settings["nested"]) == {"er": [1, 2]}
                assert msgspec.json.decode(settings["data"]) == {"a": 1}, "KubeEdge's EdgeCore loses such a device"
                assert "gone" not in settings
                assert [one.name for one in given.spec.properties] == ["temperature", "setpoint"]
                await a_mapper_is_not_throttled(world)

    run(main)


async def a_mapper_is_not_throttled(world: DeviceWorld) -> None:
    """KubeEdge's EdgeCore takes a hundred calls, then one a second."""
    channel = Channel(str(world.socket))
    began = time.monotonic()
    try:
        for number in range(300):
            twin = m.Twin("temperature", m.TwinProperty(), m.TwinProperty(str(number)))
            request = m.ReportDeviceStatusRequest("boiler", m.DeviceStatus((twin,)), "plant")
            await call(channel, MANAGER["ReportDeviceStatus"], request, 10)
    finally:
        channel.close()
    assert time.monotonic() - began < 30
    await comes_true(lambda: told(world, "temperature")[-1:] == ["299"])


def _has(look: Callable[[], Sized], number: int) -> bool:
    return len(look()) == number


def test_case_12_states(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker, listening(broker) as client:
            node = Node(tmp_path, broker)
            async with node.running():
                world = node.world
                await world.push("insert", "plant/devicemodel/probe", MODEL)
                await world.put(device())
                for number, state in enumerate(("Online", "foo", "unhealthy", "OK", "unknown"), 1):
                    said = {"event_id": f"e{number}", "state": state}
                    await client.say(f"{TOPIC}/state/update", said)
                    answered = functools.partial(client.on, "state/update/result")
                    await comes_true(functools.partial(_has, answered, number))
                answers = client.on("state/update/result")
                assert [one.get("code", 0) for one in answers] == [0, 400, 0, 0, 0]
                await comes_true(lambda: world.reports()[-1].json()["device"]["state"] == "unknown")
                kept = [one["device"] for one in answers if "device" in one]
                assert [one["state"] for one in kept] == ["Online", "unhealthy", "OK", "unknown"], "as they were said"
                assert [bool(one.get("lastOnlineTime")) for one in kept] == [True, False, True, False]

    run(main)
