"""Get, list and watch: from the cloud while it is there, from the replica while it is not, or while a feed is current.

What comes from the replica without the cloud says how old it is: header `Octoedge-Data-Age` in seconds, and a `Warning`
that kubectl shows.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import ExitStack, aclosing
from typing import Any

import msgspec

from octoedge.api.meta import view
from octoedge.edge.metamanager.metaserver.callers import Caller, Permissions
from octoedge.edge.metamanager.metaserver.cloud import AWAY, READ_SECONDS, Cloud
from octoedge.edge.metamanager.metaserver.feeds import Feed, Feeds, read_listing
from octoedge.edge.metamanager.metaserver.objects import What, item
from octoedge.edge.metamanager.metaserver.replica import Replica
from octoedge.edge.metamanager.metaserver.tables import TableRenderer, is_wanted
from octoedge.errors import ApiError, DeadlineError, MessageError, gone, not_found
from octoedge.kube.read import (
    Cursor,
    Item,
    Page,
    PlainRenderer,
    ReadOptions,
    Renderer,
    Target,
    Watch,
    bookmark_frame,
    error_frame,
    list_pieces,
    read_options,
    select,
)
from octoedge.protocol.application import Key
from octoedge.runtime.clock import Clock
from octoedge.transport.http_server import Answer, Request

_JSON = {"Content-Type": "application/json"}
_PASSED_ON = ("limit", "continue", "resourceVersion", "resourceVersionMatch", "timeoutSeconds")
_UNAVAILABLE = frozenset((502, 503, 504))


class Reads:
    """The reading verbs."""

    def __init__(self, cloud: Cloud, replica: Replica, feeds: Feeds, permissions: Permissions, clock: Clock) -> None:
        self._cloud = cloud
        self._replica = replica
        self._feeds = feeds
        self._permissions = permissions
        self._clock = clock

    async def get(self, request: Request, target: Target, caller: Caller) -> Answer:
        """One object, or a subresource of one."""
        key = Key(target.group, target.version, target.resource, target.namespace, target.name)
        sub = "/".join(filter(None, (target.subresource, target.rest)))
        option = {name: value for name, value in request.query.items() if name != "watch"}
        try:
            body = await self._ask(key, "get", option, caller, sub)
        except ApiError as error:
            if error.code in _UNAVAILABLE and not sub:
                return self._get_here(request, key, caller, error)
            raise
        except AWAY as error:
            if sub:
                raise _away(f"{key.plural}/{sub} needs the cloud", error) from error
            return self._get_here(request, key, caller, error)
        if not sub:
            await self._keep(key, body)
        return self._shown(request, body, {})

    async def _keep(self, key: Key, body: bytes) -> None:
        try:
            if view(body).metadata.name:
                await self._replica.keep(key, [body])
        except MessageError:
            return  # an answer that is no object is passed on as it is

    def _get_here(self, request: Request, key: Key, caller: Caller, why: Exception) -> Answer:
        self._permissions.check(caller, "get", key)
        found = self._replica.get(key)
        if found is None:
            whole = self._replica.scope(What(msgspec.structs.replace(key, name="")))
            if whole is None:
                raise _away(f'{key.plural} "{key.name}" was never read here', why)
            raise not_found(key.plural, key.name, key.group)
        whole = self._replica.scope(What(msgspec.structs.replace(key, name="")))
        return self._shown(request, found, self._aged(whole.seen if whole else 0.0))

    def _shown(self, request: Request, body: bytes, headers: dict[str, str]) -> Answer:
        if is_wanted(request.headers.get("accept", "")) and body[:1] == b"{":
            body = TableRenderer(view(body).kind, self._clock).one(item(body))
        kind = _JSON if body[:1] in (b"{", b"[") else {"Content-Type": "text/plain"}
        return Answer(200, body, {**kind, **headers})

    # ---- lists -----------------------------------------------------------------------------------------------------

    async def list(self, request: Request, target: Target, caller: Caller) -> Answer:
        """Objects of a kind."""
        options = read_options(request.query)
        what = _what(request, target)
        feed = self._feeds.find(what, caller.account)
        if feed is not None and feed.current and not options.continue_from and not options.match:
            return await self._list_here(request, what, options, feed.version, feed.kind, {})
        option = {name: request.query[name] for name in _PASSED_ON if request.query.get(name)}
        option |= {"labelSelector": what.labels, "fieldSelector": what.fields}
        try:
            body = await self._ask(what.key, "list", option, caller)
        except ApiError as error:
            if error.code in _UNAVAILABLE:
                return await self._list_away(request, what, options, caller, error)
            raise
        except AWAY as error:
            return await self._list_away(request, what, options, caller, error)
        return await self._listed(request, what, options, body)

    async def _listed(self, request: Request, what: What, options: ReadOptions, body: bytes) -> Answer:
        """A list of the cloud's, kept on its way."""
        listing = read_listing(body, what.key)
        objects = listing.objects()
        if options.continue_from or listing.metadata.continue_:
            await self._replica.keep(what.key, objects)
        else:
            await self._replica.keep_list(what, listing.item_kind, listing.metadata.version, objects)
        if not is_wanted(request.headers.get("accept", "")):
            return Answer(200, body, _JSON)
        table = TableRenderer(listing.item_kind, self._clock, listing.metadata.resource_version)
        shown = table.all([item(one) for one in objects])
        if listing.metadata.continue_:
            shown = _continued(shown, listing.metadata.continue_)
        return Answer(200, shown, _JSON)

    async def _list_away(
        self, request: Request, what: What, options: ReadOptions, caller: Caller, why: Exception
    ) -> Answer:
        self._permissions.check(caller, "list", what.key)
        known = self._replica.scope(what)
        wider = known or self._replica.scope(What(what.key)) or self._replica.scope(What(_everywhere(what.key)))
        if wider is None:
            raise _away(f"{what.key.plural} were never listed here", why)
        feed = self._feeds.find(what, caller.account)
        version = feed.version if feed is not None and feed.version else wider.version
        seen = feed.heard if feed is not None and feed.version else wider.seen
        return await self._list_here(request, what, options, version, wider.kind, self._aged(seen))

    async def _list_here(
        self, request: Request, what: What, options: ReadOptions, version: int, kind: str, headers: dict[str, str]
    ) -> Answer:
        _check_version(options, version)
        items = select(_Local(await self._replica.items(what), version), what.key.plural, what.key.namespace, options)
        if is_wanted(request.headers.get("accept", "")):
            return Answer(200, TableRenderer(kind, self._clock, str(version)).all(items), _JSON | headers)
        group = f"{what.key.group}/" if what.key.group else ""
        pieces = list_pieces(kind, group + what.key.version, Page(version, items))
        return Answer(200, b"".join(pieces), _JSON | headers)

    # ---- watches ---------------------------------------------------------------------------------------------------

    async def watch(self, request: Request, target: Target, caller: Caller) -> Answer:
        """Changes of a kind, as they come, also through outages."""
        options = read_options(request.query)
        what = _what(request, target)
        await self._may_watch(what, caller)
        stack = ExitStack()
        feed = stack.enter_context(self._feeds.watching(what, caller.account))
        try:
            await self._until_listed(feed, what)
            lines = await self._opened(request, what, options, feed)
        except BaseException as error:
            stack.close()
            if isinstance(error, ApiError) and error.code == 410:
                return Answer(200, _only(error_frame(error)), _JSON)
            raise
        headers = {} if self._cloud.online else self._aged(feed.heard)
        return Answer(200, _closing(lines, stack), _JSON | headers)

    async def _may_watch(self, what: What, caller: Caller) -> None:
        """Before anything that is here is shown; from then on it is the feed that the cloud allows or refuses."""
        feed = self._feeds.find(what, caller.account)
        if feed is not None and feed.current:
            return
        option = {"labelSelector": what.labels, "fieldSelector": what.fields, "limit": 1}
        try:
            await self._ask(what.key, "list", option, caller)
        except ApiError as error:
            if error.code not in _UNAVAILABLE:
                raise
            self._permissions.check(caller, "watch", what.key)
        except AWAY:
            self._permissions.check(caller, "watch", what.key)

    async def _until_listed(self, feed: Feed, what: What) -> None:
        try:
            await feed.ready(READ_SECONDS)
        except TimeoutError as error:
            raise _away(f"{what.key.plural} were never listed here", error) from error

    async def _opened(
        self, request: Request, what: What, options: ReadOptions, feed: Feed
    ) -> AsyncGenerator[bytes, None]:
        local = _Local(await self._replica.items(what), feed.version, feed)
        renderer: Renderer = PlainRenderer()
        if is_wanted(request.headers.get("accept", "")):
            renderer = TableRenderer(feed.kind, self._clock)
        group = f"{what.key.group}/" if what.key.group else ""

        def bookmark(version: int, end: bool) -> bytes:
            return bookmark_frame(feed.kind, group + what.key.version, version, end_of_initial=end)

        return Watch(local, what.key.plural, what.key.namespace, options, renderer, bookmark).open()

    # ---- shared ----------------------------------------------------------------------------------------------------

    async def _ask(self, key: Key, verb: str, option: Any, caller: Caller, sub: str = "") -> bytes:
        """Ask the cloud, and remember whether he may."""
        try:
            body = await self._cloud.read(str(key), verb, option, account=caller.account, subresource=sub)
        except ApiError as error:
            if error.code == 403 and not sub:
                await self._permissions.refused(caller, verb, key)
            raise
        if not sub:
            await self._permissions.allowed(caller, verb, key)
        return body

    def _aged(self, seen: float) -> dict[str, str]:
        if not seen:
            return {"Warning": '299 - "the cloud is away: this is what this node knew before"'}
        age = max(int(self._clock.now() - seen), 0)
        text = f'299 - "the cloud is away: this is what this node knew {age} s ago"'
        return {"Octoedge-Data-Age": str(age), "Warning": text}


