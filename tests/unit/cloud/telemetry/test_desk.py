"""Who asks for telemetry wrongly is told, and costs nothing."""

from __future__ import annotations

import asyncio
import functools
from pathlib import Path

import pytest

from octoedge.cloud.telemetry import store
from octoedge.cloud.telemetry.desk import Desk
from octoedge.keadm import telemetry
from octoedge.protocol.telemetry import Section, pack
from octoedge.store.sqlite import Database
from octoedge.testing.eventually import comes_true


def nobody() -> Database:
    raise AssertionError("nothing is looked up")


@pytest.mark.parametrize("question", [b"x" * 100_000, b"nonsense\n", b'{"what": "everything"}\n'])
def test_a_question_that_is_none_is_told(tmp_path: Path, question: bytes) -> None:
    async def main() -> None:
        desk = Desk(tmp_path / "cloudcore.sock", nobody, frozenset, str)
        path = tmp_path / "cloudcore.telemetry.sock"
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.run(lambda: None))
            await comes_true(path.exists)
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(question)
            assert b"cannot be answered" in await reader.readline()
            writer.close()
            task.cancel()

    asyncio.run(main())


def test_an_audit_names_the_nodes_that_are_away_and_when_they_told_last(tmp_path: Path) -> None:
    async def main() -> None:
        database = Database.open(tmp_path / "telemetry.db", store.MIGRATIONS)
        for number, node in enumerate(("edge-1", "edge-2", "far"), 1):
            section = Section(f"default/{node}", "t", f"e{number}", 1, 1, [], pack([1], ["20"]))
            await database.write(functools.partial(store.take, node=node, section=section, now=number * 60_000))
        trouble = ""
        desk = Desk(tmp_path / "cloudcore.sock", lambda: database, lambda: {"edge-1"}, lambda: trouble)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.run(lambda: None))
            await comes_true((tmp_path / "cloudcore.telemetry.sock").exists)
            found = await asyncio.to_thread(telemetry.audit, tmp_path / "cloudcore.sock")
            trouble = "its disk is full"
            one = await asyncio.to_thread(telemetry.audit, tmp_path / "cloudcore.sock", "edge-1")
            task.cancel()
        database.close()
        assert found.well
        assert found.text().splitlines() == [
            "3 sent, 3 stored, 0 gaps, 0 duplicates",
            "not connected now, so what they have numbered since is not counted: "
            "far (told last at 1970-01-01T00:03:00Z), edge-2 (told last at 1970-01-01T00:02:00Z)",
        ]
        assert one.away == {}
        assert one.text().splitlines()[1:] == ["nothing is stored now, nodes keep what they have: its disk is full"]

    asyncio.run(main())
