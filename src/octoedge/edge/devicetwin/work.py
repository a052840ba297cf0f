"""The work of DeviceTwin: Device objects and memberships brought to the desk, and mappers told.

changed, take_up, membership ──► desk (twins, MQTT, reports)
                └──────────────► mappers (DMI)
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from octoedge.api import devicelimits
from octoedge.api import devices as api
from octoedge.dmi.services import manager_methods
from octoedge.edge.devicetwin.attention import Attention, listens
from octoedge.edge.devicetwin.desk import Desk
from octoedge.edge.devicetwin.manager import Manager
from octoedge.edge.devicetwin.mappers import Mappers
from octoedge.edge.devicetwin.records import Device
from octoedge.edge.devicetwin.twin import Twin
from octoedge.edge.ports import Bus, Change, ChangeKind, Metadata, Recorder, Reports
from octoedge.errors import ApiError, MessageError
from octoedge.protocol.resource import Resource
from octoedge.protocol.topics import Request
from octoedge.runtime.clock import Clock
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)


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


class Work:
    """What is done for the devices of one node."""

    def __init__(
        self, node: str, database: Database, metadata: Metadata, reports: Reports, bus: Bus, clock: Clock,
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self._metadata = metadata
        self._said = SaidOnce(log)
        self.desk = Desk(node, database, reports, bus, clock, recorder)
        self._recorder = recorder
        self.mappers = Mappers(database, metadata, self.desk.explain)
        self.attention = Attention(self.desk, self.mappers)
        self.calls = manager_methods(Manager(self.desk, self.mappers, self.attention))
        """What mappers may call, by path."""
        self.requests = {
            Request.TWIN_UPDATE: self._heard(self.desk.twin_update),
            Request.TWIN_GET: self.desk.twin_get,
            Request.TWIN_CLOUD_UPDATED: self.desk.twin_cloud_updated,
            Request.STATE_UPDATE: self._heard(self.desk.state_update),
            Request.MEMBERSHIP_GET: self.desk.membership_get,
        }
        """What MQTT clients may ask."""

    async def run(self) -> None:
        """Tell mappers, and listen whether devices are heard, until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.mappers.run(), name="mappers")
            group.create_task(self.attention.run(), name="silent devices")

    def health(self) -> dict[str, Any]:
        """For the status socket."""
        return {
            "devices": len(self.desk.devices()),
            "mappers": {r.protocol: r.name for r in self.mappers.registrations},
            "gone": [r.protocol for r in self.mappers.registrations if not listens(r.path)],
            "troubles": {**self.mappers.troubles, **self.desk.troubles},
        }

    async def take_up(self) -> None:
        """What changed while this module was not there: every stored Device counts as new, others have gone."""
        kept = set()
        for obj in await self._metadata.list(api.DEVICE):
            device = await self._put(obj)
            if device is not None:
                kept.add(device.id)
        for device_id in self.desk.devices():
            # Ids without a namespace come from a cloud before 1.15, which has no objects for them.
            if "/" in device_id and device_id not in kept:
                await self.desk.remove(device_id)

    async def changed(self, change: Change) -> None:
        """A Device or a DeviceModel was stored or removed. Raises `StoreError`."""
        try:
            await self._changed(change)
        finally:
            self.mappers.changed()

    async def _changed(self, change: Change) -> None:
        if change.resource.type == api.MODEL:
            # What a model that is gone said of types still holds; its devices may be on their way out too.
            if change.kind is ChangeKind.PUT:
                await self._put_devices_of(change.resource)
        elif change.kind is ChangeKind.DELETE:
            gone = f"{change.resource.namespace}/{change.resource.name}"
            self.attention.expect(gone, 0)
            await self.desk.remove(gone)
            self._declare(gone, frozenset())
        else:
            await self._put(change.object)

    async def _put(self, obj: bytes) -> api.Device | None:
        try:
            device = api.read(obj, api.Device)
            model = await self._model(device)
            types = {prop.name: prop.type.lower() for prop in model.spec.properties or ()}
            wishes = {prop.name: prop.desired.value for prop in device.spec.properties or () if prop.desired.value}
            unfit = {
                name: why for name, value in wishes.items() if (why := devicelimits.unfit(model.property(name), value))
            }
            # First: no value is taken before it is known whether it is to be kept.
            self._declare(device.id, device.telemetry)
            await self.desk.put(device, types, unfit)
            self.attention.expect(device.id, device.reports_state.report_cycle)
        except MessageError as error:
            self._said.trouble("a Device", str(error))
            return None
        return device

    def _declare(self, device: str, properties: frozenset[str]) -> None:
        if self._recorder is not None:
            self._recorder.declare(device, properties)

    async def _model(self, device: api.Device) -> api.DeviceModel:
        """Its model; an empty one while it is not here."""
        model_name = Resource(device.metadata.namespace, api.MODEL, device.model_name)
        try:
            return api.read(await self._metadata.get(model_name), api.DeviceModel)
        except (ApiError, MessageError):
            return api.DeviceModel()

    async def _put_devices_of(self, model: Resource) -> None:
        """The types of their properties may be known only now."""
        for obj in await self._metadata.list(api.DEVICE):
            with contextlib.suppress(MessageError):
                device = api.read(obj, api.Device)
                if (device.metadata.namespace, device.model_name) == (model.namespace, model.name):
                    await self._put(obj)

    async def membership(self, body: bytes) -> None:
        """The devices of this node, as a KubeEdge cloud lists them. Raises `MessageError`, `StoreError`."""
        try:
            said = msgspec.json.decode(body, type=_Membership)
        except (msgspec.DecodeError, RecursionError) as error:
            raise MessageError(f"a membership cannot be read: {error}") from error
        for device in [*(said.added_devices or ()), *(said.devices or ())]:
            await self.desk.add(Device(device.id, device.name, device.description))
            if device.twin:
                await self.desk.twin_cloud_updated(device.id, msgspec.json.encode({"twin": device.twin}))
        for device in said.removed_devices or ():
            await self.desk.remove(device.id)

    def _heard(self, work: Callable[[str, bytes], Awaitable[None]]) -> Callable[[str, bytes], Awaitable[None]]:
        """`work`, and its device has been heard of."""

        async def heard(device: str, body: bytes) -> None:
            await work(device, body)
            await self.attention.heard(device)

        return heard
