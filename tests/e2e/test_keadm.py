"""keadm as KubeEdge's users know it: a node joins from a network of its own, a cloud is set up, and both go again."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.keadm import namespace
from octoedge.keadm.cluster import is_ready
from octoedge.keadm.layout import Ports
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Done, Installation

from .pods import await_ready

NODE = "far.site-9.example"
SHIFT = 100
"""From the ports of the installation to those of a second cloud."""
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


def shifted(installation: Installation) -> str:
    """Settings by which a second CloudCore finds room beside the first."""
    ports = installation.layout.ports
    return (
        f"commonConfig.monitorServer.bindAddress=127.0.0.1:{ports.monitor + SHIFT},"
        f"cloudCore.modules.cloudHub.websocket.port={ports.cloudhub + SHIFT},"
        f"cloudCore.modules.cloudHub.https.port={ports.certificates + SHIFT},"
        f"modules.cloudStream.streamPort={ports.stream + SHIFT},"
        f"modules.cloudStream.tunnelPort={ports.tunnel + SHIFT}"
    )


def join(installation: Installation, root: Path, node: str, *, kubeconfig: Path | None = None, shift: int = 0) -> Done:
    """`keadm join` on the stand-in for another machine."""
    place, known = installation.node("edge-2"), kubeconfig or admin(installation)
    token = keadm(installation, "gettoken", "--kube-config", str(known))
    cloud, ports = place.cloud_address, Ports.shifted(installation.offset + shift)
    return keadm(
        installation, "join", "--root", str(root), f"--cloudcore-ipport={cloud}:{ports.cloudhub}",
        f"--certport={ports.certificates}", f"--edgenode-name={node}", f"--token={token.check().strip()}",
        f"--remote-runtime-endpoint=unix://{place.runtime_socket}", "--labels=zone=a,tier=edge",
        f"--set=Modules.EdgeStream.Server={cloud}:{ports.tunnel},Modules.Edged.NodeIP={place.address}",
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
    root, api_port = str(tmp_path / "cloud"), host.layout.ports.apiserver + SHIFT
    try:
        flags = ("--root", root, "--api-port", str(api_port), "--set", shifted(host))
        assert "CLOUDCORE started" in keadm(host, "init", *flags).check()
        assert "cloudcore runs already" in keadm(host, "init", *flags).err
        assert keadm(host, "gettoken", "--root", root).check().count(".") == 3
        own = ("--kubeconfig", f"{root}/etc/kubeedge/kubeconfig")
        assert host.kubectl(*own, "get", "namespace", "kubeedge", "-o", "name").check() == "namespace/kubeedge\n"
    finally:
        keadm(host, "reset", "cloud", "--force", "--root", root).check()
    assert not [path for path in Path(root).rglob("*") if path.is_file()]


@pytest.fixture
def kubernetes(host: Installation, tmp_path: Path) -> Iterator[Path]:
    """The kubeconfig of a Kubernetes that was there before, and stays: an API server alone stands in for one."""
    folder, port = tmp_path / "kubernetes", host.layout.ports.apiserver + SHIFT
    # One of its pods is asked for logs by CloudCore's address, which its administrator has to tell it.
    options = ("--kubelet-endpoint", f"https://127.0.0.1:{host.layout.ports.stream + SHIFT}")
    program = str(Path(sys.executable).with_name("octoedge"))
    command = (program, "apiserver", "--data-dir", str(folder), "--listen", f"127.0.0.1:{port}", *options)
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        try:
            eventually(lambda: is_ready(folder / "admin.kubeconfig"))
            yield folder / "admin.kubeconfig"
        finally:
            process.terminate()


def test_a_cloud_for_a_kubernetes_that_is_there_takes_nodes_and_leaves_it_whole(
    host: Installation, kubernetes: Path, tmp_path: Path
) -> None:
    cloud, edge = tmp_path / "cloud", tmp_path / "edge"
    addresses = f"127.0.0.1,{host.node('edge-2').cloud_address}"
    own = ("--kubeconfig", str(kubernetes))
    try:
        flags = ("--root", str(cloud), "--kube-config", str(kubernetes), "--set", shifted(host))
        keadm(host, "init", *flags, f"--advertise-address={addresses}").check()
        assert not (cloud / "var/lib/kubeedge/apiserver").exists()
        join(host, edge, "guest", kubeconfig=kubernetes, shift=SHIFT).check()
        wait = ("wait", "--for=condition=Ready", "node/guest", "--timeout=30s")
        assert "condition met" in eventually(lambda: host.kubectl(*own, *wait).check())
    finally:
        keadm(host, "reset", "edge", "--force", "--root", str(edge))
        keadm(host, "reset", "cloud", "--force", "--root", str(cloud)).check()
    assert is_ready(kubernetes)
    eventually(lambda: host.kubectl(*own, "get", "namespace", "kubeedge").err, lambda said: "NotFound" in said)
    assert not [path for top in (cloud, edge) for path in top.rglob("*") if path.is_file()]


def test_what_cannot_be_joined_leaves_nothing(host: Installation, tmp_path: Path) -> None:
    wrong = ("join", "--root", str(tmp_path / "x"), "-e", "127.0.0.1:1", "-s", "1", "-i", "x")
    assert "keadm gettoken" in keadm(host, *wrong, "--token", "abc").err
    token = keadm(host, "gettoken", "--kube-config", str(admin(host))).check().strip()
    assert "gave no answer" in keadm(host, *wrong, "--token", token).err
    assert "nothing was changed" in keadm(host, "reset", "edge", "--root", str(tmp_path / "x")).err
    assert not (tmp_path / "x").exists()
