"""Reports on their way: the latest per object, in order, until the cloud has answered; across restarts and refusals."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import msgspec
import pytest

from octoedge.edge.metamanager.outbox import MAX_EVENTS
from octoedge.errors import ApiError, DeadlineError, OfflineError, StoreFull
from octoedge.protocol.payloads import EventInsert, NodeStatusPatch, Payload, PodDelete, PodStatusPatch
from octoedge.protocol.resource import Resource
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.metaworld import Player, World, pod

WEB = Resource("default", "pod", "web")


@pytest.fixture
def play(tmp_path: Path) -> Player:
    return Player(tmp_path / "edgecore.db")


def status(phase: str, uid: str = "u1") -> bytes:
    return msgspec.json.encode({"metadata": {"uid": uid}, "status": {"phase": phase}})


def with_web(cloud: CloudLink | None = None, uid: str = "u1") -> CloudLink:
    cloud = cloud or CloudLink(connected=False)
    cloud.put("default/pod/web", {"metadata": {"uid": uid}})
    cloud.put("null/node/edge-1", {})
    return cloud


def phases(cloud: CloudLink) -> list[str]:
    return [asked.json()["status"]["phase"] for asked in cloud.requests if isinstance(asked, PodStatusPatch)]


async def settle(seconds: float = 5.0) -> None:
    await asyncio.sleep(seconds)


def test_the_latest_status_is_kept_over_a_restart_and_sent_once(play: Player) -> None:
    cloud = with_web()

    async def offline(world: World) -> None:
        for phase in ("Pending", "Running", "Failed"):
            await world.meta.report_pod_status(WEB, "u1", status(phase))
        await settle()
        assert len(world.meta.outbox) == 1

    async def online(world: World) -> None:
        cloud.set_connected(True)
        await settle()
        assert len(world.meta.outbox) == 0
        cloud.set_connected(False)
        cloud.set_connected(True)
        await settle()

    play(offline, cloud=cloud)
    play(online, cloud=cloud)
    assert phases(cloud) == ["Failed"]
    assert cloud.objects["default/pod/web"]["status"] == {"phase": "Failed"}


def test_a_status_with_patience_is_kept_at_once_and_waits_for_a_newer_one(play: Player) -> None:
    cloud = with_web(CloudLink())

    async def test(world: World) -> None:
        await settle()
        await world.meta.report_pod_status(WEB, "u1", status("Pending"), patience=0.5)
        await settle(0.4)
        assert len(world.meta.outbox) == 1, "on disk"
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        await settle(0.05)
        assert phases(cloud) == ["Running"], "nobody waits for what is not Pending"
        await world.meta.report_pod_status(WEB, "u1", status("Pending"), patience=0.5)
        await settle(0.6)
        assert len(world.meta.outbox) == 0

    play(test, cloud=cloud)
    assert phases(cloud) == ["Running", "Pending"]


def test_a_status_that_changes_while_it_is_sent_is_sent_again(play: Player) -> None:
    cloud = with_web(CloudLink())

    async def test(world: World) -> None:
        async def change() -> None:
            await world.meta.report_pod_status(WEB, "u1", status("Running"))

        changing: list[asyncio.Task[None]] = []

        def once(_: Payload) -> None:
            if not changing:
                changing.append(asyncio.get_running_loop().create_task(change()))

        cloud.fail = once
        await world.meta.report_pod_status(WEB, "u1", status("Pending"))
        await settle()
        assert len(world.meta.outbox) == 0
        await changing[0]

    play(test, cloud=cloud)
    assert phases(cloud) == ["Pending", "Running"]


def test_a_link_that_breaks_before_the_answer_costs_a_resend_and_nothing_else(play: Player) -> None:
    cloud = with_web(CloudLink())
    breaks = [OfflineError("gone"), OfflineError("gone"), DeadlineError("no answer")]

    async def test(world: World) -> None:
        cloud.fail = lambda _: breaks.pop() if breaks else None
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        for _ in range(3):
            await settle(70)
            cloud.set_connected(False)
            await settle(1)
            cloud.set_connected(True)
        await settle()
        assert len(world.meta.outbox) == 0

    play(test, cloud=cloud)
    assert cloud.objects["default/pod/web"]["status"] == {"phase": "Running"}


def test_the_status_of_a_pod_that_is_gone_is_dropped_silently(play: Player, caplog: pytest.LogCaptureFixture) -> None:
    cloud = CloudLink()

    async def test(world: World) -> None:
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        await settle()
        assert len(world.meta.outbox) == 0

    with caplog.at_level(logging.WARNING):
        play(test, cloud=cloud)
    assert len(cloud.requests) == 1
    assert not caplog.records


def test_the_status_of_a_pod_created_anew_is_dropped_after_some_tries(play: Player) -> None:
    cloud = with_web(CloudLink(), uid="u2")

    async def test(world: World) -> None:
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        await settle(120)
        assert len(world.meta.outbox) == 0

    play(test, cloud=cloud)
    assert 1 < len(cloud.requests) <= 5
    assert cloud.objects["default/pod/web"].get("status") is None


def test_errors_of_the_cloud_are_waited_out_and_hold_up_nobody_else(play: Player) -> None:
    cloud = with_web(CloudLink())
    cloud.put("default/pod/other", {"metadata": {"uid": "u9"}})
    out_of_order = True

    def fail(payload: Payload) -> Exception | None:
        broken = out_of_order and payload.resource.name == "web"
        return ApiError(500, "InternalError", "etcd is on fire") if broken else None

    async def test(world: World) -> None:
        nonlocal out_of_order
        cloud.fail = fail
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        await world.meta.report_pod_status(Resource("default", "pod", "other"), "u9", status("Running", "u9"))
        await settle(1)
        assert cloud.objects["default/pod/other"]["status"] == {"phase": "Running"}
        await settle(600)
        tries = len(cloud.requests)
        assert tries < 40
        out_of_order = False
        await settle(60)
        assert len(world.meta.outbox) == 0

    play(test, cloud=cloud)
    assert cloud.objects["default/pod/web"]["status"] == {"phase": "Running"}


def test_a_pods_last_status_goes_before_its_end(play: Player) -> None:
    cloud = with_web()

    async def test(world: World) -> None:
        await world.meta.report_pod_status(WEB, "u1", status("Succeeded"))
        await world.meta.delete_pod(WEB, "u1")
        cloud.set_connected(True)
        await settle()
        assert len(world.meta.outbox) == 0

    play(test, cloud=cloud)
    assert [type(asked) for asked in cloud.requests] == [PodStatusPatch, PodDelete]
    assert cloud.requests[1].json() == {"gracePeriodSeconds": 0, "preconditions": {"uid": "u1"}}
    assert "default/pod/web" not in cloud.objects


def test_when_the_cloud_deletes_a_pod_what_was_kept_for_it_goes(play: Player) -> None:
    cloud = with_web()

    async def test(world: World) -> None:
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        await world.meta.delete_pod(WEB, "u1")
        await world.meta.report_pod_status(Resource("default", "pod", "other"), "u2", status("Running", "u2"))
        cloud.set_connected(True)
        await world.push("insert", "default/pod/web", pod())
        await world.push("delete", "default/pod/web", pod())
        cloud.set_connected(False)
        assert len(world.meta.outbox) <= 1

    play(test, cloud=cloud)


def test_forgetting_a_pod_keeps_the_word_that_it_has_ended(play: Player) -> None:
    cloud = with_web()

    async def test(world: World) -> None:
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        await world.meta.delete_pod(WEB, "u1")
        await world.meta.forget_pod(WEB, "u1")
        assert len(world.meta.outbox) == 1

    play(test, cloud=cloud)


def test_node_status_waits_for_its_answer_and_is_kept_while_offline(play: Player) -> None:
    cloud = with_web(CloudLink())

    async def test(world: World) -> None:
        await world.meta.report_node_status("edge-1", b'{"status":{"n":1}}')
        assert cloud.objects["null/node/edge-1"]["status"] == {"n": 1}
        cloud.fail = lambda _: ApiError(404, "NotFound", "no such node")
        with pytest.raises(ApiError, match="no such node"):
            await world.meta.report_node_status("edge-1", b'{"status":{"n":2}}')
        cloud.fail = lambda _: None
        cloud.set_connected(False)
        for number in (3, 4):
            with pytest.raises(OfflineError, match="kept"):
                await world.meta.report_node_status("edge-1", b'{"status":{"n":%d}}' % number)
        cloud.set_connected(True)
        await settle()
        assert cloud.objects["null/node/edge-1"]["status"] == {"n": 4}

    play(test, cloud=cloud)
    sent = [asked.json()["status"]["n"] for asked in cloud.requests if isinstance(asked, NodeStatusPatch)]
    assert sent == [1, 2, 4]


def test_whoever_waits_for_a_node_status_hears_when_the_link_breaks(play: Player) -> None:
    cloud = with_web(CloudLink())

    async def test(world: World) -> None:
        cloud.fail = lambda _: OfflineError("the connection to the cloud was lost before the answer came")
        with pytest.raises(OfflineError):
            await world.meta.report_node_status("edge-1", b'{"status":{}}')
        assert len(world.meta.outbox) == 1

    play(test, cloud=cloud)


def event(number: int) -> bytes:
    return msgspec.json.encode({"metadata": {"namespace": "default", "name": f"web.{number}"}, "reason": "Pulled"})


def test_events_are_kept_in_order_up_to_a_bound(play: Player) -> None:
    cloud = CloudLink(connected=False)
    extra = 5

    async def test(world: World) -> None:
        for number in range(MAX_EVENTS + extra):
            await world.meta.report_event(event(number))
        assert len(world.meta.outbox) == MAX_EVENTS
        cloud.set_connected(True)
        await settle()
        assert len(world.meta.outbox) == 0

    play(test, cloud=cloud)
    names = [asked.resource.name for asked in cloud.requests]
    assert names == [f"web.{number}" for number in range(extra, MAX_EVENTS + extra)]


def test_a_go_cloud_gets_events_without_an_answer_being_waited_for(play: Player) -> None:
    cloud = CloudLink(ours=False)

    async def test(world: World) -> None:
        await world.meta.report_event(event(1))
        await settle()
        assert len(world.meta.outbox) == 0

    play(test, cloud=cloud)
    assert [type(sent) for sent in cloud.sent] == [EventInsert]
    assert not cloud.requests


def test_what_the_cloud_refuses_for_good_is_dropped_and_said(play: Player, caplog: pytest.LogCaptureFixture) -> None:
    cloud = CloudLink()
    cloud.fail = lambda _: ApiError(422, "Invalid", "the name is wrong")

    async def test(world: World) -> None:
        await world.meta.report_event(event(1))
        await settle(120)
        assert len(world.meta.outbox) == 0

    with caplog.at_level(logging.WARNING):
        play(test, cloud=cloud)
    assert "the name is wrong" in caplog.text


def test_a_full_disk_and_a_defect_do_not_end_the_agent(play: Player, caplog: pytest.LogCaptureFixture) -> None:
    cloud = with_web(CloudLink())
    answers: list[Exception] = [StoreFull("no space on the disk"), ValueError("a defect"), StoreFull("no space")]

    async def test(world: World) -> None:
        cloud.fail = lambda _: answers.pop() if answers else None
        await world.meta.report_pod_status(WEB, "u1", status("Running"))
        await settle(60)
        assert len(world.meta.outbox) == 0

    with caplog.at_level(logging.WARNING):
        play(test, cloud=cloud)
    assert cloud.objects["default/pod/web"]["status"] == {"phase": "Running"}
    assert "no space" in caplog.text
    assert "a defect" in caplog.text
