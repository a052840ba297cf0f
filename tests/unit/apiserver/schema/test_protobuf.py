"""Protobuf bodies: those that kubectl 1.32 really sends, every field of the table, and any garbage."""

from __future__ import annotations

import base64
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.apiserver.schema.protobuf import ProtobufReader
from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.errors import ApiError

Json = dict[str, Any]

SCHEMA = Schema.load()
READER = ProtobufReader(SCHEMA)
RECORDED = json.loads((Path(__file__).parent / "data/kubectl-1.32-bodies.json").read_text())


@pytest.mark.parametrize("name", sorted(RECORDED))
def test_bodies_of_kubectl(name: str) -> None:
    assert READER.read(base64.b64decode(RECORDED[name]["body"])) == RECORDED[name]["object"]


def varint(number: int) -> bytes:
    number &= (1 << 64) - 1
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes([*parts, number])


def lump(number: int, data: bytes) -> bytes:
    return varint(number << 3 | 2) + varint(len(data)) + data


class Writer:
    """Writes objects as Go does: the reader's other half, only for this test."""

    def message(self, definition: Definition, obj: Json) -> bytes:
        whole, inner = b"", dict[int, bytes]()
        for name, value in obj.items():
            field = definition.fields[name]
            data = self.field(field, field.number[-1], value)
            if len(field.number) == 2:
                inner[field.number[0]] = inner.get(field.number[0], b"") + data
            else:
                whole += data
        return whole + b"".join(lump(number, data) for number, data in inner.items())

    def field(self, field: Field, number: int, value: Any) -> bytes:
        if field.shape == "[]":
            return b"".join(self.single(field, number, item) for item in value)
        if field.shape == "{}":
            entries = (lump(1, key.encode()) + self.single(field, 2, item) for key, item in value.items())
            return b"".join(lump(number, entry) for entry in entries)
        return self.single(field, number, value)

    def single(self, field: Field, number: int, value: Any) -> bytes:
        if field.is_definition:
            return lump(number, self.message(SCHEMA[field.type], value))
        if field.type in ("boolean", "int32", "int64"):
            return varint(number << 3) + varint(int(value))
        if field.type == "number":
            return varint(number << 3 | 1) + struct.pack("<d", value)
        return lump(number, self.bytes(field.type, value))

    def bytes(self, kind: str, value: Any) -> bytes:
        if kind == "bytes":
            return base64.b64decode(value)
        if kind == "quantity":
            return lump(1, value.encode())
        if kind == "intstr":
            text = isinstance(value, str)
            return varint(8) + varint(int(text)) + (lump(3, value.encode()) if text else varint(16) + varint(value))
        return str(value).encode()


SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "string": st.text(min_size=1, max_size=5),
    "bytes": st.binary(max_size=5).map(lambda data: base64.b64encode(data).decode()).filter(bool),
    "boolean": st.just(True),
    "int32": st.integers(-(2**31), 2**31 - 1).filter(bool),
    "int64": st.integers(-(2**63), 2**63 - 1).filter(bool),
    "number": st.floats(allow_nan=False),
    "quantity": st.sampled_from(["1", "500m", "1Gi"]),
    "intstr": st.one_of(st.text(min_size=1, max_size=3), st.integers(1, 65535)),
}


def objects(name: str, depth: int) -> st.SearchStrategy[Json]:
    """Random objects of a definition, a few levels deep."""
    fields: dict[str, st.SearchStrategy[Any]] = {}
    for field in SCHEMA[name].fields.values():
        one = objects(field.type, depth - 1) if field.is_definition and depth else SCALARS.get(field.type)
        if not field.number or one is None or field.shape not in ("", "[]", "{}"):
            continue
        if field.shape == "[]":
            one = st.lists(one, min_size=1, max_size=2)
        elif field.shape == "{}":
            one = st.dictionaries(st.text(min_size=1, max_size=3), one, min_size=1, max_size=2)
        elif field.is_definition:
            one = one.filter(bool)
        fields[field.name] = one
    chosen = st.lists(st.sampled_from(sorted(fields)), unique=True, max_size=4) if fields else st.just([])
    return chosen.flatmap(lambda names: st.fixed_dictionaries({one: fields[one] for one in names}))


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(["Pod", "Node", "Secret", "Service", "Event"]).flatmap(
        lambda kind: st.tuples(st.just(kind), objects(f"core.v1.{kind}", 4))
    )
)
def test_what_is_written_is_read(case: tuple[str, Json]) -> None:
    kind, obj = case
    body = b"k8s\0" + lump(1, lump(1, b"v1") + lump(2, kind.encode()))
    body += lump(2, Writer().message(SCHEMA.of_kind("", "v1", kind), obj))
    expected = {"kind": kind, "apiVersion": "v1", **obj}
    assert READER.read(body) == expected


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_request(garbage: bytes) -> None:
    pod = lump(1, lump(1, b"v1") + lump(2, b"Pod"))
    for body in (garbage, b"k8s\0" + garbage, b"k8s\0" + pod + lump(2, garbage)):
        try:
            assert isinstance(READER.read(body), dict)
        except ApiError as error:
            assert error.code in (400, 415)  # noqa: PT017 (either is right)


def test_a_kind_that_is_not_in_the_table_is_named() -> None:
    with pytest.raises(ApiError, match="Gizmo") as caught:
        READER.read(b"k8s\0" + lump(1, lump(1, b"x/v1") + lump(2, b"Gizmo")))
    assert caught.value.code == 415
