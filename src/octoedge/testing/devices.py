"""Devices for tests: a node's DeviceTwin on a real SQLite file with a bus that remembers, and a mapper that does."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.dmi import messages as m
from octoedge.dmi.services import MANAGER, call, mapper_methods
from octoedge.edge.devicetwin.devicetwin import DeviceTwin
from octoedge.edge.metamanager.metamanager import MetaManager
from octoedge.edge.metamanager.schema import open_store
from octoedge.edge.ports import Bus, Change, Reports
from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.protocol.message import Header, Message, Route
from octoedge.runtime.channel import Receiver, Sender, channel
from octoedge.runtime.clock import Clock
from octoedge.store.sqlite import Database
from octoedge.testing.cloudlink import CloudLink
from octoedge.transport.grpc import Channel
from octoedge.transport.grpc_server import serving

SECONDS = 10.0


class RememberingBus:
    """Implements `ports.Bus`."""

    def __init__(self) -> None:
        self.told: list[tuple[str, Any]] = []
        self._changed = asyncio.Condition()
        self._news = asyncio.Event()

    def publish(self, topic: str, payload: bytes) -> None:
        self.told.append((topic, msgspec.json.decode(payload)))
        self._news.set()

    def on(self, ending: str) -> list[Any]:
        """All payloads on topics that end so."""
        return [payload for topic, payload in self.told if topic.endswith(ending)]

    async def until(self, ending: str, count: int = 1) -> Any:
        """The latest payload on such a topic, once there are `count`."""
        while len(self.on(ending)) < count:
            self._news.clear()
            await self._news.wait()
        return self.on(ending)[-1]


class DeviceWorld:
    """MetaManager and DeviceTwin of one node before a cloud that is a table."""

    def __init__(
        self, path: Path, cloud: CloudLink, clock: Clock, database: type[Database],
        make_bus: Callable[[Database, Reports], Bus] | None = None,
    ) -> None:  # fmt: skip
        self.cloud = cloud
        self.bus = RememberingBus()
        self.store = open_store(path / "edgecore.db", 0.0, database.open)
        self.meta = MetaManager(self.store, cloud, clock, None)
        ends: tuple[Sender[Change], Receiver[Change]] = channel("device changes", 100)
        sender, self.changes = ends
        for kind in ("device", "devicemodel"):
            self.meta.tell(kind, sender)
        self.socket = path / "dmi.sock"
        bus = make_bus(self.store.database, self.meta.outbox) if make_bus else self.bus
        self.twin = DeviceTwin(
            "edge-1", self.store.database, self.meta, self.meta.outbox, bus, self.changes, clock, self.socket
        )
        self._number = time.monotonic_ns()
        """Of messages and versions; it grows over restarts on the same file."""

    async def push(self, operation: str, path: str, content: Any) -> None:
        """An object comes from the cloud."""
        self._number += 1
        message = Message(
            Header(msg_id=f"p{self._number}"),
            Route(source="devicecontroller", group="resource", operation=operation, resource=path),
            msgspec.Raw(msgspec.json.encode(content)),
        )
        await self.meta.receive(message, routes.classify(routes.Direction.DOWN, message))

    async def put(self, device: dict[str, Any], operation: str = "insert") -> None:
        """A Device comes, with a new resourceVersion."""
        self._number += 1
        meta = {**device["metadata"], "resourceVersion": str(self._number)}
        await self.push(operation, f"{meta['namespace']}/device/{meta['name']}", {**device, "metadata": meta})

    async def say(self, topic: str, payload: Any) -> None:
        """An MQTT client publishes."""
        body = payload if isinstance(payload, bytes) else msgspec.json.encode(payload)
        await self.twin.receive(topic, body, lambda: None)

    def reports(self) -> list[p.Payload]:
        """What the cloud was told of devices."""
        return [sent for sent in self.cloud.requests if isinstance(sent, p.TwinReport | p.DeviceStateReport)]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[DeviceWorld]:
        """Both modules at work; a crash at the end, not an orderly stop."""
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(self.meta.run(lambda: None)), group.create_task(self.twin.run(ready.set))]
            await ready.wait()
            try:
                yield self
            finally:
                for task in tasks:
                    task.cancel()
        self.meta.close()


class RememberingMapper:
    """Implements `dmi.services.DeviceMapper`: takes everything, or refuses what `fail` says."""

    def __init__(self, protocol: str, path: Path, version: str = "v1", name: str = "remembering") -> None:
        self.path = path
        self.info = m.MapperInfo(name, version, "v1beta1", protocol, str(path).encode(), "ok")
        self.calls: list[tuple[str, Any]] = []
        self.fail: Exception | None = None
        self._news = asyncio.Event()

    async def until(self, count: int) -> list[tuple[str, Any]]:
        """All calls, once there are `count`."""
        while len(self.calls) < count:
            self._news.clear()
            await self._news.wait()
        return self.calls

    def serving(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Listen on the mapper's socket."""
        return serving(self.path, 0o600, mapper_methods(self))

    async def register(self, socket: Path, *, with_data: bool) -> m.MapperRegisterResponse:
        """Register with an EdgeCore."""
        channel = Channel(str(socket))
        try:
            request = m.MapperRegisterRequest(with_data, self.info)
            response: m.MapperRegisterResponse = await call(channel, MANAGER["MapperRegister"], request, SECONDS)
        finally:
            channel.close()
        return response

    async def register_device(self, request: m.DeviceRequest) -> m.Named:
        self._note("RegisterDevice", request.device)
        return m.Named(request.device.name, request.device.namespace)

    async def remove_device(self, request: m.Named) -> m.Empty:
        return self._note("RemoveDevice", request)

    async def update_device(self, request: m.DeviceRequest) -> m.Empty:
        return self._note("UpdateDevice", request.device)

    async def create_device_model(self, request: m.ModelRequest) -> m.Named:
        self._note("CreateDeviceModel", request.model)
        return m.Named(request.model.name, request.model.namespace)

    async def remove_device_model(self, request: m.Named) -> m.Empty:
        return self._note("RemoveDeviceModel", request)

    async def update_device_model(self, request: m.ModelRequest) -> m.Empty:
        return self._note("UpdateDeviceModel", request.model)

    async def get_device(self, request: m.Named) -> m.DeviceRequest:
        self._note("GetDevice", request)
        return m.DeviceRequest()

    def _note(self, name: str, what: Any) -> m.Empty:
        if self.fail is not None:
            raise self.fail
        self.calls.append((name, what))
        self._news.set()
        return m.Empty()


