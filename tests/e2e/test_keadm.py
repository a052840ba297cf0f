"""keadm as KubeEdge's users know it: a node joins from a network of its own, a cloud is set up, and both go again."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.keadm import namespace
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Done, Installation

from .pods import await_ready

NODE = "far.site-9.example"
BEFOREHAND = f"""
apiVersion: v1
kind: Node
metadata: {{name: {NODE}, labels: {{room: barn}}}}
"""
POD = f"""
apiVersion: v1
kind: Pod
metadata: {{name: far}}
spec:
  nodeName: {NODE}
  terminationGracePeriodSeconds: 1
  containers:
  - name: web
    image: octoedge.local/hello:1
    imagePullPolicy: IfNotPresent
    env: [{{name: PORT, value: "8080"}}]
"""


def keadm(installation: Installation, *arguments: str, through: tuple[str, ...] = ()) -> Done:
    """Run `keadm …`, where `through` leads."""
    return installation.run(*through, str(Path(sys.executable).with_name("keadm")), *arguments)


@pytest.fixture(scope="module")
def host(running: Installation) -> Iterator[Installation]:
    """A second node's namespace and runtime stand in for another machine."""
    running.up()
    running.octoedge("node", "add", "edge-2").check()
    yield running
    running.up()
    running.octoedge("node", "remove", "edge-2").check()


def join(installation: Installation, root: Path, node: str, *more: str) -> Done:
    """`keadm join` on the stand-in for another machine."""
    place, token = (
        installation.node("edge-2"),
        keadm(installation, "gettoken", "--kube-config", str(admin(installation))),
    )
    cloud, ports = place.cloud_address, place.ports
    return keadm(
        installation, "join", "--root", str(root), f"--cloudcore-ipport={cloud}:{ports.cloudhub}",
        f"--certport={ports.certificates}", f"--edgenode-name={node}", f"--token={token.check().strip()}",
        f"--remote-runtime-endpoint=unix://{place.runtime_socket}", "--labels=zone=a,tier=edge",
        f"--set=Modules.EdgeStream.Server={cloud}:{ports.tunnel},Modules.Edged.NodeIP={place.address}", *more,
        through=namespace.through(place),
    )  # fmt: skip


def admin(installation: Installation) -> Path:
    """The administrator's kubeconfig."""
    return installation.layout.kubeconfig


def test_a_node_made_beforehand_joins_runs_a_pod_and_is_reset(host: Installation, tmp_path: Path) -> None:
    host.kubectl("apply", "-f", "-", stdin=BEFOREHAND).check()
    uid = host.get("node", NODE)["metadata"]["uid"]
    try:
        assert "it is adopted" in join(host, tmp_path / "root", NODE).check()
        node = eventually(lambda: host.get("node", NODE), lambda found: "kubeletVersion" in str(found["status"]))
        assert node["metadata"]["uid"] == uid
        labels = node["metadata"]["labels"]
        assert (labels["room"], labels["zone"], labels["tier"]) == ("barn", "a", "edge")
        assert join(host, tmp_path / "root", NODE).err.startswith("keadm: edgecore runs already")

        host.kubectl("apply", "-f", "-", stdin=POD).check()
        await_ready(host, "far")
        assert "hello from far" in host.kubectl("logs", "far").check()
        config = (tmp_path / "root/etc/kubeedge/config/edgecore.yaml").read_text()
        assert "token: ''" in config or 'token: ""' in config
        before = host.ctr_of("edge-2", "tasks", "list", "--quiet").split()
    finally:
        keadm(host, "reset", "edge", "--force", "--root", str(tmp_path / "root")).check()
    assert len(before) == 2
    assert host.ctr_of("edge-2", "tasks", "list", "--quiet") == ""
    assert not [path for path in (tmp_path / "root").rglob("*") if path.is_file()]
    host.kubectl("delete", "node", NODE).check()
    host.kubectl("delete", "pod", "far", "--force", "--grace-period=0", "--ignore-not-found").check()


def test_a_cloud_is_set_up_hands_out_tokens_and_is_reset(host: Installation, tmp_path: Path) -> None:
    root, ports = str(tmp_path / "cloud"), host.layout.ports
    shift = 100
    sets = (
        f"commonConfig.monitorServer.bindAddress=127.0.0.1:{ports.monitor + shift}",
        f"cloudCore.modules.cloudHub.websocket.port={ports.cloudhub + shift}",
        f"cloudCore.modules.cloudHub.https.port={ports.certificates + shift}",
        f"modules.cloudStream.streamPort={ports.stream + shift}",
        f"modules.cloudStream.tunnelPort={ports.tunnel + shift}",
    )
    try:
        flags = ("--root", root, "--api-port", str(ports.apiserver + shift), "--set", ",".join(sets))
        assert "CLOUDCORE started" in keadm(host, "init", *flags).check()
        assert "cloudcore runs already" in keadm(host, "init", *flags).err
        assert keadm(host, "gettoken", "--root", root).check().count(".") == 3
        own = ("--kubeconfig", f"{root}/etc/kubeedge/kubeconfig")
        assert host.kubectl(*own, "get", "namespace", "kubeedge", "-o", "name").check() == "namespace/kubeedge\n"
    finally:
        keadm(host, "reset", "cloud", "--force", "--root", root).check()
    assert not [path for path in Path(root).rglob("*") if path.is_file()]


def test_what_cannot_be_joined_leaves_nothing(host: Installation, tmp_path: Path) -> None:
    wrong = ("join", "--root", str(tmp_path / "x"), "-e", "127.0.0.1:1", "-s", "1", "-i", "x")
    assert "keadm gettoken" in keadm(host, *wrong, "--token", "abc").err
    token = keadm(host, "gettoken", "--kube-config", str(admin(host))).check().strip()
    assert "gave no answer" in keadm(host, *wrong, "--token", token).err
    assert "nothing was changed" in keadm(host, "reset", "edge", "--root", str(tmp_path / "x")).err
    assert not (tmp_path / "x").exists()
