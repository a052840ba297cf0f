"""Reading, as Kubernetes clients ask for it: paths, options of get, list and watch, pages, the frames of a watch.

    URL path ── parse_path ──► Target          what is asked for
    URL query ── read_options ──► ReadOptions   how it is asked for
    Reader (the API server's store, or the edge's) ── page / watch ──► bytes

A `Reader` holds objects as bytes beside the few values that selectors look at. This file knows no HTTP library, so that
the embedded API server and the edge's MetaServer answer alike.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Protocol

import msgspec

from octoedge.errors import ApiError, bad_request, invalid
from octoedge.kube.selector import EVERYTHING, Selector, parse_fields, parse_labels

BOOKMARK_SECONDS = 60.0
"""A watcher that asked for bookmarks hears of the newest version at least so often."""
DEFAULT_WATCH_SECONDS = 1800
"""How long a watch without timeoutSeconds lasts."""
WATCH_CHUNK = 16 * 1024
"""Bytes of events that are put together for one watcher: what a watcher that does not read holds."""
INITIAL_EVENTS_END = "k8s.io/initial-events-end"

_PART = re.compile(r"[^/%\x00-\x20\x7f]+")


@dataclass(frozen=True, slots=True)
class Target:
    """What a resource path names: `/apis/GROUP/VERSION[/namespaces/NS]/RESOURCE[/NAME[/SUBRESOURCE[/REST]]]`."""

    group: str
    version: str
    resource: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    rest: str = ""


def parse_path(path: str) -> Target | None:
    """The target of a resource path (already percent-decoded, without query); None for every other path."""
    parts = path.strip("/").split("/")
    if parts[0] == "api" and len(parts) >= 3:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[0] == "apis" and len(parts) >= 4:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in ("status", "finalize"):
        namespace, rest = rest[1], rest[2:]
        if not _PART.fullmatch(namespace):
            return None
    if not all(map(_PART.fullmatch, [*parts[:3], *rest[:3]])):
        return None
    resource, name, subresource = (*rest[:3], "", "")[:3]
    return Target(group, version, resource, namespace, name, subresource, "/".join(rest[3:]))


@dataclass(frozen=True, slots=True)
class ReadOptions:
    """How a list or a watch is asked for."""

    labels: Selector = EVERYTHING
    fields: Selector = EVERYTHING
    watch: bool = False
    resource_version: str = ""
    match: str = ""
    limit: int = 0
    continue_from: str = ""
    timeout_seconds: int = 0
    bookmarks: bool = False
    initial_events: bool | None = None


def read_options(query: Mapping[str, str]) -> ReadOptions:
    """The options that a query string says; a `bad_request` or `invalid` when they contradict each other."""
    initial = flag(query, "sendInitialEvents") if "sendInitialEvents" in query else None
    options = ReadOptions(
        labels=parse_labels(query.get("labelSelector", "")),
        fields=parse_fields(query.get("fieldSelector", "")),
        watch=flag(query, "watch"),
        resource_version=query.get("resourceVersion", ""),
        match=query.get("resourceVersionMatch", ""),
        limit=_number(query, "limit"),
        continue_from=query.get("continue", ""),
        timeout_seconds=_number(query, "timeoutSeconds"),
        bookmarks=flag(query, "allowWatchBookmarks"),
        initial_events=initial,
    )
    _check(options)
    return options


def _check(options: ReadOptions) -> None:
    if options.resource_version and not re.fullmatch(r"\d{1,18}", options.resource_version):
        text = f'Invalid value: "{options.resource_version}": strconv.ParseUint: parsing: invalid syntax'
        raise bad_request(f"resourceVersion: {text}")
    if options.match not in ("", "Exact", "NotOlderThan"):
        raise _option_error("resourceVersionMatch", f'Unsupported value: "{options.match}"')
    if options.initial_events is not None:
        if not options.watch:
            raise _option_error("sendInitialEvents", "Forbidden: sendInitialEvents is forbidden for list")
        if options.match != "NotOlderThan":
            text = "Forbidden: sendInitialEvents requires setting resourceVersionMatch to NotOlderThan"
            raise _option_error("resourceVersionMatch", text)
    elif options.watch and options.match:
        raise _option_error("resourceVersionMatch", "Forbidden: resourceVersionMatch is forbidden for watch")
    if options.continue_from and options.resource_version not in ("", "0"):
        raise bad_request("specifying resource version is not allowed when using continue")


def _option_error(name: str, text: str) -> ApiError:
    return invalid("ListOptions", "", [("FieldValueInvalid", name, text)], "meta.k8s.io")


def flag(query: Mapping[str, str], name: str) -> bool:
    """Whether a parameter is on: Kubernetes reads a flag without a value, and any value but false and 0, as true."""
    return name in query and query[name].lower() not in ("false", "0")


def _number(query: Mapping[str, str], name: str) -> int:
    text = query.get(name, "") or "0"
    if not re.fullmatch(r"\d{1,18}", text):
        raise bad_request(f"{name}: {text!r} is not a whole number")
    return int(text)


@dataclass(slots=True, eq=False)
class Item:
    """One version of one object."""

    namespace: str
    name: str
    version: int
    data: bytes
    """The object as JSON, with kind, apiVersion and resourceVersion."""
    labels: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, str] = field(default_factory=dict)
    """The values that field selectors may ask for."""

    @property
    def key(self) -> tuple[str, str]:
        """Where the object stands in a list."""
        return (self.namespace, self.name)


@dataclass(slots=True, eq=False)
class Change:
    """One event: ADDED or MODIFIED with the new version, DELETED with the last one."""

    type: str
    item: Item
    before: Item | None = None
    """The version before; its `data` may be empty after a restart, what selectors look at is there."""
    frames: dict[tuple[str, str], bytes] = field(default_factory=dict)
    """Rendered once for each form, shared by all watchers."""

    @property
    def version(self) -> int:
        """The resourceVersion at which this happened."""
        return self.item.version


HandOn = Callable[[Sequence[Change]], bool]
"""Takes changes, all or none, without waiting; whether it took them."""


class Cursor(Protocol):
    """A place in the stream of changes of one resource."""

    async def next(self, hand_on: HandOn | None = None) -> Sequence[Change]:
        """Changes after this place, in order, at least one; waits for them. Cancelling loses nothing.

        What comes meanwhile may be given to `hand_on`, in order too; what it took is not returned again. Raises the
        `gone` error when changes were forgotten before this reader came for them.
        """
        ...

    @property
    def version(self) -> int:
        """Every change up to this version was handed out."""
        ...


class Reader(Protocol):
    """Objects that can be read."""

    @property
    def version(self) -> int:
        """The newest resourceVersion."""
        ...

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        """One object; an empty `namespace` for those without one."""
        ...

    def items(self, resource: str, namespace: str = "") -> Sequence[Item]:
        """All objects of a resource, in all namespaces when `namespace` is empty, sorted by key."""
        ...

    def follow(self, resource: str, after: int) -> Cursor:
        """The changes after version `after`; `gone` when some of them were forgotten."""
        ...


class Renderer(Protocol):
    """Turns objects into what the client asked for: JSON as it is, or Tables."""

    @property
    def form(self) -> str:
        """A name for the form, under which rendered frames are kept."""
        ...

    def one(self, item: Item) -> bytes:
        """The body for one object."""
        ...


class PlainRenderer:
    """Objects as they are stored."""

    form = "json"

    def one(self, item: Item) -> bytes:
        """The object's own bytes."""
        return item.data


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list."""

    version: int
    items: Sequence[Item]
    continue_token: str = ""
    remaining: int = 0


def select(reader: Reader, resource: str, namespace: str, options: ReadOptions) -> Sequence[Item]:
    """The objects that the selectors choose, sorted by key."""
    name = options.fields.exactly("metadata.name")
    candidates: Iterable[Item]
    if name is not None and (namespace or "/" not in name):
        found = reader.get(resource, namespace, name)
        candidates = [found] if found else ([] if namespace else reader.items(resource))
    else:
        candidates = reader.items(resource, namespace)
    if not options.labels and not options.fields:
        return list(candidates)
    return [item for item in candidates if _chosen(item, options)]


def _chosen(item: Item, options: ReadOptions) -> bool:
    return options.labels.matches(item.labels) and (not options.fields or options.fields.matches(_all_fields(item)))


def _all_fields(item: Item) -> dict[str, str]:
    return {"metadata.name": item.name, "metadata.namespace": item.namespace, **item.fields}


def list_pieces(kind: str, api_version: str, part: Page) -> list[bytes]:
    """The JSON of a list, to be put one after the other: mostly the bytes of its items, as they are."""
    metadata: dict[str, str | int] = {"resourceVersion": str(part.version)}
    if part.continue_token:
        metadata |= {"continue": part.continue_token, "remainingItemCount": part.remaining}
    head = msgspec.json.encode({"kind": f"{kind}List", "apiVersion": api_version, "metadata": metadata})
    pieces = [head[:-1] + b',"items":[']
    for item in part.items:
        pieces += (item.data, b",")
    pieces[-1] = pieces[-1] + b"]}\n" if len(pieces) == 1 else b"]}\n"
    return pieces


def gathered(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """The pieces in chunks of about `size`: large enough to be worth a write, small enough to wait for a reader."""
    waiting: list[bytes] = []
    held = 0
    for piece in pieces:
        waiting.append(piece)
        held += len(piece)
        if held >= size:
            yield b"".join(waiting)
            waiting, held = [], 0
    if waiting:
        yield b"".join(waiting)


def frame(event: str, body: bytes) -> bytes:
    """One line of a watch."""
    return b"".join((b'{"type":"', event.encode(), b'","object":', body, b"}\n"))


def error_frame(error: ApiError) -> bytes:
    """The line that ends a watch with an error."""
    return frame("ERROR", msgspec.json.encode(error.status()))


def bookmark_frame(kind: str, api_version: str, version: int, *, end_of_initial: bool = False) -> bytes:
    """A line that only says which version the watcher has reached."""
    metadata: dict[str, object] = {"resourceVersion": str(version), "creationTimestamp": None}
    if end_of_initial:
        metadata["annotations"] = {INITIAL_EVENTS_END: "true"}
    return frame("BOOKMARK", msgspec.json.encode({"kind": kind, "apiVersion": api_version, "metadata": metadata}))


@dataclass(slots=True, eq=False)
class Shortcut:
    """Where a watch may put lines while its client keeps up, past the task that waits for a client that does not."""

    write: Callable[[bytes], bool] = lambda lines: not lines
    """Whether it took them; it takes all or none, and never waits. Whoever sends the watch sets it."""


@dataclass(frozen=True, slots=True)
class Watch:
    """One watch: what is followed, and how its events are written."""

    reader: Reader
    resource: str
    namespace: str
    options: ReadOptions
    renderer: Renderer
    bookmark: Callable[[int, bool], bytes]
    """Makes a bookmark line of (version, whether it ends the initial events)."""
    shortcut: Shortcut = field(default_factory=Shortcut)

    def open(self) -> AsyncGenerator[bytes, None]:
        """The lines of the watch until its time is over; one chunk may hold several lines.

        What cannot be resumed raises the `gone` error here; later that ends the stream with an ERROR line.
        """
        options = self.options
        after = self.reader.version if self._from_now else int(options.resource_version)
        present: Sequence[Item] = ()
        if self._from_now and options.initial_events is not False:
            present = select(self.reader, self.resource, self.namespace, options)
        return self._frames(self.reader.follow(self.resource, after), after, present)

    async def _frames(self, cursor: Cursor, after: int, present: Iterable[Item]) -> AsyncGenerator[bytes, None]:
        options = self.options
        for chunk in gathered((frame("ADDED", self.renderer.one(item)) for item in present), WATCH_CHUNK):
            yield chunk
        if options.initial_events and options.bookmarks:
            yield self.bookmark(after, True)
        try:
            async with aclosing(self._following(cursor)) as following:
                async for chunk in following:
                    yield chunk
        except ApiError as error:
            yield error_frame(error)

    @property
    def _from_now(self) -> bool:
        return self.options.initial_events is True or self.options.resource_version in ("", "0")

    async def _following(self, cursor: Cursor) -> AsyncGenerator[bytes, None]:
        loop = asyncio.get_running_loop()
        end = loop.time() + (self.options.timeout_seconds or DEFAULT_WATCH_SECONDS)
        while (left := end - loop.time()) > 0:
            changes: Sequence[Change] = ()
            try:
                async with asyncio.timeout(min(left, BOOKMARK_SECONDS)):
                    changes = await cursor.next(self._hand_on)
            except TimeoutError:
                if self.options.bookmarks:
                    yield self.bookmark(cursor.version, False)
            for chunk in gathered(filter(None, map(self._line, changes)), WATCH_CHUNK):
                yield chunk

    def _hand_on(self, changes: Sequence[Change]) -> bool:
        lines = b"".join(map(self._line, changes))
        return not lines or (len(lines) <= WATCH_CHUNK and self.shortcut.write(lines))

    def _line(self, change: Change) -> bytes:
        event = self._event(change)
        if not event:
            return b""
        key = (self.renderer.form, event)
        found = change.frames.get(key)
        if found is None:
            found = change.frames[key] = frame(event, self.renderer.one(change.item))
        return found

    def _event(self, change: Change) -> str:
        """What the change means to this watcher: an object that begins or ceases to match is added or deleted."""
        if self.namespace and change.item.namespace != self.namespace:
            return ""
        options = self.options
        if not options.labels and not options.fields:
            return change.type
        was = change.before is not None and _chosen(change.before, options)
        if change.type == "DELETED":
            return "DELETED" if was else ""
        now = _chosen(change.item, options)
        return _TRANSITIONS[was, now]


_TRANSITIONS = {(False, False): "", (False, True): "ADDED", (True, True): "MODIFIED", (True, False): "DELETED"}
