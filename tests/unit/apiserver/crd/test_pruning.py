"""Pruning and defaults, by their algebra."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given

from octoedge.apiserver.crd.pruning import default, prune
from octoedge.apiserver.crd.structural import SchemaReader, Structural
from octoedge.testing.schemas import Json, objects, read, schemas


@given(schemas, objects)
def test_pruning_twice_is_pruning_once(schema: Structural, obj: Json) -> None:
    once = prune(schema, obj)
    left: list[str] = []
    assert prune(schema, once, left) == once
    assert left == []


@given(schemas, objects)
def test_defaults_twice_are_defaults_once(schema: Structural, obj: Json) -> None:
    once = default(schema, obj)
    assert default(schema, once) == once


@given(schemas, objects)
def test_defaults_are_known_fields(schema: Structural, obj: Json) -> None:
    filled = default(schema, prune(schema, obj))
    assert prune(schema, filled) == filled


@given(schemas, objects)
def test_nothing_is_changed_in_place(schema: Structural, obj: Json) -> None:
    before = repr(obj)
    default(schema, prune(schema, obj))
    assert repr(obj) == before


@given(schemas, objects)
def test_what_goes_is_told(schema: Structural, obj: Json) -> None:
    unknown: list[str] = []
    pruned = prune(schema, obj, unknown)
    assert bool(unknown) == (pruned != obj)


FIELDS = {
    "type": "object",
    "properties": {
        "spec": {
            "type": "object",
            "properties": {
                "list": {"type": "array", "items": {"type": "object", "properties": {"a": {"type": "integer"}}}},
                "map": {"type": "object", "additionalProperties": {"type": "object", "properties": {}}},
                "free": {
                    "type": "object",
                    "x-kubernetes-preserve-unknown-fields": True,
                    "properties": {"known": {"type": "object", "properties": {"a": {"type": "string"}}}},
                },
                "inner": {
                    "type": "object",
                    "x-kubernetes-embedded-resource": True,
                    "properties": {"spec": {"type": "object"}},
                },
            },
        }
    },
}


@pytest.mark.parametrize(
    ("spec", "kept", "gone"),
    [
        ({"list": [{"a": 1}, {"b": 2}]}, {"list": [{"a": 1}, {}]}, ["spec.list[1].b"]),
        ({"map": {"k": {"x": 1}}}, {"map": {"k": {}}}, ["spec.map.k.x"]),
        ({"free": {"x": {"y": 1}}}, {"free": {"x": {"y": 1}}}, []),
        ({"free": {"known": {"b": 1}}}, {"free": {"known": {}}}, ["spec.free.known.b"]),
        (
            {"inner": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "n"}, "data": 1}},
            {"inner": {"apiVersion": "v1", "kind": "A", "metadata": {"name": "n"}}},
            ["spec.inner.data"],
        ),
        ({"list": "text"}, {"list": "text"}, []),
    ],
)
def test_what_stays_and_what_goes(spec: Any, kept: Any, gone: list[str]) -> None:
    unknown: list[str] = []
    obj = {"apiVersion": "g/v1", "kind": "K", "metadata": {"name": "n"}, "spec": spec}
    assert prune(read(FIELDS), obj, unknown) == {**obj, "spec": kept}
    assert unknown == gone


def test_defaults_reach_into_lists_maps_and_each_other() -> None:
    item = {"type": "object", "properties": {"n": {"type": "integer", "default": 7}}}
    schema = read(
        {
            "type": "object",
            "properties": {
                "made": {"type": "object", "default": {}, "properties": {"inner": {**item, "default": {}}}},
                "list": {"type": "array", "items": item},
                "map": {"type": "object", "additionalProperties": item},
                "null": {"type": "string", "default": "x"},
                "real": {"type": "string", "default": "x", "nullable": True},
            },
        }
    )
    filled = default(schema, {"list": [{}, {"n": 1}], "map": {"k": {}}, "null": None, "real": None})
    assert filled == {
        "made": {"inner": {"n": 7}},
        "list": [{"n": 7}, {"n": 1}],
        "map": {"k": {"n": 7}},
        "null": "x",
        "real": None,
    }


def test_defaults_are_copies() -> None:
    schema = SchemaReader().read(
        {"type": "object", "properties": {"l": {"type": "array", "items": {"type": "string"}, "default": ["a"]}}}, ""
    )
    default(schema, {})["l"].append("b")
    assert default(schema, {}) == {"l": ["a"]}
