"""Claims lead to directories of this node, or it is said why they do not."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api.core import Pod, view
from octoedge.edge.edged import ownership
from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.persistent import ClaimFailed, bound_volume, place
from octoedge.protocol.resource import CLUSTER
from octoedge.testing.clock import run
from octoedge.testing.node import NODE, World, container, is_running, pod, scenario

Json = dict[str, Any]
LABELS = {"kubernetes.io/hostname": NODE}


def claim(name: str = "data", *, phase: str = "Bound", **about: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "default", "uid": f"claim-{name}", **about},
        "spec": {"volumeName": "pv-1"},
        "status": {"phase": phase},
    }


def volume(path: str = "/data", *, of: str = "data", host: str = NODE, **spec: Any) -> Json:
    term = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "In", "values": [host]}]}
    full = {
        "local": {"path": path},
        "claimRef": {"namespace": "default", "name": of, "uid": f"claim-{of}"},
        "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
        **spec,
    }
    kept = {key: value for key, value in full.items() if value is not None}
    return {"metadata": {"name": "pv-1", "namespace": CLUSTER, "uid": "pv-uid"}, "spec": kept}


async def give(world: World, *objects: tuple[str, Json]) -> None:
    for kind, obj in objects:
        await world.metadata.put(kind, obj)


def using(claim_name: str = "data", *, read_only: bool = False, **spec: Any) -> Json:
    mounts = [{"name": "v", "mountPath": "/v"}]
    source = {"persistentVolumeClaim": {"claimName": claim_name, "readOnly": read_only}}
    return pod(volumes=[{"name": "v", **source}], containers=[container(volumeMounts=mounts)], **spec)


def test_a_local_volume_is_found_by_its_claim() -> None:
    assert bound_volume(claim()) == "pv-1"
    found = place(claim(), volume(), LABELS)
    assert (found.name, found.path, found.kind) == ("pv-1", "/data", "local")
    on_host = volume(local=None, hostPath={"path": "/x", "type": "DirectoryOrCreate"})
    assert place(claim(), on_host, None).type == "DirectoryOrCreate"


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (volume(of="other"), "is bound to another claim (claim-other)"),
        (volume(claimRef=None), "is bound to another claim (none)"),
        (volume(volumeMode="Block"), "is a block device"),
        (volume(host="edge-2"), "is not on this node: no matching NodeSelectorTerms"),
        (volume(local=None, iscsi={"iqn": "s"}), "is of kind iscsi; this node can mount local, hostPath, csi, nfs"),
        (volume(local=None), "is of kind nothing"),
    ],
)
def test_what_cannot_be_mounted_here_is_named(changed: Json, said: str) -> None:
    with pytest.raises(ClaimFailed) as caught:
        place(claim(), changed, LABELS)
    assert said in str(caught.value)


def test_a_claim_must_be_bound() -> None:
    with pytest.raises(ClaimFailed, match="PVC default/data has non-bound phase"):
        bound_volume(claim(phase="Pending"))


def test_a_pod_waits_for_its_claim_and_then_mounts_it(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        data = tmp_path / "data"
        data.mkdir()
        await give(world, ("persistentvolumeclaim", claim(phase="Pending")), ("persistentvolume", volume(str(data))))
        await world.metadata.put("pod", using())
        await asyncio.sleep(30)
        assert "FailedMount" in world.metadata.reasons()
        assert world.metadata.status("uid-web")["phase"] == "Pending"
        await give(world, ("persistentvolumeclaim", claim()))
        await world.metadata.until_status("uid-web", is_running)
        [mount] = [m for c in world.runtime.running() for m in c.config.mounts if m.container_path == "/v"]
        assert (mount.host_path, mount.readonly) == (str(data), False)

    scenario(tmp_path, body)


def test_it_is_mounted_without_a_cloud_and_read_only_where_the_claim_says(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        (tmp_path / "data").mkdir()
        volumes = volume(str(tmp_path / "data"))
        await give(world, ("persistentvolumeclaim", claim()), ("persistentvolume", volumes))
        world.metadata.set_online(False)
        async with world.edged():
            await world.metadata.put("pod", using(read_only=True))
            await world.metadata.until_status("uid-web", is_running)
            [mount] = [m for c in world.runtime.running() for m in c.config.mounts if m.container_path == "/v"]
            assert mount.readonly

    run(main())


def test_a_claim_of_the_pods_own(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        (tmp_path / "data").mkdir()
        owner = {"uid": "uid-web", "controller": True}
        await give(
            world,
            ("persistentvolume", volume(str(tmp_path / "data"), of="web-v")),
            ("persistentvolumeclaim", claim("web-v")),
        )
        own = {"name": "v", "ephemeral": {"volumeClaimTemplate": {"spec": {"resources": {}}}}}
        await world.metadata.put("pod", pod(volumes=[own]))
        await asyncio.sleep(5)
        said = [event["message"] for event in world.metadata.events if event["reason"] == "FailedMount"]
        assert any('PVC "web-v" was not created for pod default/web' in text for text in said)
        await give(world, ("persistentvolumeclaim", claim("web-v", ownerReferences=[owner])))
        await world.metadata.until_status("uid-web", is_running)

    scenario(tmp_path, body)


def test_a_directory_that_is_missing_is_named(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        await give(world, ("persistentvolume", volume(str(tmp_path / "gone"))), ("persistentvolumeclaim", claim()))
        await world.metadata.put("pod", using())
        await asyncio.sleep(5)
        said = [event["message"] for event in world.metadata.events if event["reason"] == "FailedMount"]
        assert any(f"{tmp_path}/gone is not a directory" in text for text in said)

    scenario(tmp_path, body)


def with_group(policy: str = "Always", group: int = 4242) -> Pod:
    security = {"fsGroup": group, "fsGroupChangePolicy": policy}
    return view(Pod, msgspec.json.encode(pod(securityContext=security)))


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give files away")
def test_a_volume_is_given_to_the_group(tmp_path: Path) -> None:
    root = tmp_path / "v"
    (root / "sub").mkdir(parents=True)
    (root / "sub/file").write_text("x")
    (root / "sub/file").chmod(0o600)
    outside = tmp_path / "outside"
    outside.write_text("x")
    (root / "link").symlink_to(outside)
    run(ownership.give(root, with_group()))
    assert [(root / part).stat().st_gid for part in ("", "sub", "sub/file")] == [4242] * 3
    assert (root / "sub/file").stat().st_mode & 0o777 == 0o660
    assert root.stat().st_mode & 0o2770 == 0o2770
    assert (outside.stat().st_gid, (root / "link").lstat().st_gid) == (0, 4242)
    # The root fits: nothing below is looked at.
    os.chown(root / "sub/file", -1, 0)
    run(ownership.give(root, with_group("OnRootMismatch")))
    assert (root / "sub/file").stat().st_gid == 0
    run(ownership.give(root, with_group("OnRootMismatch", 4343)))
    assert (root / "sub/file").stat().st_gid == 4343
