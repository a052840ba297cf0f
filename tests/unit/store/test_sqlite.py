"""The store: durable when answered, one write takes back only itself, and bad disks are named."""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from octoedge.errors import StoreCorrupt, StoreError, StoreFull
from octoedge.store import sqlite
from octoedge.store.sqlite import Database, set_aside

TABLE = ["CREATE TABLE things (name TEXT PRIMARY KEY, value BLOB)"]


@contextlib.contextmanager
def opened(path: Path, migrations: list[str] | None = None) -> Iterator[Database]:
    database = Database.open(path, TABLE if migrations is None else migrations)
    try:
        yield database
    finally:
        database.close()


def put(name: str, value: bytes = b"") -> sqlite.Work:
    def work(connection: sqlite3.Connection) -> str:
        connection.execute("INSERT INTO things VALUES (?, ?)", (name, value))
        return name

    return work


def names(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT name FROM things ORDER BY name")]


def test_what_was_written_is_read_at_once_and_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.db"

    async def main(database: Database) -> None:
        assert await database.write(put("a")) == "a"
        assert database.read_now(names) == ["a"]
        assert await database.read(names) == ["a"]

    with opened(path) as database:
        asyncio.run(main(database))
    with opened(path) as database:
        assert database.read_now(names) == ["a"]


def test_the_file_and_its_companions_are_the_owners_alone(tmp_path: Path) -> None:
    with opened(tmp_path / "state.db") as database:
        asyncio.run(database.write(put("token")))
        modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()}
    assert modes == {"state.db": 0o600, "state.db-wal": 0o600, "state.db-shm": 0o600}


