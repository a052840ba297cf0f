"""A local copy of all objects of one kind, kept current by list and watch.

    list (all pages, or nothing) → watch from there → resume where it broke → 410: list again and compare

The handler gets (old, new) as bytes: (None, new) added, (old, new) changed, (old, None) gone. It is called in order
from the informer's own task, so it must not wait: it notes what there is to do and returns. An object leaves the copy
only by a DELETED event or because a complete, successful list does not have it; a failed list says nothing at all.

Objects are kept as bytes with kind and apiVersion spliced in and managedFields left out.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from octoedge.api.meta import splice, view
from octoedge.errors import ApiError, MessageError, TransportError
from octoedge.kube.client import Client
from octoedge.kube.kinds import Kind
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""(namespace, name); the namespace of cluster-scoped objects is empty."""
Handler = Callable[[bytes | None, bytes | None], None]
Indexer = Callable[[bytes], Iterable[str]]

_SHORT_SECONDS = 1.0
"""A watch that ends sooner counts as a failure, so that a server that ends all at once is not asked in a circle."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One object of the copy."""

    raw: bytes
    uid: str
    version: int
    values: frozenset[str]
    """What the index finds it by."""


class Informer:
    """Keeps the copy of one kind; `run` never ends by itself."""

    def __init__(
        self,
        client: Client,
        kind: Kind,
        handler: Handler | None = None,
        *,
        namespace: str = "",
        labels: str = "",
        fields: str = "",
        index: Indexer | None = None,
    ) -> None:
        self.kind = kind
        self._client = client
        self._handler = handler
        self._namespace, self._labels, self._fields = namespace, labels, fields
        self._indexer = index
        self._entries: dict[Key, Entry] = {}
        self._index: dict[str, set[Key]] = {}
        self._version = ""
        self._synced = asyncio.Event()
        self._said = SaidOnce(log)

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, namespace: str, name: str) -> bytes | None:
        """The object, or None when it is not there."""
        entry = self._entries.get((namespace, name))
        return entry.raw if entry else None

    def entry(self, namespace: str, name: str) -> Entry | None:
        """The object with uid and version already read."""
        return self._entries.get((namespace, name))

    def all(self) -> Iterator[bytes]:
        """Every object."""
        return (entry.raw for entry in list(self._entries.values()))

    def find(self, value: str) -> list[tuple[Key, Entry]]:
        """The objects for which the index function gave `value`."""
        return [(key, self._entries[key]) for key in sorted(self._index.get(value, ()))]

    async def wait_synced(self) -> None:
        """Return when the first list has been taken in."""
        await self._synced.wait()

    async def run(self) -> None:
        """List and watch until cancelled; trouble is said once and retried with back-off."""
        backoff = Backoff(first=0.2, limit=5.0)
        subject = f"watching {self.kind.plural}"
        while True:
            try:
                if not self._version:
                    await self._list()
                    self._said.over(subject, "works again")
                await self._watch(backoff)
                continue
            except ApiError as error:
                if error.code == 410:
                    log.debug("= %s: version %s is too old, listing again", self.kind.plural, self._version)
                    self._version = ""
                else:
                    self._said.trouble(subject, f"{error}; trying again")
            except TransportError as error:
                log.debug("= %s: %s; trying again", subject, error)  # the client says it aloud, once for all informers
            except MessageError as error:
                self._said.trouble(subject, f"{error}; trying again")
            await asyncio.sleep(backoff.next())

    async def _list(self) -> None:
        listing = await self._client.list(self.kind, self._namespace, labels=self._labels, fields=self._fields)
        fresh = dict(self._read(item) for item in listing.items)
        for key in [key for key in self._entries if key not in fresh]:
            self._remove(key)
        for key, entry in fresh.items():
            known = self._entries.get(key)
            if known is None or known.uid != entry.uid or known.version != entry.version:
                self._put(key, entry)
        self._version = listing.version
        self._synced.set()

    async def _watch(self, backoff: Backoff) -> None:
        seconds = random.randint(240, 300)  # noqa: S311 - spreads reconnects, guards nothing
        began = asyncio.get_running_loop().time()
        events = self._client.watch(
            self.kind, self._namespace, version=self._version, seconds=seconds, labels=self._labels, fields=self._fields
        )
        async for event in events:
            backoff.reset()
            self._said.over(f"watching {self.kind.plural}", "works again")
            if event.type == "BOOKMARK":
                self._version = view(bytes(event.object)).metadata.resource_version or self._version
                continue
            key, entry = self._read(bytes(event.object))
            if event.type == "DELETED":
                self._remove(key, entry)
            else:
                self._put(key, entry)
            self._version = str(entry.version)
        if asyncio.get_running_loop().time() - began < _SHORT_SECONDS:
            await asyncio.sleep(backoff.next())

    def _read(self, raw: bytes) -> tuple[Key, Entry]:
        raw = tidy(raw, self.kind)
        meta = view(raw).metadata
        values = frozenset(self._indexer(raw)) if self._indexer else frozenset()
        return (meta.namespace, meta.name), Entry(raw, meta.uid, meta.version, values)

    def _put(self, key: Key, entry: Entry) -> None:
        known = self._entries.get(key)
        if known is not None and known.uid != entry.uid:
            # Deleted and made again while nobody watched: two events, as it happened.
            self._remove(key)
            known = None
        self._unindex(key)
        self._entries[key] = entry
        for value in entry.values:
            self._index.setdefault(value, set()).add(key)
        self._tell(known.raw if known else None, entry.raw)

    def _remove(self, key: Key, last: Entry | None = None) -> None:
        self._unindex(key)
        known = self._entries.pop(key, None)
        gone = last or known
        if known is not None and gone is not None:
            self._tell(gone.raw, None)

    def _unindex(self, key: Key) -> None:
        known = self._entries.get(key)
        for value in known.values if known else ():
            keys = self._index[value]
            keys.discard(key)
            if not keys:
                del self._index[value]

    def _tell(self, old: bytes | None, new: bytes | None) -> None:
        if self._handler is not None:
            self._handler(old, new)


def tidy(raw: bytes, kind: Kind) -> bytes:
    """`raw` with kind and apiVersion, which items of a list lack, and without managedFields."""
    seen = view(raw)
    named = bool(seen.kind and seen.api_version)
    managed = b'"managedFields"' in raw
    if named and not managed:
        return raw
    top = {} if named else {"kind": kind.kind, "apiVersion": kind.api_version}
    return splice(raw, top, {"managedFields": None} if managed else None)
