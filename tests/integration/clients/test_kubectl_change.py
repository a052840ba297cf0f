"""Verbs that change what is there: patch, label, annotate, set, scale, autoscale, taint, delete."""

from __future__ import annotations

import json

from octoedge.testing.apiserver import ApiServerProcess
from octoedge.testing.kubectl import Tool


def test_patches(kubectl: Tool) -> None:
    kubectl("create deployment d --image=i:v1 --replicas=0")
    strategic = '{"spec":{"template":{"spec":{"containers":[{"name":"i","env":[{"name":"A","value":"1"}]}]}}}}'
    assert "patched" in kubectl(f"patch deployment d -p '{strategic}'")
    assert "patched (no change)" in kubectl(f"patch deployment d -p '{strategic}'")
    assert "patched" in kubectl('patch deployment d --type=merge -p \'{"metadata":{"labels":{"a":"b"}}}\'')
    operations = json.dumps(
        [
            {"op": "test", "path": "/metadata/labels/a", "value": "b"},
            {"op": "replace", "path": "/spec/replicas", "value": 0},
            {"op": "add", "path": "/metadata/labels/c", "value": "d"},
        ]
    )
    assert "patched" in kubectl(f"patch deployment d --type=json -p '{operations}'")
    shown = kubectl("get deployment d -o jsonpath='{.metadata.labels} {.spec.template.spec.containers[0].image}'")
    assert shown == '{"a":"b","app":"d","c":"d"} i:v1'
    assert "patched" in kubectl('patch deployment d --subresource=scale --type=merge -p \'{"spec":{"replicas":1}}\'')
    assert kubectl("get deployment d --subresource=scale -o jsonpath={.spec.replicas}") == "1"
    kubectl("create ingress i --rule=example.com/=s:80")
    kubectl('patch ingress i --subresource=status -p \'{"status":{"loadBalancer":{"ingress":[{"ip":"1.2.3.4"}]}}}\'')
    assert "1.2.3.4" in kubectl("get ingress i")


def test_patches_that_are_refused(kubectl: Tool) -> None:
    kubectl("create configmap c --from-literal=a=1")
    failing = '[{"op":"test","path":"/data/a","value":"2"}]'
    assert "the server rejected our request due to an error in our request" in kubectl.refused(
        f"patch configmap c --type=json -p '{failing}'"
    )
    assert "BadRequest" in kubectl.refused("patch configmap c -p '{'")
    assert "patched" in kubectl("patch configmap c -p '{\"bogus\":1}'")
    assert "cannot unmarshal" in kubectl.refused('patch configmap c -p \'{"data":{"a":[1]}}\'')
    kubectl("create deployment d --image=i:v1 --replicas=0")
    said = kubectl.refused('patch deployment d -p \'{"spec":{"selector":{"matchLabels":{"app":"other"}}}}\'')
    assert "field is immutable" in said
    assert "NotFound" in kubectl.refused("patch configmap none -p '{}'")


def test_labels_and_annotations(kubectl: Tool) -> None:
    kubectl("create configmap c")
    assert "labeled" in kubectl("label configmap c a=b e=f")
    assert "already has a value" in kubectl.refused("label configmap c a=x")
    assert "labeled" in kubectl("label configmap c a=x --overwrite")
    assert "unlabeled" in kubectl("label configmap c e-")
    assert "not labeled" in kubectl("label configmap c a=x --overwrite")
    assert "annotated" in kubectl("annotate configmap --all note='a b'")
    assert (
        kubectl("get configmap c -o jsonpath='{.metadata.labels} {.metadata.annotations}'")
        == '{"a":"x"} {"note":"a b"}'
    )
    assert "annotated" in kubectl("annotate configmap c note-")
    assert "a=x" in kubectl("label configmap c --list")
    assert "a valid label must be" in kubectl.refused("label configmap c a='b c'")
    kubectl("label configmap -l a=x -n " + kubectl.namespace + " z=1")


