"""Clients on a node find the API at the node's MetaServer; every other Service stays where it is."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.kube.apiaddress import shown_at

HERE = ("10.88.77.1", 10550)
SLICES, ENDPOINTS = ("discovery.k8s.io", "endpointslices"), ("", "endpoints")


def obj(name: str, namespace: str = "default", **labels: str) -> dict[str, Any]:
    about = {"name": name, "namespace": namespace, "resourceVersion": "7", "labels": labels}
    return {"metadata": about, "endpoints": [{"addresses": ["192.0.2.1"]}], "ports": [{"port": 6443}], "subsets": []}


def changed(body: Any, kind: tuple[str, str] = SLICES, where: tuple[str, int] = HERE) -> Any:
    return msgspec.json.decode(shown_at(msgspec.json.encode(body), *kind, where))


def test_the_slice_of_the_api_names_metaserver() -> None:
    for one in (obj("kubernetes"), obj("kubernetes-x1", **{"kubernetes.io/service-name": "kubernetes"})):
        found = changed(one)
        assert found["endpoints"] == [{"addresses": ["10.88.77.1"], "conditions": {"ready": True}}]
        assert found["ports"] == [{"name": "https", "port": 10550, "protocol": "TCP"}]
        assert (found["addressType"], found["metadata"]) == ("IPv4", one["metadata"])
    assert changed(obj("kubernetes"), where=("fd00::1", 1))["addressType"] == "IPv6"
    found = changed(obj("kubernetes"), ENDPOINTS)
    assert found["subsets"] == [
        {"addresses": [{"ip": "10.88.77.1"}], "ports": [{"name": "https", "port": 10550, "protocol": "TCP"}]}
    ]


def test_in_lists_and_changes_too_and_nothing_else() -> None:
    others = [obj("web"), obj("kubernetes", "other"), obj("x", a="kubernetes")]
    for name, wrap in (("items", lambda one: one), ("events", lambda one: {"type": "MODIFIED", "object": one})):
        found = changed({name: [wrap(one) for one in (*others, obj("kubernetes"))]})[name]
        assert found[:3] == [wrap(one) for one in others]
        assert found[3] == wrap(changed(obj("kubernetes")))
    body = msgspec.json.encode({"items": others})
    assert shown_at(body, *SLICES, HERE) is body
    services = msgspec.json.encode(obj("kubernetes"))
    assert shown_at(services, "", "services", HERE) is services


@pytest.mark.parametrize(
    "body", [b"", b'"kubernetes"', b'["kubernetes"]', b'{"kubernetes"', b'{"items":["kubernetes"]}']
)
def test_what_is_no_object_is_passed_on(body: bytes) -> None:
    assert shown_at(body, *SLICES, HERE) == body


NAMES = st.sampled_from(["items", "events", "object", "metadata", "labels", "name", "namespace"])
WORDS = st.sampled_from([None, "kubernetes", "default", 1])


@given(st.recursive(WORDS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner)))
def test_nothing_breaks_it(body: Any) -> None:
    for kind in (SLICES, ENDPOINTS):
        shown_at(msgspec.json.encode(body), *kind, HERE)
