"""What DeviceTwin tells MQTT clients and the cloud, as JSON (KubeEdge's payloads). Pure."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from octoedge.edge.devicetwin.records import Device
from octoedge.edge.devicetwin.twin import Twin, TwinMessage

BAD_REQUEST, UNKNOWN_DEVICE, STORE_FAILED = 400, 404, 500


def said(now: int, event_id: str = "", **content: Any) -> bytes:
    """A payload: who is answered (or a new event), when (ms), and what is said."""
    return msgspec.json.encode({"event_id": event_id or str(uuid.uuid4()), "timestamp": now, **content})


def refused(now: int, event_id: str, code: int, reason: str) -> bytes:
    """Why something was not done; `event_id` is empty when the question could not be read."""
    return msgspec.json.encode({"event_id": event_id, "timestamp": now, "code": code, "reason": reason})


def plain(twins: Mapping[str, Twin | None]) -> dict[str, Twin | None]:
    """Twins without their versions."""
    return {key: twin and twin.plain() for key, twin in twins.items()}


def membership(now: int, added: Iterable[Device] = (), removed: Iterable[Device] = ()) -> bytes:
    """Devices came or went; the list that is not meant is null."""
    return said(
        now,
        added_devices=[_listed(device) for device in added] or None,
        removed_devices=[_listed(device) for device in removed] or None,
    )


def listed(now: int, event_id: str, devices: Iterable[Device]) -> bytes:
    """The answer to who asks for the devices of the node."""
    return said(now, event_id, devices=[_listed(device) for device in devices])


def report(now: int, twins: Mapping[str, Twin]) -> bytes:
    """What the cloud is told of a device's properties."""
    return said(now, twin=twins)


def reported(body: bytes) -> dict[str, Twin]:
    """The twins in a report of ours that is not sent yet."""
    twins = msgspec.json.decode(body, type=TwinMessage).twin or {}
    return {key: twin for key, twin in twins.items() if twin is not None}


def state(now: int, device: Device, why: str) -> bytes:
    """Whether a device can be reached, for clients and the cloud, and `why` not; KubeEdge's know no `reason`."""
    told = {"name": device.name, "state": device.state}
    if device.last_online:
        told["lastOnlineTime"] = device.last_online
    if why:
        told["reason"] = why
    return said(now, device=told)


def _listed(device: Device) -> dict[str, str]:
    optional = {"description": device.description, "state": device.state, "last_online": device.last_online}
    return {"id": device.id, "name": device.name, **{key: text for key, text in optional.items() if text}}
