"""The node's own broker: a mosquitto that EdgeCore starts and that comes back, alone or beside another."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from octoedge.api.config.edgecore import EventBus as Config
from octoedge.api.config.edgecore import OwnBroker
from octoedge.edge.eventbus.access import socket_in
from octoedge.edge.eventbus.eventbus import EventBus
from octoedge.edge.eventbus.own import keep, own
from octoedge.edge.eventbus.settings import sides
from octoedge.edge.eventbus.table import Table
from octoedge.edge.ports import Reports
from octoedge.errors import ConfigError, ConnectError, ConnectionClosed, ConnectionRefusedByPeer
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing import tls
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, device
from octoedge.testing.eventually import comes_true
from octoedge.testing.mosquitto import Mosquitto
from octoedge.transport.mqtt import Broker, MqttClient, connect
from octoedge.transport.mqtt_packets import Published

TOPIC = "$hw/events/device/plant/boiler"


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.asynccontextmanager
async def node(
    path: Path, mode: int, port: int, external: str = "tcp://127.0.0.1:1", door: OwnBroker | None = None
) -> AsyncIterator[EventBus]:
    made: list[EventBus] = []
    internal = f"{'ssl' if door and door.tls_cert_file else 'tcp'}://127.0.0.1:{port}"
    config = Config(mqtt_mode=mode, mqtt_server_internal=internal, mqtt_server_external=external, mqtt_qos=1)
    broker = own(config.mqtt_server_internal, 100, path / "broker", door)
    brokers = sides(config, "edge-1", socket_in(path / "broker") if door else None)

    def bus(database: Database, reports: Reports) -> EventBus:
        made.append(EventBus(brokers, Table(database, reports), functools.partial(keep, broker)))
        return made[0]

    world = DeviceWorld(path, CloudLink(), SystemClock(), Database, bus)
    made[0].serve(world.twin)
    async with world.running(), asyncio.TaskGroup() as group:
        task = group.create_task(made[0].run(lambda: None))
        await comes_true(lambda: made[0].health() and all(side["connected"] for side in made[0].health()))
        await world.push("insert", "plant/devicemodel/probe", MODEL)
        await world.put(device())
        await comes_true(lambda: world.twin.health()["devices"] == 1)
        try:
            yield made[0]
        finally:
            task.cancel()


async def ask(url: str, event: str) -> bytes:
    """What a client of the broker is answered."""
    return await ask_as(Broker(url, f"client-{event}"), event)


async def ask_as(broker: Broker, event: str) -> bytes:
    """What this client is answered."""
    client = await connect(broker)
    async with asyncio.TaskGroup() as group:
        asking = group.create_task(_ask(client, event))
        try:
            async for message in client.messages():
                if isinstance(message, Published) and event.encode() in message.payload:
                    await asking
                    return message.payload
        finally:
            client.close()
    raise AssertionError("no answer")


async def _ask(client: MqttClient, event: str) -> None:
    await client.subscribe([(f"{TOPIC}/twin/get/result", 1)])
    await client.publish(f"{TOPIC}/twin/get", b'{"event_id": "%s"}' % event.encode())


def test_clients_are_served_again_after_the_broker_was_killed(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        async with asyncio.timeout(40), node(tmp_path, 0, port) as bus:
            assert [side["side"] for side in bus.health()] == ["internal"]
            assert b"twin" in await ask(f"tcp://127.0.0.1:{port}", "one")
            os.kill(pid(tmp_path), signal.SIGKILL)
            await comes_true(lambda: not bus.health()[0]["connected"])
            await comes_true(lambda: bus.health()[0]["connected"])
            assert b"twin" in await ask(f"tcp://127.0.0.1:{port}", "two")
            last = pid(tmp_path)
        with pytest.raises(ProcessLookupError):
            os.kill(last, 0)

    asyncio.run(main())


def test_clients_of_both_brokers_are_served(tmp_path: Path) -> None:
    async def main() -> None:
        port = free_port()
        async with asyncio.timeout(40), Mosquitto(tmp_path) as other, node(tmp_path, 1, port, other.url) as bus:
            assert [side["side"] for side in bus.health()] == ["internal", "external"]
            assert b"twin" in await ask(f"tcp://127.0.0.1:{port}", "one")
            assert b"twin" in await ask(other.url, "two")

    asyncio.run(main())


def test_a_broker_that_a_killed_edgecore_left_is_no_obstacle(tmp_path: Path) -> None:
    async def main() -> None:
        broker = own(f"tcp://127.0.0.1:{free_port()}", 100, tmp_path / "broker")
        async with asyncio.timeout(40), asyncio.TaskGroup() as group:
            first = group.create_task(keep(broker))
            await comes_true(lambda: (tmp_path / "broker/mosquitto.pid").exists() and pid(tmp_path))
            left = pid(tmp_path)
            second = group.create_task(keep(broker))
            await comes_true(lambda: pid(tmp_path) != left)
            first.cancel()
            second.cancel()

    asyncio.run(main())


def test_users_rights_and_tls(tmp_path: Path) -> None:
    files = tls.make(tmp_path / "tls")
    files.server()  # writes cloud.crt and cloud.key
    passwords = tmp_path / "passwords"
    for user, password in (("probe", "secret"), ("other", "geheim")):
        flags = ["-b"] if passwords.exists() else ["-c", "-b"]
        subprocess.run(["mosquitto_passwd", *flags, str(passwords), user, password], check=True, capture_output=True)
    passwords.chmod(0o600)
    door = OwnBroker(
        password_file=str(passwords),
        tls_cert_file=f"{files.directory}/cloud.crt",
        tls_private_key_file=f"{files.directory}/cloud.key",
        tls_client_ca_file=str(files.ca_file),
    )

    async def main() -> None:
        port = free_port()
        async with asyncio.timeout(40), node(tmp_path, 0, port, door=door) as bus:
            url = f"ssl://127.0.0.1:{port}"
            assert bus.health()[0]["broker"] == url, "not the socket by which EventBus itself comes"
            probe = Broker(
                url, "probe-1", username="probe", password="secret", ca_file=str(files.ca_file),
                certificate_file=str(files.certificate_file), key_file=str(files.key_file),
            )  # fmt: skip
            assert b"twin" in await ask_as(probe, "one")
            await refused(probe, bus)
            await rights(probe)
            for name in ("users", "rights", "tls.key"):
                assert (tmp_path / "broker" / name).stat().st_mode & 0o777 == 0o600
            assert (tmp_path / "broker").stat().st_mode & 0o777 == 0o700

    asyncio.run(main())


async def refused(probe: Broker, bus: EventBus) -> None:
    """Those who cannot say who they are; those who can are named."""
    for wrong in (
        {"password": "geheim"},
        {"username": "", "password": ""},
        {"certificate_file": "", "key_file": ""},
        {"url": probe.url.replace("ssl", "tcp")},
    ):
        with pytest.raises((ConnectionRefusedByPeer, ConnectError, ConnectionClosed)):
            await connect(msgspec.structs.replace(probe, **wrong))
    other = await connect(msgspec.structs.replace(probe, client_id="o", username="other", password="geheim"))
    await comes_true(lambda: bus.health()[0]["names"] == ["o (other)", "octoedge-edge-1"])
    other.close()
    await comes_true(lambda: bus.health()[0]["names"] == ["octoedge-edge-1"])


async def rights(probe: Broker) -> None:
    """What DeviceTwin tells clients, no client may say; all the rest is open to them."""
    client = await connect(msgspec.structs.replace(probe, client_id="liar"))
    async with asyncio.TaskGroup() as group:
        talking = group.create_task(_lie(client))
        try:
            async for message in client.messages():
                assert isinstance(message, Published)
                assert message.topic in ("any/topic", "$ke/events/device/x/data/update")
                if message.topic == "any/topic":
                    await talking
                    return
        finally:
            client.close()


async def _lie(client: MqttClient) -> None:
    await client.subscribe([("$hw/#", 1), ("any/#", 1), ("$ke/#", 1)])
    for topic in (f"{TOPIC}/twin/update/delta", "$SYS/broker/uptime", "$ke/events/device/x/data/update", "any/topic"):
        await client.publish(topic, b"{}", quality=0)


def pid(path: Path) -> int:
    text = (path / "broker/mosquitto.pid").read_text()
    return int(text) if text.strip() else 0


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("tcp://0.0.0.0:1884", "listens on the loopback only"),
        ("tcp://broker.example:1884", "listens on the loopback only"),
        ("ssl://127.0.0.1:1884", "listens on the loopback only"),
        ("tcp://127.0.0.1:port", "no address"),
    ],
)
def test_where_it_cannot_listen(tmp_path: Path, url: str, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        own(url, 1, tmp_path)


def test_without_mosquitto_the_error_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="apt install mosquitto"):
        own("tcp://localhost:1884", 1, tmp_path, places=str(tmp_path))
