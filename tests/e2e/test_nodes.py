"""Three nodes on one machine: pods on each, nodes that lose their cloud and find it again, and leave."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from octoedge.keadm import register
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation, fetch

from .pods import await_ready, container_id, is_ready, pod, started_at

FURTHER = ("edge-2", "site.barn-3")
NODES = ("edge-1", *FURTHER)
PORT = 30281
UNREACHABLE = "node.kubernetes.io/unreachable"


@pytest.fixture(scope="module")
def nodes(running: Installation) -> Iterator[Installation]:
    """The installation with two more nodes."""
    running.up()
    for name in FURTHER:
        running.octoedge("node", "add", name).check()
    yield running
    running.up()
    for name in FURTHER:
        running.octoedge("node", "remove", name).check()


@pytest.fixture
def pods(nodes: Installation) -> Iterator[Installation]:
    """One pod on each node, with a page from a ConfigMap."""
    nodes.up()
    nodes.kubectl("create", "configmap", "page", "--from-literal=index.html=first").check()
    nodes.kubectl("apply", "-f", "-", stdin="\n---\n".join(manifest(f"on-{name}", name) for name in NODES)).check()
    for name in NODES:
        await_ready(nodes, f"on-{name}")
    yield nodes
    nodes.up()
    for name in register.load(nodes.layout).disconnected:
        nodes.octoedge("node", "connect", name).check()
    nodes.kubectl("delete", "pods,configmaps", "--all", "--grace-period=1", "--timeout=30s").check()


def manifest(name: str, node: str) -> str:
    """A web server on that node."""
    return f"""
