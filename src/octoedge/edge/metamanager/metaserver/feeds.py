"""What keeps the replica current while somebody watches: one feed per scope and caller.

    (list, once) → follow from its version → follow … → 410: list again and compare
    with a cloud of KubeEdge's: list again and again, and tell what is different

A feed begins with the first watch, lives through outages, and ends a while after the last watch. It asks in the name of
its caller, so that the cloud decides again and again whether he may.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from octoedge.api.meta import typed
from octoedge.edge.metamanager.metaserver.cloud import AWAY, CALM_SECONDS, FOLLOW_SECONDS, Cloud
from octoedge.edge.metamanager.metaserver.objects import What
from octoedge.edge.metamanager.metaserver.replica import Follower, Replica
from octoedge.errors import ApiError, MessageError, OfflineError, StoreError, gone
from octoedge.protocol.application import Key
from octoedge.runtime.backoff import Backoff

log = logging.getLogger(__name__)

LINGER_SECONDS = 60.0
_MOST = 128
_PAGE = 500
_LOOK_SECONDS, _CALM_LOOK_SECONDS = 15.0, 240.0
"""Between two lists from a cloud of KubeEdge's: for clients, and where only modules of the node follow (a list of two
kinds costs 3 kB at least, 17 MB a day at the first pace)."""
_FOR_GOOD = frozenset((400, 401, 403, 404, 405, 422))
"""Answers that trying again does not change."""


class ListMeta(msgspec.Struct, frozen=True, rename="camel"):
    """metadata of a list."""

    resource_version: str = ""
    continue_: str = msgspec.field(default="", name="continue")

    @property
    def version(self) -> int:
        """resourceVersion as a number."""
        return int(self.resource_version) if self.resource_version.isdigit() else 0


class Listing(msgspec.Struct, frozen=True, rename="camel"):
    """A list of objects, which themselves stay bytes."""

    kind: str = ""
    api_version: str = ""
    metadata: ListMeta = ListMeta()
    items: list[msgspec.Raw] | None = None

    @property
    def item_kind(self) -> str:
        """The kind of its objects."""
        return self.kind.removesuffix("List")

    def objects(self) -> list[bytes]:
        """Its objects, with kind and apiVersion."""
        return [typed(bytes(one), self.api_version, self.item_kind) for one in self.items or ()]


def read_listing(body: bytes, key: Key) -> Listing:
    """The list in an answer; `ApiError` 502 when it is none."""
    try:
        return msgspec.json.decode(body, type=Listing)
    except (msgspec.DecodeError, RecursionError) as error:
        raise ApiError(502, "InternalError", f"the list of {key.plural} cannot be read: {error}") from error


class Feed:
    """One scope, followed for one caller."""

    def __init__(self, what: What, account: str, cloud: Cloud, replica: Replica, now: Callable[[], float]) -> None:
        self.what = what
        self.account = account
        self.watchers = 0
        self.clients = 0
        """Those of the watchers that are no modules of this node."""
        self.unused = now()
        self.failed: ApiError | None = None
        self.kind = ""
        self.version = 0
        """Up to which version the replica has everything of this scope; 0: it was never listed."""
        self.floor = 0
        """Since which version this process knows every change."""
        self.heard = 0.0
        """When the cloud last said so."""
        self._cloud = cloud
        self._replica = replica
        self._now = now
        self._ready = asyncio.Event()
        self._hurry = asyncio.Event()
        known = replica.scope(what)
        if known is not None:
            self.version, self.kind, self.heard = known.version, known.kind, known.seen
            self.floor = known.version
            self._ready.set()
            self._soon = True

    @property
    def calm(self) -> bool:
        """Whether only modules of this node follow it: they can wait, and what they wait for costs nothing."""
        return not self.clients

    def joined(self) -> None:
        """A client of the node's API watches it too."""
        self.clients += 1
        self._hurry.set()

    def left(self) -> None:
        """He does no longer."""
        self.clients -= 1
        if not self.clients:
            self._hurry.clear()

    @property
    def current(self) -> bool:
        """Whether the replica has what the cloud has, up to what is on its way."""
        return self._following and self._confirmed and self._cloud.online and self.failed is None

    def age(self) -> float:
        """Seconds since the cloud said that it is current; 0 while changes come by themselves."""
        return 0.0 if self.current else max(0.0, self._now() - self.heard)

    _following = False
    _confirmed = False
    """Whether the cloud has answered this caller since the feed began."""

    async def ready(self, seconds: float) -> None:
        """Return when the scope has been listed once. Raises `TimeoutError`, and what the feed ended with."""
        async with asyncio.timeout(seconds):
            await self._ready.wait()
        self.check()

    async def listed(self) -> None:
        """The same, however long it takes."""
        await self._ready.wait()
        self.check()

    def check(self) -> None:
        """Raises what the feed ended with."""
        if self.failed is not None:
            raise self.failed

    async def run(self) -> None:
        """Keep the replica current until cancelled, or until the cloud refuses for good."""
        backoff = Backoff(first=0.5, limit=30.0)
        try:
            while self.failed is None:
                await self._cloud.until_online()
                try:
                    await self._advance()
                    backoff.reset()
                    continue
                except ApiError as error:
                    self._refused(error)
                except (*AWAY, MessageError, StoreError) as error:
                    log.debug("= following %s: %s", self.what, error)
                    self._soon = True
                    if isinstance(error, OfflineError) and self._following and self._confirmed:
                        self.heard = self._now()  # until just now changes came by themselves
                finally:
                    self._following = False
                await asyncio.sleep(backoff.next())
        finally:
            self._ready.set()
            self._replica.changes(self.what.key).wake()

    def _refused(self, error: ApiError) -> None:
        if error.code == 410:
            self._stale = True
        elif error.code in _FOR_GOOD:
            log.debug("= following %s ends: %s", self.what, error)
            self.failed = error

    _stale = False
    _soon = False
    """Whether a cloud that only lists is asked without a pause: it was away, or this node has just started."""

    async def _advance(self) -> None:
        """List if need be, then follow until the link is lost."""
        if self._stale or not self.version:
            await self._list()
            self._stale = False
            self._ready.set()
        while not self._cloud.ours:
            if not self._soon:
                await self._pause()
            await self._list()
            self._soon = False
        while True:
            self._following = True
            what, seconds = self.what, CALM_SECONDS if self.calm else FOLLOW_SECONDS
            batch = await self._cloud.follow(what.key, what.labels, what.fields, self.version, self.account, seconds)
            await self._replica.keep_batch(what, self.kind, int(batch.version), batch.events)
            self.version, self.heard = int(batch.version), self._now()
            self._confirmed = True
            if not batch.events:
                self._replica.changes(what.key).wake()

    async def _pause(self) -> None:
        """Until the next list; a client who comes shortens it."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CALM_LOOK_SECONDS - _LOOK_SECONDS):
                await self._hurry.wait()
        await asyncio.sleep(_LOOK_SECONDS)

    async def _list(self) -> None:
        what, start = self.what, ""
        objects: list[bytes] = []
        while True:
            option = {"labelSelector": what.labels, "fieldSelector": what.fields, "limit": _PAGE, "continue": start}
            body = await self._cloud.ask(str(what.key), "list", option, account=self.account, seconds=30.0)
            part = read_listing(body, what.key)
            objects += part.objects()
            start = part.metadata.continue_
            if not start:
                break
        self.kind, version = part.item_kind, part.metadata.version
        await self._replica.keep_list(what, self.kind, version, objects)
        if self.version and self._cloud.ours:
            self._replica.changes(what.key).reset(version)
            self.floor = version
        self.version, self.floor = version, self.floor or version
        self._confirmed = True
        self.heard = self._now()

    def follow(self, after: int) -> Follower:
        """The changes after a version. Raises `gone`."""
        if after < self.floor:
            raise gone(f"too old resource version: {after} ({self.floor})")
        return Follower(self._replica.changes(self.what.key), after, lambda: self.version, self.check)


class Feeds:
    """All feeds; those that nobody watches any more end after a while."""

    def __init__(self, cloud: Cloud, replica: Replica, now: Callable[[], float]) -> None:
        self._cloud = cloud
        self._replica = replica
        self._now = now
        self._feeds: dict[tuple[What, str], tuple[Feed, asyncio.Task[None]]] = {}
        self._spawn: Callable[[Feed], asyncio.Task[None]] | None = None

    def __len__(self) -> int:
        return len(self._feeds)

    async def run(self) -> None:
        """Keep them until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._spawn = lambda feed: group.create_task(feed.run(), name=f"feed {feed.what}")
            while True:
                await asyncio.sleep(LINGER_SECONDS / 2)
                self._let_go()

    def find(self, what: What, account: str) -> Feed | None:
        """The feed, if it is there."""
        known = self._feeds.get((what, account))
        return known[0] if known is not None and known[0].failed is None else None

    @contextmanager
    def watching(self, what: What, account: str, *, module: bool = False) -> Iterator[Feed]:
        """The feed, made if need be; it stays while somebody watches. `module`: of this node. Raises 429."""
        feed = self._get(what, account)
        changes = self._replica.changes(what.key)
        feed.watchers += 1
        if not module:
            feed.joined()
        changes.watchers += 1
        try:
            yield feed
        finally:
            feed.watchers -= 1
            if not module:
                feed.left()
            changes.watchers -= 1
            feed.unused = self._now()

    def _get(self, what: What, account: str) -> Feed:
        known = self.find(what, account)
        if known is not None:
            return known
        if len(self._feeds) >= _MOST:
            raise ApiError(429, "TooManyRequests", f"this node watches {_MOST} different things already")
        assert self._spawn is not None, "asked before MetaServer was ready"
        feed = Feed(what, account, self._cloud, self._replica, self._now)
        self._feeds[what, account] = (feed, self._spawn(feed))
        return feed

    def _let_go(self) -> None:
        for place, (feed, task) in list(self._feeds.items()):
            if not feed.watchers and (feed.failed or self._now() - feed.unused > LINGER_SECONDS):
                task.cancel()
                del self._feeds[place]
        if not self._feeds:
            self._replica.let_go()
