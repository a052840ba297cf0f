"""CSI volumes: what a driver is asked, in which order, and what happens when it is not there, hangs or refuses."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api.core import CsiSource, LocalReference, Pod, view
from octoedge.edge.edged import csiapi as c
from octoedge.edge.edged import csivolume, nodestatus
from octoedge.edge.edged.csiapi import Able, AccessMode, CsiError
from octoedge.edge.edged.csifiles import CsiFailed
from octoedge.edge.edged.csiheld import HeldVolumes, read
from octoedge.edge.edged.csivolume import EPHEMERAL, CsiVolume, DriverRules
from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.layout import Layout
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.testing.clock import run
from octoedge.testing.csi import DirectoryDriver
from octoedge.testing.node import NODE, PlainMounter, World, container, deleting, is_running, pod

Json = dict[str, Any]
NAME = "dir.example.com"


class Desk:
    """A node with a CSI driver."""

    def __init__(self, root: Path, *abilities: Able) -> None:
        self.world = World(root)
        self.mounter = PlainMounter()
        able = frozenset(abilities or (Able.STAGE, Able.STATS))
        self.driver = DirectoryDriver(root / "driver", self.mounter.hands, able)
        self.root = root / "kubelet"

    def edged(self) -> Any:
        return self.world.edged(mounter=self.mounter, connect_driver=lambda _: self.driver)

    async def come(self, edged: Edged) -> None:
        await edged.storage.drivers.register(NAME, Path("csi.sock"), ("1.0.0",))

    async def rules(self, **spec: Any) -> None:
        await self.world.metadata.put("csidriver", {"metadata": {"name": NAME, "namespace": CLUSTER}, "spec": spec})

    async def claim(self, **fields: Any) -> None:
        about = {"namespace": "default", "name": "data", "uid": "claim-uid"}
        source = {"driver": NAME, "volumeHandle": "handle-1", **fields.pop("csi", {})}
        spec = {"claimRef": about, "csi": source, "accessModes": ["ReadWriteOnce"], **fields}
        bound = {"metadata": about, "spec": {"volumeName": "pv-1"}, "status": {"phase": "Bound"}}
        await self.world.metadata.put("persistentvolumeclaim", bound)
        await self.world.metadata.put(
            "persistentvolume", {"metadata": {"name": "pv-1", "namespace": CLUSTER}, "spec": spec}
        )

    async def runs(self, obj: Json) -> None:
        await self.world.metadata.put("pod", obj)
        await self.world.metadata.until_status(obj["metadata"]["uid"], is_running)

    async def ends(self, obj: Json) -> None:
        await self.world.metadata.put("pod", deleting(obj, 1))
        await self.world.metadata.until_deleted(obj["metadata"]["uid"])

    def said(self) -> list[str]:
        events = self.world.metadata.events
        return [str(event["message"]) for event in events if event["reason"] == "FailedMount"]


def claiming(name: str = "web", *, read_only: bool = False, **spec: Any) -> Json:
    source = {"persistentVolumeClaim": {"claimName": "data", "readOnly": read_only}}
    return mounting(source, name, **spec)


def mounting(source: Json, name: str = "web", **spec: Any) -> Json:
    mounts = [{"name": "v", "mountPath": "/v"}]
    return pod(name, volumes=[{"name": "v", **source}], containers=[container(volumeMounts=mounts)], **spec)


def inline(**fields: Any) -> Json:
    return {"csi": {"driver": NAME, **fields}}


def test_a_claim_is_staged_once_published_for_each_pod_and_given_back_in_the_other_order(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        options = {"volumeAttributes": {"share": "a"}, "fsType": "ext4"}
        await desk.rules(attachRequired=False)
        await desk.claim(csi=options, mountOptions=["noatime"])
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(claiming("one"))
            await desk.runs(claiming("two", read_only=True))
            target = desk.root / "pods/uid-one/volumes/kubernetes.io~csi/pv-1/mount"
            [mount] = [
                m
                for one in desk.world.runtime.running()
                for m in one.config.mounts
                if m.container_path == "/v" and not m.readonly
            ]
            assert mount.host_path == str(target)
            first, second = desk.driver.requests("publish")
            assert (first.volume_id, first.target, first.volume_context) == ("handle-1", str(target), {"share": "a"})
            assert first.capability.mount == c.MountVolume("ext4", ("noatime",))
            assert (first.read_only, second.read_only) == (False, True)
            assert {first.staging, second.staging} == {one.staging for one in desk.driver.requests("stage")}
            await desk.ends(claiming("one"))
            assert desk.driver.requests("unstage") == []
            await desk.ends(claiming("two"))
            names = [name for name, _ in desk.driver.calls if name.startswith("un")]
            assert names == ["unpublish", "unpublish", "unstage"]
        assert desk.mounter.hands.mounts == {}
        assert not list(desk.root.glob("plugins/**/globalmount"))

    run(main())


def test_who_waits_for_a_driver_is_told_so_and_starts_when_it_comes(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.rules(attachRequired=False)
        await desk.claim()
        async with desk.edged() as edged:
            await desk.world.metadata.put("pod", claiming())
            await asyncio.sleep(25)
            text = f"driver name {NAME} not found in the list of registered CSI drivers"
            assert any('MountVolume.SetUp failed for volume "pv-1" : ' in said and text in said for said in desk.said())
            gone = claiming("gone")
            await desk.world.metadata.put("pod", gone)
            await asyncio.sleep(5)
            await desk.ends(gone)  # Nothing was asked of the driver: nothing keeps the pod.
            before = desk.world.clock.now()
            await desk.come(edged)
            await desk.world.metadata.until_status("uid-web", is_running)
            assert desk.world.clock.now() - before < 5

    run(main())


@pytest.mark.parametrize("method", ["stage", "publish"])
def test_a_driver_that_refuses_is_asked_again_and_its_words_are_shown(tmp_path: Path, method: str) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        desk.driver.failing[method] = CsiError("rpc error: code = Internal desc = no such disk")
        await desk.rules(attachRequired=False)
        await desk.claim()
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.world.metadata.put("pod", claiming())
            await asyncio.sleep(25)
            step = {"stage": "MountDevice", "publish": "SetUp"}[method]
            want = f'MountVolume.{step} failed for volume "pv-1" : rpc error: code = Internal desc = no such disk'
            assert want in desk.said()
            assert len(desk.driver.requests(method)) == 3
            del desk.driver.failing[method]
            await desk.world.metadata.until_status("uid-web", is_running)

    run(main())


@pytest.mark.parametrize("method", ["stage", "publish"])
def test_a_driver_that_hangs_does_not_keep_a_pod_from_being_deleted(tmp_path: Path, method: str) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        desk.driver.hanging.add(method)
        await desk.rules(attachRequired=False)
        await desk.claim()
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.world.metadata.put("pod", claiming())
            await asyncio.sleep(5)
            await desk.world.metadata.put("pod", other := pod("other"))
            await desk.world.metadata.until_status(other["metadata"]["uid"], is_running)
            await desk.ends(claiming())
        assert desk.driver.requests("unpublish")
        assert desk.mounter.hands.mounts == {}

    run(main())


def test_a_pod_stays_until_its_driver_lets_go_also_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.rules(attachRequired=False)
        await desk.claim()
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(claiming())
            desk.driver.failing["unpublish"] = CsiError("rpc error: code = Aborted desc = busy")
            await desk.world.metadata.put("pod", deleting(claiming(), 1))
            await asyncio.sleep(60)
            assert desk.world.metadata.deleted == []
        # The cloud forgets it, too: then it is only on disk.
        await desk.world.metadata.delete(Resource("default", "pod", "web"))
        desk.driver.failing.clear()
        async with desk.edged() as edged:
            await asyncio.sleep(60)
            assert desk.mounter.hands.mounts  # Without the driver nothing that is mounted is given up.
            await desk.come(edged)
            await asyncio.sleep(60)
        assert desk.mounter.hands.mounts == {}
        assert not list((desk.root / "pods").iterdir())

    run(main())


def test_a_restart_asks_the_driver_for_nothing_and_goes_on_without_it(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.rules(attachRequired=False)
        await desk.claim()
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(claiming())
        before = len(desk.driver.calls)
        desk.world.metadata.set_online(False)
        async with desk.edged():
            desk.world.runtime.exit_container(desk.world.runtime.running()[0].id, 1)
            await asyncio.sleep(30)
            assert len(desk.world.runtime.running()) == 1
        assert len(desk.driver.calls) == before

    run(main())


def test_an_attached_volume_waits_for_the_attacher_and_is_shown_as_in_use(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.claim()
        wish = CsiVolume("pv-1", NAME, "handle-1")
        name = csivolume.attachment_name(wish, NODE)
        attachment: Json = {"metadata": {"name": name, "namespace": "default"}, "status": {"attached": False}}
        metadata = desk.world.metadata
        async with desk.edged() as edged:
            await desk.come(edged)
            await metadata.put("pod", claiming())
            await asyncio.sleep(5)
            assert any("MountVolume.WaitForAttach failed" in text and "attachRequired" in text for text in desk.said())
            await metadata.put("volumeattachment", attachment)
            await asyncio.sleep(15)
            assert any("is not attached yet" in text for text in desk.said())
            attachment["status"] = {"attached": True, "attachmentMetadata": {"device": "/dev/x"}}
            await metadata.put("volumeattachment", attachment)
            await metadata.until_status("uid-web", is_running)
            assert desk.driver.requests("stage")[0].publish_context == {"device": "/dev/x"}
            await asyncio.sleep(15)
            assert metadata.node_statuses[-1]["volumesInUse"] == [f"kubernetes.io/csi/{NAME}^handle-1"]
            await desk.ends(claiming())
            await asyncio.sleep(15)
            assert metadata.node_statuses[-1]["volumesInUse"] == []

    run(main())


def test_a_volume_of_the_pods_own_knows_its_pod_and_gets_its_secret_and_tokens(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.rules(
            podInfoOnMount=True,
            volumeLifecycleModes=["Ephemeral"],
            tokenRequests=[{"audience": "vault"}],
            requiresRepublish=True,
        )
        secret = {"metadata": {"name": "key", "namespace": "default"}, "data": {"k": "aHVudGVyMg=="}}
        await desk.world.metadata.put("secret", secret)
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(mounting(inline(volumeAttributes={"a": "b"}, nodePublishSecretRef={"name": "key"})))
            [request] = desk.driver.requests("publish")[:1]
            told = dict(request.volume_context)
            tokens = msgspec.json.decode(told.pop("csi.storage.k8s.io/serviceAccount.tokens"))
            assert tokens["vault"]["token"].startswith("token-")
            assert told == {
                "a": "b",
                "csi.storage.k8s.io/pod.name": "web",
                "csi.storage.k8s.io/pod.namespace": "default",
                "csi.storage.k8s.io/pod.uid": "uid-web",
                "csi.storage.k8s.io/serviceAccount.name": "default",
                "csi.storage.k8s.io/ephemeral": "true",
            }
            assert (request.secrets, request.staging) == ({"k": "hunter2"}, "")
            count = len(desk.driver.requests("publish"))
            await asyncio.sleep(300)
            assert len(desk.driver.requests("publish")) >= count + 3
            assert desk.driver.requests("stage") == []

    run(main())


def test_a_driver_that_takes_no_volumes_of_pods_says_so(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.world.metadata.put("pod", mounting(inline()))
            await asyncio.sleep(5)
            assert any("volume mode 'Ephemeral' not supported by driver" in text for text in desk.said())

    run(main())


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away")
def test_the_volume_gets_the_pods_group_once_it_is_mounted(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.rules(attachRequired=False, fsGroupPolicy="File")
        await desk.claim()
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(claiming(securityContext={"fsGroup": 4242}))
        assert (desk.root / "pods/uid-web/volumes/kubernetes.io~csi/pv-1/mount").stat().st_gid == 4242

    run(main())


def test_how_full_a_volume_is_and_what_drivers_call_the_node_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.rules(attachRequired=False)
        await desk.claim()
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(claiming())
            assert await edged.storage.csi.stats() == {
                "uid-web": [
                    {
                        "name": "v",
                        "pvcRef": {"namespace": "default", "name": "data"},
                        "availableBytes": 30, "capacityBytes": 100, "usedBytes": 70,
                        "inodesFree": 3, "inodes": 10, "inodesUsed": 7,
                    }
                ]
            }  # fmt: skip
            desk.driver.hanging.add("stats")
            assert await edged.storage.csi.stats() == {}
            await asyncio.sleep(15)
            about = desk.world.metadata.node_patches[-1]["metadata"]
            assert msgspec.json.decode(about["annotations"][nodestatus.NODE_IDS]) == {NAME: "node-of-driver"}
            assert about["labels"] == {"topology.example.com/rack": "r1"}
            edged.storage.drivers.unregister(NAME)
            await asyncio.sleep(15)
            about = desk.world.metadata.node_patches[-1]["metadata"]
            assert about["annotations"] == {nodestatus.NODE_IDS: None}

    run(main())


# --- pure -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("access", "able", "mode"),
    [
        ("ReadWriteOnce", (), AccessMode.SINGLE_NODE_WRITER),
        ("ReadOnlyMany", (), AccessMode.MULTI_NODE_READER_ONLY),
        ("ReadWriteMany", (), AccessMode.MULTI_NODE_MULTI_WRITER),
        ("ReadWriteOncePod", (), AccessMode.SINGLE_NODE_WRITER),
        ("ReadWriteOncePod", (Able.SINGLE_NODE_MULTI_WRITER,), AccessMode.SINGLE_NODE_SINGLE_WRITER),
        ("ReadWriteOnce", (Able.SINGLE_NODE_MULTI_WRITER,), AccessMode.SINGLE_NODE_MULTI_WRITER),
    ],
)
def test_access_modes(access: str, able: tuple[Able, ...], mode: AccessMode) -> None:
    wish = CsiVolume("v", NAME, "h", access=(access,))
    found = csivolume.capability(wish, frozenset(able), 7)
    assert (found.access, found.mount) == (c.Mode(mode), c.MountVolume())
    by_driver = csivolume.capability(wish, frozenset({*able, Able.MOUNT_GROUP}), 7)
    assert by_driver.mount == c.MountVolume(group="7")


@pytest.mark.parametrize(
    ("policy", "wish", "able", "given"),
    [
        (None, CsiVolume("v", NAME, "h", fs_type="ext4"), (), True),
        (None, CsiVolume("v", NAME, "h"), (), False),
        (None, CsiVolume("v", NAME, "h", fs_type="ext4", access=("ReadWriteMany",)), (), False),
        (None, CsiVolume("v", NAME, "h", EPHEMERAL, fs_type="ext4"), (), True),
        ("File", CsiVolume("v", NAME, "h"), (), True),
        ("File", CsiVolume("v", NAME, "h", read_only=True), (), False),
        ("File", CsiVolume("v", NAME, "h"), (Able.MOUNT_GROUP,), False),
        ("None", CsiVolume("v", NAME, "h", fs_type="ext4"), (), False),
    ],
)
def test_who_gives_a_volume_to_the_group(
    policy: str | None, wish: CsiVolume, able: tuple[Able, ...], given: bool
) -> None:
    assert csivolume.gets_group(wish, DriverRules(fs_group_policy=policy), frozenset(able)) is given


def test_names_are_those_that_kubernetes_computes() -> None:
    told = view(Pod, msgspec.json.encode(pod()))
    own = csivolume.inline(CsiSource(NAME, node_publish_secret_ref=LocalReference("key")), told, "v")
    assert (
        own.handle == "csi-b7db0ab0c772507a084f8906cf24f50b0b386c1bb0d233e1e1517aa7f5357a74"
    )  # sha256 of uid and name
    assert own.publish_secret == ("default", "key")
    name = csivolume.attachment_name(CsiVolume("pv", NAME, "h"), "n")
    assert name == "csi-96bbad1e1b82f819336dad6586e9103feefe85982fca8ab9ff1d06f9038db52f"  # of handle, driver and node
    with pytest.raises(ValueError, match="names no CSI driver"):
        csivolume.persistent({"metadata": {"name": "p"}, "spec": {"csi": {"driver": ""}}}, claim="c", read_only=False)


def test_requests_are_what_the_public_field_numbers_say() -> None:
    request = c.PublishRequest(
        "h", {"p": "c"}, "/s", "/t", c.Capability(c.MountVolume("x", ("f",)), c.Mode(1)), True, {"s": "s"}, {"v": "v"}
    )
    assert c.CODEC.encode(request, c.PublishRequest) == (
        b"\x0a\x01h" b"\x12\x06\x0a\x01p\x12\x01c" b"\x1a\x02/s" b"\x22\x02/t"
        b"\x2a\x0c\x12\x06\x0a\x01x\x12\x01f\x1a\x02\x08\x01" b"\x30\x01" b"\x3a\x06\x0a\x01s\x12\x01s"
        b"\x42\x06\x0a\x01v\x12\x01v"
    )  # fmt: skip


IN_USE = f"kubernetes.io/csi/{NAME}^handle-1"


@contextmanager
def unreadable(file: Path) -> Iterator[None]:
    """In place of the file is what no read gets through, not even root's."""
    aside = file.with_name("aside")
    file.rename(aside)
    file.mkdir()
    yield
    file.rmdir()
    aside.rename(file)


