"""Devices: what a value takes from an MQTT client or a mapper to disk and to the API, what a wish takes down to a
mapper, and what a thousand devices cost.

    MQTT, DMI ──► EdgeCore (stored, answered) ──► CloudCore ──► DeviceStatus in the API
    UpdateDevice of a mapper ◄── EdgeCore ◄── CloudCore ◄── Device in the API

Rates are those of the store: every update counts when its answer came, which is after it is on disk; to the cloud every
device counts, whose value is in the API.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import msgspec

from octoedge.commands.bench.process import cpu_seconds, memory
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.world import DEADLINE, World
from octoedge.dmi import messages as m
from octoedge.dmi.messages import CODEC
from octoedge.dmi.services import MANAGER, MAPPER, call
from octoedge.errors import ConnectionClosed, DeadlineError
from octoedge.kube.kinds import DEVICEMODELS, DEVICES, DEVICESTATUSES
from octoedge.transport.grpc import Channel
from octoedge.transport.grpc_server import serving
from octoedge.transport.mqtt import Broker, MqttClient, connect
from octoedge.transport.mqtt_packets import Published

Json = dict[str, Any]
MANY = 1000
UPDATES = 4000
AT_ONCE = 32
LATENCIES = 100
TO_API = 50
BOTH = ("eventBus", "deviceTwin")
SETTLE = 8.0
ROUNDS = 3  # what the allocator keeps differs by half a MiB from one start to the next
IDLE = 60.0
API = "devices.kubeedge.io/v1beta1"


async def devices(world: World) -> Samples:
    """One device, then a thousand, which are reported through MQTT and through DMI."""
    samples: Samples = {}
    held = [[await _held(world, modules) for modules in ((), ("eventBus",), BOTH)] for _ in range(ROUNDS)]
    samples["devices_add"] = [max(0.0, both - none) for none, _, both in held]
    samples["devices_add_bus"] = [max(0.0, bus - none) for none, bus, _ in held]
    await world.client.create(DEVICEMODELS, "default", _model())
    await _create(world, range(1))
    pid = world.pid("edgecore")
    async with _client(world) as client:
        await client.known(1)
        await client.updated(0, "1")
        one = memory(pid).private
        samples["devices_add_one"] = [max(0.0, one - held[-1][-1])]
    samples["wish_device"] = await _wishes(world)
    samples["devices_add_mapper"] = [max(0.0, memory(pid).private - one)]
    await _create(world, range(1, MANY))
    async with _client(world) as client:
        await client.known(MANY)
        samples["mqtt_result"] = [1000 * await client.updated(0, str(n)) for n in range(LATENCIES)]
        samples["mqtt_api"] = await _to_api(world, client)
        samples["cloud_rate"] = [await _to_cloud(world, client)]
        samples["mqtt_rate"] = [await _rate(lambda n: client.updated(n % MANY, str(n)))]
    samples["dmi_rate"] = [await _dmi(world)]
    samples["devices_1000_private"] = [await _held(world, BOTH)]
    pid = world.pid("edgecore")
    began = cpu_seconds(pid)
    await asyncio.sleep(IDLE)
    samples["devices_1000_cpu"] = [(cpu_seconds(pid) - began) * 60 / IDLE]
    return samples


async def _held(world: World, modules: tuple[str, ...]) -> float:
    """Private memory after a warm restart, with these of the modules of devices on."""
    file = world.layout.edgecore_file
    changed = await asyncio.to_thread(file.read_text)
    for module in BOTH:
        changed = re.sub(rf"({module}:\n +enable: )\w+", rf"\g<1>{str(module in modules).lower()}", changed)
    await asyncio.to_thread(file.write_text, changed)
    await asyncio.to_thread(world.stop, "edgecore")
    await asyncio.to_thread(world.daemon("edgecore").start)
    await asyncio.sleep(SETTLE)
    return memory(world.pid("edgecore")).private


def _model() -> bytes:
    properties = [{"name": "value", "type": "INT", "accessMode": "ReadWrite"}]
    spec = {"protocol": "bench", "properties": properties}
    meta = {"name": "bench", "namespace": "default"}
    return msgspec.json.encode({"apiVersion": API, "kind": "DeviceModel", "metadata": meta, "spec": spec})


async def _create(world: World, numbers: range) -> None:
    for first in range(numbers.start, numbers.stop, AT_ONCE):
        part = range(first, min(first + AT_ONCE, numbers.stop))
        await asyncio.gather(*(world.client.create(DEVICES, "default", _device(world, n)) for n in part))


def _device(world: World, number: int) -> bytes:
    spec = {
        "deviceModelRef": {"name": "bench"}, "nodeName": world.layout.node, "protocol": {"protocolName": "bench"},
        "properties": [{"name": "value", "visitors": {"protocolName": "bench"}}],
    }  # fmt: skip
    meta = {"name": f"bench-{number}", "namespace": "default"}
    return msgspec.json.encode({"apiVersion": API, "kind": "Device", "metadata": meta, "spec": spec})


class _Client:
    """An MQTT client that knows when its updates are answered."""

    def __init__(self, world: World, client: MqttClient) -> None:
        self._node = world.layout.node
        self._client = client
        self._waiting: dict[str, asyncio.Future[Json]] = {}
        self._number = 0

    async def pump(self) -> None:
        """Take answers until the connection ends."""
        with contextlib.suppress(ConnectionClosed):
            async for message in self._client.messages():
                if isinstance(message, Published):
                    said = msgspec.json.decode(message.payload)
                    waiting = self._waiting.pop(said.get("event_id", ""), None)
                    if waiting is not None and not waiting.done():
                        waiting.set_result(said)

    async def listen(self) -> None:
        """Hear every answer."""
        patterns = ("$hw/events/device/+/+/twin/update/result", "$hw/events/node/+/membership/get/result")
        await self._client.subscribe([(pattern, 0) for pattern in patterns])

    async def known(self, count: int) -> None:
        """Return when the node has so many devices."""
        until = time.monotonic() + DEADLINE * 3
        while time.monotonic() < until:
            said = await self._ask(f"$hw/events/node/{self._node}/membership/get", {})
            if len(said["devices"]) >= count:
                return
            await asyncio.sleep(0.5)
        raise DeadlineError(f"the node did not get {count} devices")

    async def updated(self, device: int, value: str) -> float:
        """Report a value; seconds until the answer says that it is stored."""
        began = time.monotonic()
        twin = {"value": {"actual": {"value": value}}}
        said = await self._ask(f"$hw/events/device/default/bench-{device}/twin/update", {"twin": twin})
        if "code" in said:
            raise DeadlineError(f"the update of device {device} was refused: {said['reason']}")
        return time.monotonic() - began

    async def _ask(self, topic: str, content: Json) -> Json:
        self._number += 1
        event = f"bench-{self._number}"
        waiting: asyncio.Future[Json] = asyncio.get_running_loop().create_future()
        self._waiting[event] = waiting
        await self._client.publish(topic, msgspec.json.encode({"event_id": event, **content}), quality=0)
        async with asyncio.timeout(DEADLINE):
            return await waiting


@contextlib.asynccontextmanager
async def _client(world: World) -> AsyncIterator[_Client]:
    mqtt = await connect(Broker(f"tcp://127.0.0.1:{world.layout.ports.mqtt}", "bench"))
    client = _Client(world, mqtt)
    async with asyncio.TaskGroup() as group:
        group.create_task(client.pump())
        await client.listen()
        try:
            yield client
        finally:
            mqtt.close()


async def _to_api(world: World, client: _Client) -> list[float]:
    """Report values, one after the other; milliseconds until a watch says that DeviceStatus has each."""
    version = (await world.client.list(DEVICESTATUSES, "default")).version
    events = world.client.watch(DEVICESTATUSES, "default", version=version, fields="metadata.name=bench-0")
    samples: list[float] = []
    async with asyncio.timeout(DEADLINE):
        for value in range(1000, 1000 + TO_API):
            began = time.monotonic()
            await client.updated(0, str(value))
            async for event in events:
                if event.type != "BOOKMARK" and _value(event.object) == str(value):
                    break
            samples.append(1000 * (time.monotonic() - began))
    return samples[1:]  # the first one opened the watch


async def _to_cloud(world: World, client: _Client) -> float:
    """Every device reports a new value at once; devices a second whose value is in the API."""
    began = time.monotonic()
    await _rate(lambda n: client.updated(n, "77"), MANY)
    async with asyncio.timeout(DEADLINE):
        while any(_value(obj) != "77" for obj in (await world.client.list(DEVICESTATUSES, "default")).items):  # noqa: ASYNC110
            await asyncio.sleep(0.05)  # only the API itself tells when all of them are in
    return MANY / (time.monotonic() - began)


def _value(status: bytes) -> str:
    twins = msgspec.json.decode(status).get("status", {}).get("twins") or [{}]
    return str(twins[0].get("reported", {}).get("value", ""))


async def _wishes(world: World) -> list[float]:
    """Patch a Device's wish; milliseconds until its mapper is told."""
    told: asyncio.Queue[str] = asyncio.Queue(1000)

    async def update(request: bytes) -> bytes:
        (prop,) = CODEC.decode(request, m.DeviceRequest).device.spec.properties
        told.put_nowait(prop.desired.value)
        return b""

    async def other(_: bytes) -> bytes:
        return b""

    path = world.layout.edge / "bench.sock"
    methods = {method.path: update if name == "UpdateDevice" else other for name, method in MAPPER.items()}
    channel = Channel(str(world.layout.edge / "dmi.sock"))
    samples: list[float] = []
    async with serving(path, 0o600, methods), asyncio.timeout(DEADLINE):
        info = m.MapperInfo("bench", "v1", "v1beta1", "bench", str(path).encode(), "ok")
        await call(channel, MANAGER["MapperRegister"], m.MapperRegisterRequest(True, info), DEADLINE)
        for number in range(LATENCIES):
            patch = {"spec": {"properties": [{"name": "value", "desired": {"value": str(number)}}]}}
            began = time.monotonic()
            await world.client.patch(DEVICES, "default", "bench-0", msgspec.json.encode(patch))
            while await told.get() != str(number):
                pass
            samples.append(1000 * (time.monotonic() - began))
    channel.close()
    return samples


async def _rate(update: Callable[[int], Awaitable[object]], count: int = UPDATES) -> float:
    """Updates a second, so many at once."""
    numbers = iter(range(count))

    async def some() -> None:
        for number in numbers:
            await update(number)

    began = time.monotonic()
    await asyncio.gather(*(some() for _ in range(AT_ONCE)))
    return count / (time.monotonic() - began)


async def _dmi(world: World) -> float:
    channel = Channel(str(world.layout.edge / "dmi.sock"))

    async def update(number: int) -> None:
        twin = m.Twin("value", m.TwinProperty(), m.TwinProperty(str(number)))
        request = m.ReportDeviceStatusRequest(f"bench-{number % MANY}", m.DeviceStatus((twin,)), "default")
        await call(channel, MANAGER["ReportDeviceStatus"], request, DEADLINE)

    try:
        return await _rate(update)
    finally:
        channel.close()
