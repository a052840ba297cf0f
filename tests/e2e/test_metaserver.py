"""The Kubernetes API of a node: real kubectl, as root of the machine and as a pod, with and without the cloud."""

from __future__ import annotations

import ssl
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from octoedge.keadm import clients
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Done, Installation

from .pods import await_ready

IN_CLUSTER = Path(__file__).parents[1] / "integration/clients/scripts/in_cluster.py"
OBJECTS = """
apiVersion: v1
kind: ConfigMap
metadata: {name: told}
data: {a: "1"}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: maps}
rules: [{apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: maps}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: maps}
subjects: [{kind: ServiceAccount, name: default, namespace: default}]
---
apiVersion: v1
kind: Pod
metadata: {name: client}
spec:
  terminationGracePeriodSeconds: 1
  containers:
  - {name: main, image: "octoedge.local/hello:1", imagePullPolicy: Never, command: [sleep, "3600"]}
"""

LATER = """
apiVersion: v1
kind: ConfigMap
metadata: {name: later}
"""


@pytest.fixture
def site(installation: Installation) -> Iterator[Installation]:
    """The installation, and away with what is neither a pod nor a ConfigMap."""
    yield installation
    installation.up()
    installation.kubectl("delete", "role/maps", "rolebinding/maps", "--ignore-not-found")


def ask(installation: Installation, kubeconfig: Path, *words: str) -> Done:
    return installation.run("kubectl", "--kubeconfig", kubeconfig, "--cache-dir", f"{kubeconfig}.cache", *words)


def pods_kubeconfig(installation: Installation, folder: Path) -> Path:
    """What `rest.InClusterConfig` makes of a pod's environment and files."""
    inside = "/var/run/secrets/kubernetes.io/serviceaccount"
    say = ("exec", "client", "--", "sh", "-c")
    host = installation.kubectl(*say, "echo -n $KUBERNETES_SERVICE_HOST:$KUBERNETES_SERVICE_PORT").check()
    for name in ("ca.crt", "token"):
        (folder / name).write_text(installation.kubectl(*say, f"cat {inside}/{name}").check())
    file = folder / "in-cluster"
    cluster = {"server": f"https://{host}", "certificate-authority": str(folder / "ca.crt")}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "pod",
        "clusters": [{"name": "pod", "cluster": cluster}],
        "users": [{"name": "pod", "user": {"tokenFile": str(folder / "token")}}],
        "contexts": [{"name": "pod", "context": {"cluster": "pod", "user": "pod"}}],
    }
    file.write_text(yaml.safe_dump(config))
    return file


def python_in_cluster(folder: Path) -> None:
    """The official Python client with what the pod has: its files and its environment."""
    server = yaml.safe_load((folder / "in-cluster").read_text())["clusters"][0]["cluster"]["server"]
    host, _, port = server.removeprefix("https://").rpartition(":")
    done = subprocess.run(
        [clients.python(), IN_CLUSTER, folder],
        env={"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": port, "HOME": str(folder)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-1:] == ["fine"], done.stdout + done.stderr


def status_of(url: str) -> int:
    """Without showing who asks."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with urllib.request.urlopen(url, timeout=5, context=context) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def test_kubectl_on_the_node_and_in_a_pod_with_and_without_the_cloud(site: Installation, tmp_path: Path) -> None:
    site.kubectl("apply", "-f", "-", stdin=OBJECTS).check()
    await_ready(site, "client")
    root = site.layout.edge / "metaserver" / "kubeconfig"
    pod = pods_kubeconfig(site, tmp_path)
    at = f"https://127.0.0.1:{site.layout.ports.metaserver}"

    assert "kubernetes" in ask(site, root, "get", "services").check()
    assert "told" in ask(site, pod, "get", "configmaps").check()
    python_in_cluster(tmp_path)
    refused = ask(site, pod, "get", "secrets")
    assert refused.status != 0
    assert "system:serviceaccount:default:default" in refused.err
    assert status_of(f"{at}/healthz") == 200
    assert {status_of(at + path) for path in ("/api", "/version", "/api/v1/configmaps", "/apis/x/y/z")} == {401}

    for name in ("cloudcore", "apiserver"):
        site.daemon(name).stop(10)
    eventually(lambda: ask(site, pod, "get", "configmaps"), lambda done: "the cloud is away" in done.err)
    assert "told" in ask(site, pod, "get", "configmaps").check()
    assert ask(site, pod, "get", "configmap/told", "-o", "jsonpath={.data.a}").check() == "1"
    python_in_cluster(tmp_path)
    written = ask(site, pod, "create", "configmap", "new")
    assert written.status != 0
    assert "nothing can be changed from this node" in written.err
    assert ask(site, pod, "get", "secrets").status != 0

    site.daemon("edgecore").stop(10)
    site.daemon("edgecore").start()
    found = eventually(lambda: ask(site, pod, "get", "configmaps"), lambda done: done.status == 0)
    assert "told" in found.out
    assert "kubernetes" in ask(site, root, "get", "services").check()


@contextmanager
def watching(installation: Installation, kubeconfig: Path, file: Path) -> Iterator[Callable[[], list[str]]]:
    """kubectl that watches ConfigMaps; gives the lines so far, each an event and a name."""
    command = ["kubectl", "--kubeconfig", str(kubeconfig), "get", "configmaps", "--no-headers"]
    with file.open("w") as out:
        process = subprocess.Popen(
            [*command, "--watch", "--output-watch-events"], env=installation.environment, stdout=out, stderr=out
        )
    try:
        yield lambda: [" ".join(line.split()[:2]) for line in file.read_text().splitlines()]
    finally:
        process.terminate()
        process.wait(10)


def test_who_lists_and_watches_misses_nothing_through_an_outage(site: Installation, tmp_path: Path) -> None:
    site.kubectl("apply", "-f", "-", stdin=OBJECTS).check()
    await_ready(site, "client")
    pod = pods_kubeconfig(site, tmp_path)
    with watching(site, pod, tmp_path / "events") as events:
        eventually(lambda: "ADDED told" in events(), bool)
        for name in ("cloudcore", "apiserver"):
            site.daemon(name).stop(10)
        eventually(lambda: ask(site, pod, "get", "configmaps"), lambda done: "the cloud is away" in done.err)
        for _ in range(3):
            assert "told" in ask(site, pod, "get", "configmaps").check()
        for name in ("apiserver", "cloudcore"):
            site.daemon(name).start()
        eventually(lambda: site.kubectl("apply", "-f", "-", stdin=LATER).status == 0, bool)
        eventually(lambda: "ADDED later" in events(), bool)
        assert {"configmap/told", "configmap/later"} <= set(ask(site, pod, "get", "cm", "-o", "name").check().split())
        site.kubectl("delete", "configmap", "later").check()
        eventually(lambda: "DELETED later" in events(), bool)
        assert "DELETED told" not in events()
        assert events().count("ADDED told") == 1
