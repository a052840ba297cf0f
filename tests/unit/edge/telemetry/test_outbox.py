"""The outbox, where a mapper speaks while a batch is made."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from octoedge.edge.telemetry.outbox import MIGRATIONS, Outbox
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