def test_set(kubectl: Tool) -> None:
    kubectl("create deployment d --image=i:v1 --replicas=0")
    kubectl("create serviceaccount robot")
    kubectl("create configmap c --from-literal=K=v")
    kubectl("create service clusterip s --tcp=80")
    for line in (
        "image deployment/d i=i:v2",
        "env deployment/d A=1 B=2",
        "env deployment/d --from=configmap/c",
        "env deployment/d A-",
        "resources deployment/d --limits=cpu=200m,memory=64Mi --requests=cpu=100m",
        "serviceaccount deployment d robot",
        "selector service s app=d",
    ):
        assert kubectl(f"set {line}").strip().endswith("updated") or line.startswith("selector"), line
    container = kubectl.get("deployment d")["spec"]["template"]["spec"]["containers"][0]
    assert container["image"] == "i:v2"
    assert [one["name"] for one in container["env"]] == ["B", "K"]
    assert container["resources"] == {"limits": {"cpu": "200m", "memory": "64Mi"}, "requests": {"cpu": "100m"}}
    assert kubectl("set env deployment/d --list").count("=") >= 1
    kubectl("create clusterrole view-x --verb=get --resource=pods --dry-run=client")
    kubectl("create rolebinding b --clusterrole=view --user=ann")
    assert "updated" in kubectl("set subject rolebinding b --user=bob")
    assert kubectl("get service s -o jsonpath={.spec.selector}") == '{"app":"d"}'


def test_scale_and_autoscale(kubectl: Tool) -> None:
    kubectl("create deployment d --image=i:v1")
    assert "scaled" in kubectl("scale deployment d --replicas=3")
    kubectl("rollout status deployment d --timeout=20s")
    assert "scaled" in kubectl("scale deployment d --current-replicas=3 --replicas=2")
    assert "Expected replicas to be 3, was 2" in kubectl.refused("scale deployment d --current-replicas=3 --replicas=1")
    kubectl("wait --for=jsonpath='{.status.replicas}'=2 deployment/d --timeout=20s")
    assert "autoscaled" in kubectl("autoscale deployment d --min=1 --max=5 --cpu-percent=80")
    assert kubectl("get hpa d -o jsonpath='{.spec.minReplicas} {.spec.maxReplicas}'") == "1 5"
    assert "d" in kubectl("get hpa")
    assert kubectl("describe hpa d")


def test_deletion(kubectl: Tool, server: ApiServerProcess) -> None:
    kubectl("create configmap held")
    kubectl('patch configmap held -p \'{"metadata":{"finalizers":["example.com/wait"]}}\'')
    assert "deleted" in kubectl("delete configmap held --wait=false")
    assert "timed out" in kubectl.refused("delete configmap held --timeout=1s")
    kubectl('patch configmap held --type=merge -p \'{"metadata":{"finalizers":null}}\'')
    assert "NotFound" in kubectl.refused("get configmap held")
    for name in ("a", "b", "c"):
        kubectl(f"create configmap {name}")
        kubectl(f"label configmap {name} kind={'x' if name != 'c' else 'y'}")
    assert kubectl("delete configmap -l kind=x").count("deleted") == 2
    assert "deleted" in kubectl("delete configmap c none --ignore-not-found")
    assert kubectl("delete configmap c --ignore-not-found") == ""
    kubectl("run p --image=i:v1")
    kubectl("wait pod/p --for=condition=Ready --timeout=20s")
    assert "deleted" in kubectl("delete pod --all --grace-period=1 --timeout=20s")
    assert "force deleted" in kubectl(f"run q --image=i:v1 -n {kubectl.namespace}") + kubectl(
        "delete pod q --force --grace-period=0"
    )
    kubectl("create secret generic s1")
    assert "deleted" in kubectl("delete secret,configmap,service --all")


def test_cascades(kubectl: Tool) -> None:
    for how, left in (("background", 0), ("foreground", 0), ("orphan", 2)):
        kubectl(f"create deployment d-{how} --image=i:v1 --replicas=2")
        kubectl(f"rollout status deployment d-{how} --timeout=20s")
        assert "deleted" in kubectl(f"delete deployment d-{how} --cascade={how} --timeout=20s")
        if left:
            assert kubectl(f"get replicaset -l app=d-{how} -o name").count("replicaset") == 1
            assert kubectl(f"get pod -l app=d-{how} -o name").count("pod/") == left
            kubectl(f"delete replicaset -l app=d-{how} --cascade=foreground --timeout=20s")
        kubectl(f"wait --for=delete pod -l app=d-{how} --timeout=20s")
        kubectl(f"wait --for=delete replicaset -l app=d-{how} --timeout=20s")


def test_a_namespace_goes_with_all_that_is_in_it(kubectl: Tool) -> None:
    name = f"{kubectl.namespace}-gone"
    kubectl(f"create namespace {name}")
    kubectl(f"create deployment d --image=i:v1 -n {name}")
    kubectl(f"rollout status deployment d -n {name} --timeout=20s")
    assert "deleted" in kubectl(f"delete namespace {name} --timeout=30s")
    assert "NotFound" in kubectl.refused(f"get namespace {name}")
