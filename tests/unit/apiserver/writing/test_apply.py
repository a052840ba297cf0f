"""Server-side apply: one owns what one applies, and nothing of what others applied is lost or overwritten unasked."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.writing.apply import Applier
from octoedge.errors import ApiError

Json = dict[str, Any]

SCHEMA = Schema.load()


def apply(live: Json, applied: Json, manager: str, *, force: bool = False, kind: str = "ConfigMap") -> Json:
    definition = SCHEMA.of_kind("", "v1", kind)
    return Applier(SCHEMA).apply(definition, live, {"apiVersion": "v1", **applied}, manager, force=force, now="t")


def visible(obj: Json) -> Json:
    return {key: value for key, value in obj.items() if key != "metadata" and value not in ({}, [])}


DATA = st.dictionaries(st.sampled_from("abc"), st.sampled_from("xyz"), max_size=3).map(lambda data: {"data": data})


@given(st.lists(DATA, min_size=1, max_size=4))
def test_alone_the_object_is_what_was_applied_last(configurations: list[Json]) -> None:
    live: Json = {}
    for configuration in configurations:
        live = apply(live, configuration, "me")
    assert visible(live) == visible(configurations[-1])
    assert apply(live, configurations[-1], "me") == live


@given(DATA, DATA, DATA)
def test_two_managers_keep_out_of_each_others_way(first: Json, second: Json, third: Json) -> None:
    live = apply({}, first, "one")
    live = apply(live, second, "two", force=True)
    live = apply(live, third, "one", force=True)
    wanted = {**second["data"], **third["data"]}
    assert (live.get("data") or {}) == wanted
    for entry in live["metadata"]["managedFields"]:
        owned = {key.removeprefix("f:") for key in entry["fieldsV1"].get("f:data", {})} - {"."}
        assert owned <= set(wanted)


def test_a_conflict_names_the_field_and_the_other_manager() -> None:
    live = apply({}, {"data": {"a": "1"}}, "one")
    with pytest.raises(ApiError) as caught:
        apply(live, {"data": {"a": "2"}}, "two")
    assert caught.value.code == 409
    assert caught.value.message == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert apply(live, {"data": {"a": "1"}}, "two")["data"] == {"a": "1"}
    assert apply(live, {"data": {"a": "2"}}, "two", force=True)["data"] == {"a": "2"}
    with pytest.raises(ApiError):
        apply(live, {}, "")


def test_lists_are_merged_by_their_keys() -> None:
    def pod(*containers: Json) -> Json:
        return {"spec": {"containers": list(containers)}}

    live = apply({}, pod({"name": "a", "image": "1", "ports": [{"containerPort": 80}]}), "one", kind="Pod")
    live = apply(live, pod({"name": "b", "image": "2"}), "two", kind="Pod")
    assert [one["name"] for one in live["spec"]["containers"]] == ["a", "b"]
    live = apply(live, pod({"name": "a", "image": "1", "ports": []}), "one", kind="Pod")
    assert live["spec"]["containers"] == [{"name": "a", "image": "1", "ports": []}, {"name": "b", "image": "2"}]
    live = apply(live, pod(), "two", kind="Pod")
    assert [one["name"] for one in live["spec"]["containers"]] == ["a"]
    with pytest.raises(ApiError, match=r'conflict with "one": \.spec\.containers\[name="a"\]\.image'):
        apply(live, pod({"name": "a", "image": "9"}), "two", kind="Pod")


def test_what_was_updated_by_others_stays_and_is_not_owned() -> None:
    live = apply({}, {"data": {"a": "1"}}, "me")
    live["data"]["b"] = "2"
    live = apply(live, {"data": {}}, "me")
    assert live["data"] == {"b": "2"}
