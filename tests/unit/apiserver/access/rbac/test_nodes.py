"""A node with its own certificate: what concerns it, and nothing of others."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from octoedge.apiserver.access.authorization import Attributes
from octoedge.apiserver.access.rbac.nodes import references, restrict_token
from octoedge.apiserver.serving.requests import AUTHENTICATED, NODES, User
from octoedge.errors import ApiError
from octoedge.kube.nodelabels import forbidden_labels, reserved_labels
from octoedge.testing.accessworld import World
from octoedge.testing.controlplane import ControlPlane, simulate

Json = dict[str, Any]

ONE = User("system:node:edge-1", (NODES, AUTHENTICATED))
POD: Json = {
    "kind": "Pod",
    "apiVersion": "v1",
    "metadata": {"name": "p"},
    "spec": {
        "nodeName": "edge-1",
        "serviceAccountName": "default",
        "imagePullSecrets": [{"name": "pull"}],
        "containers": [
            {
                "name": "c",
                "image": "i",
                "envFrom": [{"configMapRef": {"name": "env"}}],
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "key", "key": "k"}}}],
            }
        ],
        "volumes": [
            {"name": "s", "secret": {"secretName": "volume"}},
            {"name": "j", "projected": {"sources": [{"secret": {"name": "joined"}}, {"configMap": {"name": "ca"}}]}},
            {"name": "d", "persistentVolumeClaim": {"claimName": "disk"}},
        ],
    },
}


def test_what_a_pod_refers_to() -> None:
    assert references(POD, "secrets") == {"pull", "key", "volume", "joined"}
    assert references(POD, "configmaps") == {"env", "ca"}
    assert references(POD, "persistentvolumeclaims") == {"disk"}
    mirror = {**POD, "metadata": {"annotations": {"kubernetes.io/config.mirror": "x"}}}
    assert references(mirror, "secrets") == frozenset()


def test_a_node_may_do_what_concerns_it(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        w = World(at)
        other = {**POD, "metadata": {"name": "o"}, "spec": {**POD["spec"], "nodeName": "edge-2", "volumes": [
            {"name": "s", "secret": {"secretName": "theirs"}}]}}  # fmt: skip
        await at.create(POD, other)
        for allowed in (
            ("get", "nodes", "", "edge-1"),
            ("patch", "nodes/status", "", "edge-1"),
            ("get", "pods", "default", "p"),
            ("patch", "pods/status", "default", "p"),
            ("delete", "pods", "default", "p"),
            ("create", "pods/eviction", "default", "p"),
            ("get", "secrets", "default", "volume"),
            ("watch", "configmaps", "default", "env"),
            ("get", "persistentvolumeclaims", "default", "disk"),
            ("create", "serviceaccounts/token", "default", "default"),
            ("update", "leases.coordination.k8s.io", "kube-node-lease", "edge-1"),
            ("create", "events", "default", ""),
        ):
            assert w.may(ONE, *allowed), allowed
        for refused in (
            ("get", "nodes", "", "edge-2"),
            ("list", "nodes", "", ""),
            ("patch", "nodes/status", "", "edge-2"),
            ("delete", "nodes", "", "edge-1"),
            ("get", "pods", "default", "o"),
            ("patch", "pods/status", "default", "o"),
            ("create", "pods/eviction", "default", "o"),
            ("update", "pods", "default", "p"),
            ("list", "pods", "", ""),
            ("create", "pods/exec", "default", "p"),
            ("get", "secrets", "default", "theirs"),
            ("list", "secrets", "default", ""),
            ("get", "secrets", "kube-system", "volume"),
            ("create", "serviceaccounts/token", "kube-system", "default"),
            ("update", "leases.coordination.k8s.io", "kube-node-lease", "edge-2"),
            ("get", "deployments.apps", "default", "x"),
            ("create", "clusterrolebindings.rbac.authorization.k8s.io", "", "x"),
        ):
            assert not w.may(ONE, *refused), refused
        own = Attributes("list", group="", resource="pods", node="edge-1")
        assert w.authorizer.decide(ONE, own).allowed
        assert not w.authorizer.decide(ONE, Attributes("list", resource="pods", node="edge-2")).allowed
        # The name alone makes nobody a node.
        assert not w.may(User(ONE.name, (AUTHENTICATED,)), "get", "secrets", "default", "volume")

    simulate(tmp_path, story)


def test_a_node_may_not_write_into_objects_what_others_rely_on(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        w = World(at)
        node = at.get("nodes", "edge-1")

        def labelled(**labels: str) -> Json:
            about = {**node["metadata"], "labels": {**(node["metadata"].get("labels") or {}), **labels}}
            about.pop("resourceVersion")
            return {**node, "metadata": about}

        await w.write(ONE, labelled(site="north", **{"topology.kubernetes.io/zone": "z"}))
        for key in ("node-restriction.kubernetes.io/tier", "node-role.kubernetes.io/control-plane"):
            with pytest.raises(ApiError, match=f"not allowed to modify labels: {key}"):
                await w.write(ONE, labelled(**{key: "x"}))
        tainted = {**node, "spec": {"taints": []}, "metadata": {"name": "edge-1"}}
        await w.write(ONE, {**tainted, "metadata": labelled(site="north")["metadata"], "spec": node.get("spec", {})})
        owned = labelled(site="north")
        owned["metadata"]["ownerReferences"] = [{"apiVersion": "v1", "kind": "Pod", "name": "gone", "uid": "u"}]
        with pytest.raises(ApiError, match="not allowed to modify ownerReferences"):
            await w.write(ONE, owned)
        with pytest.raises(ApiError, match='node "edge-1" is not allowed to modify node "edge-9"'):
            await w.write(ONE, {"kind": "Node", "apiVersion": "v1", "metadata": {"name": "edge-9"}})
        with pytest.raises(ApiError, match="can only create mirror pods"):
            await w.write(ONE, POD)
        mirror: Json = {"name": "m", "annotations": {"kubernetes.io/config.mirror": "x"}}
        with pytest.raises(ApiError, match="can not create pods that reference"):
            await w.write(ONE, {**POD, "metadata": mirror})
        bare = {"containers": [{"name": "c", "image": "i"}]}
        with pytest.raises(ApiError, match=r"spec\.nodeName set to itself"):
            await w.write(ONE, {**POD, "metadata": mirror, "spec": {**bare, "nodeName": "edge-2"}})
        await w.write(ONE, {**POD, "metadata": mirror, "spec": {**bare, "nodeName": "edge-1"}})

    simulate(tmp_path, story)


def test_a_node_gets_tokens_for_pods_that_are_on_it() -> None:
    restrict_token(ONE, "default", "edge-1")
    restrict_token(User("system:serviceaccount:a:b", (AUTHENTICATED,)), "default", "")
    for other in ("", "edge-2"):
        with pytest.raises(ApiError, match="may only request tokens that are bound to a pod on it"):
            restrict_token(ONE, "default", other)


def test_labels_that_only_administrators_touch() -> None:
    own = {
        "kubernetes.io/hostname": "a",
        "node-role.kubernetes.io/edge": "",
        "site": "n",
        "kubelet.kubernetes.io/x": "1",
    }
    assert forbidden_labels({}, own) == []
    assert forbidden_labels({}, {"a.k8s.io/x": "1"}) == ["a.k8s.io/x"]
    assert forbidden_labels({"x.node-restriction.kubernetes.io/a": "1"}, {}) == ["x.node-restriction.kubernetes.io/a"]
    assert forbidden_labels({"a.k8s.io/x": "1"}, {"a.k8s.io/x": "1"}) == []
    assert reserved_labels({"node-restriction.kubernetes.io/a": "", "site": ""}) == ["node-restriction.kubernetes.io/a"]
