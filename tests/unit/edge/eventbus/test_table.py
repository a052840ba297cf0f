"""What EventBus keeps: bounded, in order, and only what a broker can be asked for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from octoedge.edge.eventbus.table import MAX_TOPICS, Table
from octoedge.edge.metamanager.outbox import MAX_UPLOADS, Outbox
from octoedge.edge.metamanager.schema import open_store
from octoedge.errors import ApiError, MessageError
from octoedge.protocol import payloads as p
from octoedge.testing.clock import run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.eventually import comes_true
from octoedge.testing.inline import InlineDatabase


def make(path: Path, cloud: CloudLink) -> tuple[Table, Outbox]:
    database = open_store(path / "edgecore.db", 0.0, InlineDatabase.open).database
    outbox = Outbox(database, cloud)
    return Table(database, outbox), outbox


@pytest.mark.parametrize("topic", ["", "a" * 1025, "a/#/b", "a+/b", "a/b#", "a\0b"])
def test_what_cannot_be_listened_to_is_refused(tmp_path: Path, topic: str) -> None:
    async def main() -> None:
        table, _ = make(tmp_path, CloudLink())
        with pytest.raises(MessageError, match="no MQTT topic"):
            await table.add(topic)
        assert table.topics() == []

    run(main())


def test_topics_are_kept_once_and_not_without_end(tmp_path: Path) -> None:
    async def main() -> None:
        table, _ = make(tmp_path, CloudLink())
        for number in range(MAX_TOPICS):
            await table.add(f"t/{number:04}/#")
        with pytest.raises(MessageError, match="already"):
            await table.add("one/more")
        assert await table.drop("t/0000/#")
        assert not await table.drop("t/0000/#")
        await table.add("one/more")
        again, _ = make(tmp_path, CloudLink())
        assert again.topics() == table.topics()

    run(main())


def test_the_oldest_messages_for_the_cloud_go_when_there_are_too_many(tmp_path: Path) -> None:
    async def main() -> None:
        cloud = CloudLink(connected=False)
        table, outbox = make(tmp_path, cloud)
        for number in range(MAX_UPLOADS + 5):
            await table.upload("a/user/b/c", b"%d" % number)
        assert len(outbox) == MAX_UPLOADS
        cloud.set_connected(True)
        await _sent(outbox)
        sent = [(payload.resource.name, payload.body) for payload in cloud.requests]
        assert sent == [("a/user/b/c", b"%d" % number) for number in range(5, MAX_UPLOADS + 5)]

    run(main())


def test_what_no_rule_takes_is_dropped_and_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cloud = CloudLink()
        cloud.fail = lambda sent: ApiError(404, "NotFound", "no rule") if isinstance(sent, p.UserUpload) else None
        table, outbox = make(tmp_path, cloud)
        for number in range(5):
            await table.upload(f"a/user/{number}", b"x")
        await _sent(outbox)
        assert [record.message for record in caplog.records] == [
            "messages of MQTT clients for the cloud are dropped: no rule"
        ]

    run(main())


def test_a_cloud_of_kubeedge_gets_them_without_an_answer(tmp_path: Path) -> None:
    async def main() -> None:
        cloud = CloudLink(ours=False)
        table, outbox = make(tmp_path, cloud)
        await table.upload("a/user/b", b"x")
        await _sent(outbox)
        assert [type(sent) for sent in cloud.sent] == [p.UserUpload]

    run(main())


async def _sent(outbox: Outbox) -> None:
    """Run the outbox until it is empty."""

    async with asyncio.TaskGroup() as group:
        task = group.create_task(outbox.run())
        await comes_true(lambda: not len(outbox))
        task.cancel()
