"""Patches: the diff that is made, applied, gives the object it was made for."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.schema import Schema
from octoedge.apiserver.strategic import StrategicMerge
from octoedge.errors import ApiError
from octoedge.kube.patch import NODE_KEYS, POD_KEYS, apply_json, apply_merge, merge_diff, strategic_diff

Json = dict[str, Any]

KEYS = st.sampled_from(["a", "b", "c", "d/e", "f~g"])
SCALARS = st.one_of(st.booleans(), st.integers(-5, 5), st.text(max_size=3))
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(KEYS, inner, max_size=3)),
    max_leaves=8,
)
OBJECTS = st.dictionaries(KEYS, VALUES, max_size=4)
SCHEMA = Schema.load()


@given(OBJECTS, OBJECTS)
def test_a_merge_diff_leads_from_old_to_new(old: Json, new: Json) -> None:
    before = repr(old)
    result = apply_merge(old, merge_diff(old, new))
    assert result == new
    assert repr(old) == before
    assert merge_diff(new, new) == {}


@given(OBJECTS, VALUES)
def test_a_merge_patch_settles(old: Json, patch: Any) -> None:
    once = apply_merge(old, patch)
    assert apply_merge(once, patch) == once


def conditions(kinds: list[str]) -> st.SearchStrategy[list[Json]]:
    one = st.fixed_dictionaries(
        {"status": st.sampled_from(["True", "False"])},
        optional={"reason": st.text(max_size=2), "message": st.text(max_size=2)},
    )
    return st.lists(st.sampled_from(kinds), unique=True).flatmap(
        lambda names: st.tuples(*[one for _ in names]).map(
            lambda values: [{"type": name, **value} for name, value in zip(names, values, strict=True)]
        )
    )


STATUSES = st.fixed_dictionaries(
    {},
    optional={
        "conditions": conditions(["Ready", "DiskPressure", "PIDPressure"]),
        "addresses": conditions(["InternalIP", "Hostname"]),
        "phase": st.sampled_from(["Running", "Pending"]),
        "capacity": st.dictionaries(st.sampled_from(["cpu", "memory"]), st.sampled_from(["1", "2"])),
        "images": st.lists(st.fixed_dictionaries({"names": st.lists(st.text(max_size=2), max_size=2)}), max_size=2),
    },
)


@given(STATUSES, STATUSES)
def test_a_strategic_diff_leads_from_old_to_new(before: Json, after: Json) -> None:
    old, new = {"status": before}, {"status": after}
    patch = strategic_diff(old, new, NODE_KEYS)
    result = StrategicMerge(SCHEMA).apply(SCHEMA.of_kind("", "v1", "Node"), old, patch)
    assert _without_empty(result) == _without_empty(new)
    assert strategic_diff(new, new, NODE_KEYS) == {}


def _without_empty(obj: Json) -> Json:
    """A list that lost its last item by merging stays as an empty list."""
    status = {key: value for key, value in obj.get("status", {}).items() if value not in ([], {})}
    return {"status": status}


def test_a_strategic_diff_is_small() -> None:
    old = {
        "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "x"}, {"type": "A", "status": "True"}]}
    }
    new = {"status": {"conditions": [{"type": "Ready", "status": "False", "reason": "x"}]}}
    assert strategic_diff(old, new, POD_KEYS) == {
        "status": {"conditions": [{"type": "Ready", "status": "False"}, {"$patch": "delete", "type": "A"}]}
    }


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
