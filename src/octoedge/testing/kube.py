"""A Kubernetes API in memory, as small as the controllers' tests need: objects, versions, watches, and going away.

`MemoryClient` is a `Client` without a network: it works in virtual time. It keeps objects as dictionaries, merges
patches (a strategic patch counts as a merge patch), honours uid and resourceVersion preconditions, and marks a Pod with
a node for deletion until it is deleted with grace 0. `away` makes every request fail as an API server that is down.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Mapping
from typing import Any

import msgspec

from octoedge.errors import ApiError, ConnectError, already_exists, conflict, forbidden, gone, not_found
from octoedge.kube import kinds
from octoedge.kube.access import Access
from octoedge.kube.client import Client, SpeakingAs, WatchEvent
from octoedge.kube.kinds import Kind
from octoedge.kube.patch import apply_merge

Json = dict[str, Any]

_KINDS = {kind.plural: kind for kind in vars(kinds).values() if isinstance(kind, Kind)}


class MemoryApi:
    """The objects; one for all clients of a test."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str], Json] = {}
        """(collection path, name) → object"""
        self.away = False
        self.full = False
        """Its disk is full: whatever would be written is refused."""
        self.trusted: set[str] = set()
        """Users that others may speak as; they may do everything."""
        self.requests: list[tuple[str, str]] = []
        """(method, path) of every request, for tests that count them."""
        self._version = itertools.count(1)
        self._uid = itertools.count(1)
        self._events: list[tuple[int, str, str, Json]] = []
        self._changed = asyncio.Condition()
        self.forgotten = 0
        """Versions up to this one are no longer in the log: watching from there gives 410."""

    def client(self) -> MemoryClient:
        """A client of this API."""
        return MemoryClient(self)

    async def put(self, collection: str, obj: Json, *, event: str) -> Json:
        """Store a version of an object and tell the watchers."""
        version = next(self._version)
        stored: Json = msgspec.json.decode(msgspec.json.encode(obj))
        stored["metadata"]["resourceVersion"] = str(version)
        key = (collection, stored["metadata"]["name"])
        if event == "DELETED":
            self.objects.pop(key, None)
        else:
            self.objects[key] = stored
        async with self._changed:
            self._events.append((version, event, collection, stored))
            self._changed.notify_all()
        return stored

    async def create(self, collection: str, obj: Json) -> Json:
        """Create an object."""
        meta = obj.setdefault("metadata", {})
        if (collection, meta.get("name")) in self.objects:
            raise already_exists(collection.rpartition("/")[2], str(meta.get("name")))
        parts = collection.split("/")
        if "namespaces" in parts[:-1]:
            meta["namespace"] = parts[parts.index("namespaces") + 1]
        meta["uid"] = f"uid-{next(self._uid)}"
        return await self.put(collection, obj, event="ADDED")

    def find(self, collection: str, name: str) -> Json:
        """An object as it is stored."""
        found = self.objects.get((collection, name))
        if found is None:
            raise not_found(collection.rpartition("/")[2], name)
        return found

    def within(self, collection: str) -> list[Json]:
        """The objects of a collection, of all namespaces when the path names none."""
        return [obj for (place, _), obj in sorted(self.objects.items()) if covers(collection, place)]

    async def events(self, collection: str, after: int) -> AsyncIterator[tuple[str, Json]]:
        """Changes after a version, for ever."""
        if after < self.forgotten:
            raise gone("too old resource version")
        position = 0
        while True:
            async with self._changed:
                while position == len(self._events):
                    await self._changed.wait()
            if self.away:
                raise ConnectError("the API server in memory is away")
            version, event, place, obj = self._events[position]
            position += 1
            if version > after and covers(collection, place):
                yield event, obj

    async def go_away(self) -> None:
        """Be down: requests fail, watches break."""
        self.away = True
        async with self._changed:
            self._changed.notify_all()

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._events[-1][0] if self._events else 0


