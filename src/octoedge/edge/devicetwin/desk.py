"""The desk: each request becomes one transaction, and then what clients are told.

    request ──► merge (pure) inside a transaction: twins and the report to the cloud ──► MQTT: result, document, delta

What is answered is on disk, and so is the report that tells the cloud.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
from collections.abc import Callable, Mapping
from datetime import UTC, datetime

import msgspec

from octoedge.api import devices as api
from octoedge.edge.devicetwin import merge, payloads, records
from octoedge.edge.devicetwin.merge import Merged, Stored
from octoedge.edge.devicetwin.records import Device
from octoedge.edge.devicetwin.twin import Twin, read_question, read_state, read_twins
from octoedge.edge.ports import DEVICE_STATE, TWIN_REPORT, Bus, Recorder, Reports
from octoedge.errors import DeviceUnknown, MessageError, StoreError
from octoedge.protocol.topics import Reply, device_topic, node_topic
from octoedge.runtime.clock import Clock
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)

STATES = frozenset({"online", "offline", "ok", "unknown", "unhealthy"})
"""What a device may be, in any letter case."""
_ONLINE = frozenset({"online", "ok"})
_OFFLINE = "offline"
_WHY = 1000
"""Characters of the reason why a device is offline."""
_TELL_SECONDS = 2.0
"""Between two reports to the cloud about a device whose values are telemetry."""
_NOTHING: Mapping[str, str] = {}


class _Outcome(msgspec.Struct, frozen=True):
    """What a transaction did to a device's twins."""

    merged: Merged
    twins: dict[str, Stored]
    """All of them, afterwards."""


