"""`kubectl rollout` and what keeps a node clear: cordon, drain, taint, evictions that a budget forbids."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest

from octoedge.testing.apiserver import ApiServerProcess, PretendEdge
from octoedge.testing.kubectl import Tool


def test_rollouts(kubectl: Tool) -> None:
    kubectl("create deployment d --image=i:v1 --replicas=2")
    assert "successfully rolled out" in kubectl("rollout status deployment d --timeout=30s")
    kubectl("set image deployment/d i=i:v2")
    kubectl("annotate deployment d kubernetes.io/change-cause=second")
    assert "successfully rolled out" in kubectl("rollout status deployment d --timeout=30s")
    history = kubectl("rollout history deployment d")
    assert [line.split()[0] for line in history.splitlines()[2:] if line] == ["1", "2"]
    assert "second" in history
    assert "i:v1" in kubectl("rollout history deployment d --revision=1")
    assert "rolled back" in kubectl("rollout undo deployment d")
    kubectl("rollout status deployment d --timeout=30s")
    assert kubectl("get deployment d -o jsonpath='{.spec.template.spec.containers[0].image}'") == "i:v1"
    assert "rolled back" in kubectl("rollout undo deployment d --to-revision=2")
    assert "unable to find specified revision" in kubectl.refused("rollout undo deployment d --to-revision=99")
    assert "restarted" in kubectl("rollout restart deployment d")
    kubectl("rollout status deployment d --timeout=30s")
    assert "paused" in kubectl("rollout pause deployment d")
    kubectl("set image deployment/d i=i:v3")
    assert kubectl("get pods -l app=d -o jsonpath='{.items[*].spec.containers[0].image}'") == "i:v2 i:v2"
    assert "is already paused" in kubectl.refused("rollout pause deployment d")
    assert "resumed" in kubectl("rollout resume deployment d")
    kubectl("rollout status deployment d --timeout=30s")
    stuck = [
        {"op": "add", "path": "/spec/template/spec/containers/0/command", "value": ["never-ready"]},
        {"op": "add", "path": "/spec/progressDeadlineSeconds", "value": 5},
    ]
    kubectl(f"patch deployment d --type=json -p '{json.dumps(stuck)}'")
    assert "Waiting for deployment" in kubectl.run("rollout status deployment d --watch=false").out
    assert "timed out" in kubectl.refused("rollout status deployment d --timeout=1s")


SETS = """
apiVersion: apps/v1
kind: {kind}
metadata: {{name: s}}
spec:
  selector: {{matchLabels: {{app: s}}}}
  {more}
  template: {{metadata: {{labels: {{app: s}}}}, spec: {{containers: [{{name: c, image: 'i:v1'}}]}}}}
"""


@pytest.mark.parametrize(("kind", "more"), [("StatefulSet", "serviceName: s"), ("DaemonSet", "minReadySeconds: 0")])
def test_rollouts_of_sets(kubectl: Tool, kind: str, more: str) -> None:
    name = kind.lower()
    kubectl("apply -f -", stdin=SETS.format(kind=kind, more=more))
    kubectl(f"rollout status {name} s --timeout=30s")
    kubectl(f"set image {name}/s c=i:v2")
    kubectl(f"rollout status {name} s --timeout=30s")
    assert kubectl("get pods -l app=s -o jsonpath='{.items[*].spec.containers[0].image}'").split()[-1] == "i:v2"
    assert [line.split()[0] for line in kubectl(f"rollout history {name} s").splitlines()[2:] if line] == ["1", "2"]
    assert "rolled back" in kubectl(f"rollout undo {name} s")
    kubectl(f"rollout status {name} s --timeout=30s")
    assert kubectl(f"get {name} s -o jsonpath='{{.spec.template.spec.containers[0].image}}'") == "i:v1"
    assert "restarted" in kubectl(f"rollout restart {name} s")
    kubectl(f"rollout status {name} s --timeout=30s")
    kubectl(f"delete {name} s --timeout=20s")


@pytest.fixture
def own_node(server: ApiServerProcess, namespace: str) -> Iterator[str]:
    """A node that only this test drains."""
    name = f"node-{namespace}"
    edge = PretendEdge(server, name)
    edge.start()
    yield name
    server.ask("DELETE", f"/api/v1/nodes/{name}")


ON = '{{"spec":{{"nodeSelector":{{"kubernetes.io/hostname":"{node}"}}}}}}'
BUDGET = """
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: b}
spec: {minAvailable: 1, selector: {matchLabels: {app: d}}}
"""


def test_cordon_drain_taint(kubectl: Tool, own_node: str) -> None:
    assert "cordoned" in kubectl(f"cordon {own_node}")
    assert "SchedulingDisabled" in kubectl(f"get node {own_node}")
    assert "already cordoned" in kubectl(f"cordon {own_node}")
    assert "uncordoned" in kubectl(f"uncordon {own_node}")
    assert "tainted" in kubectl(f"taint node {own_node} key=value:NoSchedule")
    assert "already has" in kubectl.refused(f"taint node {own_node} key=value:NoSchedule")
    assert "untainted" in kubectl(f"taint node {own_node} key:NoSchedule-")
    assert "labeled" in kubectl(f"label node {own_node} node-role.kubernetes.io/edge=")
    assert kubectl(f"get node {own_node}").splitlines()[1].split()[2] == "edge"
    pod = kubectl("run bare --image=i:v1 --dry-run=client -o json --overrides=" + repr(ON.format(node=own_node)))
    kubectl("create -f -", stdin=pod)
    kubectl("wait pod bare --for=condition=Ready --timeout=20s")
    assert "declare no controller" in kubectl.refused(f"drain {own_node} --timeout=5s")
    assert "drained" in kubectl(f"drain {own_node} --force --timeout=20s")
    assert "NotFound" in kubectl.refused("get pod bare")
    kubectl(f"uncordon {own_node}")


def test_a_drain_waits_for_the_budget(kubectl: Tool, own_node: str) -> None:
    text = kubectl("create deployment d --image=i:v1 --dry-run=client -o json")
    kubectl("create -f -", stdin=text)
    kubectl('patch deployment d -p \'{"spec":{"template":' + ON.format(node=own_node) + "}}'")
    kubectl("rollout status deployment d --timeout=30s")
    kubectl("apply -f -", stdin=BUDGET)
    kubectl("wait pdb b --for=jsonpath='{.status.currentHealthy}'=1 --timeout=20s")
    begun = time.monotonic()
    said = kubectl.refused(f"drain {own_node} --ignore-daemonsets --timeout=1s")
    assert time.monotonic() - begun < 12, "kubectl was told to try again by itself"
    assert "Cannot evict pod as it would violate the pod's disruption budget." in said
    kubectl("delete pdb b")
    assert "drained" in kubectl(f"drain {own_node} --ignore-daemonsets --delete-emptydir-data --timeout=30s")
    kubectl("delete deployment d")
