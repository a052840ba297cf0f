"""Strategic merge patches, as kubectl sends them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.writing.strategic import StrategicMerge
from octoedge.errors import ApiError

Json = dict[str, Any]

SCHEMA = Schema.load()
POD = SCHEMA.of_kind("", "v1", "Pod")


def apply(target: Json, patch: Json) -> Json:
    return StrategicMerge(SCHEMA).apply(POD, target, patch)


def spec(**fields: Any) -> Json:
    return {"spec": fields}


WEB = {"name": "web", "image": "i:1", "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]}


def test_lists_are_merged_by_their_key_at_every_depth() -> None:
    patch = spec(containers=[{"name": "web", "env": [{"name": "B", "value": "3"}]}, {"name": "new", "image": "n"}])
    result = apply(spec(containers=[WEB, {"name": "side"}]), patch)["spec"]["containers"]
    assert [container["name"] for container in result] == ["web", "side", "new"]
    assert result[0] == {**WEB, "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}]}


def test_directives() -> None:
    both = spec(containers=[WEB, {"name": "side"}])
    assert apply(both, spec(containers=[{"name": "web", "$patch": "delete"}])) == spec(containers=[{"name": "side"}])
    replaced = apply(both, spec(containers=[{"$patch": "replace"}, {"name": "only"}]))
    assert replaced == spec(containers=[{"name": "only"}])
    assert apply(spec(nodeSelector={"a": "1"}), spec(nodeSelector={"$patch": "replace", "b": "2"})) == spec(
        nodeSelector={"b": "2"}
    )
    volume = {"name": "v", "configMap": {"name": "c"}}
    retained = apply(
        spec(volumes=[volume]), spec(volumes=[{"name": "v", "$retainKeys": ["name", "emptyDir"], "emptyDir": {}}])
    )
    assert retained == spec(volumes=[{"name": "v", "emptyDir": {}}])
    finalizers = {"metadata": {"finalizers": ["a", "b"]}}
    taken = apply(finalizers, {"metadata": {"$deleteFromPrimitiveList/finalizers": ["a"], "finalizers": ["c", "b"]}})
    assert taken == {"metadata": {"finalizers": ["b", "c"]}}
    order = {"$setElementOrder/containers": [{"name": "side"}, {"name": "web"}]}
    assert [one["name"] for one in apply(both, {"spec": order})["spec"]["containers"]] == ["side", "web"]


def test_null_removes_and_atomic_lists_are_replaced() -> None:
    before = spec(hostname="h", tolerations=[{"key": "a"}], nodeSelector={"a": "1", "b": "2"})
    after = apply(before, spec(hostname=None, tolerations=[{"key": "b"}], nodeSelector={"a": None}))
    assert after == spec(tolerations=[{"key": "b"}], nodeSelector={"b": "2"})


@pytest.mark.parametrize(
    "patch",
    [
        {"$patch": "explode"},
        spec(containers=[{"image": "nameless"}]),
        spec(containers=["text"]),
        spec(volumes=[{"name": "v", "$retainKeys": ["name"], "emptyDir": {}}]),
        {"metadata": {"$deleteFromPrimitiveList/finalizers": "a"}},
        {"$fly": 1},
    ],
)
def test_nonsense_is_a_bad_request(patch: Json) -> None:
    with pytest.raises(ApiError) as caught:
        apply(spec(containers=[WEB]), patch)
    assert caught.value.code == 400


NAMES = st.lists(st.sampled_from("abcd"), unique=True)


@given(NAMES, NAMES)
def test_an_order_keeps_what_it_does_not_name(have: list[str], order: list[str]) -> None:
    target = spec(containers=[{"name": name} for name in have])
    patch = {"spec": {"$setElementOrder/containers": [{"name": name} for name in order]}}
    result = [one["name"] for one in apply(target, patch)["spec"]["containers"]]
    assert sorted(result) == sorted(have)
    assert [name for name in result if name in order] == [name for name in order if name in have]
