"""Events on Devices, as `kubectl describe device` shows them: one for each cause, counted when it comes back."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from octoedge.api import devices as api
from octoedge.errors import ApiError
from octoedge.kube.client import Client
from octoedge.kube.informer import Key
from octoedge.kube.kinds import EVENTS
from octoedge.runtime.clock import Clock, rfc3339

COMPONENT = "devicecontroller"
_LONGEST = 1000
"""Characters of a message; the API takes 1,024."""


class _Counted(msgspec.Struct, frozen=True):
    count: int | None = None


class Events:
    """Writes them."""

    def __init__(self, client: Client, clock: Clock) -> None:
        self._client = client
        self._clock = clock

    async def tell(self, device: Key, uid: str, reason: str, text: str, kind: str = "Warning") -> None:
        """Make the Event, or count the one that says the same. Raises `ApiError`, `TransportError`."""
        (namespace, short), text = device, _plain(text)
        digest = hashlib.sha256(f"{uid} {reason} {text}".encode()).hexdigest()[:16]
        name, stamp = f"{short[:200]}.{digest}", rfc3339(self._clock.now())
        event: dict[str, Any] = {
            "kind": "Event", "apiVersion": "v1", "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "kind": "Device", "apiVersion": api.API_VERSION, "namespace": namespace, "name": short, "uid": uid,
            },
            "reason": reason, "message": text, "type": kind, "source": {"component": COMPONENT},
            "firstTimestamp": stamp, "lastTimestamp": stamp, "count": 1,
        }  # fmt: skip
        try:
            await self._client.create(EVENTS, namespace, msgspec.json.encode(event))
        except ApiError as error:
            if error.code != 409:
                raise
            # CloudCore may write Events and not read them: what a patch answers says how often there was one.
            raw = await self._client.patch(EVENTS, namespace, name, msgspec.json.encode({"lastTimestamp": stamp}))
            seen = msgspec.json.decode(raw, type=_Counted, strict=False).count or 1
            await self._client.patch(EVENTS, namespace, name, msgspec.json.encode({"count": seen + 1}))


def _plain(text: str) -> str:
    """What a device says drives nobody's terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in text[:_LONGEST])
