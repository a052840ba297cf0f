"""Store, then act, then acknowledge; and what edged may ask."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec
import pytest

from octoedge.edge.ports import ChangeKind
from octoedge.errors import ApiError, DeadlineError, OfflineError
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.payloads import Answer, LeaseInsert, LeaseUpdate, NodeUpdate, ObjectQuery, PodStatusPatch
from octoedge.protocol.resource import Resource
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.metaworld import Player, World, pod

WEB = "default/pod/web"
CONFIG = Resource("default", "configmap", "conf")
NO_OBJECTS: list[object] = [None, "OK", 3, [], {}, {"metadata": None}, {"metadata": {"name": 3}}, {"spec": {}}]


@pytest.fixture
def play(tmp_path: Path) -> Player:
    return Player(tmp_path / "edgecore.db")


def test_a_push_is_stored_told_and_acknowledged_and_survives_a_restart(play: Player) -> None:
    async def first(world: World) -> None:
        message_id = await world.push("insert", WEB, pod())
        (change,) = await world.changes()
        assert (change.kind, str(change.resource)) == (ChangeKind.PUT, WEB)
        assert msgspec.json.decode(change.object) == pod()
        assert world.cloud.acknowledged == [(message_id, "")]

    async def second(world: World) -> None:
        assert await world.stored("pod") == [pod()]
        assert await world.changes() == []

    play(first)
    play(second, connected=False)


def test_the_same_push_again_is_told_again_and_acknowledged(play: Player) -> None:
    """It comes again because nobody acknowledged it: perhaps nobody was told either."""

    async def test(world: World) -> None:
        await world.push("update", WEB, pod())
        await world.push("update", WEB, pod())
        assert [change.kind for change in await world.changes()] == [ChangeKind.PUT, ChangeKind.PUT]
        assert len(world.cloud.acknowledged) == 2

    play(test)


def test_an_older_state_is_acknowledged_and_not_applied(play: Player) -> None:
    async def test(world: World) -> None:
        await world.push("update", WEB, pod(version="11"))
        await world.changes()
        await world.push("update", WEB, pod(version="9"))
        assert await world.changes() == []
        assert (await world.stored("pod"))[0]["metadata"]["resourceVersion"] == "11"
        assert [error for _, error in world.cloud.acknowledged] == ["", ""]

    play(test)


def test_a_pod_created_anew_under_its_name_replaces_the_old_one_visibly(play: Player) -> None:
    async def test(world: World) -> None:
        await world.push("update", WEB, pod(uid="old"))
        await world.push("update", WEB, pod(uid="new", version="12"))
        told = await world.changes()
        kinds = [(change.kind, msgspec.json.decode(change.object)["metadata"]["uid"]) for change in told]
        assert kinds == [(ChangeKind.PUT, "old"), (ChangeKind.DELETE, "old"), (ChangeKind.PUT, "new")]
        await world.push("delete", WEB, pod(uid="old"))
        assert await world.changes() == []
        assert len(await world.stored("pod")) == 1
        await world.push("update", WEB, pod(uid="old", version="99"))
        assert await world.changes() == []
        assert len(world.cloud.acknowledged) == 4

    play(test)


def test_a_delete_removes_tells_and_a_late_update_does_not_bring_the_pod_back(play: Player) -> None:
    async def test(world: World) -> None:
        await world.push("insert", WEB, pod())
        await world.push("delete", WEB, pod())
        await world.push("delete", WEB, pod())
        kinds = [change.kind for change in await world.changes()]
        assert kinds == [ChangeKind.PUT, ChangeKind.DELETE, ChangeKind.DELETE]
        await world.push("update", WEB, pod(version="30"))
        assert await world.stored("pod") == []
        assert [error for _, error in world.cloud.acknowledged] == [""] * 4

    play(test)


def test_a_configmap_may_come_back_with_its_uid(play: Player) -> None:
    async def test(world: World) -> None:
        config = {"metadata": {"name": "conf", "uid": "c1", "resourceVersion": "3"}, "data": {}}
        await world.push("insert", str(CONFIG), config)
        await world.push("delete", str(CONFIG), config)
        await world.push("insert", str(CONFIG), config)
        assert len(await world.stored("configmap")) == 1

    play(test)


@pytest.mark.parametrize("content", [None, {"metadata": {"name": "web", "namespace": "default"}}, "u1"])
def test_a_delete_without_uid_asks_before_it_deletes(play: Player, content: object) -> None:
    async def test(world: World) -> None:
        stored = world.cloud.put(WEB, {"kind": "Pod", "metadata": {"uid": "u1"}})
        await world.push("insert", WEB, stored)
        await world.push("delete", WEB, content)
        assert len(await world.stored("pod")) == 1  # the cloud still has it
        assert [change.kind for change in await world.changes()] == [ChangeKind.PUT]
        (asked,) = world.cloud.requests
        assert isinstance(asked, PodStatusPatch)
        assert asked.json() == {"metadata": {"uid": "u1"}}
        world.cloud.put(WEB, {"metadata": {"uid": "u2"}})  # created anew: ours is gone
        await world.push("delete", WEB, content)
        assert await world.stored("pod") == []
        assert [change.kind for change in await world.changes()] == [ChangeKind.DELETE]
        assert len(world.cloud.acknowledged) == 3

    play(test)


def test_a_delete_without_uid_that_cannot_be_asked_about_is_kept_and_answered_with_the_reason(play: Player) -> None:
    async def test(world: World) -> None:
        await world.push("insert", WEB, pod())
        world.cloud.fail = lambda _: DeadlineError("silence")
        await world.push("delete", WEB, None)
        assert len(await world.stored("pod")) == 1
        assert "does not say whether" in world.cloud.acknowledged[-1][1]

    play(test)


@pytest.mark.parametrize("content", NO_OBJECTS)
def test_what_is_no_object_is_not_stored_and_the_cloud_hears_why(play: Player, content: object) -> None:
    async def test(world: World) -> None:
        await world.push("update", WEB, content)
        assert await world.stored("pod") == []
        assert await world.changes() == []
        assert world.cloud.acknowledged[0][1]

    play(test)


def test_the_version_of_the_envelope_counts_where_the_object_has_none(play: Player) -> None:
    async def test(world: World) -> None:
        bare = {"metadata": {"name": "conf", "uid": "c1"}, "data": {"a": "1"}}
        await world.push("update", str(CONFIG), bare, version="5")
        await world.push("update", str(CONFIG), {**bare, "data": {"a": "2"}}, version="6")
        assert (await world.stored("configmap"))[0]["data"] == {"a": "2"}

    play(test)


def test_get_asks_once_stores_and_serves_offline(play: Player) -> None:
    async def test(world: World) -> None:
        world.cloud.put(str(CONFIG), {"data": {"a": "1"}})
        found = msgspec.json.decode(await world.meta.get(CONFIG))
        assert (found["kind"], found["apiVersion"], found["data"]) == ("ConfigMap", "v1", {"a": "1"})
        assert len(world.cloud.acknowledged) == 1
        world.cloud.set_connected(False)
        assert msgspec.json.decode(await world.meta.get(CONFIG)) == found
        assert len(world.cloud.requests) == 1
        with pytest.raises(OfflineError):
            await world.meta.get(Resource("default", "secret", "other"))

    play(test)


def test_what_does_not_exist_is_an_api_error_and_is_not_stored(play: Player) -> None:
    async def test(world: World) -> None:
        with pytest.raises(ApiError) as raised:
            await world.meta.get(CONFIG)
        assert raised.value.code == 404
        assert await world.stored("configmap") == []
        assert world.cloud.acknowledged == []
        with pytest.raises(ApiError):
            await world.meta.get(Resource("default", "pod", "never"))

    play(test)


def test_a_late_answer_is_stored_and_acknowledged_unless_it_is_an_error(play: Player) -> None:
    async def test(world: World) -> None:
        async def late(content: object, path: str = str(CONFIG)) -> None:
            raw = msgspec.json.encode(content)
            message = Message(
                Header(msg_id="a", parent_msg_id="q"),
                Route("edgecontroller", "", "resource", "response", path),
                msgspec.Raw(raw),
            )
            resource = Resource(*path.split("/"))
            await world.meta.receive(message, Answer(resource=resource, body=message.data()))

        await late({"ErrStatus": {"code": 404, "reason": "NotFound"}})
        await late({})
        await late("OK")
        await late({"Object": {"metadata": {"name": "l"}}, "Err": None}, "kube-node-lease/lease/edge-1")
        assert world.cloud.acknowledged == []
        await late({"metadata": {"name": "conf", "uid": "c", "resourceVersion": "4"}})
        assert len(await world.stored("configmap")) == 1
        assert world.cloud.acknowledged == [("a", "")]

    play(test)


def test_registering_creates_or_adopts_the_node(play: Player, caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        node = {
            "metadata": {"name": "edge-1", "labels": {"a": "1"}},
            "status": {"nodeInfo": {"machineID": "m1"}},
        }
        made = msgspec.json.decode(await world.meta.register_node(msgspec.json.encode(node)))
        assert made["kind"] == "Node"
        assert made["metadata"]["uid"]
        again = msgspec.json.decode(await world.meta.register_node(msgspec.json.encode(node)))
        assert again["metadata"]["uid"] == made["metadata"]["uid"]
        assert not any(isinstance(asked, NodeUpdate) for asked in world.cloud.requests)
        assert "another machine" not in caplog.text
        changed = {"metadata": {"name": "edge-1", "labels": {"b": "2"}}, "status": {"nodeInfo": {"machineID": "m2"}}}
        await world.meta.register_node(msgspec.json.encode(changed))
        assert world.cloud.objects["null/node/edge-1"]["metadata"]["labels"] == {"a": "1", "b": "2"}
        assert "another machine" in caplog.text
        assert len(await world.stored("node")) == 1

    play(test)


LEASE = b'{"metadata":{"name":"edge-1","namespace":"kube-node-lease"},"spec":{"renewTime":"x"}}'


def test_the_lease_is_created_renewed_and_found_again_after_others_changed_it(play: Player) -> None:
    async def test(world: World) -> None:
        await world.meta.renew_lease(LEASE)
        await world.meta.renew_lease(LEASE)
        kinds = [type(asked) for asked in world.cloud.requests]
        assert kinds == [ObjectQuery, LeaseInsert, LeaseUpdate]
        world.cloud.put("kube-node-lease/lease/edge-1", {"spec": {"holderIdentity": "somebody"}})
        await world.meta.renew_lease(LEASE)
        assert world.cloud.objects["kube-node-lease/lease/edge-1"]["spec"] == {"renewTime": "x"}
        del world.cloud.objects["kube-node-lease/lease/edge-1"]
        await world.meta.renew_lease(LEASE)
        assert "kube-node-lease/lease/edge-1" in world.cloud.objects
        world.cloud.set_connected(False)
        with pytest.raises(OfflineError):
            await world.meta.renew_lease(LEASE)

    play(test)


def test_a_new_store_counts_as_filled_after_a_minute_of_connection(play: Player) -> None:
    async def first(world: World) -> None:
        assert world.meta.rebuilt
        await asyncio.sleep(3600)
        assert world.meta.rebuilt
        world.cloud.set_connected(True)
        await asyncio.sleep(30)
        world.cloud.set_connected(False)
        await asyncio.sleep(100)
        assert world.meta.rebuilt
        world.cloud.set_connected(True)
        await asyncio.sleep(61)
        assert not world.meta.rebuilt

    async def second(world: World) -> None:
        assert not world.meta.rebuilt

    play(first, cloud=CloudLink(connected=False))
    play(second)


def test_a_cloud_that_keeps_the_lease_and_was_silent_is_not_taken_to_have_kept_it(play: Player) -> None:
    """The connection lived on, so nothing else would tell that the node was given up meanwhile."""

    async def test(world: World) -> None:
        world.cloud.leases = True
        lease = b'{"metadata":{"name":"edge-1","namespace":"kube-node-lease"}}'
        assert await world.meta.renew_lease(lease) == lease
        world.cloud.silences += 1
        with pytest.raises(DeadlineError, match="silent"):
            await world.meta.renew_lease(lease)
        assert await world.meta.renew_lease(lease) == lease
        assert world.cloud.requests == []

    play(test)
