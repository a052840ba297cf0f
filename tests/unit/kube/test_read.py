"""Paths, options, pages and watches over a Reader."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.apiserver.history import Follower, History
from octoedge.errors import ApiError
from octoedge.kube.read import (
    Change,
    Item,
    Page,
    PlainRenderer,
    ReadOptions,
    Target,
    Watch,
    bookmark_frame,
    list_pieces,
    page,
    parse_path,
    read_options,
)
from octoedge.testing.clock import run


class Shelf:
    """A small Reader of one resource, in memory."""

    def __init__(self, *names: str) -> None:
        self.history = History(max_changes=8)
        self.version = 0
        self.objects: dict[tuple[str, str], Item] = {}
        for name in names:
            self.put(name)

    def put(self, name: str, **labels: str) -> None:
        self.version += 1
        data = msgspec.json.encode({"metadata": {"name": name, "resourceVersion": str(self.version)}})
        item = Item("ns", name, self.version, data, labels)
        before = self.objects.get(item.key)
        self.objects[item.key] = item
        self._tell(Change("MODIFIED" if before else "ADDED", item, before))

    def drop(self, name: str) -> None:
        self.version += 1
        before = self.objects.pop(("ns", name))
        self._tell(Change("DELETED", Item("ns", name, self.version, before.data, before.labels), before))

    def _tell(self, change: Change) -> None:
        self.history.append(change)
        self.history.publish()

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        return self.objects.get((namespace, name))

    def items(self, resource: str, namespace: str = "") -> list[Item]:
        return [self.objects[key] for key in sorted(self.objects) if not namespace or key[0] == namespace]

    def follow(self, resource: str, after: int) -> Follower:
        return Follower(self.history, after, lambda: self.version)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/api/v1/pods", Target("", "v1", "pods")),
        ("/api/v1/namespaces", Target("", "v1", "namespaces")),
        ("/api/v1/namespaces/a", Target("", "v1", "namespaces", "", "a")),
        ("/api/v1/namespaces/a/status", Target("", "v1", "namespaces", "", "a", "status")),
        ("/api/v1/namespaces/a/pods/b/log/", Target("", "v1", "pods", "a", "b", "log")),
        ("/apis/g.io/v2/namespaces/a/things", Target("g.io", "v2", "things", "a")),
        ("/apis/g.io/v2/things/b/proxy/x/y", Target("g.io", "v2", "things", "", "b", "proxy", "x/y")),
    ],
)
def test_paths(path: str, target: Target) -> None:
    assert parse_path(path) == target


@pytest.mark.parametrize(
    "path",
    ["/", "/api", "/api/v1", "/apis/g/v1", "/version", "/api/v1//pods", "/api/v1/namespaces//pods", "/api/v1/a b"],
)
def test_other_paths(path: str) -> None:
    assert parse_path(path) is None


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({"resourceVersion": "x"}, 400),
        ({"limit": "-1"}, 400),
        ({"resourceVersionMatch": "Near"}, 422),
        ({"watch": "1", "resourceVersionMatch": "Exact"}, 422),
        ({"sendInitialEvents": "true"}, 422),
        ({"watch": "1", "sendInitialEvents": "true"}, 422),
        ({"continue": "x", "resourceVersion": "5"}, 400),
    ],
)
def test_options_that_contradict_each_other(query: dict[str, str], code: int) -> None:
    with pytest.raises(ApiError) as caught:
        read_options(query)
    assert caught.value.code == code


def test_pages_cover_everything_once_and_a_watch_brings_the_rest() -> None:
    async def main() -> None:
        shelf = Shelf(*"abcde")
        first = page(shelf, "r", "", ReadOptions(limit=2))
        assert ([item.name for item in first.items], first.remaining) == (["a", "b"], 3)
        shelf.drop("a")
        shelf.put("aa")
        rest = page(shelf, "r", "", ReadOptions(limit=9, continue_from=first.continue_token))
        assert ([item.name for item in rest.items], rest.version) == (["c", "d", "e"], first.version)
        assert [change.type for change in await shelf.follow("r", rest.version).next()] == ["DELETED", "ADDED"]
        for _ in range(20):
            shelf.put("z")
        with pytest.raises(ApiError) as caught:
            page(shelf, "r", "", ReadOptions(limit=2, continue_from=first.continue_token))
        assert caught.value.code == 410

    run(main())


def test_a_version_from_the_future_is_not_waited_for() -> None:
    shelf = Shelf("a")
    with pytest.raises(ApiError) as caught:
        page(shelf, "r", "", ReadOptions(resource_version="99"))
    assert (caught.value.code, caught.value.reason) == (504, "Timeout")


def test_a_list_is_its_items_bytes() -> None:
    items = [Item("", "a", 1, b'{"a":1}'), Item("", "b", 2, b'{"b": 2}')]
    body = b"".join(list_pieces("Pod", "v1", Page(7, items, "tok", 3)))
    metadata = {"resourceVersion": "7", "continue": "tok", "remainingItemCount": 3}
    assert msgspec.json.decode(body) == {
        "kind": "PodList",
        "apiVersion": "v1",
        "metadata": metadata,
        "items": [{"a": 1}, {"b": 2}],
    }
    assert b'{"b": 2}' in body


def watch(shelf: Shelf, **options: Any) -> Watch:
    query = {key.replace("_", ""): value for key, value in options.items()}
    names = {"resourceversion": "resourceVersion", "labelselector": "labelSelector", "timeoutseconds": "timeoutSeconds"}
    names |= {"allowwatchbookmarks": "allowWatchBookmarks"}
    read = read_options({"watch": "1", **{names[key]: value for key, value in query.items()}})

    def bookmark(version: int, end: bool) -> bytes:
        return bookmark_frame("Pod", "v1", version, end_of_initial=end)

    return Watch(shelf, "r", "", read, PlainRenderer(), bookmark)


async def lines(watching: Watch) -> list[tuple[str, str]]:
    found = []
    async for chunk in watching.open():
        for line in chunk.splitlines():
            event = msgspec.json.decode(line)
            about = event["object"].get("metadata", {})
            found.append((event["type"], about.get("name") or about.get("resourceVersion", "")))
    return found


def test_a_quiet_watch_ends_in_time_and_sends_bookmarks() -> None:
    async def main() -> None:
        shelf = Shelf("a")
        found = await lines(watch(shelf, resource_version="1", timeout_seconds="150", allow_watch_bookmarks="1"))
        assert found == [("BOOKMARK", "1")] * 3
        assert await lines(watch(shelf, resource_version="0", timeout_seconds="5")) == [("ADDED", "a")]

    run(main())


def test_a_watcher_that_falls_behind_is_told_to_begin_again() -> None:
    async def main() -> None:
        shelf = Shelf("a")
        stream = watch(shelf, resource_version="1", timeout_seconds="50").open()
        shelf.put("b")
        assert b'"ADDED"' in await anext(stream)
        for number in range(20):
            shelf.put(f"c{number}")
        error = msgspec.json.decode(await anext(stream))
        assert (error["type"], error["object"]["code"], error["object"]["reason"]) == ("ERROR", 410, "Expired")
        with pytest.raises(StopAsyncIteration):
            await anext(stream)
        with pytest.raises(ApiError):
            watch(shelf, resource_version="1").open()

    run(main())


def test_frames_are_rendered_once_for_all_watchers() -> None:
    async def main() -> None:
        shelf = Shelf("a")
        streams = [watch(shelf, resource_version="1", timeout_seconds="5").open() for _ in range(3)]
        shelf.put("b")
        for stream in streams:
            await anext(stream)
            await stream.aclose()
        (change,) = shelf.history.after(1)
        assert list(change.frames) == [("json", "ADDED")]

    run(main())
