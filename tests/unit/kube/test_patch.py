"""Merge patches and JSON patches, applied."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ApiError
from octoedge.kube.patch import apply_json, apply_merge

Json = dict[str, Any]

KEYS = st.sampled_from(["a", "b", "c", "d/e", "f~g"])
SCALARS = st.one_of(st.booleans(), st.integers(-5, 5), st.text(max_size=3))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)


@given(OBJECTS, VALUES)
def test_a_merge_patch_settles_and_leaves_its_target_alone(old: Json, patch: Any) -> None:
    before = repr(old)
    once = apply_merge(old, patch)
    assert repr(old) == before
    assert apply_merge(once, patch) == once


@pytest.mark.parametrize(
    ("document", "operation", "expected"),
    [
        ({"a": 1}, {"op": "add", "path": "/b", "value": 2}, {"a": 1, "b": 2}),
        ({"a": [1, 3]}, {"op": "add", "path": "/a/1", "value": 2}, {"a": [1, 2, 3]}),
        ({"a": [1]}, {"op": "add", "path": "/a/-", "value": 2}, {"a": [1, 2]}),
        ({"a/b": 1}, {"op": "remove", "path": "/a~1b"}, {}),
        ({"a": [1, 2]}, {"op": "remove", "path": "/a/0"}, {"a": [2]}),
        ({"a": 1}, {"op": "replace", "path": "/a", "value": None}, {"a": None}),
        ({"a": {"b": 1}}, {"op": "move", "from": "/a/b", "path": "/c"}, {"a": {}, "c": 1}),
        ({"a": {"b": 1}}, {"op": "copy", "from": "/a", "path": "/c"}, {"a": {"b": 1}, "c": {"b": 1}}),
        ({"a": 1}, {"op": "test", "path": "/a", "value": 1.0}, {"a": 1}),
        ({"a": 1}, {"op": "replace", "path": "", "value": {"b": 1}}, {"b": 1}),
    ],
)
def test_json_patch(document: Any, operation: Json, expected: Any) -> None:
    assert apply_json(document, [operation]) == expected


@pytest.mark.parametrize(
    "operation",
    [
        {"op": "test", "path": "/a", "value": True},
        {"op": "remove", "path": "/x"},
        {"op": "replace", "path": "/x", "value": 1},
        {"op": "add", "path": "/l/7", "value": 1},
        {"op": "add", "path": "/l/01", "value": 1},
        {"op": "add", "path": "x", "value": 1},
        {"op": "add", "path": "/a/b", "value": 1},
        {"op": "add", "path": "/b"},
        {"op": "move", "from": "/l", "path": "/l/0"},
        {"op": "remove", "path": ""},
    ],
)
def test_an_operation_that_does_not_fit_changes_nothing(operation: Json) -> None:
    document = {"a": 1, "l": [1]}
    with pytest.raises(ApiError) as caught:
        apply_json(document, [{"op": "add", "path": "/l/-", "value": 2}, operation])
    assert caught.value.code == 422
    assert document == {"a": 1, "l": [1]}


@pytest.mark.parametrize(
    "patch", [{}, [1], [{"op": "jump", "path": "/a"}], [{"path": "/a"}], [{"op": [], "path": "/a"}]]
)
def test_what_is_no_json_patch_is_a_bad_request(patch: Any) -> None:
    with pytest.raises(ApiError) as caught:
        apply_json({"a": 1}, patch)
    assert caught.value.code == 400


def test_copies_cannot_fill_the_memory() -> None:
    doubling = [{"op": "copy", "from": "/a", "path": "/a/-"}] * 64
    with pytest.raises(ApiError) as caught:
        apply_json({"a": ["x" * 1000]}, doubling)
    assert caught.value.code == 413


@given(
    OBJECTS,
    st.lists(st.tuples(st.sampled_from(["add", "remove", "replace", "move", "copy", "test"]), KEYS, KEYS, VALUES)),
)
def test_any_json_patch_applies_or_is_refused(document: Json, steps: list[tuple[str, str, str, Any]]) -> None:
    operations = [
        {"op": op, "path": f"/{path}", "from": f"/{origin}", "value": value} for op, path, origin, value in steps
    ]
    before = repr(document)
    with contextlib.suppress(ApiError):
        apply_json(document, operations)
    assert repr(document) == before
