"""What a pod refers to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.edgecontroller.references import PodFacts, facts
from octoedge.errors import MessageError


def _facts(spec: dict[str, Any]) -> PodFacts:
    return facts(json.dumps({"metadata": {"name": "web", "namespace": "ns", "uid": "u"}, "spec": spec}).encode())


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"volumes": [{"name": "v", "configMap": {"name": "x"}}]}, "ns/configmap/x"),
        ({"volumes": [{"name": "v", "secret": {"secretName": "x"}}]}, "ns/secret/x"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"configMap": {"name": "x"}}]}}]}, "ns/configmap/x"),
        ({"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "x"}}]}}]}, "ns/secret/x"),
        ({"volumes": [{"name": "v", "csi": {"nodePublishSecretRef": {"name": "x"}}}]}, "ns/secret/x"),
        ({"containers": [{"envFrom": [{"configMapRef": {"name": "x"}}]}]}, "ns/configmap/x"),
        ({"containers": [{"envFrom": [{"secretRef": {"name": "x"}}]}]}, "ns/secret/x"),
        ({"containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "x", "key": "k"}}}]}]}, "ns/configmap/x"),
        ({"initContainers": [{"env": [{"valueFrom": {"secretKeyRef": {"name": "x"}}}]}]}, "ns/secret/x"),
        ({"imagePullSecrets": [{"name": "x"}]}, "ns/secret/x"),
    ],
)
def test_every_way_to_refer_is_seen(spec: dict[str, Any], expected: str) -> None:
    assert [str(reference) for reference in _facts(spec).references] == [expected]


def test_claims_are_seen_and_generic_ephemeral_volumes_make_one() -> None:
    spec = {"volumes": [{"name": "a", "persistentVolumeClaim": {"claimName": "c"}}, {"name": "b", "ephemeral": {}}]}
    assert {claim.name for claim in _facts(spec).claims} == {"c", "web-b"}


def test_a_pod_without_references_has_none() -> None:
    seen = _facts({"nodeName": "edge-1", "containers": [{"name": "c", "env": None, "envFrom": None}], "volumes": None})
    assert (seen.node, seen.service_account, seen.references) == ("edge-1", "default", frozenset())


def test_what_is_no_pod_is_said_so() -> None:
    with pytest.raises(MessageError, match="not a Pod"):
        facts(b'{"spec": {"containers": 3}}')


@given(st.binary(max_size=100))
def test_garbage_never_crashes(garbage: bytes) -> None:
    with pytest.raises(MessageError):
        facts(b"\xff" + garbage)
