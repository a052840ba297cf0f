"""Our MQTT client, EventBus and DeviceTwin with a real mosquitto that is killed and started again."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api.config.edgecore import EventBus as Config
from octoedge.api.config.edgecore import EventBusTls as Tls
from octoedge.edge.eventbus.eventbus import EventBus
from octoedge.edge.eventbus.settings import sides
from octoedge.edge.eventbus.table import Table
from octoedge.edge.ports import Reports
from octoedge.errors import ConfigError, ConnectError, ConnectionClosed, ConnectionRefusedByPeer
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.resource import Resource
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing import tls
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
        def bus(database: Database, reports: Reports) -> EventBus:
            self.bus = EventBus(sides(Config(mqtt_server_external=broker.url), "edge-1"), Table(database, reports))
            return self.bus

        self.world = DeviceWorld(path, CloudLink(), SystemClock(), Database, bus)
        for payload in (p.TopicSubscribe, p.TopicUnsubscribe, p.TopicPublish):
            self.world.meta.hand_on(payload, self.bus.from_cloud)
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


def test_what_clients_say_to_the_cloud_outlives_its_absence_and_rules_outlive_restarts(tmp_path: Path) -> None:
    async def main() -> None:
        async with Mosquitto(tmp_path) as broker, listening(broker, topic="#") as client:
            node = Node(tmp_path, broker)
            async with node.running():
                cloud = node.world.cloud
                await node.bus.from_cloud(_NO_MESSAGE, _wish(p.TopicSubscribe, "plant/+/alarm"))
                await node.bus.from_cloud(_NO_MESSAGE, _wish(p.TopicSubscribe, "plant/#/alarm"))
                await node.bus.from_cloud(_NO_MESSAGE, _wish(p.TopicSubscribe, "plant/gone"))
                await node.bus.from_cloud(_NO_MESSAGE, _wish(p.TopicUnsubscribe, "plant/gone"))
                await node.bus.from_cloud(_NO_MESSAGE, _wish(p.TopicPublish, "plant/lamp", b'"on"'))
                await comes_true(lambda: client.on("plant/lamp") == ["on"])
                for topic in ("plant/a/alarm", "plant/gone", "elsewhere/a"):
                    await client.mqtt.publish(topic, topic.encode())
                await comes_true(lambda: _uploads(cloud) == [("plant/a/alarm", b"plant/a/alarm")])
                cloud.set_connected(False)
                for topic in ("SYS/dis/upload_records", "app/user/x", "$hw/events/upload/y"):
                    await client.mqtt.publish(topic, b"payload-1")
                await client.mqtt.publish("app/user/x", b"payload-2")
                await comes_true(lambda: len(node.world.meta.outbox) == 4)
            again = Node(tmp_path, broker)
            async with again.running():
                await client.mqtt.publish("plant/b/alarm", b"3")
                await comes_true(lambda: len(_uploads(again.world.cloud)) == 5)
                told = _uploads(again.world.cloud)
                assert told[:4] == [
                    ("SYS/dis/upload_records", b"payload-1"), ("app/user/x", b"payload-1"),
                    ("$hw/events/upload/y", b"payload-1"), ("app/user/x", b"payload-2"),
                ]  # fmt: skip
                assert told[4] == ("plant/b/alarm", b"3")
                await comes_true(lambda: len(again.world.meta.outbox) == 0)

    run(main)


def _uploads(cloud: CloudLink) -> list[tuple[str, bytes]]:
    return [(sent.resource.name, sent.body) for sent in cloud.requests if isinstance(sent, p.UserUpload)]


def _wish(kind: type[p.Payload], topic: str, body: bytes = b"") -> p.Payload:
    return kind(resource=Resource("", "topic", topic), body=body)


_NO_MESSAGE = Message(Header(msg_id="m"), Route(source="router_eventbus", group="user", operation="", resource=""))


def test_a_broker_with_tls_users_and_client_certificates(tmp_path: Path) -> None:
    async def main() -> None:
        files = await asyncio.to_thread(tls.make, tmp_path / "tls")
        await asyncio.to_thread(files.server)  # writes cloud.crt and cloud.key
        passwords = tmp_path / "passwords"
        await asyncio.to_thread(passwords.write_text, "probe:secret\n")
        await asyncio.to_thread(passwords.chmod, 0o600)
        await asyncio.to_thread(subprocess.run, ["mosquitto_passwd", "-U", str(passwords)], check=True)
        lines = (
            "allow_anonymous false", f"password_file {passwords}", f"cafile {files.ca_file}",
            f"certfile {files.directory}/cloud.crt", f"keyfile {files.directory}/cloud.key", "require_certificate true",
        )  # fmt: skip
        async with Mosquitto(tmp_path, *lines) as broker:
            url = broker.url.replace("tcp", "ssl")
            good = Config(
                mqtt_server_external=url, mqtt_username="probe", mqtt_password="secret",
                event_bus_tls=Tls(
                    enable=True, tls_mqtt_ca_file=str(files.ca_file), tls_mqtt_cert_file=str(files.certificate_file),
                    tls_mqtt_private_key_file=str(files.key_file),
                ),
            )  # fmt: skip
            [side] = sides(good, "edge-1")
            client = await connect(side.broker)
            client.close()
            with pytest.raises(ConnectionRefusedByPeer, match=r"not authorized|password is wrong"):
                await connect(msgspec.structs.replace(side.broker, password="wrong"))
            with pytest.raises((ConnectError, ConnectionClosed)):
                await connect(msgspec.structs.replace(side.broker, certificate_file="", key_file=""))
            with pytest.raises(ConnectError, match="certificate verify failed"):
                await connect(msgspec.structs.replace(side.broker, ca_file=""))
            with pytest.raises(ConfigError, match="cannot be used"):
                await connect(msgspec.structs.replace(side.broker, ca_file=str(tmp_path / "missing")))

    run(main)
