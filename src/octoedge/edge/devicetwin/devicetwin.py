"""DeviceTwin, the module: brings everything that concerns devices to the desk, and mappers what they should know.

EventBus ──receive──────────────────► desk
MetaManager ──changes of objects────► desk, mappers
a KubeEdge cloud ──from_cloud───────► desk
mappers ──dmi.sock──────────────────► manager ──► desk, mappers
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.api import devices as api
from octoedge.dmi.services import manager_methods
from octoedge.edge.devicetwin.desk import Desk
from octoedge.edge.devicetwin.manager import Manager
from octoedge.edge.devicetwin.mappers import Mappers
from octoedge.edge.devicetwin.records import Device
from octoedge.edge.devicetwin.twin import Twin
from octoedge.edge.ports import Bus, Change, ChangeKind, Metadata, Reports
from octoedge.errors import ApiError, ConfigError, DeviceUnknown, MessageError, ProtocolError, StoreCorrupt, StoreError
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.protocol.resource import Resource
from octoedge.protocol.topics import Request, parse
from octoedge.runtime.channel import Receiver
from octoedge.runtime.clock import Clock
from octoedge.runtime.inorder import InOrder
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database
from octoedge.transport.grpc_server import serving

log = logging.getLogger(__name__)

_AT_ONCE = 256
"""Messages of MQTT clients under way; then EventBus waits."""
_SOCKET_MODE = 0o600
SOCKET = "dmi.sock"
KINDS = (api.DEVICE, api.MODEL)
"""Resource types of the objects that concern DeviceTwin."""


class _Listed(msgspec.Struct, frozen=True):
    """A device in a membership of a KubeEdge cloud."""

    id: str = ""
    name: str = ""
    description: str = ""
    twin: dict[str, Twin | None] | None = None


class _Membership(msgspec.Struct, frozen=True):
    added_devices: list[_Listed] | None = None
    removed_devices: list[_Listed] | None = None
    devices: list[_Listed] | None = None


def socket_path(configured: str) -> Path:
    """Where mappers find EdgeCore: `dmiSockPath` names a directory; a path to a socket stands for its directory."""
    directory = Path(configured or "/etc/kubeedge/")
    return (directory.parent if directory.suffix == ".sock" else directory) / SOCKET


class Silence:
    """The bus of a node without MQTT."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Nobody listens."""