class MemoryClient(Client):
    """A client that asks a `MemoryApi`."""

    def __init__(self, api: MemoryApi) -> None:
        super().__init__(Access("memory://"))
        self.api = api

    async def request(
        self,
        method: str,
        where: str,
        *,
        query: Mapping[str, str] | None = None,
        body: bytes | None = None,
        content_type: str = "",  # noqa: ARG002 - every patch counts as a merge patch
        speaking_as: SpeakingAs | None = None,
    ) -> bytes:
        """One request."""
        self.api.requests.append((method, where))
        await asyncio.sleep(0.001)
        if self.api.away:
            raise ConnectError("the API server in memory is away")
        if self.api.full and method != "GET":
            raise ApiError(500, "InternalError", "the disk of the API server in memory is full")
        if speaking_as is not None and speaking_as.user not in self.api.trusted:
            raise forbidden(f"User {speaking_as.user!r} may not {method} {where}")
        answer = await getattr(self, f"_{method.lower()}")(where, body, query or {})
        return msgspec.json.encode(answer)

    async def watch(
        self,
        kind: Kind,
        namespace: str = "",
        *,
        version: str,
        labels: str = "",
        fields: str = "",  # noqa: ARG002 - nobody selects by fields here
        seconds: int = 300,  # noqa: ARG002 - watches never end
    ) -> AsyncIterator[WatchEvent]:
        """Changes after `version`."""
        collection = self._collection(kind, namespace)
        if self.api.away:
            raise ConnectError("the API server in memory is away")
        seen = {obj["metadata"]["name"] for obj in self.api.within(collection)} if labels else set()
        async for event, obj in self.api.events(collection, int(version)):
            told = event
            if labels and not matches(obj, labels):
                if obj["metadata"]["name"] not in seen:
                    continue
                told = "DELETED"
            yield WatchEvent(told, msgspec.Raw(msgspec.json.encode(obj)))

    @staticmethod
    def _collection(kind: Kind, namespace: str) -> str:
        return f"{kind.root}/namespaces/{namespace}/{kind.plural}" if namespace else f"{kind.root}/{kind.plural}"

    async def _get(self, where: str, _body: bytes | None, query: Mapping[str, str]) -> Json:
        collection, name, _ = split(where)
        if name:
            return self.api.find(collection, name)
        items = [obj for obj in self.api.within(collection) if matches(obj, query.get("labelSelector", ""))]
        kind = _KINDS.get(collection.rpartition("/")[2])
        head = {"kind": f"{kind.kind}List", "apiVersion": kind.api_version} if kind is not None else {}
        return {**head, "metadata": {"resourceVersion": str(self.api.version)}, "items": items}

    async def _post(self, where: str, body: bytes | None, _query: Mapping[str, str]) -> Json:
        collection, name, sub = split(where)
        obj: Json = msgspec.json.decode(body or b"{}")
        if collection.endswith("/subjectaccessreviews"):
            return {**obj, "status": {"allowed": obj["spec"]["user"] in self.api.trusted}}
        if sub == "token":
            return {**obj, "status": {"token": f"token-of-{name}", "expirationTimestamp": "2030-01-01T00:00:00Z"}}
        return await self.api.create(collection, obj)

    async def _put(self, where: str, body: bytes | None, _query: Mapping[str, str]) -> Json:
        collection, name, _ = split(where)
        new: Json = msgspec.json.decode(body or b"{}")
        known = self.api.find(collection, name)
        version = new.get("metadata", {}).get("resourceVersion")
        if version and version != known["metadata"]["resourceVersion"]:
            raise conflict(collection.rpartition("/")[2], name, "the object has been modified")
        new["metadata"] = {**known["metadata"], **new.get("metadata", {})}
        return await self.api.put(collection, new, event="MODIFIED")

    async def _patch(self, where: str, body: bytes | None, _query: Mapping[str, str]) -> Json:
        collection, name, _ = split(where)
        known = self.api.find(collection, name)
        patch = msgspec.json.decode(body or b"{}")
        uid = (patch.get("metadata") or {}).get("uid")
        if uid and uid != known["metadata"]["uid"]:
            raise conflict(collection.rpartition("/")[2], name, "the uid in the patch is not the object's")
        return await self.api.put(collection, apply_merge(known, patch), event="MODIFIED")

    async def _delete(self, where: str, body: bytes | None, _query: Mapping[str, str]) -> Json:
        collection, name, _ = split(where)
        known = self.api.find(collection, name)
        options = msgspec.json.decode(body or b"{}")
        uid = (options.get("preconditions") or {}).get("uid")
        if uid and uid != known["metadata"]["uid"]:
            raise conflict(collection.rpartition("/")[2], name, "the uid in the precondition is not the object's")
        graceful = collection.endswith("/pods") and known.get("spec", {}).get("nodeName")
        if graceful and options.get("gracePeriodSeconds") != 0:
            marked = apply_merge(known, {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}})
            return await self.api.put(collection, marked, event="MODIFIED")
        return await self.api.put(collection, known, event="DELETED")


def split(where: str) -> tuple[str, str, str]:
    """(collection, name, subresource) of a path."""
    parts = where.strip("/").split("/")
    begin = 2 if parts[0] == "api" else 3
    if len(parts) > begin + 2 and parts[begin] == "namespaces":
        begin += 2
    rest = [*parts[begin + 1 :], "", ""]
    return "/" + "/".join(parts[: begin + 1]), rest[0], rest[1]


def covers(collection: str, place: str) -> bool:
    """Whether objects at `place` belong to `collection`."""
    if collection == place:
        return True
    head, _, plural = collection.rpartition("/")
    return "/namespaces/" not in collection and place.startswith(f"{head}/namespaces/") and place.endswith(f"/{plural}")


def matches(obj: Json, labels: str) -> bool:
    """Whether an object has the labels of a selector of the form `key=value,…`."""
    has = obj["metadata"].get("labels") or {}
    return all(has.get(key) == value for key, _, value in (part.partition("=") for part in labels.split(",") if part))


__all__ = ["ApiError", "MemoryApi", "MemoryClient"]
