"""Volumes of pods: every kind, what is refused, and that nothing of a container is ever replaced."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api.core import Pod, view
from octoedge.edge.edged import paths
from octoedge.edge.edged.csi import Csi
from octoedge.edge.edged.csidoor import CsiDoor
from octoedge.edge.edged.csidrivers import Drivers
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.layout import Layout, remove_tree
from octoedge.edge.edged.mounts import MountFailed, SystemMounter, mounted_below
from octoedge.edge.edged.objects import Objects
from octoedge.edge.edged.persistent import Claims
from octoedge.edge.edged.tokens import Tokens
from octoedge.edge.edged.volumes import Mounted, VolumeFailed, Volumes
from octoedge.protocol.resource import CLUSTER
from octoedge.testing import node
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.metadata import MemoryMetadata

FACTS = Facts(node.NODE, ("192.0.2.7",), (), 2000, 4 << 30)


class Desk:
    def __init__(self, root: Path) -> None:
        self.clock = VirtualClock()
        self.metadata = MemoryMetadata(self.clock)
        self.mounter = node.PlainMounter()
        self.layout = Layout(root / "kubelet", root / "logs")
        tokens = Tokens(self.metadata, self.clock)
        claims = Claims(self.metadata, node.NODE)
        objects = Objects(self.metadata)
        csi = Csi(self.layout, node.NODE, self.metadata, objects, tokens, Drivers(), self.mounter.below)
        door = CsiDoor(self.layout, lambda: csi)
        self.volumes = Volumes(self.layout, objects, tokens, claims, door, self.mounter, self.clock)
        self.volumes.start()

    async def put(self, kind: str, name: str, **fields: Any) -> None:
        await self.metadata.put(kind, {"metadata": {"name": name, "namespace": "default"}, **fields})


def make(*sources: dict[str, Any], **spec: Any) -> Pod:
    named = [{"name": f"v{number}", **source} for number, source in enumerate(sources)]
    obj = node.pod(volumes=named, **spec)
    obj["metadata"]["labels"] = {"app": "web", "tier": 'a"b'}
    return view(Pod, msgspec.json.encode(obj))


def files(volume: Mounted) -> dict[str, str]:
    return {path.name: path.read_text() for path in volume.path.iterdir() if not path.name.startswith("..")}


async def one(desk: Desk, source: dict[str, Any], **spec: Any) -> Mounted:
    return (await desk.volumes.prepare(make(source, **spec), FACTS))["v0"]


def refused(tmp_path: Path, source: dict[str, Any], text: str) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.put("configmap", "cm", data={"a": "1"})
        with pytest.raises(VolumeFailed, match=text):
            await one(desk, source)

    run(main())


def test_config_maps_and_secrets_become_files(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.put("configmap", "cm", data={"a": "1"}, binaryData={"b": "Mg=="})
        await desk.put("secret", "s", data={"k": "aHVudGVyMg==", "empty": ""})
        assert files(await one(desk, {"configMap": {"name": "cm"}})) == {"a": "1", "b": "2"}
        secret = await one(desk, {"secret": {"secretName": "s", "defaultMode": 0o400}})
        assert files(secret) == {"k": "hunter2", "empty": ""}
        assert secret.path.is_relative_to(desk.layout.volatile)
        assert desk.layout.volatile in desk.mounter.tmpfs_sizes
        assert desk.layout.volatile.stat().st_mode & 0o777 == 0o700
        assert (secret.path / "k").stat().st_mode & 0o777 == 0o400
        items = [{"key": "a", "path": "sub/x", "mode": 0o600}]
        chosen = await one(desk, {"configMap": {"name": "cm", "items": items}})
        assert (chosen.path / "sub/x").read_text() == "1"

    run(main())


def test_the_tmpfs_for_secrets_goes_with_the_last_pod(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.put("secret", "s", data={"k": ""})
        await one(desk, {"secret": {"secretName": "s"}})
        await desk.volumes.remove("uid-web")
        assert desk.mounter.tmpfs_sizes == {}
        assert desk.volumes.known() == set()

    run(main())


def test_the_default_service_account_volume(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.put("configmap", "kube-root-ca.crt", data={"ca.crt": "CA"})
        sources = [
            {"serviceAccountToken": {"path": "token", "expirationSeconds": 3607}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
            {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": {"fieldPath": "metadata.namespace"}}]}},
        ]
        volume = await one(desk, {"projected": {"sources": sources}}, serviceAccountName="robot")
        assert files(volume) == {"token": "token-1-of-default-robot", "ca.crt": "CA", "namespace": "default"}
        [asked] = desk.metadata.tokens_asked
        assert asked["spec"]["boundObjectRef"]["uid"] == "uid-web"
        assert asked["spec"]["expirationSeconds"] == 3607

    run(main())


def test_a_token_is_renewed_after_four_fifths_of_its_life(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        metadata = MemoryMetadata(clock)
        tokens = Tokens(metadata, clock)
        pod = make()
        await tokens.token(pod, core_token(3600))
        assert tokens.renew_in("uid-web") == pytest.approx(2880, abs=2)
        assert not tokens.due("uid-web")
        clock.shift(2885)
        assert tokens.due("uid-web")
        await tokens.token(pod, core_token(3600))
        assert not tokens.due("uid-web")
        assert tokens.renew_in("unknown") is None

    run(main())


def core_token(seconds: int) -> Any:
    from octoedge.api.core import TokenProjection

    return TokenProjection("token", "", seconds)


def test_downward_api(tmp_path: Path) -> None:
    async def main() -> None:
        items = [
            {"path": "labels", "fieldRef": {"fieldPath": "metadata.labels"}},
            {"path": "app", "fieldRef": {"fieldPath": "metadata.labels['app']"}},
            {"path": "cpu", "resourceFieldRef": {"containerName": "main", "resource": "limits.cpu", "divisor": "1m"}},
            {"path": "memory", "resourceFieldRef": {"containerName": "main", "resource": "limits.memory"}},
        ]
        volume = await one(Desk(tmp_path), {"downwardAPI": {"items": items}})
        assert files(volume) == {
            "labels": 'app="web"\ntier="a\\"b"',
            "app": "web",
            "cpu": "2000",
            "memory": str(4 << 30),
        }

    run(main())


def test_an_empty_dir_keeps_its_content_and_its_place(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        pod = make({"emptyDir": {}}, {"emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}})
        first = await desk.volumes.prepare(pod, FACTS)
        (first["v0"].path / "x").write_text("kept")
        inode = first["v0"].path.stat().st_ino
        again = await desk.volumes.prepare(pod, FACTS)
        assert (again["v0"].path / "x").read_text() == "kept"
        assert again["v0"].path.stat().st_ino == inode
        assert desk.mounter.tmpfs_sizes[first["v1"].path] == 1 << 20

    run(main())


def test_an_fs_group_owns_what_the_pod_shares(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root may give files away")

    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.put("secret", "s", data={"k": ""})
        pod = make(
            {"emptyDir": {}}, {"secret": {"secretName": "s", "defaultMode": 0o400}}, securityContext={"fsGroup": 77}
        )
        mounted = await desk.volumes.prepare(pod, FACTS)
        shared = mounted["v0"].path.stat()
        assert (shared.st_gid, shared.st_mode & 0o7777) == (77, 0o2777)
        key = (mounted["v1"].path / "k").stat()
        assert (key.st_gid, key.st_mode & 0o777) == (77, 0o440)

    run(main())


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ({"configMap": {"name": "none"}}, 'configmaps "none" not found'),
        ({"configMap": {"name": "cm", "items": [{"key": "z", "path": "z"}]}}, "has no key 'z'"),
        ({"configMap": {"name": "cm", "items": [{"key": "a", "path": "../../x"}]}}, "no path for a file"),
        ({"hostPath": {"path": "relative"}}, "must be absolute"),
        ({"hostPath": {"path": "/etc/../root"}}, "without '..'"),
        ({"hostPath": {"path": "/etc", "type": "File"}}, "is not a file"),
        ({"hostPath": {"path": "/etc", "type": "Odd"}}, "type 'Odd' is unknown"),
        ({"emptyDir": {"medium": "HugePages"}}, "they ask for: none"),
        ({"downwardAPI": {"items": [{"path": "x", "fieldRef": {"fieldPath": "spec.odd"}}]}}, "unsupported fieldPath"),
    ],
    ids=range(9),
)
def test_what_cannot_be_set_up_says_why(tmp_path: Path, source: dict[str, Any], text: str) -> None:
    refused(tmp_path, source, text)


def test_what_is_optional_may_be_missing(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        assert files(await one(desk, {"configMap": {"name": "none", "optional": True}})) == {}

    run(main())


def test_offline_the_store_will_do_and_its_lack_is_named(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.put("configmap", "cm", data={"a": "1"})
        desk.metadata.set_online(False)
        assert files(await one(desk, {"configMap": {"name": "cm"}})) == {"a": "1"}
        with pytest.raises(VolumeFailed, match="not stored on this node and the cloud is away"):
            await one(desk, {"configMap": {"name": "other"}})

    run(main())


def test_host_paths_are_made_when_asked(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        made = await one(desk, {"hostPath": {"path": str(tmp_path / "new"), "type": "DirectoryOrCreate"}})
        assert made.path.is_dir()

    run(main())


def test_a_link_inside_a_volume_does_not_lead_out_of_it(tmp_path: Path) -> None:
    (tmp_path / "volume/dir").mkdir(parents=True)
    (tmp_path / "volume/evil").symlink_to("/etc")
    (tmp_path / "volume/dir/evil").symlink_to("/etc/passwd")
    for path in ("evil", "evil/passwd", "dir/evil"):
        with pytest.raises((OSError, ValueError)):
            os.close(paths.hold(tmp_path / "volume", path))
        with pytest.raises(ValueError, match="leads out"):
            paths.inside(tmp_path / "volume", path)
    held = paths.hold(tmp_path / "volume", "dir/made")
    os.close(held)
    assert (tmp_path / "volume/dir/made").is_dir()


def test_removing_a_tree_does_not_follow_links(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside/precious").write_text("x")
    (tmp_path / "tree/a/b").mkdir(parents=True)
    (tmp_path / "tree/a/link").symlink_to(tmp_path / "outside")
    run(remove_tree(tmp_path / "tree"))
    run(remove_tree(tmp_path / "never there"))
    assert not (tmp_path / "tree").exists()
    assert (tmp_path / "outside/precious").exists()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts something")
@pytest.mark.parametrize("name", ["plain", "with blank", "ümläut"])
def test_removing_a_tree_does_not_go_through_a_mount(tmp_path: Path, name: str) -> None:
    precious = tmp_path / "outside/precious"
    inner = tmp_path / "tree/a" / name
    (tmp_path / "outside").mkdir()
    precious.write_text("x")
    inner.mkdir(parents=True)
    (tmp_path / "link").symlink_to(tmp_path / "tree")
    subprocess.run(["mount", "--bind", tmp_path / "outside", inner], check=True)
    try:
        for tree in (tmp_path / "tree", tmp_path / "link/a", inner):
            with pytest.raises(MountFailed, match="is still mounted; unmount it"):
                run(remove_tree(tree))
        assert mounted_below(tmp_path / "link/a") == [inner]
    finally:
        asyncio.run(SystemMounter().unmount(tmp_path / "link/a" / name))
    assert mounted_below(tmp_path) == []
    run(remove_tree(tmp_path / "tree"))
    assert precious.exists()


@pytest.mark.parametrize("name", ["..", "a/b", "", ".hidden", "a\0"])
def test_names_from_the_cloud_cannot_leave_our_directories(tmp_path: Path, name: str) -> None:
    layout = Layout(tmp_path, tmp_path)
    with pytest.raises(ValueError, match="cannot be part of a path"):
        layout.volume(name, "configmap", "v")
    with pytest.raises(ValueError, match="cannot be part of a path"):
        layout.log_file("default", "web", "uid", name, 0)


def asking_pages(*sizes: str) -> list[dict[str, Any]]:
    limits = {f"hugepages-{size}": "64Mi" for size in sizes}
    return [node.container(resources={"limits": {"memory": "1Gi", **limits}})]


@pytest.mark.parametrize(
    ("medium", "sizes", "said"),
    [
        ("HugePages", ("2Mi",), "pages of 2097152"),
        ("HugePages-1Gi", ("2Mi", "1Gi"), "pages of 1073741824"),
        ("HugePages", ("2Mi", "1Gi"), "they ask for: 1Gi, 2Mi"),
        ("HugePages-1Gi", ("2Mi",), "wants a container that asks for hugepages-1Gi"),
        ("Flash", (), "medium 'Flash' is unknown"),
    ],
)
def test_an_empty_dir_on_huge_pages(tmp_path: Path, medium: str, sizes: tuple[str, ...], said: str) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        wish = {"emptyDir": {"medium": medium}}
        if not said.startswith("pages"):
            with pytest.raises(VolumeFailed, match=said):
                await one(desk, wish, containers=asking_pages(*sizes))
            return
        mounted = await one(desk, wish, containers=asking_pages(*sizes))
        assert desk.mounter.others[mounted.path] == said

    run(main())


def test_an_nfs_export_is_mounted_as_the_pod_or_the_volume_says(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        mounted = await one(desk, {"nfs": {"server": "nas", "path": "/x", "readOnly": True}})
        assert (desk.mounter.others[mounted.path], mounted.read_only) == ("nas:/x ro", True)
        claim = {"metadata": {"name": "c", "namespace": "default", "uid": "u"}}
        await desk.metadata.put(
            "persistentvolumeclaim", {**claim, "spec": {"volumeName": "pv"}, "status": {"phase": "Bound"}}
        )
        spec = {"nfs": {"server": "nas", "path": "/y"}, "mountOptions": ["nfsvers=4.2"], "claimRef": claim["metadata"]}
        await desk.metadata.put("persistentvolume", {"metadata": {"name": "pv", "namespace": CLUSTER}, "spec": spec})
        mounted = await one(desk, {"persistentVolumeClaim": {"claimName": "c"}})
        assert desk.mounter.others[mounted.path] == "nas:/y nfsvers=4.2"

    run(main())


@pytest.mark.skipif(shutil.which("mount.nfs") is not None, reason="this machine can mount NFS")
def test_a_node_without_nfs_names_the_package(tmp_path: Path) -> None:
    with pytest.raises(MountFailed, match="install nfs-common"):
        asyncio.run(SystemMounter().nfs("nas:/x", tmp_path / "x", ()))
