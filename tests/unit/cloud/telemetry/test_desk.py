"""Who asks for telemetry wrongly is told, and costs nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from octoedge.cloud.telemetry.desk import Desk
from octoedge.store.sqlite import Database
from octoedge.testing.eventually import comes_true


def nobody() -> Database:
    raise AssertionError("nothing is looked up")


@pytest.mark.parametrize("question", [b"x" * 100_000, b"nonsense\n", b'{"what": "everything"}\n'])
def test_a_question_that_is_none_is_told(tmp_path: Path, question: bytes) -> None:
    async def main() -> None:
        desk = Desk(tmp_path / "cloudcore.sock", nobody)
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
