"""The node's copy of what its clients read, and the changes that their watches follow.

    lists and batches of the cloud ──► rows (SQLite, one transaction) ──► changes, per kind, in memory ──► watches

Objects are on disk only; in memory are the last changes of kinds that are watched, bounded in number and size. Whoever
follows and falls behind them is told so (410) and lists anew.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from octoedge.api.meta import view
from octoedge.edge.metamanager.metaserver import rows
from octoedge.edge.metamanager.metaserver.objects import Chosen, What, bare, item
from octoedge.errors import gone
from octoedge.kube.read import Change, HandOn, Item
from octoedge.protocol.application import BatchEvent, Key
from octoedge.runtime.clock import Clock
from octoedge.store.sqlite import Database

_CHANGES, _BYTES = 512, 1024 * 1024


class Changes:
    """The last changes of one kind."""

    def __init__(self) -> None:
        self._changes: deque[Change] = deque()
        self._size = 0
        self._first = 0
        """The number of the first change that is kept."""
        self._lost = 0
        """The newest version among those that are not."""
        self.watchers = 0
        self._news = asyncio.Event()

    def add(self, changes: Iterable[Change]) -> None:
        """Keep them, and wake who follows."""
        for change in sorted(changes, key=lambda one: one.version):
            self._changes.append(change)
            self._size += len(change.item.data)
        while self._changes and (len(self._changes) > _CHANGES or self._size > _BYTES):
            lost = self._changes.popleft()
            self._size -= len(lost.item.data)
            self._first += 1
            self._lost = max(self._lost, lost.version)
        self.wake()

    def reset(self, version: int) -> None:
        """What happened up to this version is not known one by one: everybody who follows lists anew."""
        self._first += len(self._changes) + 1
        self._lost = max(self._lost, version - 1)
        self._changes.clear()
        self._size = 0
        self.wake()

    def wake(self) -> None:
        """Let those who follow look again."""
        news, self._news = self._news, asyncio.Event()
        news.set()

    def place_after(self, version: int) -> int:
        """The number of the first change after a version. Raises `gone`."""
        if version < self._lost:
            raise gone(f"too old resource version: {version} ({self._lost})")
        for number, change in enumerate(self._changes):
            if change.version > version:
                return self._first + number
        return self._first + len(self._changes)

    def since(self, place: int) -> list[Change]:
        """The changes from a number on. Raises `gone`."""
        if place < self._first:
            raise gone("the watch was too slow: changes were forgotten before it came for them")
        return list(self._changes)[place - self._first :]

    async def wait(self) -> None:
        """Return when there may be something new."""
        await self._news.wait()


class Follower:
    """A `kube.read.Cursor`."""

    def __init__(self, changes: Changes, after: int, version: Callable[[], int], failed: Callable[[], None]) -> None:
        self._changes = changes
        self._place = changes.place_after(after)
        self._after = after
        self._version = version
        self._failed = failed

    @property
    def version(self) -> int:
        """Every change up to this version was handed out."""
        return self._version()

    async def next(self, hand_on: HandOn | None = None) -> Sequence[Change]:
        """The next changes. Raises `gone`, or what its feed ended with."""
        del hand_on  # watchers are few here
        while True:
            self._failed()
            found = self._changes.since(self._place)
            self._place += len(found)
            new = [change for change in found if change.version > self._after]
            if new:
                return new
            await self._changes.wait()


class Replica:
    """All that is kept."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._changes: dict[str, Changes] = {}

    # ---- reading ---------------------------------------------------------------------------------------------------

    def get(self, key: Key) -> bytes | None:
        """One object."""
        return self._database.read_now(lambda connection: rows.get(connection, key))

    async def items(self, what: What) -> list[Item]:
        """All objects of a scope, sorted."""
        keep = Chosen(what)

        def read(connection: sqlite3.Connection) -> list[Item]:
            return [item(data) for _, _, _, data in rows.of_kind(connection, what.key) if keep(data)]

        return await self._database.read(read)

    def scope(self, what: What) -> rows.Scope | None:
        """What is known of a scope."""
        return self._database.read_now(lambda connection: rows.scope(connection, str(what)))

    def page(self, path: str) -> bytes | None:
        """A page of discovery."""
        return self._database.read_now(lambda connection: rows.page(connection, path))

    def changes(self, key: Key) -> Changes:
        """The changes of a kind."""
        return self._changes.setdefault(_kind(key), Changes())

    # ---- writing ---------------------------------------------------------------------------------------------------

    async def keep(self, key: Key, objects: Iterable[bytes]) -> None:
        """Store objects that were read one by one, or as a part of a list."""
        await self._store(key, [bare(one) for one in objects])

    async def keep_list(self, what: What, kind: str, version: int, objects: Iterable[bytes]) -> None:
        """Store a whole list: what belongs to it and is not there any more is removed."""
        await self._store(what.key, [bare(one) for one in objects], (what, kind, version))

    async def keep_batch(self, what: What, kind: str, version: int, events: Iterable[BatchEvent]) -> None:
        """Store what happened, and up to which version this is all."""
        told = list(events)
        now = self._clock.now()

        def write(connection: sqlite3.Connection) -> list[rows.Moved]:
            moved = [one for event in told if (one := _apply(connection, what.key, event)) is not None]
            rows.keep_scope(connection, rows.Scope(str(what), kind, version, now))
            return moved

        self._tell(what.key, await self._database.write(write))

    async def forget(self, key: Key) -> None:
        """The object does not exist any more."""
        stored = self.get(key)
        if stored is None:
            return
        version = view(stored).metadata.version
        moved = await self._database.write(lambda connection: rows.remove(connection, key, version))
        self._tell(key, [moved] if moved else [])

    async def keep_page(self, path: str, body: bytes) -> None:
        """Keep a page of discovery."""
        if self.page(path) != body:
            await self._database.write(lambda connection: rows.keep_page(connection, path, body))

    async def prune(self, before: float) -> None:
        """Forget kinds of which nobody has read anything since then."""
        await self._database.write(lambda connection: rows.prune(connection, before))

    def let_go(self) -> None:
        """Forget the changes of kinds that nobody watches."""
        for kind, changes in list(self._changes.items()):
            if not changes.watchers:
                del self._changes[kind]

    async def _store(self, key: Key, objects: list[bytes], whole: tuple[What, str, int] | None = None) -> None:
        now = self._clock.now()
        metas = [view(one).metadata for one in objects]

        def write(connection: sqlite3.Connection) -> list[rows.Moved]:
            found = [
                rows.put(connection, key, rows.row_of(meta, one)) for meta, one in zip(metas, objects, strict=True)
            ]
            moved = [one for one in found if one is not None]
            if whole is not None:
                what, kind, version = whole
                names = {(meta.namespace, meta.name) for meta in metas}
                moved += rows.reconcile(connection, what.key, names, version, Chosen(what))
                rows.keep_scope(connection, rows.Scope(str(what), kind, version, now))
            return moved

        moved = await self._database.write(write)
        self._tell(key, moved)

    def _tell(self, key: Key, moved: Iterable[rows.Moved]) -> None:
        changes = self._changes.get(_kind(key))
        if changes is not None:
            changes.add([_change(one) for one in moved])


