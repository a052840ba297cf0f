"""The node's own broker: a mosquitto that EdgeCore starts and that comes back, alone or beside another."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import signal
import socket
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from octoedge.api.config.edgecore import EventBus as Config
from octoedge.edge.eventbus.eventbus import EventBus
from octoedge.edge.eventbus.own import keep, own
from octoedge.edge.eventbus.settings import sides
from octoedge.edge.eventbus.table import Table
from octoedge.edge.ports import Reports
from octoedge.errors import ConfigError
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
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
async def node(path: Path, mode: int, port: int, external: str = "tcp://127.0.0.1:1") -> AsyncIterator[EventBus]:
    made: list[EventBus] = []
    config = Config(
        mqtt_mode=mode, mqtt_server_internal=f"tcp://127.0.0.1:{port}", mqtt_server_external=external, mqtt_qos=1
    )
    broker = own(config.mqtt_server_internal, 100, path / "broker")

    def bus(database: Database, reports: Reports) -> EventBus:
        made.append(EventBus(sides(config, "edge-1"), Table(database, reports), functools.partial(keep, broker)))
        return made[0]

    world = DeviceWorld(path, CloudLink(), SystemClock(), Database, bus)
    made[0].serve(world.twin)
    async with world.running(), asyncio.TaskGroup() as group:
        task = group.create_task(made[0].run(lambda: None))
        await comes_true(lambda: made[0].health() and all(side["connected"] for side in made[0].health()))
        await world.push("insert", "plant/devicemodel/probe", MODEL)
        await world.put(device())
        try:
            yield made[0]
        finally:
            task.cancel()


async def ask(url: str, event: str) -> bytes:
    """What a client of the broker is answered."""
    client = await connect(Broker(url, f"client-{event}"))
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
        own("tcp://localhost:1884", 1, tmp_path, str(tmp_path))
