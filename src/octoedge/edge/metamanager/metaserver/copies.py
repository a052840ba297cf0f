"""The seam for other modules of this node: follow a kind's objects in this process, without HTTP (`ports.Copies`).

feeds.watching(what) ──► replica.items(what): all, from disk ──► feed.follow: changes ──► Told
              410, or the feed has ended: all again, after a while
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable, Sequence

from octoedge.edge.metamanager.metaserver.cloud import Cloud
from octoedge.edge.metamanager.metaserver.feeds import Feed, Feeds
from octoedge.edge.metamanager.metaserver.objects import Chosen, What
from octoedge.edge.metamanager.metaserver.replica import Replica
from octoedge.edge.ports import Link, Told
from octoedge.errors import ApiError, StoreError
from octoedge.kube.read import Change
from octoedge.kube.selector import parse_fields, parse_labels
from octoedge.protocol.application import Key
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)


class Copies:
    """Implements `ports.Copies` by the same feeds that serve HTTP watches."""

    def __init__(self, feeds: Feeds, replica: Replica) -> None:
        self._feeds = feeds
        self._replica = replica

    async def follow(
        self, group: str, version: str, plural: str, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncGenerator[Told, None]:
        """See `ports.Copies`. Raises `ApiError` 400 for a selector that is none."""
        parse_fields(fields)
        what = What(Key(group, version, plural, namespace), str(parse_labels(labels)), fields)
        backoff = Backoff(first=1.0, limit=60.0)
        while True:
            try:
                with self._feeds.watching(what, "", module=True) as feed:
                    await feed.listed()
                    after = feed.version
                    items = await self._replica.items(what)
                    yield Told(True, [one.data for one in items])
                    backoff.reset()
                    async for told in _changes(what, feed, after):
                        yield told
            except (ApiError, StoreError) as error:
                log.debug("= %s is followed anew: %s", what, error)
            await asyncio.sleep(backoff.next())

    def age(self, group: str, version: str, plural: str, *, labels: str = "", fields: str = "") -> float | None:
        """See `ports.Copies`."""
        what = What(Key(group, version, plural, ""), str(parse_labels(labels)), fields)
        feed = self._feeds.find(what, "")
        return feed.age() if feed is not None and feed.version else None


class Keeping:
    """A module: keeps copies where MetaServer, which does so on the side, is switched off."""

    name = "copies"
    needs: tuple[str, ...] = ("metamanager",)

    def __init__(self, node: str, link: Link, database: Database, clock: Clock) -> None:
        replica = Replica(database, clock)
        self._feeds = Feeds(Cloud(node, link), replica, clock.now)
        self.copies = Copies(self._feeds, replica)

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep them until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._feeds.run(), name="feeds")
            await asyncio.sleep(0)
            ready()


async def _changes(what: What, feed: Feed, after: int) -> AsyncGenerator[Told, None]:
    cursor, chosen = feed.follow(after), Chosen(what)
    while True:
        told = _told(await cursor.next(), chosen)
        if told.objects or told.gone:
            yield told


def _told(changes: Sequence[Change], chosen: Chosen) -> Told:
    """The last state of each object that changed."""
    last: dict[tuple[str, str], bytes | None] = {}
    for change in changes:
        if change.type != "DELETED" and chosen(change.item.data):
            last[change.item.key] = change.item.data
        elif chosen((change.before or change.item).data):
            last[change.item.key] = None
    objects = [data for data in last.values() if data is not None]
    return Told(False, objects, [place for place, data in last.items() if data is None])
