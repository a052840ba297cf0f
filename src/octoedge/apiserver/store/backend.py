"""The store: objects as bytes in SQLite, a copy of them in memory, and the log that watches resume from.

    change(decide) → waits its turn → decide(View) says what to write → one commit for many → memory → watchers → answer

One task writes. `decide` runs when it is its turn and sees everything written before it, so read-modify-write needs no
retry and checks across objects (is the namespace there?) hold. resourceVersions count edits and rise over restarts. An
answer, and an event, is given only for what is on disk; a requester who goes away meanwhile changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from octoedge.apiserver.store import rows
from octoedge.apiserver.store.history import MAX_BYTES, MAX_CHANGES, Follower, History
from octoedge.errors import ApiError, OctoedgeError, StoreCorrupt, StoreError, gone
from octoedge.kube.read import Change, Item
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)

Json = dict[str, Any]
FieldsOf = Callable[[str, Json], Mapping[str, str]]

MAX_WAITING = 4096
"""Changes that may wait for their turn; further ones are refused with 429."""
MAX_BATCH = 256

LEAP = 1_000_000_000
"""How far versions jump at a restore: beyond every version that anybody saw after the snapshot was taken."""


@dataclass(frozen=True, slots=True)
class Put:
    """Store this object, new or in place of the old one."""

    resource: str
    obj: Json


@dataclass(frozen=True, slots=True)
class Drop:
    """Remove an object."""

    resource: str
    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class Keep:
    """Leave an object as it is; the answer to a change that changes nothing."""

    item: Item


Edit = Put | Drop | Keep


class View:
    """What a deciding function sees: everything committed and everything decided before it."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._staged: dict[str, dict[tuple[str, str], Item | None]] = {}

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        """One object."""
        staged = self._staged.get(resource)
        if staged and (namespace, name) in staged:
            return staged[namespace, name]
        return self._backend.get(resource, namespace, name)

    def items(self, resource: str, namespace: str = "") -> list[Item]:
        """All objects of a resource."""
        found = {item.key: item for item in self._backend.items(resource, namespace)}
        for key, item in self._staged.get(resource, {}).items():
            if item is None:
                found.pop(key, None)
            elif not namespace or item.namespace == namespace:
                found[key] = item
        return list(found.values())

    def stage(self, changes: Iterable[tuple[str, Change]]) -> None:
        """Let later deciders see these changes."""
        for resource, change in changes:
            gone_now = change.type == "DELETED"
            self._staged.setdefault(resource, {})[change.item.key] = None if gone_now else change.item


Listener = Callable[[Item, bool], None]
"""Told of (object, whether it was removed)."""
Decide = Callable[[View], Sequence[Edit]]


@dataclass(slots=True, eq=False)
class _Request:
    decide: Decide
    dry_run: bool
    answer: asyncio.Future[list[Item]]


@dataclass(slots=True, eq=False)
class _Restoration:
    objects: Sequence[tuple[str, bytes]]
    seen: int
    answer: asyncio.Future[int]


class _Shelf:
    """The objects of one resource."""

    def __init__(self, history: History) -> None:
        self.objects: dict[tuple[str, str], Item] = {}
        self.history = history
        self._sorted: list[Item] | None = None

    def apply(self, change: Change) -> None:
        if change.type == "DELETED":
            self.objects.pop(change.item.key, None)
        else:
            self.objects[change.item.key] = change.item
        self._sorted = None
        self.history.append(change)

    def sorted(self) -> list[Item]:
        if self._sorted is None:
            self._sorted = [self.objects[key] for key in sorted(self.objects)]
        return self._sorted