def device(name: str = "boiler", **spec: Any) -> dict[str, Any]:
    """A Device of the model `probe`, as the cloud sends it."""
    properties = [
        {"name": "temperature", "reportToCloud": True, "visitors": {"protocolName": "modbus"}},
        {"name": "setpoint", "desired": {"value": "40", "metadata": {"type": "int"}}},
    ]
    return {
        "kind": "Device",
        "apiVersion": "devices.kubeedge.io/v1beta1",
        "metadata": {"name": name, "namespace": "plant", "uid": f"uid-{name}", "generation": 1},
        "spec": {
            "deviceModelRef": {"name": "probe"},
            "nodeName": "edge-1",
            "protocol": {"protocolName": "modbus", "configData": {"slaveID": 3}},
            "properties": properties,
            **spec,
        },
    }


MODEL: dict[str, Any] = {
    "kind": "DeviceModel",
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "metadata": {"name": "probe", "namespace": "plant", "uid": "uid-probe", "resourceVersion": "1"},
    "spec": {
        "protocol": "modbus",
        "properties": [
            {"name": "temperature", "type": "FLOAT", "accessMode": "ReadOnly", "unit": "°C"},
            {"name": "setpoint", "type": "INT", "accessMode": "ReadWrite"},
        ],
    },
}
