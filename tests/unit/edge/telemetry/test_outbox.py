"""The outbox, where a mapper speaks while a batch is made."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

from octoedge.edge.telemetry.outbox import MIGRATIONS, Outbox, opened
from octoedge.edge.telemetry.settings import Settings
from octoedge.store.sqlite import Database
from octoedge.testing.clock import VirtualClock, run


def test_what_is_numbered_while_a_batch_is_made_comes_with_the_next(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"

    async def main() -> None:
        database = Database.open(path, MIGRATIONS)
        outbox = Outbox(database, VirtualClock(), Settings(path))
        await outbox.keep("default/d", {"p": ("1", 1)})

        def interrupt(statement: str) -> None:
            if statement.startswith("SELECT number, time, text FROM value"):
                with sqlite3.connect(path) as other:
                    other.execute("INSERT INTO value SELECT id, next, 2, 2, '2' FROM stream")
                    other.execute("UPDATE stream SET next = next + 1")

        database.read_now(lambda connection: connection.set_trace_callback(interrupt))
        (section,) = await outbox.batch(frozenset())
        database.read_now(lambda connection: connection.set_trace_callback(None))
        assert (section.first, section.last, section.numbered) == (1, 1, 1)
        await outbox.settle([section])
        (section,) = await outbox.batch(frozenset())
        assert (section.first, section.last, section.numbered) == (2, 2, 2)
        database.close()

    run(main())


def test_a_disk_without_room_is_an_outbox_that_is_full(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.db"

    async def main() -> None:
        database = opened(path)
        outbox = Outbox(database, VirtualClock(), Settings(path, drop_first=("default/d/loud",)))
        await database.write(lambda connection: connection.execute("PRAGMA max_page_count=120").fetchone())
        for number in range(1, 201):
            await outbox.keep("default/d", {name: (str(number) * 500, number) for name in ("loud", "quiet")})
        counts = outbox.counts()
        assert counts["bytes"] <= 120 * 4096
        assert counts["numbered"] == 400, "none is refused"
        assert counts["waiting"] == 400 - counts["dropped"] > 0
        lost: Counter[str] = Counter()
        while sections := await outbox.batch(frozenset()):
            for section in sections:
                assert {gap.why for gap in section.gaps} <= {"the node's disk was full"}
                lost[section.property_name] += sum(map(len, section.gaps))
                assert section.numbered == 200
            await outbox.settle(sections)
        assert lost["loud"] + lost["quiet"] == counts["dropped"]
        assert lost["loud"] > lost["quiet"], "the declared one goes first"
        assert outbox.counts()["waiting"] == 0
        database.close()

    asyncio.run(main())