def data(desk: Desk, name: str) -> Path:
    return desk.root / f"pods/uid-{name}/volumes/kubernetes.io~csi/pv-1/vol_data.json"


async def attached(desk: Desk) -> None:
    name = csivolume.attachment_name(CsiVolume("pv-1", NAME, "handle-1"), NODE)
    attachment: Json = {"metadata": {"name": name, "namespace": "default"}, "status": {"attached": True}}
    await desk.world.metadata.put("volumeattachment", attachment)


def test_a_volume_is_not_unstaged_while_a_disk_does_not_say_who_else_holds_it(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.rules(attachRequired=False)
        await desk.claim()
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(claiming("one"))
            await desk.runs(claiming("two"))
            with unreadable(data(desk, "two")):
                await desk.world.metadata.put("pod", deleting(claiming("one"), 1))
                await asyncio.sleep(60)
                assert desk.driver.requests("unpublish") == []
                assert desk.driver.requests("unstage") == []
                assert data(desk, "one").exists()
                assert list(await edged.storage.csi.stats()) == ["uid-one"]
            await desk.world.metadata.until_deleted("uid-one")
            assert len(desk.driver.requests("unpublish")) == 1
            assert desk.driver.requests("unstage") == []
            assert list(await edged.storage.csi.stats()) == ["uid-two"]
            await desk.ends(claiming("two"))
            assert len(desk.driver.requests("unstage")) == 1

    run(main())


def test_what_is_attached_stays_in_use_while_the_disk_does_not_say_also_over_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        desk = Desk(tmp_path)
        await desk.claim()
        await attached(desk)
        metadata = desk.world.metadata
        async with desk.edged() as edged:
            await desk.come(edged)
            await desk.runs(claiming())
            with unreadable(data(desk, "web")):
                assert edged.storage.csi.open().attached_in_use() == [IN_USE]
                await edged.storage.csi.stats()
        with unreadable(data(desk, "web")):
            before = len(metadata.node_statuses)
            async with desk.edged() as edged:
                await desk.come(edged)
                assert edged.storage.csi.open().attached_in_use() is None
                assert await edged.storage.csi.stats() == {}
                await asyncio.sleep(30)
                said = metadata.node_statuses[before:]
                assert said
                assert not any("volumesInUse" in status for status in said)
        async with desk.edged() as edged:
            await desk.come(edged)
            await metadata.until_status("uid-web", is_running)
            assert edged.storage.csi.open().attached_in_use() == [IN_USE]

    run(main())


def test_only_a_file_that_is_not_there_says_that_nothing_is_held(tmp_path: Path) -> None:
    assert read(tmp_path / "pv-1/vol_data.json", "Step") is None
    (tmp_path / "pv-1/vol_data.json").mkdir(parents=True)
    with pytest.raises(CsiFailed, match=r'^Step failed for volume "pv-1" : .*vol_data.json: Is a directory; look at'):
        read(tmp_path / "pv-1/vol_data.json", "Step")


def test_a_node_without_pods_holds_nothing(tmp_path: Path) -> None:
    held = HeldVolumes(Layout(tmp_path / "nothing", tmp_path / "logs"))
    assert (held.of("uid"), held.shown()) == ([], ({}, True))
