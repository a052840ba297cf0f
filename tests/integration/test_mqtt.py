"""Our MQTT client, EventBus and DeviceTwin with a real mosquitto that is killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api.config.edgecore import EventBus as Config
from octoedge.edge.eventbus.eventbus import EventBus
from octoedge.edge.eventbus.settings import sides
from octoedge.errors import ConfigError, ConnectError, ConnectionClosed, ConnectionRefusedByPeer
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, device
from octoedge.testing.eventually import comes_true
from octoedge.testing.mosquitto import Mosquitto
from octoedge.transport.mqtt import Broker, MqttClient, connect
from octoedge.transport.mqtt_packets import Published

SECONDS = 60.0
TOPIC = "$hw/events/device/plant/boiler"


class Client:
    """An MQTT client of a test: remembers what it hears."""

    def __init__(self, client: MqttClient) -> None:
        self.mqtt = client
        self.heard: list[tuple[str, Any]] = []
        self.over = asyncio.Event()

    async def pump(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            async for message in self.mqtt.messages():
                self.mqtt.acknowledge(message)
                if isinstance(message, Published):
                    with contextlib.suppress(msgspec.DecodeError):  # what it said itself, hostile as it may be
                        self.heard.append((message.topic, msgspec.json.decode(message.payload)))

        self.over.set()

    def on(self, ending: str) -> list[Any]:
        return [payload for topic, payload in self.heard if topic.endswith(ending)]

    async def say(self, topic: str, payload: Any) -> None:
        await self.mqtt.publish(topic, msgspec.json.encode(payload))


@contextlib.asynccontextmanager
async def listening(broker: Mosquitto, name: str = "test", topic: str = "$hw/events/#") -> AsyncIterator[Client]:
    client = Client(await broker.client(name))
    async with asyncio.TaskGroup() as group:
        group.create_task(client.pump())
        await client.mqtt.subscribe([(topic, 1)])
        try:
            yield client
        finally:
            client.mqtt.close()


class Node:
    """DeviceTwin and EventBus of a node."""

    def __init__(self, path: Path, broker: Mosquitto) -> None:
        self.bus = EventBus(sides(Config(mqtt_server_external=broker.url), "edge-1"))
        self.world = DeviceWorld(path, CloudLink(), SystemClock(), Database, self.bus)
        self.bus.serve(self.world.twin)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        async with self.world.running(), asyncio.TaskGroup() as group:
            task = group.create_task(self.bus.run(lambda: None))
            await comes_true(lambda: all(side["connected"] for side in self.bus.health()) and self.bus.health())
            try:
                yield
            finally:
                task.cancel()


def run(main: Any) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(SECONDS):
            await main()

    asyncio.run(bounded())


def test_messages_of_both_qualities_arrive_and_a_broken_broker_is_noticed(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker, listening(broker, topic="a/#") as client:
            for number in range(300):
                await client.mqtt.publish("a/b", b"%d" % number, quality=number % 2)
            await comes_true(lambda: len(client.heard) == 300)
            assert client.on("a/b") == list(range(300))
            await broker.kill()
            await client.over.wait()
            with pytest.raises(ConnectionClosed):
                await client.mqtt.publish("a/b", b"0")

    run(main)


def test_what_a_broker_refuses_is_said(tmp_path: Path) -> None:
    async def main() -> None:
        passwords = tmp_path / "passwords"
        await asyncio.to_thread(passwords.write_text, "")
        await asyncio.to_thread(passwords.chmod, 0o600)
        async with Mosquitto(tmp_path, "allow_anonymous false", f"password_file {passwords}") as broker:
            with pytest.raises(ConnectionRefusedByPeer, match=r"not authorized|password is wrong"):
                await connect(Broker(broker.url, "x", username="u", password="wrong"))
        with pytest.raises(ConnectError, match="cannot connect to the MQTT broker"):
            await connect(Broker(broker.url, "x"))
        with pytest.raises(ConfigError, match=r"should look like tcp://"):
            await connect(Broker("127.0.0.1:1883", "x"))

    run(main)


def test_a_value_goes_from_a_client_to_the_cloud_and_a_wish_back(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker, listening(broker) as client:
            node = Node(tmp_path, broker)
            async with node.running():
                world = node.world
                await world.push("insert", "plant/devicemodel/probe", MODEL)
                await world.put(device())
                await comes_true(lambda: client.on("twin/update/delta"))
                assert client.on("twin/update/delta")[-1]["delta"] == {"setpoint": "40"}
                await client.say(
                    f"{TOPIC}/twin/update", {"event_id": "1", "twin": {"setpoint": {"actual": {"value": "40"}}}}
                )
                await comes_true(lambda: client.on("twin/update/result") and world.reports())
                assert world.reports()[0].json()["twin"]["setpoint"]["actual"]["value"] == "40"
                await comes_true(lambda: node.bus.health()[0]["clients"])

    run(main)


def test_nothing_that_a_client_said_is_lost_over_restarts_of_edgecore_and_the_broker(tmp_path: Path) -> None:
    async def main() -> None:
        store = tmp_path / "mosquitto"
        await asyncio.to_thread(store.mkdir)
        lines = ("allow_anonymous true", "persistence true", f"persistence_location {store}/", "autosave_interval 1")
        async with Mosquitto(tmp_path, *lines) as broker:
            node = Node(tmp_path, broker)
            async with node.running():
                await node.world.push("insert", "plant/devicemodel/probe", MODEL)
                await node.world.put(device())
            async with listening(broker) as client:
                for number in range(200):
                    await client.say(f"{TOPIC}/twin/update", {"twin": {"setpoint": {"actual": {"value": str(number)}}}})
            node = Node(tmp_path, broker)
            async with node.running():
                await comes_true(lambda: node.world.reports())
                await comes_true(lambda: _latest(node.world) == "199")
                await broker.kill()
                await comes_true(lambda: not node.bus.health()[0]["connected"])
                await broker.start()
                await comes_true(lambda: node.bus.health()[0]["connected"])
                async with listening(broker) as client:
                    await client.say(f"{TOPIC}/twin/update", {"twin": {"setpoint": {"actual": {"value": "200"}}}})
                    await comes_true(lambda: client.on("twin/update/result"))
                await comes_true(lambda: _latest(node.world) == "200")

    run(main)


def _latest(world: DeviceWorld) -> str:
    for report in reversed(world.reports()):
        twin = report.json().get("twin", {})
        if "setpoint" in twin:
            return str(twin["setpoint"]["actual"]["value"])
    return ""


def test_hostile_messages_change_nothing_and_harm_nobody(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker, listening(broker) as client:
            node = Node(tmp_path, broker)
            async with node.running():
                await node.world.push("insert", "plant/devicemodel/probe", MODEL)
                await node.world.put(device())
                await comes_true(lambda: client.on("twin/update/delta"))
                for payload in (
                    b"",
                    b"\xff\xfe",
                    b"{" * 10_000,
                    b"x" * 200_000,
                    b"x" * 2_000_000,
                    b'{"twin":{"":null}}',
                ):
                    await client.mqtt.publish(f"{TOPIC}/twin/update", payload)
                for topic in (
                    f"{TOPIC}/twin/oops",
                    "$hw/events/device/a/b/twin/update",
                    "$hw/events/node//membership/get",
                ):
                    await client.say(topic, {"twin": {"t": {"actual": {"value": "1"}}}})
                await client.say(
                    f"{TOPIC}/twin/update", {"event_id": "last", "twin": {"setpoint": {"actual": {"value": "1"}}}}
                )
                await comes_true(lambda: [x for x in client.on("boiler/twin/update/result") if x["event_id"] == "last"])
                assert {refused["code"] for refused in client.on("device//twin/update/result")} == {400}

    run(main)