class _Local:
    """A `kube.read.Reader` of one scope."""

    def __init__(self, items: list[Item], version: int, feed: Feed | None = None) -> None:
        self._items = items
        self._version = version
        self._feed = feed

    @property
    def version(self) -> int:
        return self._version

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        del resource
        return next((one for one in self._items if one.key == (namespace, name)), None)

    def items(self, resource: str, namespace: str = "") -> list[Item]:
        del resource
        return [one for one in self._items if not namespace or one.namespace == namespace]

    def follow(self, resource: str, after: int) -> Cursor:
        if self._feed is None:
            raise gone(f"{resource} are not followed here")
        return self._feed.follow(after)


def _check_version(options: ReadOptions, version: int) -> None:
    """A list from here is whole (no pages), and of the one version that is here."""
    if options.continue_from:
        raise gone("the rest of this list is not here: start a new list without the continue parameter")
    if int(options.resource_version or 0) > version:
        text = f"Too large resource version: {options.resource_version}, current: {version}"
        causes = [{"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}]
        raise ApiError(504, "Timeout", text, {"causes": causes})


def _what(request: Request, target: Target) -> What:
    fields = request.query.get("fieldSelector", "")
    if target.name:
        fields = ",".join(filter(None, (f"metadata.name={target.name}", fields)))
    key = Key(target.group, target.version, target.resource, target.namespace)
    return What(key, request.query.get("labelSelector", ""), fields)


def _everywhere(key: Key) -> Key:
    return msgspec.structs.replace(key, namespace="")


def _away(what: str, why: Exception) -> ApiError:
    reason = "gives no answer" if isinstance(why, DeadlineError | TimeoutError) else "is away"
    return ApiError(503, "ServiceUnavailable", f"{what}, and the cloud {reason}")


def _continued(table: bytes, token: str) -> bytes:
    decoded = msgspec.json.decode(table)
    decoded["metadata"]["continue"] = token
    return msgspec.json.encode(decoded)


async def _only(line: bytes) -> AsyncGenerator[bytes, None]:
    yield line


async def _closing(lines: AsyncGenerator[bytes, None], stack: ExitStack) -> AsyncGenerator[bytes, None]:
    """The lines; when they end, or nobody reads them, what was held for them is let go."""
    with stack:
        async with aclosing(lines):
            async for chunk in lines:
                yield chunk
