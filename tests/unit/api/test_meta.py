"""Splicing changes what it is asked to and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.meta import fields, splice, typed, view
from octoedge.errors import MessageError

NAMES = st.sampled_from(["kind", "apiVersion", "metadata", "spec", "status", "data", "x"])
VALUES = st.recursive(
    st.none() | st.integers(-1000, 1000) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
META = st.dictionaries(st.sampled_from(["name", "labels", "resourceVersion", "managedFields"]), VALUES, max_size=4)


@given(
    st.dictionaries(NAMES.filter(lambda n: n != "metadata"), VALUES),
    META,
    st.dictionaries(NAMES.filter(lambda n: n != "metadata"), VALUES, max_size=3),
    META,
)
def test_a_splice_is_a_merge_of_two_levels(
    rest: dict[str, Any], meta: dict[str, Any], top: dict[str, Any], metadata: dict[str, Any]
) -> None:
    obj = {**rest, "metadata": meta}
    spliced = msgspec.json.decode(splice(msgspec.json.encode(obj), top, metadata))
    assert spliced == {**_merged(rest, top), "metadata": _merged(meta, metadata)}


def _merged(old: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in {**old, **changes}.items() if key not in changes or value is not None}


def test_what_is_not_touched_keeps_its_bytes() -> None:
    obj = b'{"spec": {"a" : 1.50, "big":12345678901234567890123}, "metadata":{"name":"x"},"kind":"Pod"}'
    spliced = splice(obj, {"apiVersion": "v1"}, {"resourceVersion": "7"})
    assert b'{"a" : 1.50, "big":12345678901234567890123}' in spliced
    assert spliced.startswith(b'{"kind":"Pod","apiVersion":"v1",')


def test_none_removes_and_metadata_is_made_when_missing() -> None:
    assert splice(b'{"kind":"Pod","status":{}}', {"status": None}, {"name": "x"}) == (
        b'{"kind":"Pod","metadata":{"name":"x"}}'
    )


def test_items_of_a_list_get_their_type_and_others_stay_the_same_bytes() -> None:
    assert view(typed(b'{"metadata":{"name":"x"}}', "v1", "Pod")).kind == "Pod"
    whole = b'{"kind":"Pod",  "apiVersion":"v1"}'
    assert typed(whole, "v1", "Pod") is whole


def test_the_view_reads_what_decisions_need() -> None:
    seen = view(
        b'{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","namespace":"b","uid":"u","resourceVersion":"12",'
        b'"labels":null,"ownerReferences":[{"kind":"ReplicaSet","uid":"o","controller":true}],"new":1},"spec":5}'
    )
    assert (seen.kind, seen.metadata.name, seen.metadata.version) == ("Pod", "a", 12)
    assert seen.metadata.owner_references is not None
    assert seen.metadata.owner_references[0].uid == "o"
    assert view(b'{"metadata":{"resourceVersion":"x"}}').metadata.version == 0


@pytest.mark.parametrize("obj", [b"", b"null", b"[]", b"{", b'{"metadata":5}', b"[" * 50_000])
def test_what_is_no_object_is_a_message_error(obj: bytes) -> None:
    with pytest.raises(MessageError):
        view(obj)
    if obj != b'{"metadata":5}':
        with pytest.raises(MessageError):
            fields(obj)
    with pytest.raises(MessageError):
        splice(obj, {"kind": "Pod"}, {"name": "x"})