apiVersion: v1
kind: Pod
metadata: {{name: {name}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: octoedge.local/hello:1
    imagePullPolicy: IfNotPresent
    env: [{{name: PORT, value: "8080"}}]
    ports: [{{containerPort: 8080, hostPort: {PORT if name == f"on-{node}" else PORT + 1}}}]
    volumeMounts: [{{name: page, mountPath: /www}}]
  volumes: [{{name: page, configMap: {{name: page}}}}]
"""


def page(installation: Installation, node: str) -> str:
    """What the pod on that node answers."""
    return fetch(f"http://{installation.node(node).address or '127.0.0.1'}:{PORT}/")


def is_node_ready(installation: Installation, node: str) -> bool:
    """Whether the API says so."""
    conditions = installation.get("node", node)["status"]["conditions"]
    return any(condition["type"] == "Ready" and condition["status"] == "True" for condition in conditions)


def namespaces() -> str:
    """Those that `ip` knows."""
    return subprocess.run(("ip", "netns", "list"), capture_output=True, text=True, check=True).stdout


def test_every_node_runs_its_pod_in_its_own_network(pods: Installation) -> None:
    assert all(part["ok"] for part in pods.status().values())
    addresses = {pod(pods, f"on-{name}")["status"]["podIP"].rpartition(".")[0] for name in NODES}
    assert len(addresses) == 3
    for name in NODES:
        assert page(pods, name) == "first"
        assert f"hello from on-{name}" in pods.kubectl("logs", f"on-{name}").check()
        assert pods.kubectl("exec", f"on-{name}", "--", "hostname").check() == f"on-{name}\n"
        assert len(pods.ctr_of(name, "tasks", "list", "--quiet").split()) == 2
    assert pods.get("node", "edge-2")["status"]["addresses"][0]["address"] == pods.node("edge-2").address
    listed = pods.octoedge("node", "list").check().splitlines()
    assert [line.split()[0] for line in listed] == ["NAME", *NODES]


def clouds_ports(pods: Installation) -> list[str]:
    """Every IPv4 address of the machine, with every port on which the cloud listens for edges."""
    shown = subprocess.run(("hostname", "-I"), check=True, capture_output=True, text=True).stdout.split()
    ports = pods.layout.ports
    return [f"{host}/{port}" for host in shown if ":" not in host for port in (ports.cloudhub, ports.apiserver)]


def reached(pods: Installation, name: str, places: list[str]) -> list[str]:
    """Those of the places that a process on the node can connect to, all tried at once."""
    words = ["ip", "netns", "exec", pods.node(name).namespace, "timeout", "2", "bash", "-c"]
    tries = [
        (place, subprocess.Popen((*words, f"echo > /dev/tcp/{place}"), stderr=subprocess.DEVNULL)) for place in places
    ]
    return [place for place, process in tries if process.wait(20) == 0]


def test_disconnected_nodes_go_on_and_get_everything_on_return(pods: Installation) -> None:
    cut, whole = ("edge-1", "edge-2"), "site.barn-3"
    before = {name: pod(pods, f"on-{name}") for name in NODES}
    for name in cut:
        pods.octoedge("node", "disconnect", name).check()
    for name in cut:
        eventually(partial(is_node_ready, pods, name), lambda ready: not ready, within=70)
        keys = {taint["key"] for taint in pods.get("node", name)["spec"].get("taints", [])}
        assert UNREACHABLE in keys
    assert is_node_ready(pods, whole)
    assert {name: page(pods, name) for name in NODES} == dict.fromkeys(NODES, "first")

    assert reached(pods, "edge-2", clouds_ports(pods)) == [], "by no address of the machine, nor by a route to pods"
    pods.kubectl("patch", "configmap", "page", "--type=merge", "-p", '{"data":{"index.html":"second"}}').check()
    pods.kubectl("apply", "-f", "-", stdin=manifest("late", "edge-2")).check()
    eventually(lambda: page(pods, whole), lambda text: text == "second")
    pods.octoedge("up").check()
    pods.kill("edgecore@edge-2")
    pods.octoedge("up").check()
    status = pods.status()
    assert not status["edgecore"]["ok"]
    assert "`octoedge node connect edge-2`" in status["edgecore@edge-2"]["detail"]
    assert {name: page(pods, name) for name in cut} == dict.fromkeys(cut, "first")

    for name in cut:
        pods.octoedge("node", "connect", name).check()
        assert is_node_ready(pods, name)
        eventually(partial(page, pods, name), lambda text: text == "second")
    assert reached(pods, "edge-2", clouds_ports(pods)), "as before"
    await_ready(pods, "late")
    for name in NODES:
        after = pod(pods, f"on-{name}")
        assert is_ready(after)
        assert (container_id(after), started_at(after)) == (container_id(before[name]), started_at(before[name]))
    assert all(part["ok"] for part in pods.status().values())


def test_up_brings_back_what_died_on_any_node(pods: Installation) -> None:
    before = pod(pods, "on-edge-2")
    for name in ("containerd", "mosquitto", "edgecore"):
        pods.kill(f"{name}@edge-2")
    subprocess.run(("ip", "link", "delete", pods.node("edge-2").links.port(2)), check=True)
    assert "edge-2: " in pods.octoedge("status").out.partition("What is wrong:")[2]
    pods.octoedge("up").check()
    assert all(part["ok"] for part in pods.status().values())
    assert container_id(pod(pods, "on-edge-2")) == container_id(before)
    assert page(pods, "edge-2") == "first"
    assert "things done" not in pods.octoedge("up").check()


def test_an_image_goes_to_the_node_it_is_meant_for(nodes: Installation, tmp_path: Path) -> None:
    archive = tmp_path / "hello.tar"
    nodes.ctr("images", "tag", "octoedge.local/hello:1", "octoedge.local/mine:1")
    nodes.ctr("images", "export", str(archive), "octoedge.local/mine:1")
    assert nodes.octoedge("image", "import", archive, "--node", "edge-2").check() == "imported octoedge.local/mine:1\n"
    assert "octoedge.local/mine:1" in nodes.ctr_of("edge-2", "images", "list", "--quiet")
    assert "octoedge.local/mine:1" not in nodes.ctr_of("site.barn-3", "images", "list", "--quiet")
    assert "the node barn is not on this machine" in nodes.octoedge("image", "import", archive, "--node", "barn").err


def test_a_node_leaves_nothing_behind(nodes: Installation) -> None:
    nodes.octoedge("node", "add", "guest").check()
    guest = nodes.node("guest")
    nodes.kubectl("create", "configmap", "page", "--from-literal=index.html=first").check()
    nodes.kubectl("apply", "-f", "-", stdin=manifest("on-guest", "guest")).check()
    await_ready(nodes, "on-guest")
    assert guest.namespace in namespaces()

    nodes.octoedge("node", "remove", "guest").check()
    nodes.kubectl("delete", "configmap", "page").check()
    assert "NotFound" in nodes.kubectl("get", "node", "guest").err
    assert "NotFound" in nodes.kubectl("get", "pod", "on-guest").err
    assert guest.namespace not in namespaces()
    assert not guest.home.exists()
    assert str(guest.home) not in Path("/proc/self/mountinfo").read_text()
    assert not list(Path("/sys/fs/cgroup").glob(f"**{guest.cgroup_root}"))
    assert "guest" not in nodes.octoedge("node", "list").check()
    assert all(part["ok"] for part in nodes.status().values())


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("add", "Barn_1"), "not one that Kubernetes takes"),
        (("add", "edge-1"), "is the node that `octoedge up` made"),
        (("remove", "edge-1"), "it goes with `octoedge down --purge`"),
        (("disconnect", "moon"), "is not on this machine"),
    ],
)
def test_what_cannot_be_is_said(nodes: Installation, words: tuple[str, str], sentence: str) -> None:
    done = nodes.octoedge("node", *words)
    assert done.status == 1
    assert sentence in done.err
