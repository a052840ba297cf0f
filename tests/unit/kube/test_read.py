"""Paths, options, pages and watches over a Reader."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.errors import ApiError
from octoedge.kube.read import (
    Item,
    Page,
    PlainRenderer,
    Target,
    Watch,
    bookmark_frame,
    list_pieces,
    parse_path,
    read_options,
)
from octoedge.testing.clock import run
from octoedge.testing.shelf import Shelf


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