def test_a_write_that_fails_takes_back_only_itself(tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        gate = threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            gate.wait(10)

        def half(connection: sqlite3.Connection) -> None:
            put("half")(connection)
            raise ValueError("no further")

        # All five wait behind the first and so share one commit.
        results = [asyncio.create_task(database.write(work)) for work in (hold, put("a"), half, put("a"), put("b"))]
        await asyncio.sleep(0)
        gate.set()
        done = await asyncio.gather(*results, return_exceptions=True)
        assert done[:2] == [None, "a"]
        assert isinstance(done[2], ValueError)
        assert isinstance(done[3], StoreError)
        assert "UNIQUE" in str(done[3])
        assert done[4] == "b"
        assert database.read_now(names) == ["a", "b"]

    with opened(tmp_path / "state.db") as database:
        asyncio.run(main(database))


def test_many_writers_share_commits_and_each_gets_its_own_answer(tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        wanted = [f"{number:05}" for number in range(3000)]
        assert await asyncio.gather(*(database.write(put(name)) for name in wanted)) == wanted
        assert database.read_now(names) == wanted

    with opened(tmp_path / "state.db") as database:
        asyncio.run(main(database))


def test_writes_happen_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        def replace(value: bytes) -> sqlite.Work:
            return lambda connection: connection.execute("REPLACE INTO things VALUES ('x', ?)", (value,)).rowcount

        await asyncio.gather(*(database.write(replace(str(number).encode())) for number in range(500)))
        last = database.read_now(lambda connection: connection.execute("SELECT value FROM things").fetchone())
        assert last == (b"499",)

    with opened(tmp_path / "state.db") as database:
        asyncio.run(main(database))


def test_a_writer_that_stops_waiting_disturbs_nobody(tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        gate = threading.Event()
        hold = asyncio.create_task(database.write(lambda _: gate.wait(10)))
        left = asyncio.create_task(database.write(put("left")))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.wait([left])
        gate.set()
        await hold
        assert await database.write(put("next")) == "next"

    with opened(tmp_path / "state.db") as database:
        asyncio.run(main(database))


def test_more_writers_than_the_disk_can_serve_are_refused(tmp_path: Path) -> None:
    async def main(database: Database) -> None:
        gate, begun = threading.Event(), threading.Event()

        def hold(_: sqlite3.Connection) -> None:
            begun.set()
            gate.wait(10)

        tasks = [asyncio.create_task(database.write(hold))]
        await asyncio.to_thread(begun.wait, 10)
        tasks += [asyncio.create_task(database.write(put(str(number)))) for number in range(5)]
        await asyncio.sleep(0)
        gate.set()
        done = await asyncio.gather(*tasks, return_exceptions=True)
        assert [isinstance(result, StoreError) for result in done] == [False] * 4 + [True] * 2
        assert "the disk does not keep up" in str(done[4])

    with contextlib.closing(Database.open(tmp_path / "state.db", TABLE, max_waiting=3)) as database:
        asyncio.run(main(database))


def test_a_reader_cannot_write(tmp_path: Path) -> None:
    with opened(tmp_path / "state.db") as database:
        with pytest.raises(StoreError, match="readonly"):
            database.read_now(put("a"))
        assert database.read_now(names) == []


def test_a_reader_that_fails_leaves_the_database_well(tmp_path: Path) -> None:
    with opened(tmp_path / "state.db") as database:
        with pytest.raises(StoreError, match="no such table"):
            database.read_now(lambda connection: connection.execute("SELECT * FROM missing"))
        assert database.read_now(names) == []


def test_a_closed_database_refuses_and_closing_twice_is_nothing(tmp_path: Path) -> None:
    with opened(tmp_path / "state.db") as database:
        database.close()
        with pytest.raises(StoreError, match="is closed"):
            asyncio.run(database.write(put("a")))


def test_closing_finishes_what_waits(tmp_path: Path) -> None:
    async def main() -> None:
        database = Database.open(tmp_path / "state.db", TABLE)
        tasks = [asyncio.create_task(database.write(put(f"{number:03}"))) for number in range(100)]
        await asyncio.sleep(0)
        await asyncio.to_thread(database.close)
        assert len(await asyncio.gather(*tasks)) == 100

    asyncio.run(main())
    with opened(tmp_path / "state.db") as database:
        assert len(database.read_now(names)) == 100


# ---- schema --------------------------------------------------------------------------------------------------------


def test_migrations_are_applied_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path):
        pass
    more = [*TABLE, "ALTER TABLE things ADD COLUMN size INTEGER; UPDATE things SET size = 0"]
    for _ in range(2):
        with opened(path, more) as database:
            assert database.read_now(lambda c: c.execute("PRAGMA user_version").fetchone()) == (2,)
            database.read_now(lambda c: c.execute("SELECT size FROM things"))


def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path):
        pass
    with pytest.raises(StoreError), opened(path, [*TABLE, "CREATE TABLE more (a); CREATE TABLE things (b)"]):
        pass
    with opened(path) as database:
        tables = database.read_now(lambda c: c.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall())
        assert tables == [("things",)]


def test_a_file_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with opened(path, [*TABLE, "CREATE TABLE more (a)"]):
        pass
    with pytest.raises(StoreError, match="was written by a newer version"), opened(path):
        pass


# ---- bad disks -----------------------------------------------------------------------------------------------------


def test_a_file_that_is_no_database_is_corrupt_and_can_be_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is not a database, and it is long enough to be looked at" * 100)
    with pytest.raises(StoreCorrupt), opened(path):
        pass
    aside = set_aside(path, 1_790_000_000.5)
    assert aside.name == "state.db.corrupt-1790000000"
    assert aside.read_bytes().startswith(b"this is not")
    with opened(path) as database:
        assert database.read_now(names) == []


@pytest.mark.parametrize("where", [0.3, 0.6, 0.9])
def test_a_damaged_page_is_found_when_the_file_is_opened(tmp_path: Path, where: float) -> None:
    path = tmp_path / "state.db"

    async def fill(database: Database) -> None:
        await asyncio.gather(*(database.write(put(f"{n:05}", os.urandom(200))) for n in range(500)))

    with opened(path) as database:
        asyncio.run(fill(database))
    data = bytearray(path.read_bytes())
    start = int(len(data) * where) // 4096 * 4096
    data[start : start + 4096] = b"\xa5" * 4096
    path.write_bytes(data)
    with pytest.raises(StoreCorrupt), opened(path):
        pass


def test_a_place_where_no_file_can_be_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be opened"), opened(tmp_path / "file" / "state.db"):
        pass
    with pytest.raises(StoreError), opened(tmp_path):
        pass


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """No file may grow beyond `size`, as on a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_is_an_error_for_everyone_in_the_commit_and_nothing_is_half_written(tmp_path: Path) -> None:
    path = tmp_path / "state.db"

    async def main(database: Database) -> None:
        await database.write(put("before"))
        with file_size_limit(300_000):
            big = [database.write(put(f"big-{number}", bytes(50_000))) for number in range(20)]
            results = await asyncio.gather(*big, return_exceptions=True)
            failed = [result for result in results if isinstance(result, BaseException)]
            assert failed
            assert {type(error) for error in failed} == {StoreFull}
            assert "free some space" in str(failed[0])
        stored = {f"big-{number}" for number, result in enumerate(results) if not isinstance(result, BaseException)}
        assert set(database.read_now(names)) == {"before"} | stored
        assert await database.write(put("after")) == "after"

    with opened(path) as database:
        asyncio.run(main(database))
    with opened(path) as database:
        assert {"before", "after"} <= set(database.read_now(names))


def pages(connection: sqlite3.Connection) -> int:
    return int(connection.execute("PRAGMA page_count").fetchone()[0])


def test_a_file_whose_reserve_is_spent_grows_no_more_until_there_is_one_again(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    spare = tmp_path / "state.db.reserve"

    async def main(database: Database) -> None:
        assert database.reserve(1 << 20)
        assert (spare.stat().st_size, stat.S_IMODE(spare.stat().st_mode)) == (1 << 20, 0o600)
        for number in range(30):
            await database.write(put(f"{number}", bytes(20_000)))
        with file_size_limit(1_000_000), pytest.raises(StoreFull):
            await database.write(put("too much", bytes(2_000_000)))
        assert not spare.exists()
        grown = database.read_now(pages)
        with pytest.raises(StoreFull):
            await database.write(put("too much", bytes(200_000)))
        assert database.read_now(pages) == grown, "… though the disk has room"
        await database.write(lambda connection: connection.execute("DELETE FROM things WHERE name < '2'").rowcount)
        assert await database.write(put("in their place", bytes(100_000)))
        assert database.read_now(pages) == grown
        assert not database.reserve(1 << 60), "no disk has so much"
        assert not spare.exists()
        assert database.reserve(1 << 20)
        assert await database.write(put("much", bytes(2_000_000)))
        assert database.read_now(pages) > grown

    with opened(path) as database:
        asyncio.run(main(database))


WRITER = """
import asyncio, sys
from pathlib import Path
from octoedge.store.sqlite import Database

async def main():
    database = Database.open(Path(sys.argv[1]), [sys.argv[2]])
    async def one(number):
        await database.write(lambda c: c.execute("INSERT INTO things VALUES (?, ?)", (f"{number:06}", b"x" * 500)))
        sys.stdout.write(f"{number:06}\\n")
        sys.stdout.flush()
    number = 0
    while True:
        await asyncio.gather(*(one(number + step) for step in range(20)))
        number += 20

asyncio.run(main())
"""


@pytest.mark.parametrize("lines", [1, 57, 400])
def test_what_was_answered_survives_a_kill_at_any_moment(tmp_path: Path, lines: int) -> None:
    path = tmp_path / "state.db"
    with subprocess.Popen([sys.executable, "-c", WRITER, str(path), TABLE[0]], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        answered = [child.stdout.readline().decode().strip() for _ in range(lines)]
        child.send_signal(signal.SIGKILL)
        answered += [line.decode().strip() for line in child.stdout.readlines() if line.endswith(b"\n")]
    with opened(path) as database:
        stored = database.read_now(names)
    assert set(answered) <= set(stored)
    assert stored == [f"{number:06}" for number in range(len(stored))]
