"""Events about pods and the node: recorded without waiting, aggregated by count, sent by one task.

A repeated event (same object, reason and message) is the same Event with a higher count. An object that complains
without end is held back by a token bucket: 25 at once, then one in 5 minutes, as the kubelet does.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict

import msgspec

from octoedge.api.core import Event, EventSource, ObjectReference, Pod
from octoedge.api.meta import ObjectMeta
from octoedge.edge.ports import Metadata
from octoedge.errors import OctoedgeError
from octoedge.runtime.clock import Clock, rfc3339

log = logging.getLogger(__name__)

_KEPT = 1024
_BURST, _REFILL_SECONDS = 25.0, 300.0
_QUEUE = 256
_TEXT_LIMIT = 1024
"""Characters of a message, as the API allows."""


class _Bucket(msgspec.Struct):
    tokens: float
    at: float


class Recorder:
    """Takes events; `run` hands them on."""

    def __init__(self, node_name: str, metadata: Metadata, clock: Clock) -> None:
        self._node_name = node_name
        self._metadata = metadata
        self._clock = clock
        self._known: OrderedDict[tuple[str, str, str, str], Event] = OrderedDict()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self._unsent: OrderedDict[tuple[str, str, str, str], None] = OrderedDict()
        self._wake = asyncio.Event()
        self._last_stamp = 0

    def pod(self, pod: Pod, kind: str, reason: str, message: str, container: str = "") -> None:
        """Something happened to a pod, or to one of its containers; `kind` is Normal or Warning."""
        meta = pod.metadata
        path = f"spec.{_group(pod, container)}{{{container}}}" if container else ""
        self._record(
            ObjectReference("Pod", meta.namespace, meta.name, meta.uid, "v1", meta.resource_version, path),
            kind,
            reason,
            message,
        )

    def node(self, kind: str, reason: str, message: str) -> None:
        """Something happened to the node."""
        name = self._node_name
        self._record(ObjectReference("Node", "", name, name, "v1"), kind, reason, message)

    async def run(self) -> None:
        """Send what is recorded until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._unsent:
                key, _ = self._unsent.popitem(last=False)
                event = self._known.get(key)
                if event is not None:
                    await self._send(event)

    async def _send(self, event: Event) -> None:
        try:
            await self._metadata.report_event(encode(event))
        except OctoedgeError as error:
            log.debug("event %s was not taken: %s", event.metadata.name, error)

    def _record(self, about: ObjectReference, kind: str, reason: str, message: str) -> None:
        message = message[:_TEXT_LIMIT]
        if not self._allowed(about.uid):
            return
        key = (about.uid, about.field_path, reason, message)
        now = self._clock.now()
        event = self._known.pop(key, None)
        if event is None:
            event = self._new(about, kind, reason, message, now)
        else:
            event = msgspec.structs.replace(event, count=event.count + 1, last_timestamp=rfc3339(now))
        self._known[key] = event
        while len(self._known) > _KEPT:
            self._known.popitem(last=False)
        self._unsent[key] = None
        while len(self._unsent) > _QUEUE:
            self._unsent.popitem(last=False)
        self._wake.set()

    def _new(self, about: ObjectReference, kind: str, reason: str, message: str, now: float) -> Event:
        # Events of cluster-scoped objects live in `default`, as Kubernetes' own.
        self._last_stamp = max(int(now * 1e9), self._last_stamp + 1)
        return Event(
            metadata=ObjectMeta(name=f"{about.name}.{self._last_stamp:x}", namespace=about.namespace or "default"),
            involved_object=about,
            reason=reason,
            message=message,
            source=EventSource("kubelet", self._node_name),
            first_timestamp=rfc3339(now),
            last_timestamp=rfc3339(now),
            count=1,
            type=kind,
        )

    def _allowed(self, uid: str) -> bool:
        now = asyncio.get_running_loop().time()
        bucket = self._buckets.pop(uid, None) or _Bucket(_BURST, now)
        bucket.tokens = min(_BURST, bucket.tokens + (now - bucket.at) / _REFILL_SECONDS)
        bucket.at = now
        self._buckets[uid] = bucket
        while len(self._buckets) > _KEPT:
            self._buckets.popitem(last=False)
        if bucket.tokens < 1:
            return False
        bucket.tokens -= 1
        return True


def _group(pod: Pod, container: str) -> str:
    if any(spec.name == container for spec in pod.spec.init_containers):
        return "initContainers"
    if any(spec.name == container for spec in pod.spec.ephemeral_containers):
        return "ephemeralContainers"
    return "containers"


def encode(event: Event) -> bytes:
    """The Event as the API takes it."""
    meta = event.metadata
    body = msgspec.to_builtins(event)
    body["metadata"] = {"name": meta.name, "namespace": meta.namespace, "creationTimestamp": None}
    rest = {"eventTime": None, "reportingComponent": "kubelet", "reportingInstance": event.source.host}
    return msgspec.json.encode({"kind": "Event", "apiVersion": "v1", **body, **rest})
