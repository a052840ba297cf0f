"""Structural schemas and JSON values by chance, for property tests of what walks them."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from octoedge.apiserver.crd.structural import SchemaReader, Structural

Json = dict[str, Any]

NAMES = st.sampled_from(["a", "b", "c", "spec", "x"])
scalars = st.none() | st.booleans() | st.integers(-20, 20) | st.text("ab1", max_size=3)
values: st.SearchStrategy[Any] = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3), max_leaves=12
)
objects: st.SearchStrategy[Json] = st.dictionaries(NAMES, values, max_size=4)


def _leaves() -> st.SearchStrategy[Json]:
    integer = st.fixed_dictionaries({"type": st.just("integer")}, optional={"default": st.integers(0, 5)})
    text = st.fixed_dictionaries({"type": st.just("string")}, optional={"default": st.text("ab", max_size=2)})
    free = st.just({"type": "object", "x-kubernetes-preserve-unknown-fields": True})
    either = st.just({"x-kubernetes-int-or-string": True})
    return st.one_of(integer, text, free, either, st.just({"type": "boolean", "nullable": True}))


def _nodes(inner: st.SearchStrategy[Json]) -> st.SearchStrategy[Json]:
    fields = st.dictionaries(NAMES, inner, max_size=4)
    plain = fields.map(lambda properties: {"type": "object", "properties": properties})
    keeping = fields.map(
        lambda properties: {
            "type": "object",
            "properties": properties,
            "x-kubernetes-preserve-unknown-fields": True,
        }
    )
    filled = fields.map(lambda properties: {"type": "object", "properties": properties, "default": {}})
    lists = inner.map(lambda items: {"type": "array", "items": items})
    maps = inner.map(lambda values: {"type": "object", "additionalProperties": values})
    return st.one_of(plain, keeping, filled, lists, maps)


json_schemas = st.dictionaries(NAMES, st.recursive(_leaves(), _nodes, max_leaves=10), max_size=4).map(
    lambda properties: {"type": "object", "properties": properties}
)


def read(schema: Json) -> Structural:
    """The schema, which must be a good one."""
    reader = SchemaReader()
    structural = reader.read(schema, "schema")
    assert not reader.causes, reader.causes
    return structural


schemas: st.SearchStrategy[Structural] = json_schemas.map(read)
