"""Opening edgecore.db: new, again, damaged, written by KubeEdge."""

from __future__ import annotations

import asyncio
import sqlite3
from pathlib import Path

import pytest

from octoedge.api.meta import view
from octoedge.edge.metamanager import records
from octoedge.edge.metamanager.schema import open_store
from octoedge.protocol.resource import Resource


def fill(path: Path, count: int) -> str:
    """Store pods; the store's identity."""
    store = open_store(path, 0.0)
    for number in range(count):
        head = b'{"metadata":{"name":"p%d","uid":"u%d","resourceVersion":"1"},"pad":"' % (number, number)
        obj = head + b"x" * 3000 + b'"}'
        resource = Resource("default", "pod", f"p{number}")
        meta = view(obj).metadata
        asyncio.run(store.database.write(lambda c, r=resource, o=obj, m=meta: records.put(c, r, o, m)))  # type: ignore[misc]
    store.database.close()
    return store.store_id


def pods(path: Path) -> int:
    with sqlite3.connect(path) as connection:
        return int(connection.execute("SELECT count(*) FROM meta WHERE type = 'pod'").fetchone()[0])


def test_the_identity_stays_with_the_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "edgecore.db"
    first = open_store(path, 0.0)
    first.database.close()
    again = open_store(path, 0.0)
    again.database.close()
    assert first.new
    assert not again.new
    assert first.store_id == again.store_id
    other = open_store(tmp_path / "other.db", 0.0)
    other.database.close()
    assert other.store_id != first.store_id


def test_a_damaged_file_is_set_aside_said_aloud_and_its_readable_part_taken_over(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "edgecore.db"
    before = fill(path, 200)
    whole = path.read_bytes()
    middle = len(whole) * 3 // 4
    path.write_bytes(whole[:middle] + b"\xff" * 8192 + whole[middle + 8192 :])
    store = open_store(path, 1234.0)
    store.database.close()
    assert store.new
    assert store.store_id != before
    assert (tmp_path / "edgecore.db.corrupt-1234").exists()
    assert 0 < pods(path) <= 200
    assert "corrupt-1234" in caplog.text
    assert "could be read" in caplog.text


def test_a_file_that_is_no_database_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.db"
    path.write_bytes(b"this is not SQLite" * 1000)
    store = open_store(path, 5.0)
    store.database.close()
    assert store.new
    assert pods(path) == 0


def test_a_database_of_kubeedge_is_taken_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.db"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE meta (key text, type text, value text, PRIMARY KEY (key))")
        connection.execute("CREATE TABLE device (id text PRIMARY KEY, name text)")
        connection.execute("INSERT INTO meta VALUES ('default/pod/web', 'pod', '{\"metadata\":{\"name\":\"web\"}}')")
    connection.close()
    store = open_store(path, 0.0)
    found = store.database.read_now(lambda c: records.get(c, Resource("default", "pod", "web")))
    store.database.close()
    assert found == b'{"metadata":{"name":"web"}}'


def test_nobody_else_may_read_what_is_stored(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.db"
    path.touch(mode=0o644)
    store = open_store(path, 0.0)
    asyncio.run(store.database.write(lambda connection: connection.execute("DELETE FROM token").rowcount))
    modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    store.database.close()
    assert set(modes.values()) == {0o600}
    assert "edgecore.db-wal" in modes
