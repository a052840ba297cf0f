"""DeviceStatuses: one for each Device, owned by it, made when the Device is new and written when it reports.

    ensure(device) → there is one        write(device, status) → it says so (and, if asked, Device.status too)

What was written last counts until the informer has caught up, so that two reports in a row do not undo each other.
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from octoedge.api.meta import fields, view
from octoedge.cloud.devicecontroller.facts import Facts
from octoedge.errors import ApiError, TransportError
from octoedge.kube.client import Client
from octoedge.kube.informer import Informer, Key
from octoedge.kube.kinds import DEVICES, DEVICESTATUSES
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

Json = dict[str, Any]

_WORKERS = 16
_AGAIN_SECONDS = 5.0


class Statuses:
    """All DeviceStatuses; `informer` and `run` run beside the controller."""

    def __init__(self, client: Client, *, mirror: bool) -> None:
        self._client = client
        self._mirror = mirror
        self.informer = Informer(client, DEVICESTATUSES, self._seen)
        self._devices: dict[Key, Facts] = {}
        self._written: dict[Key, bytes] = {}
        self._queue: KeyedQueue[Key] = KeyedQueue(self._ensure, workers=_WORKERS, name="DeviceStatus of")
        self._said = SaidOnce(log)

    def ensure(self, device: Facts) -> None:
        """The Device is there: so will be its DeviceStatus."""
        self._devices[device.key] = device
        if self.informer.entry(*device.key) is None:
            self._queue.add(device.key)

    def forget(self, device: Facts) -> None:
        """The Device is gone; its DeviceStatus goes with it, as it is owned."""
        known = self._devices.get(device.key)
        if known is not None and known.uid == device.uid:
            del self._devices[device.key]
            self._written.pop(device.key, None)

    def now(self, device: Facts) -> Json:
        """What the status of the Device's DeviceStatus says; nothing when that is of an earlier Device."""
        raw = self._latest(device.key)
        if raw is None or not _is_of(raw, device):
            return {}
        status = msgspec.json.decode(fields(raw).get("status", msgspec.Raw(b"{}")))
        return status if isinstance(status, dict) else {}

    async def write(self, device: Facts, status: Json) -> None:
        """Make the DeviceStatus say `status`. Raises `ApiError`, `TransportError`."""
        raw = self._latest(device.key)
        patch: Json = {"status": status}
        if raw is None or not _is_of(raw, device):
            patch["metadata"] = {"ownerReferences": [_owner(device)]}
        try:
            body = msgspec.json.encode(patch)
            written = await self._client.patch(DEVICESTATUSES, *device.key, body)
        except ApiError as error:
            if error.code != 404:
                raise
            written = await self._create(device, status)
        self._written[device.key] = written
        if self._mirror:
            said = {key: status[key] for key in ("twins", "state", "lastOnlineTime") if key in status}
            await self._client.patch(DEVICES, *device.key, msgspec.json.encode({"status": said}))

    async def run(self) -> None:
        """Make what is missing until cancelled."""
        await self._queue.run()

    def _seen(self, old: bytes | None, new: bytes | None) -> None:
        """Somebody deleted one whose Device is there: make it again."""
        meta = view(new or old or b"{}").metadata
        key = (meta.namespace, meta.name)
        written = self._written.get(key)
        if written is not None and meta.version >= view(written).metadata.version:
            del self._written[key]
        if new is None and key in self._devices:
            self._queue.add(key)

    def _latest(self, key: Key) -> bytes | None:
        return self._written.get(key) or self.informer.get(*key)

    async def _ensure(self, key: Key) -> None:
        device = self._devices.get(key)
        if device is None or self._latest(key) is not None:
            return
        try:
            await self._create(device, {})
            self._said.over("DeviceStatuses", "can be made again")
        except (ApiError, TransportError) as error:
            if isinstance(error, ApiError) and error.code == 409:
                return
            self._said.trouble("DeviceStatuses", f"that of {device.id} cannot be made: {error}; trying again")
            self._queue.add_later(key, _AGAIN_SECONDS)

    async def _create(self, device: Facts, status: Json) -> bytes:
        body = {
            "apiVersion": DEVICESTATUSES.api_version,
            "kind": DEVICESTATUSES.kind,
            "metadata": {"name": device.name, "namespace": device.namespace, "ownerReferences": [_owner(device)]},
            "spec": {},
            "status": status,
        }
        return await self._client.create(DEVICESTATUSES, device.namespace, msgspec.json.encode(body))


def _owner(device: Facts) -> Json:
    return {
        "apiVersion": DEVICES.api_version,
        "kind": DEVICES.kind,
        "name": device.name,
        "uid": device.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def _is_of(status: bytes, device: Facts) -> bool:
    owners = [one.uid for one in view(status).metadata.owner_references or () if one.kind == DEVICES.kind]
    return not owners or device.uid in owners
