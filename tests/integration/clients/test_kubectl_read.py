"""Everything that reads: get in all its forms, watches, describe, explain, events, auth, raw, wait."""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
from collections.abc import Iterator
from typing import IO

from octoedge.testing.apiserver import ApiServerProcess
from octoedge.testing.kubectl import Tool


def test_forms_of_output(kubectl: Tool) -> None:
    kubectl("run web --image=nginx:1 --labels=app=web,tier=front")
    kubectl("run db --image=postgres:1 --labels=app=db")
    kubectl("wait pod --all --for=condition=Ready --timeout=20s")
    assert [line.split()[0] for line in kubectl("get pods").splitlines()] == ["NAME", "db", "web"]
    wide = kubectl("get pods -o wide").splitlines()
    assert wide[0].split()[:7] == ["NAME", "READY", "STATUS", "RESTARTS", "AGE", "IP", "NODE"]
    assert wide[1].split()[:4] == ["db", "1/1", "Running", "0"]
    assert kubectl("get pods -o name") == "pod/db\npod/web\n"
    assert kubectl("get pods -o jsonpath='{.items[*].metadata.name}'") == "db web"
    assert kubectl("get pods -o custom-columns=N:.metadata.name,I:.spec.containers[0].image --no-headers").split() == [
        "db",
        "postgres:1",
        "web",
        "nginx:1",
    ]
    assert kubectl("get pods -o go-template='{{range .items}}{{.metadata.name}} {{end}}'") == "db web "
    assert kubectl("get pods --sort-by=.spec.containers[0].image -o name") == "pod/web\npod/db\n"
    assert kubectl("get pods --sort-by=.metadata.creationTimestamp")
    assert kubectl("get pods -l app=web -o name") == "pod/web\n"
    assert kubectl("get pods -l 'app in (web,db),!tier' -o name") == "pod/db\n"
    assert kubectl("get pods -L app --show-labels").splitlines()[0].split()[-2:] == ["APP", "LABELS"]
    assert kubectl("get pods --field-selector=metadata.name=web,status.phase=Running -o name") == "pod/web\n"
    assert kubectl("get pods --field-selector=spec.nodeName!=edge-1") == ""
    assert "field label not supported: spec.bogus" in kubectl.refused("get pods --field-selector=spec.bogus=1")
    assert "unable to parse requirement" in kubectl.refused("get pods -l 'a in b'")
    assert kubectl("get pod web --template='{{.spec.nodeName}}'") == "edge-1"
    assert kubectl("get pod/web service/none --ignore-not-found -o name") == "pod/web\n"
    assert kubectl("get pods web -o yaml").startswith("apiVersion: v1\nkind: Pod\n")
    assert kubectl("get po web -o json --output-watch-events=false")
    assert f"{kubectl.namespace} " in kubectl("get pods -A").replace("\t", " ")
    assert "No resources found" in kubectl.run("get jobs").err
    assert "the server doesn't have a resource type" in kubectl.refused("get nonsense")
    assert 'pods "none" not found' in kubectl.refused("get pod none")


def test_chunks(kubectl: Tool) -> None:
    text = "\n---\n".join(
        f"apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: c-{n}, labels: {{a: b}}}}" for n in range(7)
    )
    kubectl("create -f -", stdin=text)
    for form in ("name", "json", "wide"):
        assert kubectl(f"get configmap -l a=b --chunk-size=2 -o {form}").count("c-") >= 7
    assert kubectl("get configmap -l a=b --chunk-size=2 --sort-by=.metadata.name -o name").count("configmap/c-") == 7


def test_watches(kubectl: Tool) -> None:
    kubectl("create configmap a --from-literal=x=1")
    with watching(kubectl, "get configmap a --watch --output-watch-events -o json") as said:
        assert '"ADDED"' in said.readline()
    with watching(kubectl, "get configmap a -o name --watch-only") as said:
        for number in range(50):  # nothing tells when a watch has begun
            kubectl(f"annotate configmap a n={number} --overwrite")
            if select.select([said], [], [], 0.2)[0]:
                break
        assert said.readline() == "configmap/a\n"


