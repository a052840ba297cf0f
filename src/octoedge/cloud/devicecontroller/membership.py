"""What edges of KubeEdge are told besides the objects: which devices they have. Pure.

Their DeviceTwin knows devices, and so MQTT clients of them, by membership only; ours reads the Device objects.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

import msgspec

from octoedge.cloud.devicecontroller.facts import Facts
from octoedge.protocol import routes
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import DeviceDetail, DeviceMembership


def added(device: Facts, now: int) -> Message:
    """A device belongs to the node from now on; `now` in ms."""
    body = _body(now, added_devices=[_listed(device)], removed_devices=None)
    return _message(DeviceMembership(body=body), now)


def removed(device: Facts, now: int) -> Message:
    """A device no longer belongs to the node."""
    body = _body(now, added_devices=None, removed_devices=[_listed(device)])
    return _message(DeviceMembership(body=body), now)


def detail(devices: Iterable[Facts], now: int) -> Message:
    """All devices of the node; others that it knows are gone. KubeEdge's edge takes no answer for it, so it is none."""
    return _message(DeviceDetail(body=_body(now, devices=[_listed(device) for device in devices])), now)


def _listed(device: Facts) -> dict[str, str]:
    about = {"description": device.description} if device.description else {}
    return {"id": device.id, "name": device.name, **about}


def _body(now: int, **content: object) -> bytes:
    return msgspec.json.encode({"event_id": str(uuid.uuid4()), "timestamp": now, **content})


def _message(payload: DeviceMembership | DeviceDetail, now: int) -> Message:
    return routes.compose(payload, message_id=str(uuid.uuid4()), timestamp=now)