class DeviceTwin:
    """Implements `ports.DeviceDoor` and, for KubeEdge's messages, `ports.Inbound`."""

    name = "deviceTwin"
    needs: tuple[str, ...] = ("metamanager",)

    def __init__(
        self, node: str, database: Database, metadata: Metadata, reports: Reports, bus: Bus,
        changes: Receiver[Change], clock: Clock, socket: Path,
    ) -> None:  # fmt: skip
        self._metadata = metadata
        self._changes = changes
        self._socket = socket
        self._desk = Desk(node, database, reports, bus, clock)
        self._mappers = Mappers(database, metadata)
        self._said = SaidOnce(log)
        self._lanes: InOrder | None = None
        self._requests: dict[Request, Callable[[str, bytes], Awaitable[None]]] = {
            Request.TWIN_UPDATE: self._desk.twin_update,
            Request.TWIN_GET: self._desk.twin_get,
            Request.TWIN_CLOUD_UPDATED: self._desk.twin_cloud_updated,
            Request.STATE_UPDATE: self._desk.state_update,
            Request.MEMBERSHIP_GET: self._desk.membership_get,
        }

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until cancelled."""
        await self._take_up()
        async with asyncio.TaskGroup() as group:
            self._lanes = InOrder(group, _AT_ONCE)
            group.create_task(self._follow(), name="devices")
            group.create_task(self._mappers.run(), name="mappers")
            group.create_task(self._serve(), name="DMI")
            ready()

    def health(self) -> dict[str, Any]:
        """For the status socket."""
        return {
            "devices": len(self._desk.devices()),
            "mappers": {r.protocol: r.name for r in self._mappers.registrations},
            "troubles": self._mappers.troubles,
        }

    async def receive(self, topic: str, payload: bytes, stored: Callable[[], None]) -> None:
        """One message of an MQTT client; waits while too many are under way."""
        try:
            asked = parse(topic)
        except ProtocolError as error:
            self._said.trouble("MQTT", str(error))
            asked = None
        if asked is None or self._lanes is None:
            stored()
            return
        work = functools.partial(self._requests[asked.request], asked.identity, payload)
        await self._lanes.submit(asked.identity, functools.partial(self._guarded, topic, work, stored))

    async def from_cloud(self, _message: Message, payload: p.Payload) -> None:
        """Membership and desired values as KubeEdge's cloud says them; it awaits no acknowledgement."""
        try:
            if isinstance(payload, p.TwinSync):
                await self._desk.twin_cloud_updated(payload.resource.name, payload.body)
            else:
                await self._membership(payload.body)
        except StoreCorrupt:
            raise
        except (MessageError, StoreError, DeviceUnknown) as error:
            log.warning("%s of the cloud is not taken: %s", type(payload).__name__, error)

    # ---- objects ---------------------------------------------------------------------------------------------------

    async def _take_up(self) -> None:
        """What changed while this module was not there: every stored Device counts as new, others have gone."""
        kept = set()
        for obj in await self._metadata.list(api.DEVICE):
            device = await self._put(obj)
            if device is not None:
                kept.add(device.id)
        for device_id in self._desk.devices():
            # Ids without a namespace come from a cloud before 1.15, which has no objects for them.
            if "/" in device_id and device_id not in kept:
                await self._desk.remove(device_id)

    async def _follow(self) -> None:
        async for change in self._changes:
            try:
                await self._changed(change)
            except StoreCorrupt:
                raise
            except StoreError as error:
                # The object itself is stored: the next start, or its next change, takes it up.
                log.warning("%s is not taken up: %s", change.resource, error)
            self._mappers.changed()

    async def _changed(self, change: Change) -> None:
        if change.resource.type == api.MODEL:
            await self._put_devices_of(change.resource)
        elif change.kind is ChangeKind.DELETE:
            await self._desk.remove(f"{change.resource.namespace}/{change.resource.name}")
        else:
            await self._put(change.object)

    async def _put(self, obj: bytes) -> api.Device | None:
        try:
            device = api.read(obj, api.Device)
            await self._desk.put(device, await self._types(device))
        except MessageError as error:
            self._said.trouble("a Device", str(error))
            return None
        return device

    async def _types(self, device: api.Device) -> dict[str, str]:
        """The types of the properties, as the model says; none while it is not here."""
        model_name = Resource(device.metadata.namespace, api.MODEL, device.model_name)
        try:
            model = api.read(await self._metadata.get(model_name), api.DeviceModel)
        except (ApiError, MessageError):
            return {}
        return {prop.name: prop.type.lower() for prop in model.spec.properties or ()}

    async def _put_devices_of(self, model: Resource) -> None:
        """The types of their properties may be known only now."""
        for obj in await self._metadata.list(api.DEVICE):
            with contextlib.suppress(MessageError):
                device = api.read(obj, api.Device)
                if (device.metadata.namespace, device.model_name) == (model.namespace, model.name):
                    await self._put(obj)

    async def _membership(self, body: bytes) -> None:
        try:
            said = msgspec.json.decode(body, type=_Membership)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MessageError(f"a membership cannot be read: {error}") from error
        for device in [*(said.added_devices or ()), *(said.devices or ())]:
            await self._desk.add(Device(device.id, device.name, device.description))
            if device.twin:
                await self._desk.twin_cloud_updated(device.id, msgspec.json.encode({"twin": device.twin}))
        for device in said.removed_devices or ():
            await self._desk.remove(device.id)

    # ---- doors -----------------------------------------------------------------------------------------------------

    async def _guarded(self, topic: str, work: Callable[[], Awaitable[None]], stored: Callable[[], None]) -> None:
        """One message must not end the agent; what the disk did not take, the broker keeps."""
        try:
            await work()
        except StoreCorrupt:
            raise
        except StoreError as error:
            self._said.trouble("devices", str(error))
            return
        except Exception:
            log.exception("a message on %s could not be handled", topic)
        stored()

    async def _serve(self) -> None:
        """Without its socket mappers stay away, and everything else goes on."""
        try:
            async with serving(self._socket, _SOCKET_MODE, manager_methods(Manager(self._desk, self._mappers))):
                await asyncio.Event().wait()
        except ConfigError as error:
            log.warning("mappers cannot be served: %s", error)