@contextlib.contextmanager
def watching(kubectl: Tool, line: str) -> Iterator[IO[str]]:
    """What a watch says, until the end of the block."""
    command = [str(kubectl.program), "--kubeconfig", str(kubectl.kubeconfig), *line.split()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watch:
        assert watch.stdout is not None
        try:
            yield watch.stdout
        finally:
            watch.kill()


def test_wait(kubectl: Tool) -> None:
    kubectl("run p --image=i:v1")
    assert "condition met" in kubectl("wait pod p --for=condition=Ready --timeout=20s")
    assert "condition met" in kubectl("wait pod p --for=condition=ContainersReady=true --timeout=20s")
    assert "condition met" in kubectl("wait pod p --for=jsonpath='{.status.phase}'=Running --timeout=20s")
    assert "condition met" in kubectl("wait pod p --for=jsonpath='{.status.podIP}' --timeout=20s")
    assert "timed out" in kubectl.refused("wait pod p --for=condition=Ready=false --timeout=1s")
    kubectl("run n --image=i:v1 --command -- never-ready")
    assert "timed out waiting" in kubectl.refused("wait pod n --for=condition=Ready --timeout=1s")
    assert "deleted" in kubectl("delete pod p --wait=false")
    assert kubectl.run("wait pod p --for=delete --timeout=20s").status == 0
    if "v1.30" not in kubectl("version --client"):
        kubectl("create configmap c")
        assert "condition met" in kubectl("wait configmap c --for=create --timeout=10s")
    kubectl("create job j --image=i:v1 -- true")
    assert "condition met" in kubectl("wait job j --for=condition=Complete --timeout=20s")


DESCRIBED = (
    "nodes", "namespaces", "pods", "services", "endpoints", "endpointslices", "configmaps", "secrets",
    "serviceaccounts", "resourcequotas", "limitranges", "horizontalpodautoscalers", "certificatesigningrequests",
    "deployments", "replicasets", "jobs", "cronjobs", "events", "leases -A", "roles", "rolebindings", "clusterroles",
    "clusterrolebindings", "priorityclasses", "poddisruptionbudgets", "persistentvolumeclaims", "persistentvolumes",
    "storageclasses", "ingresses", "networkpolicies", "customresourcedefinitions", "statefulsets", "daemonsets",
)  # fmt: skip


def test_describe_of_every_kind(kubectl: Tool) -> None:
    kubectl("create deployment d --image=i:v1 --port=80")
    kubectl("expose deployment d --port=80")
    kubectl("create job j --image=i:v1 -- true")
    kubectl("create cronjob k --image=i:v1 --schedule='0 0 * * *'")
    kubectl("rollout status deployment d --timeout=20s")
    for kind in DESCRIBED:
        kubectl(f"describe {kind}")
    said = kubectl("describe pod -l app=d")
    for word in ("Node:             edge-1/", "Controlled By:  ReplicaSet/d-", "Scheduled", "Image:          i:v1"):
        assert word in said, said
    said = kubectl("describe deployment d")
    for word in (
        "StrategyType:           RollingUpdate",
        "1 desired | 1 updated | 1 total | 1 available",
        "ScalingReplicaSet",
    ):
        assert word in said, said
    assert "Endpoints:" in kubectl("describe service d")
    assert "Non-terminated Pods:" in kubectl("describe node edge-1")
    assert "Successful" in kubectl("describe job j") or "Succeeded" in kubectl("describe job j")


def test_explain(kubectl: Tool) -> None:
    assert "KIND:       Pod" in kubectl("explain pods")
    assert "containers\t<[]Container> -required-" in kubectl("explain pod.spec")
    assert "hostPort" in kubectl("explain pod.spec.containers.ports")
    deep = kubectl("explain deployment --recursive")
    assert "maxSurge\t<IntOrString>" in deep
    assert "GROUP:      apps" in deep
    assert 'field "nonsense" does not exist' in kubectl.refused("explain pod.nonsense")
    assert "configData" in kubectl("explain devices.spec.protocol")
    assert "VERSION:    v1" in kubectl("explain cronjobs --api-version=batch/v1")


def test_events(kubectl: Tool) -> None:
    kubectl("run p --image=i:v1")
    kubectl("wait pod p --for=condition=Ready --timeout=20s")
    assert "Scheduled" in kubectl("events")
    assert "Scheduled" in kubectl("events --for=pod/p --types=Normal")
    assert "No events found" in kubectl.run("events --for=pod/p --types=Warning").err
    assert "Scheduled" in kubectl("get events --sort-by=.lastTimestamp")
    assert "Scheduled" in kubectl("get events --field-selector=involvedObject.name=p,reason=Scheduled")
    assert "Scheduled" in kubectl("get events -A")


def test_auth(kubectl: Tool) -> None:
    assert kubectl("auth can-i create pods").strip() == "yes"
    assert kubectl("auth can-i '*' '*' --all-namespaces").strip() == "yes"
    assert kubectl.run("auth can-i create pods --as=somebody").out.strip() == "no"
    kubectl("create role r --verb=get,list --resource=pods --resource-name=x")
    kubectl("create role r2 --verb=create --resource=configmaps")
    kubectl("create rolebinding b --role=r2 --user=ann")
    assert kubectl("auth can-i create configmaps --as=ann").strip() == "yes"
    assert kubectl.run("auth can-i delete configmaps --as=ann").out.strip() == "no"
    assert "configmaps" in kubectl("auth can-i --list --as=ann")
    assert "Username" in kubectl("auth whoami")
    assert "ann" in kubectl("auth whoami --as=ann --as-group=g")
    assert 'User "ann" cannot list resource "pods"' in kubectl.refused("get pods --as=ann")
    kubectl("create configmap c --as=ann")
    text = kubectl("create rolebinding c --role=r --user=bob --dry-run=server -o yaml")
    assert "reconciled" in kubectl("auth reconcile -f -", stdin=text)


def test_the_server_itself(kubectl: Tool, server: ApiServerProcess) -> None:
    assert "Server Version: v1.32" in kubectl("version")
    assert json.loads(kubectl("version -o json"))["serverVersion"]["minor"] == "32"
    listed = kubectl("api-resources")
    for word in ("deployments", "deploy", "apps/v1", "devices.kubeedge.io"):
        assert word in listed
    assert "pods" in kubectl("api-resources --namespaced --verbs=list,get -o name")
    assert "apps/v1" in kubectl("api-versions").splitlines()
    assert "Kubernetes control plane" in kubectl("cluster-info")
    assert json.loads(kubectl("get --raw /api/v1/namespaces/default"))["metadata"]["name"] == "default"
    assert kubectl("get --raw /readyz").strip() == "ok"
    assert kubectl("get --raw '/readyz?verbose'")
    assert "NotFound" in kubectl.refused("get --raw /nothing")
    assert kubectl(
        "create --raw /api/v1/namespaces/default/configmaps?dryRun=All -f -", stdin='{"metadata":{"name":"x"}}'
    )
    kubectl("run p --image=i:v1")
    kubectl(f"cluster-info dump --output-directory=dump --namespaces={kubectl.namespace}")
    assert (kubectl.folder / "dump" / kubectl.namespace / "pods.json").exists()
    assert "Metrics" in kubectl.refused("top pods") or "metrics" in kubectl.refused("top pods")
