"""Workloads with real kubectl and real containers: rolled out, undone, scaled, ended, drained, collected."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation

SERVE = ["httpd", "-f", "-p", "8080", "-h", "/"]
KINDS = "deployments,statefulsets,daemonsets,cronjobs,jobs,services,poddisruptionbudgets"


def container(*command: str) -> dict[str, Any]:
    return {"name": "c", "image": "octoedge.local/hello:1", "command": list(command)}


def workload(kind: str, name: str, **spec: Any) -> str:
    template = {
        "metadata": {"labels": {"app": name}},
        "spec": {"terminationGracePeriodSeconds": 1, "containers": [container(*SERVE)]},
    }
    body = {"selector": {"matchLabels": {"app": name}}, "template": template, **spec}
    return json.dumps({"kind": kind, "apiVersion": "apps/v1", "metadata": {"name": name}, "spec": body})


@pytest.fixture
def cluster(installation: Installation) -> Iterator[Installation]:
    """The installation, without workloads at the end."""
    yield installation
    installation.kubectl("uncordon", "edge-1").check()
    installation.kubectl("delete", KINDS, "--all", "--timeout=40s").check()


def rolled_out(cluster: Installation, what: str) -> None:
    cluster.kubectl("rollout", "status", what, "--timeout=40s").check()


def names(cluster: Installation, what: str) -> set[str]:
    return {one["metadata"]["name"] for one in cluster.get(what)["items"]}


def test_a_deployment_is_rolled_out_undone_and_collected(cluster: Installation) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", replicas=2)).check()
    rolled_out(cluster, "deployment/web")
    cluster.kubectl("scale", "deployment/web", "--replicas=3").check()
    rolled_out(cluster, "deployment/web")
    cluster.kubectl("set", "env", "deployment/web", "COLOUR=blue").check()
    rolled_out(cluster, "deployment/web")
    assert cluster.kubectl("rollout", "history", "deployment/web").check().count("<none>") == 2
    cluster.kubectl("rollout", "undo", "deployment/web").check()
    rolled_out(cluster, "deployment/web")
    assert "env" not in cluster.get("deployment", "web")["spec"]["template"]["spec"]["containers"][0]
    cluster.kubectl("delete", "deployment", "web", "--cascade=foreground", "--timeout=30s").check()
    assert names(cluster, "replicasets") == names(cluster, "pods") == set()


def test_orphans_are_taken_in_again(cluster: Installation) -> None:
    manifest = workload("Deployment", "web", replicas=1)
    cluster.kubectl("apply", "-f", "-", stdin=manifest).check()
    rolled_out(cluster, "deployment/web")
    before = names(cluster, "pods")
    cluster.kubectl("delete", "deployment", "web", "--cascade=orphan", "--timeout=30s").check()
    cluster.kubectl("apply", "-f", "-", stdin=manifest).check()
    rolled_out(cluster, "deployment/web")
    assert names(cluster, "pods") == before


def test_stateful_and_daemon_sets(cluster: Installation) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=workload("StatefulSet", "db", replicas=2, serviceName="db")).check()
    cluster.kubectl("apply", "-f", "-", stdin=workload("DaemonSet", "agent")).check()
    rolled_out(cluster, "statefulset/db")
    rolled_out(cluster, "daemonset/agent")
    assert {"db-0", "db-1"} < names(cluster, "pods")
    for what in ("statefulset/db", "daemonset/agent"):
        cluster.kubectl("set", "env", what, "A=B").check()
        rolled_out(cluster, what)
        cluster.kubectl("rollout", "undo", what).check()
        rolled_out(cluster, what)


def test_a_job_ends_and_its_log_stays(cluster: Installation) -> None:
    template = {"spec": {"restartPolicy": "Never", "containers": [container("sh", "-c", "echo $((6 * 7))")]}}
    job = {"kind": "Job", "apiVersion": "batch/v1", "metadata": {"name": "sum"}, "spec": {"template": template}}
    cluster.kubectl("create", "-f", "-", stdin=json.dumps(job)).check()
    cluster.kubectl("wait", "--for=condition=complete", "job/sum", "--timeout=40s").check()
    assert cluster.kubectl("logs", "job/sum").check() == "42\n"


def test_a_service_and_a_budget(cluster: Installation) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", replicas=2)).check()
    rolled_out(cluster, "deployment/web")
    cluster.kubectl("expose", "deployment", "web", "--port=80", "--target-port=8080").check()
    pods = {pod["status"]["podIP"] for pod in cluster.get("pods")["items"]}

    def behind() -> set[str]:
        subsets = cluster.get("endpoints", "web").get("subsets") or [{"addresses": []}]
        return {address["ip"] for address in subsets[0]["addresses"]}

    eventually(behind, lambda found: found == pods)
    assert "Endpoints:" in cluster.kubectl("describe", "service", "web").check()
    cluster.kubectl("create", "pdb", "web", "--selector=app=web", "--min-available=2").check()
    refused = cluster.kubectl("drain", "edge-1", "--ignore-daemonsets", "--timeout=6s")
    assert refused.status != 0
    assert "would violate the pod's disruption budget" in refused.err
    cluster.kubectl("delete", "pdb", "web").check()
    cluster.kubectl("drain", "edge-1", "--ignore-daemonsets", "--timeout=40s").check()


def test_why_a_pod_has_no_node_and_who_must_leave_one(cluster: Installation) -> None:
    spec = {"nodeSelector": {"disk": "ssd"}, "terminationGracePeriodSeconds": 1, "containers": [container(*SERVE)]}
    pod = {"kind": "Pod", "apiVersion": "v1", "metadata": {"name": "picky"}, "spec": spec}
    cluster.kubectl("apply", "-f", "-", stdin=json.dumps(pod)).check()
    eventually(
        lambda: cluster.kubectl("describe", "pod", "picky").check(),
        lambda text: (
            (
                "0/1 nodes are available: 1 node(s) didn't match Pod's node affinity/selector. preemption: "
                "0/1 nodes are available: 1 Preemption is not helpful for scheduling."
            )
            in text
        ),
    )
    cluster.kubectl("label", "node", "edge-1", "disk=ssd").check()
    cluster.kubectl("wait", "--for=condition=ready", "pod/picky", "--timeout=30s").check()
    cluster.kubectl("taint", "node", "edge-1", "k=v:NoExecute").check()
    try:
        cluster.kubectl("wait", "--for=delete", "pod/picky", "--timeout=30s").check()
        assert "TaintManagerEviction" in cluster.kubectl("get", "events").check()
    finally:
        cluster.kubectl("taint", "node", "edge-1", "k-").check()
        cluster.kubectl("label", "node", "edge-1", "disk-").check()
    assert "[+]scheduler ok" in cluster.kubectl("get", "--raw", "/readyz?verbose").check()


def test_the_api_server_killed_in_the_middle_of_a_roll_out(cluster: Installation) -> None:
    cluster.kubectl("apply", "-f", "-", stdin=workload("Deployment", "web", replicas=3)).check()
    rolled_out(cluster, "deployment/web")
    cluster.kubectl("set", "env", "deployment/web", "COLOUR=red").check()
    cluster.kill("apiserver")
    cluster.up()
    rolled_out(cluster, "deployment/web")
    eventually(lambda: len(names(cluster, "pods")), lambda count: count == 3)
