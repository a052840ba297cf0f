"""What a Device asks for that its DeviceModel does not know or allow, told as Events on the Device: one for each cause.

    device or model changes ─► look(device) ─► causes ─► Event: made once, counted when it comes back

The embedded API refuses such wishes when it can; a Kubernetes with KubeEdge's CRDs takes them, and so does ours for a
Device that comes before its model. The edge keeps them from the device either way. An Event that cannot be written is
tried again while its cause lasts.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from octoedge.api import devices as api
from octoedge.api.devicelimits import causes
from octoedge.cloud.devicecontroller.events import Events
from octoedge.errors import ApiError, MessageError, TransportError
from octoedge.kube.informer import Key
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

REASON = "PropertyNotAllowed"
_WORKERS = 4
_AGAIN_SECONDS = 30.0
_MOST = 20
"""Causes of one Device that are told."""


class Wishes:
    """Looks at Devices whose wishes or models changed; `run` tells."""

    def __init__(self, events: Events, find: Callable[[str, Key], bytes | None]) -> None:
        """`find`: the object of a resource type, as it is now."""
        self._events = events
        self._find = find
        self._told: dict[Key, tuple[str, frozenset[str]]] = {}
        """uid of the Device, and the causes that hold."""
        self._queue: KeyedQueue[Key] = KeyedQueue(self._look, workers=_WORKERS, name="wishes of")
        self._said = SaidOnce(log)

    def look(self, device: Key) -> None:
        """The Device, or its model, is new or another now."""
        self._queue.add(device)

    async def run(self) -> None:
        """Tell until cancelled."""
        await self._queue.run()

    async def _look(self, key: Key) -> None:
        device, found = self._causes(key)
        if device is None or not found:
            self._told.pop(key, None)
            return
        uid, told = self._told.get(key, ("", frozenset()))
        before = told if uid == device.metadata.uid else frozenset()
        now = frozenset(found)
        self._told[key] = (device.metadata.uid, now & before)
        try:
            for text in sorted(now - before):
                await self._events.tell(key, device.metadata.uid, REASON, text)
                self._told[key] = (device.metadata.uid, self._told[key][1] | {text})
            self._said.over("Events of devices", "can be written again")
        except (ApiError, TransportError) as error:
            self._said.trouble("Events of devices", f"that of {'/'.join(key)} cannot be written: {error}")
            self._queue.add_later(key, _AGAIN_SECONDS)

    def _causes(self, key: Key) -> tuple[api.Device | None, list[str]]:
        raw = self._find(api.DEVICE, key)
        if raw is None:
            return None, []
        try:
            device = api.read(raw, api.Device)
            model = self._find(api.MODEL, (key[0], device.model_name))
            return device, causes(device, api.read(model, api.DeviceModel))[:_MOST] if model is not None else []
        except MessageError:
            return None, []  # downstream says what cannot be read
