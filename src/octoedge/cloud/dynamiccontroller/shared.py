"""Watches that nodes share: one per kind, namespace and selectors, however many nodes follow it.

    API ── one watch ──► Shared: the last changes, as bytes ──► follow(after) of each node

Nothing but the last changes is kept. Who has read up to a version gets what came after it; who comes from before the
first kept change is told so (410), lists anew, and follows from there.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import deque
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from typing import cast

import msgspec

from octoedge.api.meta import splice, view
from octoedge.errors import ApiError, MessageError, TransportError, gone
from octoedge.kube.client import Client, WatchEvent
from octoedge.kube.kinds import Kind
from octoedge.protocol.application import Batch, BatchEvent, Key
from octoedge.runtime.backoff import Backoff

log = logging.getLogger(__name__)

_EVENTS, _BYTES = 4096, 8 * 1024 * 1024
"""Changes that one watch keeps for those who are behind."""
_BATCH_BYTES = 512 * 1024
_LINGER_SECONDS = 120.0
_MOST = 1024
_WATCH_SECONDS = 300
_PASSING = frozenset((429, 500, 502, 503, 504))
"""Answers after which the same watch may go on from where it was."""


@dataclass(frozen=True, slots=True, order=True)
class What:
    """What is watched."""

    key: Key
    labels: str = ""
    fields: str = ""


@dataclass(frozen=True, slots=True)
class _Event:
    version: int
    type: str
    object: bytes


class Shared:
    """One watch and the changes that it brought."""

    def __init__(self, client: Client, what: What, after: int) -> None:
        self.what = what
        self._client = client
        self._events: deque[_Event] = deque()
        self._size = 0
        self._floor = after
        """Changes up to this version are not known here."""
        self._latest = after
        self.over = False
        self.used = 0.0
        self.followers = 0
        self._news = asyncio.Condition()

    async def run(self) -> None:
        """Watch until cancelled, or until the way back is lost: then followers are told to list anew."""
        backoff = Backoff(first=0.5, limit=15.0)
        try:
            while True:
                try:
                    await self._watch(backoff)
                except TransportError as error:
                    log.debug("= watching %s: %s; trying again", self.what.key, error)
                except ApiError as error:
                    if error.code not in _PASSING:
                        raise
                    log.debug("= watching %s: %s; trying again", self.what.key, error)
                await asyncio.sleep(backoff.next())
        except (ApiError, MessageError) as error:
            log.debug("= watching %s ends: %s", self.what.key, error)
        finally:
            self.over = True
            with contextlib.suppress(asyncio.CancelledError):
                async with self._news:
                    self._news.notify_all()

    async def follow(self, after: int, seconds: float) -> Batch:
        """What happened after a version; nothing, when nothing happens for so long. Raises `gone`."""
        self.followers += 1
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(seconds), self._news:
                    await self._news.wait_for(lambda: self.over or self._has_news(after))
            if self.over or after < self._floor:
                raise gone(f"too old resource version: {after} ({self._floor})")
            return self._batch(after)
        finally:
            self.followers -= 1
            self.used = asyncio.get_running_loop().time()

    def _has_news(self, after: int) -> bool:
        return after < self._floor or (bool(self._events) and self._events[-1].version > after)

    def _batch(self, after: int) -> Batch:
        events: list[BatchEvent] = []
        size = 0
        for event in self._events:
            if event.version <= after:
                continue
            events.append(BatchEvent(event.type, msgspec.Raw(event.object)))
            size += len(event.object)
            if size >= _BATCH_BYTES:
                return Batch(str(event.version), events)
        return Batch(str(max(self._latest, after)), events)

    async def _watch(self, backoff: Backoff) -> None:
        what = self.what
        kind = Kind(what.key.plural, "", what.key.group, what.key.version)
        fields = _fields(what)
        stream = self._client.watch(
            kind,
            what.key.namespace,
            version=str(self._latest),
            labels=what.labels,
            fields=fields,
            seconds=_WATCH_SECONDS,
        )
        async with aclosing(cast(AsyncGenerator[WatchEvent, None], stream)) as events:
            async for event in events:
                backoff.reset()
                await self._take(event)

    async def _take(self, event: WatchEvent) -> None:
        raw = bytes(event.object)
        version = view(raw).metadata.version
        if event.type == "BOOKMARK":
            self._latest = max(self._latest, version)
            return
        if b'"managedFields"' in raw:
            raw = splice(raw, None, {"managedFields": None})
        self._events.append(_Event(version, event.type, raw))
        self._latest = max(self._latest, version)
        self._size += len(raw)
        while len(self._events) > _EVENTS or self._size > _BYTES:
            first = self._events.popleft()
            self._size -= len(first.object)
            self._floor = first.version
        async with self._news:
            self._news.notify_all()


class Watches:
    """All shared watches; those that nobody follows any more end after a while."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._shared: dict[What, tuple[Shared, asyncio.Task[None]]] = {}
        self._spawn: Callable[[Shared], asyncio.Task[None]] | None = None

    def __len__(self) -> int:
        return len(self._shared)

    async def run(self) -> None:
        """Keep the watches until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._spawn = lambda one: group.create_task(one.run(), name=f"shared watch {one.what.key}")
            while True:
                await asyncio.sleep(_LINGER_SECONDS / 4)
                self._let_go(asyncio.get_running_loop().time() - _LINGER_SECONDS)

    async def follow(self, what: What, after: int, seconds: float) -> Batch:
        """The changes after a version. Raises `gone`, and 429 when too much is watched."""
        return await self._get(what, after).follow(after, seconds)

    def _get(self, what: What, after: int) -> Shared:
        known = self._shared.get(what)
        if known is not None and not known[0].over:
            return known[0]
        if len(self._shared) >= _MOST and known is None:
            raise ApiError(429, "TooManyRequests", f"this CloudCore shares {_MOST} watches already; watch less")
        assert self._spawn is not None, "asked before DynamicController was ready"
        made = Shared(self._client, what, after)
        self._shared[what] = (made, self._spawn(made))
        return made

    def _let_go(self, unused_since: float) -> None:
        for what, (shared, task) in list(self._shared.items()):
            if shared.over or (not shared.followers and shared.used < unused_since):
                task.cancel()
                del self._shared[what]


def _fields(what: What) -> str:
    if not what.key.name:
        return what.fields
    return ",".join(filter(None, [f"metadata.name={what.key.name}", what.fields]))
