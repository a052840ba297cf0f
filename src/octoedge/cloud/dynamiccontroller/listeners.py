"""What edges of KubeEdge watch: each change is pushed as a message of its own (spec: metadata, sections 4.3 and 4.4).

    Application `watch` ──► list, every object as insert ──► shared watch ──► insert, update, delete
    watchapp/sync: all watches of an edge ──► those that are not among them end, those that are missing begin

An edge of KubeEdge takes about thirty messages in a second and drops what it cannot hold, so they are sent more slowly.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Mapping

import msgspec

from octoedge.api.meta import ObjectView, typed, view
from octoedge.cloud.dynamiccontroller.shared import Watches, What
from octoedge.errors import ApiError, MessageError, TransportError
from octoedge.protocol import payloads as p
from octoedge.protocol.application import Key
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.runtime.backoff import Backoff

log = logging.getLogger(__name__)

_PER_NODE = 64
_PACE_SECONDS = 0.04
_FOLLOW_SECONDS = 240.0
_PAYLOADS: Mapping[str, type[p.Payload]] = {
    "ADDED": p.WatchedInsert,
    "MODIFIED": p.WatchedUpdate,
    "DELETED": p.WatchedDelete,
}

Push = Callable[[p.Payload], None]
ListAll = Callable[[Key, str, str], Awaitable[bytes]]
"""The list of (key, labels, fields), in the caller's name."""


class _ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    resource_version: str = "0"


class _List(msgspec.Struct, frozen=True, rename="camel"):
    kind: str = ""
    api_version: str = ""
    metadata: _ListMeta = _ListMeta()
    items: list[msgspec.Raw] | None = None


class Listener:
    """One watch of one edge."""

    def __init__(self, what: What, watches: Watches, list_all: ListAll, push: Push) -> None:
        self.what = what
        self._watches = watches
        self._list_all = list_all
        self._push = push
        self._known: dict[tuple[str, str], ObjectView] = {}

    async def run(self) -> None:
        """Push until cancelled, or until the API refuses."""
        backoff = Backoff(first=1.0, limit=30.0)
        while True:
            try:
                await self._follow(await self._list())
            except ApiError as error:
                if error.code in (400, 401, 403, 404):
                    log.info("a watch of an edge ends: %s: %s", self.what.key, error)
                    return
                log.debug("= %s: %s; listing again", self.what.key, error)
            except (TransportError, MessageError) as error:
                log.debug("= %s: %s; listing again", self.what.key, error)
            await asyncio.sleep(backoff.next())

    async def _list(self) -> int:
        body = await self._list_all(self.what.key, self.what.labels, self.what.fields)
        try:
            listing = msgspec.json.decode(body, type=_List)
        except msgspec.DecodeError as error:
            raise MessageError(f"the list of {self.what.key} cannot be read: {error}") from error
        objects = [
            typed(bytes(one), listing.api_version, listing.kind.removesuffix("List")) for one in listing.items or ()
        ]
        present = {_place(view(one)) for one in objects}
        for gone in [known for place, known in self._known.items() if place not in present]:
            await self._tell("DELETED", msgspec.json.encode(_remains(gone)))
        for one in objects:
            await self._tell("ADDED", one)
        version = listing.metadata.resource_version
        return int(version) if version.isdigit() else 0

    async def _follow(self, after: int) -> None:
        while True:
            batch = await self._watches.follow(self.what, after, _FOLLOW_SECONDS)
            for event in batch.events:
                await self._tell(event.type, bytes(event.object))
            after = int(batch.version)

    async def _tell(self, event: str, obj: bytes) -> None:
        seen = view(obj)
        if event == "DELETED":
            self._known.pop(_place(seen), None)
        else:
            kept = msgspec.structs.replace(seen.metadata, labels=None, annotations=None)
            self._known[_place(seen)] = msgspec.structs.replace(seen, metadata=kept)
        meta = seen.metadata
        resource = Resource(meta.namespace or CLUSTER, seen.kind.lower(), meta.name)
        self._push(_PAYLOADS[event](resource=resource, body=obj, version=meta.resource_version))
        await asyncio.sleep(_PACE_SECONDS)


class Listeners:
    """All watches of edges of KubeEdge."""

    def __init__(self) -> None:
        self._tasks: dict[str, dict[str, asyncio.Task[None]]] = {}

    def __len__(self) -> int:
        return sum(map(len, self._tasks.values()))

    def add(self, group: asyncio.TaskGroup, node: str, watch_id: str, listener: Listener) -> None:
        """Begin a watch, unless it is there. Raises 429."""
        tasks = self._tasks.setdefault(node, {})
        known = tasks.get(watch_id)
        if known is not None and not known.done():
            return
        if len(tasks) >= _PER_NODE and known is None:
            raise ApiError(429, "TooManyRequests", f"node {node} watches {_PER_NODE} things already; watch less")
        tasks[watch_id] = group.create_task(listener.run(), name=f"{node} watches {listener.what.key}")

    def keep_only(self, node: str, ids: Iterable[str]) -> None:
        """End the watches of a node that are not among these."""
        wanted = set(ids)
        tasks = self._tasks.get(node, {})
        for watch_id in [one for one in tasks if one not in wanted]:
            tasks.pop(watch_id).cancel()
        if not tasks:
            self._tasks.pop(node, None)


def _place(seen: ObjectView) -> tuple[str, str]:
    return seen.metadata.namespace, seen.metadata.name


def _remains(seen: ObjectView) -> dict[str, object]:
    """What a delete says of an object whose last form is not known."""
    meta = seen.metadata
    about = {"name": meta.name, "namespace": meta.namespace, "uid": meta.uid, "resourceVersion": meta.resource_version}
    return {"kind": seen.kind, "apiVersion": seen.api_version, "metadata": about}
