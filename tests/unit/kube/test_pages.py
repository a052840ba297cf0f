"""Pages: of one version, everything once, whatever happens meanwhile."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ApiError
from octoedge.kube.pages import Held, page
from octoedge.kube.read import ReadOptions
from octoedge.testing.clock import run
from octoedge.testing.shelf import Shelf

NAMES = st.sampled_from("abcdefgh")


def following(token: str, limit: int = 2) -> ReadOptions:
    return ReadOptions(limit=limit, continue_from=token)


@given(st.sets(NAMES), st.integers(1, 4), st.lists(st.tuples(NAMES, st.booleans()), max_size=12))
def test_all_pages_are_of_the_version_of_the_first(names: set[str], limit: int, edits: list[tuple[str, bool]]) -> None:
    shelf, held = Shelf(*sorted(names)), Held()
    expected = [(item.name, item.version) for item in shelf.items("r")]
    part = page(shelf, "r", "", ReadOptions(limit=limit), held)
    version, got = part.version, list(part.items)
    pending = iter(edits)
    while part.continue_token:
        assert part.remaining == len(expected) - len(got)
        for name, puts in (edit for edit in (next(pending, None), next(pending, None)) if edit):
            if puts:
                shelf.put(name)
            elif ("ns", name) in shelf.objects:
                shelf.drop(name)
        part = page(shelf, "r", "", following(part.continue_token, limit), held)
        assert part.version == version
        got += part.items
    assert [(item.name, item.version) for item in got] == expected


def test_a_page_may_be_asked_for_twice() -> None:
    shelf, held = Shelf(*"abcdef"), Held()
    first = page(shelf, "r", "", ReadOptions(limit=2), held)
    shelf.drop("c")
    for _ in range(2):
        assert [item.name for item in page(shelf, "r", "", following(first.continue_token), held).items] == ["c", "d"]


def test_what_is_held_no_longer_comes_as_it_is_now_and_a_watch_brings_the_rest() -> None:
    async def main() -> None:
        shelf, held = Shelf(*"abcde"), Held(most=1)
        first = page(shelf, "r", "", ReadOptions(limit=2), held)
        assert ([item.name for item in first.items], first.remaining) == (["a", "b"], 3)
        page(shelf, "r", "", ReadOptions(limit=2), held)
        shelf.drop("d")
        shelf.put("cc")
        rest = page(shelf, "r", "", following(first.continue_token, 9), held)
        assert ([item.name for item in rest.items], rest.version) == (["c", "cc", "e"], first.version)
        assert [change.type for change in await shelf.follow("r", rest.version).next()] == ["DELETED", "ADDED"]
        for _ in range(20):
            shelf.put("z")
        with pytest.raises(ApiError) as caught:
            page(shelf, "r", "", following(first.continue_token), held)
        assert caught.value.code == 410

    run(main())


def test_a_token_opens_no_other_list() -> None:
    shelf, held = Shelf(*"abc"), Held()
    first = page(shelf, "secrets", "ns", ReadOptions(limit=1), held)
    shelf.drop("b")
    assert [item.name for item in page(shelf, "r", "ns", following(first.continue_token), held).items] == ["c"]
    assert page(shelf, "secrets", "other", following(first.continue_token), held).items == []


def test_nothing_is_held_after_the_last_page() -> None:
    shelf, held = Shelf(*"abc"), Held()
    first = page(shelf, "r", "", ReadOptions(limit=2), held)
    page(shelf, "r", "", following(first.continue_token), held)
    assert not held._rests


def test_a_version_from_the_future_is_not_waited_for() -> None:
    with pytest.raises(ApiError) as caught:
        page(Shelf("a"), "r", "", ReadOptions(resource_version="99"), Held())
    assert (caught.value.code, caught.value.reason) == (504, "Timeout")


@pytest.mark.parametrize("token", ["x", "e30", "bm9uc2Vuc2U", "é"])
def test_a_token_that_nobody_gave_out_is_refused(token: str) -> None:
    with pytest.raises(ApiError) as caught:
        page(Shelf("a"), "r", "", following(token), Held())
    assert caught.value.code == 400
