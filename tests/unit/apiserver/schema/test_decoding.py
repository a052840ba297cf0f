"""Decoding: types are checked, unknown fields found, nothing else is lost."""

from __future__ import annotations

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.schema.decoding import Decoder, WrongType
from octoedge.apiserver.schema.schema import Schema

SCHEMA = Schema.load()
POD = SCHEMA.of_kind("", "v1", "Pod")


def decode(value: Any) -> tuple[dict[str, Any], list[str]]:
    decoder = Decoder(SCHEMA)
    return decoder.decode(POD, value), decoder.unknown


def test_unknown_fields_are_found_with_their_path() -> None:
    found, unknown = decode({"spec": {"foo": 1, "containers": [{"name": "a", "x": 1}]}, "extra": {}})
    assert unknown == ["spec.foo", "spec.containers[0].x", "extra"]
    assert found == {"spec": {"containers": [{"name": "a"}]}}


def test_null_is_absence_and_required_zeros_are_there() -> None:
    found, _ = decode({"metadata": None, "status": {"containerStatuses": [{"name": "c", "ready": None}]}})
    status = {"name": "c", "image": "", "imageID": "", "ready": False, "restartCount": 0}
    assert found == {"status": {"containerStatuses": [status]}}
    assert decode({"metadata": {"labels": {"a": None}}})[0] == {"metadata": {"labels": {"a": ""}}}


def test_times_and_quantities_get_their_usual_text() -> None:
    found, _ = decode({"metadata": {"creationTimestamp": "2026-01-02T03:04:05.5+02:00"}})
    assert found["metadata"]["creationTimestamp"] == "2026-01-02T01:04:05Z"
    limits = {"cpu": 0.5, "memory": "1024Mi"}
    found, _ = decode({"spec": {"containers": [{"name": "a", "resources": {"limits": limits}}]}})
    assert found["spec"]["containers"][0]["resources"]["limits"] == {"cpu": "500m", "memory": "1Gi"}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ([], "cannot unmarshal array into Go value of type"),
        ({"spec": "x"}, "cannot unmarshal string into Go struct field Pod.spec of type"),
        ({"spec": {"containers": {}}}, "cannot unmarshal object into Go struct field PodSpec.spec.containers of type"),
        ({"spec": {"hostNetwork": "yes"}}, "of type bool"),
        ({"spec": {"priority": 1 << 40}}, "of type int32"),
        ({"spec": {"priority": True}}, "of type int32"),
        (
            {"metadata": {"labels": {"a": 1}}},
            "cannot unmarshal number into Go struct field ObjectMeta.metadata.labels.a",
        ),
        ({"metadata": {"creationTimestamp": "yesterday"}}, "parsing time"),
        ({"spec": {"overhead": {"cpu": "many"}}}, "quantities must match"),
    ],
)
def test_wrong_types_are_named(value: Any, text: str) -> None:
    with pytest.raises(WrongType, match=re.escape(text)):
        decode(value)


JSON: st.SearchStrategy[Any] = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.sampled_from(["spec", "metadata", "status", "containers", "name", "labels"]), inner, max_size=4
        ),
    ),
    max_leaves=12,
)


@given(JSON)
def test_any_json_is_decoded_or_refused_and_decoding_settles(value: Any) -> None:
    try:
        once, _ = decode(value)
    except WrongType:
        return
    assert decode(once) == (once, [])