class Desk:
    """Works on the devices of one node."""

    def __init__(
        self, node: str, database: Database, reports: Reports, bus: Bus, clock: Clock,
        recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self._node = node
        self._database = database
        self._reports = reports
        self._bus = bus
        self._clock = clock
        self._recorder = recorder
        self._told: dict[str, float] = {}
        """When the cloud was told of a device that has telemetry (the loop's time)."""
        self.troubles: dict[str, str] = {}
        """Device → why it counts as offline."""

    # ---- what MQTT clients ask -----------------------------------------------------------------------------------

    async def twin_update(self, device: str, body: bytes) -> None:
        """A client reports or wants values."""
        try:
            message = read_twins(body)
        except MessageError as error:
            self._refuse("", Reply.TWIN_RESULT, "", payloads.BAD_REQUEST, error)
            return
        try:
            merged = await self.update(device, message.twin or {}, message.event_id)
        except MessageError as error:
            self._refuse(device, Reply.TWIN_RESULT, message.event_id, payloads.BAD_REQUEST, error)
        except DeviceUnknown as error:
            self._refuse(device, Reply.TWIN_RESULT, message.event_id, payloads.UNKNOWN_DEVICE, error)
        except StoreError as error:
            self._refuse(device, Reply.TWIN_RESULT, message.event_id, payloads.STORE_FAILED, error)
            raise
        else:
            result = payloads.said(self._now(), message.event_id, twin=payloads.plain(merged.result))
            self._tell(device, Reply.TWIN_RESULT, result)

    async def twin_get(self, device: str, body: bytes) -> None:
        """A client asks for all values of a device."""
        try:
            event_id = read_question(body).event_id
        except MessageError as error:
            self._refuse(device, Reply.TWIN_GET_RESULT, "", payloads.BAD_REQUEST, error)
            return
        if self._database.read_now(lambda c: records.device(c, device)) is None:
            self._refuse(device, Reply.TWIN_GET_RESULT, event_id, payloads.UNKNOWN_DEVICE, _unknown(device))
            return
        twins = self._database.read_now(lambda c: records.twins(c, device))
        told = {key: said for key, twin in twins.items() if (said := twin.said()) is not None}
        self._tell(device, Reply.TWIN_GET_RESULT, payloads.said(self._now(), event_id, twin=told))

    async def twin_cloud_updated(self, device: str, body: bytes) -> None:
        """Desired values with versions, from a cloud before 1.15 or a client that speaks for it."""
        try:
            message = read_twins(body)
            await self._change(
                device, lambda twins: merge.merge_cloud(twins, message.twin or {}, self._now()), message.event_id
            )
        except (MessageError, DeviceUnknown) as error:
            log.warning("desired values of device %s are not taken: %s", device, error)

    async def state_update(self, device: str, body: bytes) -> None:
        """A client says whether a device can be reached."""
        event_id = ""
        try:
            message = read_state(body)
            event_id = message.event_id
            await self.set_state(device, message.state)
        except MessageError as error:
            self._refuse(device, Reply.STATE_RESULT, event_id, payloads.BAD_REQUEST, error)
        except DeviceUnknown as error:
            self._refuse(device, Reply.STATE_RESULT, event_id, payloads.UNKNOWN_DEVICE, error)

    async def membership_get(self, _node: str, body: bytes) -> None:
        """A client asks which devices this node has."""
        topic = node_topic(self._node, Reply.MEMBERSHIP_GET_RESULT)
        try:
            event_id = read_question(body).event_id
        except MessageError as error:
            self._bus.publish(topic, payloads.refused(self._now(), "", payloads.BAD_REQUEST, str(error)))
            return
        devices = self._database.read_now(records.devices)
        self._bus.publish(topic, payloads.listed(self._now(), event_id, devices.values()))

    # ---- what mappers say ----------------------------------------------------------------------------------------

    async def update(
        self, device: str, twins: Mapping[str, Twin | None], event_id: str = "", observed: Mapping[str, str] = _NOTHING
    ) -> Merged:
        """Merge local values; stored when this returns. `observed`: the desired values that the mapper worked with.

        Raises `DeviceUnknown` for an unknown device, `MessageError` for a value that its type does not take: then
        nothing is stored.
        """

        def merging(before: dict[str, Stored]) -> Merged:
            return merge.with_observed(merge.merge_local(before, twins, self._now()), observed, self._now())

        merged = await self._change(device, merging, event_id, values=True)
        if self._recorder is not None:
            kept = {
                name: (value.value, value.timestamp)
                for name, twin in twins.items()
                if twin is not None and (value := twin.actual) is not None and value.value
            }
            await self._recorder.keep(device, kept)
        return merged

    async def explain(self, device: str, why: str) -> None:
        """Its mapper is away or refuses it, says `why`; empty: it has what the Device wants. An unknown one is left."""
        now = self._now()

        def explained(connection: sqlite3.Connection) -> Merged:
            return merge.explain(records.twins(connection, device), why, now)

        read: Merged = self._database.read_now(explained)
        if read.twins:
            with contextlib.suppress(DeviceUnknown):
                await self._change(device, lambda twins: merge.explain(twins, why, now), "")

    async def silence(self, device: str, why: str) -> bool:
        """Nobody speaks of it: it counts as offline until somebody does. Whether that is new."""
        known = self._database.read_now(lambda connection: records.device(connection, device))
        if known is None or known.state.lower() == _OFFLINE:
            return False
        await self.set_state(device, _OFFLINE, why, before=known.state)
        return True

    def silent(self) -> dict[str, str]:
        """Devices that `silence` took for offline, and their state before."""
        return self._database.read_now(records.silent)

    async def set_state(self, device: str, state: str, why: str = "", before: str | None = None) -> None:
        """Keep and report a device's state, and `why` it is none to be glad of; `before`: what it was before everybody
        fell silent.

        Raises `MessageError`, `DeviceUnknown`.
        """
        if state.lower() not in STATES:
            raise MessageError(f"the state {state[:40]!r} is not one of {', '.join(sorted(STATES))}")
        online = datetime.fromtimestamp(self._clock.now(), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        now = self._now()

        def write(connection: sqlite3.Connection) -> bytes:
            if records.device(connection, device) is None:
                raise _unknown(device)
            records.put_state(connection, device, state, online if state.lower() in _ONLINE else "")
            records.put_silent(connection, device, before)
            kept = records.device(connection, device)
            assert kept is not None
            body = payloads.state(now, kept, why[:_WHY])
            self._reports.keep(connection, DEVICE_STATE, device, lambda _: body)
            return body

        body = await self._database.write(write)
        self.troubles.pop(device, None)
        if why and state.lower() == _OFFLINE:
            self.troubles[device] = why[:_WHY]
        self._reports.wake(DEVICE_STATE, device)
        self._tell(device, Reply.STATE_RESULT, body)

    # ---- what the cloud says -------------------------------------------------------------------------------------

    async def put(self, given: api.Device, types: Mapping[str, str], unfit: Mapping[str, str] = _NOTHING) -> None:
        """A Device object is new, changed, or told again; `types` are those of its model's properties, `unfit` says of
        which desired values the model does not allow."""
        meta = given.metadata
        device = Device(given.id, meta.name, (meta.labels or {}).get("description", ""))
        desired = {
            prop.name: (prop.desired.value, (prop.desired.metadata or {}).get("type") or types.get(prop.name, ""))
            for prop in given.spec.properties or ()
        }
        if await self._add(device):
            self._tell_membership(payloads.membership(self._now(), added=[device]))
        await self._change(
            device.id, lambda twins: merge.merge_desired(twins, desired, meta.generation, self._now(), unfit), ""
        )

    async def add(self, device: Device) -> None:
        """A device belongs to this node, says the membership of a KubeEdge cloud."""
        if await self._add(device):
            self._tell_membership(payloads.membership(self._now(), added=[device]))

    async def remove(self, device_id: str) -> None:
        """A device no longer belongs to this node; nothing happens when it is unknown."""

        def write(connection: sqlite3.Connection) -> Device | None:
            known = records.device(connection, device_id)
            records.remove(connection, device_id)
            for kind in (TWIN_REPORT, DEVICE_STATE):
                self._reports.drop(connection, kind, device_id)
            return known

        gone = await self._database.write(write)
        self._told.pop(device_id, None)
        self.troubles.pop(device_id, None)
        if gone is not None:
            self._tell_membership(payloads.membership(self._now(), removed=[gone]))

    def devices(self) -> dict[str, Device]:
        """All devices by id."""
        return self._database.read_now(records.devices)

    # ---- how it is done ------------------------------------------------------------------------------------------

    async def _add(self, device: Device) -> bool:
        """Whether it is new."""

        def write(connection: sqlite3.Connection) -> bool:
            new = records.device(connection, device.id) is None
            records.put_device(connection, device)
            return new

        return await self._database.write(write)

    async def _change(
        self, device: str, merging: Callable[[dict[str, Stored]], Merged], event_id: str, *, values: bool = False
    ) -> Merged:
        """Merge in one transaction with the report to the cloud, then tell MQTT clients what changed; `values`: it is
        about what the device says, not about what it should be."""
        now = self._now()

        def write(connection: sqlite3.Connection) -> _Outcome:
            if records.device(connection, device) is None:
                raise _unknown(device)
            before = records.twins(connection, device)
            merged = merging(before)
            records.put_twins(connection, device, merged.twins)
            if merged.report:
                self._reports.keep(
                    connection, TWIN_REPORT, device, lambda unsent: _combined(now, unsent, merged.report)
                )
            return _Outcome(merged, merge.after(before, merged))

        outcome = await self._database.write(write)
        if outcome.merged.report:
            self._reports.wake(TWIN_REPORT, device, self._patience(device) if values else 0.0)
        if outcome.merged.document:
            document = {
                key: {when: twin and twin.plain() for when, twin in pair.items()}
                for key, pair in outcome.merged.document.items()
            }
            self._tell(device, Reply.TWIN_DOCUMENT, payloads.said(now, event_id, twin=document))
            self._tell_delta(device, outcome.twins)
        return outcome.merged

    def _patience(self, device: str) -> float:
        """Seconds until the cloud is told of new values: of a device whose every value is kept as telemetry, the twin
        need not be written to the API at each of them."""
        if self._recorder is None or not self._recorder.keeps(device):
            return 0.0
        now = asyncio.get_running_loop().time()
        wait = self._told.get(device, -_TELL_SECONDS) + _TELL_SECONDS - now
        if wait <= 0:
            self._told[device] = now
        return wait

    def _tell_delta(self, device: str, twins: Mapping[str, Stored]) -> None:
        found = merge.delta(twins)
        if found is not None:
            wanted, differs = found
            self._tell(device, Reply.TWIN_DELTA, payloads.said(self._now(), twin=wanted, delta=differs))

    def _refuse(self, device: str, reply: Reply, event_id: str, code: int, error: Exception) -> None:
        self._tell(device, reply, payloads.refused(self._now(), event_id, code, str(error)))

    def _tell(self, device: str, reply: Reply, payload: bytes) -> None:
        self._bus.publish(device_topic(device, reply), payload)

    def _tell_membership(self, payload: bytes) -> None:
        self._bus.publish(node_topic(self._node, Reply.MEMBERSHIP_UPDATED), payload)

    def _now(self) -> int:
        return int(self._clock.now() * 1000)


def _combined(now: int, unsent: bytes | None, newer: Mapping[str, Twin]) -> bytes:
    return payloads.report(now, merge.combine(payloads.reported(unsent) if unsent else {}, newer))


def _unknown(device: str) -> DeviceUnknown:
    return DeviceUnknown(f"there is no device {device[:200]!r} on this node")
