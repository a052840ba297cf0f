"""What a node may touch, payload by payload."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import pytest

from octoedge.cloud.edgecontroller.authorize import refusal
from octoedge.cloud.edgecontroller.references import PodFacts
from octoedge.cloud.edgecontroller.requests import HANDLERS
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import Resource, parse

CONFIG = Resource("default", "configmap", "web")
CLAIM = Resource("default", "persistentvolumeclaim", "data")


def _pod(node: str, name: str) -> PodFacts:
    return PodFacts("default", name, f"uid-{name}", node, "runner", frozenset({CONFIG}), frozenset({CLAIM}))


@dataclass
class Pods:
    """Two pods: ours and another node's."""

    pods: list[PodFacts] = field(default_factory=lambda: [_pod("edge-1", "mine"), _pod("edge-2", "theirs")])

    def pod(self, namespace: str, name: str) -> PodFacts | None:
        return next((pod for pod in self.pods if (pod.namespace, pod.name) == (namespace, name)), None)

    def pods_of(self, node: str) -> Iterable[PodFacts]:
        return [pod for pod in self.pods if pod.node == node]

    def labels(self, node: str) -> Mapping[str, str]:
        return {"node-restriction.kubernetes.io/tier": "low"}

    def uses(self, node: str, resource: Resource) -> bool:
        return any(resource in pod.references for pod in self.pods_of(node))


def _body(value: Any) -> bytes:
    return json.dumps(value).encode()


OWN = {"kind": "Pod", "name": "mine", "uid": "uid-mine"}
BOUND = {"spec": {"boundObjectRef": OWN}}
RESERVED = "node-restriction.kubernetes.io/tier"
MIRROR = {"metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}, "spec": {"nodeName": "edge-1"}}

SECRET_VOLUME = {"name": "s", "secret": {"secretName": "theirs"}}
GREEDY: list[dict[str, Any]] = [
    {"volumes": [SECRET_VOLUME]},
    {"imagePullSecrets": [{"name": "theirs"}]},
    {"containers": [{"name": "c", "envFrom": [{"configMapRef": {"name": "theirs"}}]}]},
    {"volumes": [{"name": "d", "persistentVolumeClaim": {"claimName": "data"}}]},
    {"serviceAccountName": "runner"},
]

MAY: list[tuple[type[p.Payload], str, Any]] = [
    (p.NodeInsert, "null/node/edge-1", {}),
    (p.NodeStatusPatch, "null/nodepatch/edge-1", {}),
    (p.NodeUpdate, "null/node/edge-1", {"metadata": {"labels": {RESERVED: "low", "site": "north"}}}),
    (p.LeaseUpdate, "kube-node-lease/lease/edge-1", {}),
    (p.PodStatusPatch, "default/podpatch/mine", {}),
    (p.PodStatusPatch, "default/podpatch/unknown", {}),
    (p.PodDelete, "default/pod/mine", {}),
    (p.PodInsert, "default/pod/static-edge-1", MIRROR),
    (p.ObjectQuery, "default/configmap/web", None),
    (p.ObjectQuery, "null/node/edge-1", None),
    (p.ObjectQuery, "kube-node-lease/lease/edge-1", None),
    (p.ObjectQuery, "default/persistentvolumeclaim/data", None),
    (p.TokenQuery, "default/serviceaccounttoken/runner", BOUND),
    (p.EventInsert, "default/event/e", {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "mine"}}),
    (p.EventPatch, "default/event/e", {"event": {"involvedObject": {"kind": "Node", "name": "edge-1"}}}),
]

MAY_NOT: list[tuple[type[p.Payload], str, Any]] = [
    (p.NodeInsert, "null/node/edge-2", {}),
    (p.NodeUpdate, "null/node/edge-2", {}),
    (p.NodeUpdate, "null/node/edge-1", {"metadata": {"labels": {RESERVED: "high"}}}),
    (p.NodeInsert, "null/node/edge-1", {"metadata": {"labels": {"node-restriction.kubernetes.io/other": "x"}}}),
    (p.NodeStatusPatch, "null/nodepatch/edge-1", {"metadata": {"labels": {RESERVED: "high"}}}),
    (p.NodeStatusPatch, "null/nodepatch/edge-1", {"metadata": {"labels": {RESERVED: None}}}),
    (p.NodeStatusPatch, "null/nodepatch/edge-1", {"metadata": {"labels": None}}),
    (p.NodeStatusPatch, "null/nodepatch/edge-1", {"metadata": {"labels": {"$patch": "replace"}}}),
    (p.NodeStatusPatch, "null/nodepatch/edge-2", {}),
    (p.NodeStatusReport, "default/nodestatus/edge-2", {}),
    (p.LeaseInsert, "kube-node-lease/lease/edge-2", {}),
    (p.LeaseUpdate, "default/lease/edge-1", {}),
    (p.PodStatusPatch, "default/podpatch/theirs", {}),
    (p.PodDelete, "default/pod/theirs", {}),
    (p.PodInsert, "default/pod/free", {"metadata": {}, "spec": {"nodeName": "edge-1"}}),
    (p.PodInsert, "default/pod/other", {**MIRROR, "spec": {"nodeName": "edge-2"}}),
    (p.ObjectQuery, "kube-system/configmap/web", None),
    (p.ObjectQuery, "null/node/edge-2", None),
    (p.ObjectQuery, "default/persistentvolumeclaim/other", None),
    (p.ObjectQuery, "default/deployment/web", None),
    (p.TokenQuery, "default/serviceaccounttoken/admin", BOUND),
    (p.TokenQuery, "kube-system/serviceaccounttoken/runner", BOUND),
    (p.TokenQuery, "default/serviceaccounttoken/runner", {"spec": {}}),
    (p.TokenQuery, "default/serviceaccounttoken/runner", {"spec": {"boundObjectRef": {"name": "theirs"}}}),
    (p.TokenQuery, "default/serviceaccounttoken/runner", {"spec": {"boundObjectRef": {**OWN, "uid": "before"}}}),
    (p.EventInsert, "default/event/e", {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "theirs"}}),
    (p.EventInsert, "default/event/e", {"involvedObject": {"kind": "Node", "name": "edge-2"}}),
    (p.Keepalive, "null/node/edge-1", None),
]


@pytest.mark.parametrize(("kind", "resource", "body"), MAY)
def test_a_node_may_touch_its_own(kind: type[p.Payload], resource: str, body: Any) -> None:
    assert refusal("edge-1", kind(resource=parse(resource), body=_body(body)), Pods()) == ""


@pytest.mark.parametrize(("kind", "resource", "body"), MAY_NOT)
def test_a_node_may_not_touch_what_is_not_its_own(kind: type[p.Payload], resource: str, body: Any) -> None:
    why = refusal("edge-1", kind(resource=parse(resource), body=_body(body)), Pods())
    assert "edge-1" in why or "theirs" in why


@pytest.mark.parametrize("spec", GREEDY)
def test_a_mirror_pod_opens_no_door(spec: dict[str, Any]) -> None:
    body = _body({**MIRROR, "spec": {"nodeName": "edge-1", **spec}})
    assert "mirror pod" in refusal("edge-1", p.PodInsert(resource=parse("default/pod/x"), body=body), Pods())


def test_every_request_that_is_carried_out_has_a_rule() -> None:
    for kind in HANDLERS:
        payload = kind(resource=Resource("null", "node", "edge-1"), body=b"{}")
        assert "may not send" not in refusal("edge-1", payload, Pods()), kind