def _apply(connection: sqlite3.Connection, key: Key, event: BatchEvent) -> rows.Moved | None:
    """What to tell of an event: also of one that is stored already, since a list may have stored it untold."""
    data = bytes(event.object)
    meta = view(data).metadata
    if event.type == "DELETED":
        place = msgspec.structs.replace(key, namespace=meta.namespace, name=meta.name)
        known = rows.get(connection, place)
        if known is not None and view(known).metadata.version > meta.version:
            return None
        return rows.remove(connection, place, meta.version) or rows.Moved(data, None, meta.version)
    moved = rows.put(connection, key, rows.row_of(meta, data))
    if moved is not None:
        return moved
    place = msgspec.structs.replace(key, namespace=meta.namespace, name=meta.name)
    known = rows.get(connection, place)
    same = known is not None and view(known).metadata.version == meta.version
    return rows.Moved(known, data, meta.version) if same else None


def _change(moved: rows.Moved) -> Change:
    before = item(moved.before) if moved.before is not None else None
    if moved.after is None:
        assert before is not None
        last = item(before.data, version=moved.version)
        return Change("DELETED", last, before)
    return Change("MODIFIED" if before else "ADDED", item(moved.after), before)


def _kind(key: Key) -> str:
    return f"/{key.group or 'core'}/{key.version}/{key.plural}"