class Backend:
    """The store of the API server: a `Reader`, and a module whose task writes."""

    name = "backend"
    needs: tuple[str, ...] = ()

    def __init__(
        self,
        path: Path,
        fields_of: FieldsOf,
        *,
        max_changes: int = MAX_CHANGES,
        max_bytes: int = MAX_BYTES,
        database: type[Database] = Database,
    ) -> None:
        self._database = database.open(path, rows.MIGRATIONS)
        self._fields_of = fields_of
        self._limits = {"max_changes": max_changes, "max_bytes": max_bytes}
        self._shelves: dict[str, _Shelf] = {}
        self._floors_written: dict[str, int] = {}
        self._listeners: dict[str, Listener] = {}
        self._waiting: list[_Request] = []
        self._wake = asyncio.Event()
        self._version = 0
        self._floor = 0
        """What happened up to this version is forgotten for all resources."""
        self._restoring: list[_Restoration] = []
        self._database.read_now(self._load)

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        return self._version

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        """One object."""
        shelf = self._shelves.get(resource)
        return shelf.objects.get((namespace, name)) if shelf else None

    def items(self, resource: str, namespace: str = "") -> Sequence[Item]:
        """All objects of a resource, sorted by key."""
        shelf = self._shelves.get(resource)
        if shelf is None:
            return []
        found = shelf.sorted()
        return [item for item in found if item.namespace == namespace] if namespace else found

    def follow(self, resource: str, after: int) -> Follower:
        """The changes of a resource after version `after`."""
        if after > self._version:
            raise gone(f"too large resource version: {after}, current: {self._version}; list again")
        return Follower(self._shelf(resource).history, after, lambda: self._version)

    def listen(self, resource: str, listener: Listener) -> None:
        """Tell of every committed change of a resource at once, before anybody else hears of it."""
        self._listeners[resource] = listener

    def reindex(self, resource: str) -> None:
        """Look again at what field selectors may ask of the objects of a resource: that has changed."""
        shelf = self._shelf(resource)
        for item in shelf.objects.values():
            item.fields = self._fields_of(resource, msgspec.json.decode(item.data))

    async def change(self, decide: Decide, *, dry_run: bool = False) -> list[Item]:
        """Let `decide` say what to write; the written items, in its order, once they are on disk."""
        if len(self._waiting) >= MAX_WAITING:
            text = "the store has too many changes to write; try again later"
            raise ApiError(429, "TooManyRequests", text, {"retryAfterSeconds": 1})
        request = _Request(decide, dry_run, asyncio.get_running_loop().create_future())
        self._waiting.append(request)
        self._wake.set()
        return await request.answer

    async def restore(self, objects: Sequence[tuple[str, bytes]], seen: int) -> int:
        """Hold these objects (by resource) and no others, all under versions newer than any before and than `seen`.

        Every watch and every list begun before has to begin anew (410), so that nobody takes old for new. Returns the
        newest version, once it is on disk.
        """
        request = _Restoration(objects, seen, asyncio.get_running_loop().create_future())
        self._restoring.append(request)
        self._wake.set()
        return await request.answer

    async def run(self, ready: Callable[[], None]) -> None:
        """Write until cancelled."""
        ready()
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting or self._restoring:
                if self._restoring:
                    await self._replace(self._restoring.pop(0))
                batch, self._waiting = self._waiting[:MAX_BATCH], self._waiting[MAX_BATCH:]
                await self._write(batch)

    def close(self) -> None:
        """Close the file; what was answered is in it."""
        self._database.close()

    async def _write(self, batch: list[_Request]) -> None:
        view = View(self)
        version = self._version
        changes: list[tuple[str, Change]] = []
        answers: list[tuple[_Request, list[Item]]] = []
        for request in batch:
            if request.answer.done():
                continue
            try:
                made, items = self._decide(request, view, version)
            except Exception as error:
                self._refuse(request, error)
                continue
            if not request.dry_run:
                view.stage(made)
                changes += made
                version += len(made)
            answers.append((request, items))
        if changes:
            try:
                await self._database.write(lambda connection: self._store(connection, changes, version))
            except StoreError as error:
                for request, _ in answers:
                    self._refuse(request, _unwritten(error))
                return
            self._apply(changes, version)
        for request, items in answers:
            if not request.answer.done():
                request.answer.set_result(items)

    async def _replace(self, request: _Restoration) -> None:
        start = max(self._version, request.seen) + LEAP
        version = start + len(request.objects)
        try:
            items = [
                (resource, self._item(resource, msgspec.json.decode(data), start + number))
                for number, (resource, data) in enumerate(request.objects, 1)
            ]
            await self._database.write(lambda connection: rows.replace(connection, items, version))
        except (msgspec.DecodeError, KeyError, TypeError, AttributeError, StoreError) as error:
            if not request.answer.done():
                request.answer.set_exception(StoreError(f"nothing was restored: {error}"))
            return
        self._exchange(items, version)
        if not request.answer.done():
            request.answer.set_result(version)

    def _exchange(self, items: list[tuple[str, Item]], version: int) -> None:
        """The same in memory."""
        before, self._shelves = self._shelves, {}
        self._version = self._floor = version
        self._floors_written = {}
        for resource, item in items:
            self._shelf(resource).objects[item.key] = item
        for resource, listener in self._listeners.items():
            now = self._shelf(resource).objects
            old = before[resource].objects if resource in before else {}
            for item in [item for key, item in old.items() if key not in now]:
                listener(item, True)
            for item in list(now.values()):
                listener(item, False)
        for shelf in before.values():
            shelf.history.end()

    def _decide(self, request: _Request, view: View, version: int) -> tuple[list[tuple[str, Change]], list[Item]]:
        changes: list[tuple[str, Change]] = []
        items: list[Item] = []
        for edit in request.decide(view):
            if isinstance(edit, Keep):
                items.append(edit.item)
                continue
            change = self._change_of(edit, view, version + len(changes) + 1, dry_run=request.dry_run)
            changes.append((edit.resource, change))
            items.append(change.item)
        return changes, items

    def _change_of(self, edit: Put | Drop, view: View, version: int, *, dry_run: bool) -> Change:
        if isinstance(edit, Put):
            about = edit.obj["metadata"]
            before = view.get(edit.resource, about.get("namespace", ""), about["name"])
            if dry_run:
                version = before.version if before else 0
            return Change("MODIFIED" if before else "ADDED", self._item(edit.resource, edit.obj, version), before)
        before = view.get(edit.resource, edit.namespace, edit.name)
        if before is None:
            raise StoreError(f"{edit.resource} {edit.namespace}/{edit.name} was to be removed and is not there")
        return Change("DELETED", self._item(edit.resource, msgspec.json.decode(before.data), version), before)

    def _item(self, resource: str, obj: Json, version: int) -> Item:
        metadata = {**obj["metadata"], **({"resourceVersion": str(version)} if version else {})}
        stamped = {"kind": obj["kind"], "apiVersion": obj["apiVersion"], **obj, "metadata": metadata}
        data = msgspec.json.encode(stamped)
        namespace = metadata.get("namespace", "")
        return Item(
            namespace, metadata["name"], version, data, metadata.get("labels") or {}, self._fields_of(resource, obj)
        )

    def _refuse(self, request: _Request, error: Exception) -> None:
        if not isinstance(error, OctoedgeError):
            log.error("a change failed", exc_info=error)
        if not request.answer.done():
            request.answer.set_exception(error)

    def _store(self, connection: sqlite3.Connection, changes: list[tuple[str, Change]], version: int) -> None:
        """Runs on the writer thread."""
        floors = self._new_floors()
        rows.write(connection, changes, version, floors)
        self._floors_written.update(floors)

    def _new_floors(self) -> list[tuple[str, int]]:
        floors = [(resource, shelf.history.floor) for resource, shelf in list(self._shelves.items())]
        return [(resource, floor) for resource, floor in floors if floor > self._floors_written.get(resource, 0)]

    def _apply(self, changes: list[tuple[str, Change]], version: int) -> None:
        self._version = version
        touched: dict[str, _Shelf] = {}
        for resource, change in changes:
            shelf = touched[resource] = self._shelf(resource)
            shelf.apply(change)
            if resource in self._listeners:
                self._listeners[resource](change.item, change.type == "DELETED")
        for shelf in touched.values():
            shelf.history.publish()

    def _shelf(self, resource: str) -> _Shelf:
        shelf = self._shelves.get(resource)
        if shelf is None:
            shelf = self._shelves[resource] = _Shelf(History(self._floor, **self._limits))
        return shelf

    def _load(self, connection: sqlite3.Connection) -> None:
        """Read everything at the start: the floors first, then the log, then the objects."""
        self._version = rows.newest(connection)
        floors = dict(connection.execute("SELECT resource, resource_version FROM compacted"))
        self._floor = floors.pop(rows.EVERYTHING, 0)
        for resource, floor in floors.items():
            self._floors_written[resource] = self._shelf(resource).history.floor = floor
        logged: dict[int, Item] = {}
        found = connection.execute("SELECT resource, type, data, before FROM log ORDER BY resource_version")
        for resource, kind, data, before in found:
            item = self._loaded(resource, data)
            logged[item.version] = item
            self._shelf(resource).history.append(Change(kind, item, rows.attributes(item, before)))
        for resource, version, data in connection.execute("SELECT resource, resource_version, data FROM objects"):
            item = logged.get(version) or self._loaded(resource, data)
            self._shelf(resource).objects[item.key] = item

    def _loaded(self, resource: str, data: bytes) -> Item:
        try:
            obj = msgspec.json.decode(data)
            metadata = obj["metadata"]
            return Item(
                metadata.get("namespace", ""),
                metadata["name"],
                int(metadata["resourceVersion"]),
                data,
                metadata.get("labels") or {},
                self._fields_of(resource, obj),
            )
        except (msgspec.DecodeError, KeyError, TypeError, ValueError) as error:
            raise StoreCorrupt(
                f"{self._database.path} holds one of {resource} that cannot be read ({error}); restore it from a backup"
            ) from error


def _unwritten(error: StoreError) -> ApiError:
    return ApiError(500, "InternalError", f"nothing was stored: {error}")
