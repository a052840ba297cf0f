"""The tables of edgecore.db, and opening it.

`meta`, `meta_v2` are KubeEdge's (spec: metadata, section 5.1), so that `keadm debug get` reads ours; the others are our
own. A damaged file is set aside, what can still be read of it is taken over, and the database gets a new identity by
which the cloud notices that what it sent before must be sent again.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from octoedge.errors import StoreCorrupt
from octoedge.store.sqlite import Database, set_aside

log = logging.getLogger(__name__)

MIGRATIONS = (
    """
    CREATE TABLE IF NOT EXISTS meta (key TEXT PRIMARY KEY, type TEXT, value TEXT);
    CREATE INDEX IF NOT EXISTS meta_type ON meta (type);
    CREATE TABLE IF NOT EXISTS meta_v2 (key TEXT PRIMARY KEY, group_version_resource TEXT, namespace TEXT, name TEXT,
        resource_version INTEGER, value TEXT);
    CREATE TABLE identity (id TEXT NOT NULL);
    CREATE TABLE tombstone (uid TEXT PRIMARY KEY, number INTEGER NOT NULL);
    CREATE TABLE outbox (number INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT NOT NULL, key TEXT NOT NULL,
        uid TEXT NOT NULL, body BLOB NOT NULL, UNIQUE (kind, key));
    CREATE TABLE token (key TEXT PRIMARY KEY, pod_uid TEXT NOT NULL, issued REAL NOT NULL, body BLOB NOT NULL);
    CREATE INDEX token_pod ON token (pod_uid);
    """,
    # DeviceTwin's; KubeEdge has no unique index on twins, so its file may hold one twice: the later is its latest.
    """
    CREATE TABLE IF NOT EXISTS device (id TEXT PRIMARY KEY, name TEXT, description TEXT, state TEXT, last_online TEXT);
    CREATE TABLE IF NOT EXISTS device_attr (id INTEGER PRIMARY KEY AUTOINCREMENT, deviceid TEXT, name TEXT,
        description TEXT, value TEXT, optional NUMERIC, attr_type TEXT, metadata TEXT);
    CREATE TABLE IF NOT EXISTS device_twin (id INTEGER PRIMARY KEY AUTOINCREMENT, deviceid TEXT, name TEXT,
        description TEXT, expected TEXT, actual TEXT, expected_meta TEXT, actual_meta TEXT, expected_version TEXT,
        actual_version TEXT, optional NUMERIC, attr_type TEXT, metadata TEXT);
    DELETE FROM device_twin WHERE id NOT IN (SELECT max(id) FROM device_twin GROUP BY deviceid, name);
    CREATE UNIQUE INDEX IF NOT EXISTS device_twin_name ON device_twin (deviceid, name);
    CREATE TABLE IF NOT EXISTS sub_topics (topic TEXT PRIMARY KEY);
    CREATE TABLE mapper_told (protocol TEXT, kind TEXT, key TEXT, digest TEXT, PRIMARY KEY (protocol, kind, key));
    """,
    # Devices that count as offline because nobody spoke of them, and what they were before.
    "CREATE TABLE device_silent (id TEXT PRIMARY KEY, before TEXT NOT NULL);",
    # MetaServer's: what was read as a whole, and what the cloud allowed to whom.
    """
    CREATE INDEX IF NOT EXISTS meta_v2_resource ON meta_v2 (group_version_resource, namespace, name);
    CREATE TABLE metaserver_scope (key TEXT PRIMARY KEY, kind TEXT NOT NULL, version INTEGER NOT NULL,
        seen REAL NOT NULL);
    CREATE TABLE metaserver_allowed (caller TEXT NOT NULL, what TEXT NOT NULL, seen REAL NOT NULL,
        PRIMARY KEY (caller, what));
    """,
)


class Opened(msgspec.Struct, frozen=True):
    """An open store."""

    database: Database
    store_id: str
    """Names this database to the cloud; another database, another name."""
    new: bool
    """Whether the file was made just now, so that it does not know what the node was given before."""
    damage: str = ""
    """What was wrong with the one before and where it lies now, as a sentence; empty when nothing was."""


def open_store(path: Path, now: float, open_database: Callable[..., Database] = Database.open) -> Opened:
    """Open or make the database; a damaged one is replaced, said aloud. Blocks, for start-up."""
    new, damage = not path.exists(), ""
    _keep_private(path)
    try:
        database = open_database(path, MIGRATIONS)
    except StoreCorrupt as error:
        aside = set_aside(path, now)
        _keep_private(path)
        damage = f"{error}; it lies in {aside} now and a new one takes its place"
        log.error("%s", damage)
        database = open_database(path, MIGRATIONS)
        new = True
        taken = _take_over(path, aside)
        log.error("%d objects could be read from the damaged database; the cloud sends what is missing", taken)
    return Opened(database, _identity(path), new, damage)


def _keep_private(path: Path) -> None:
    """Secrets and tokens are in it; the companions that SQLite makes get the same mode."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDONLY | os.O_CREAT, 0o600))
    path.chmod(0o600)


def _identity(path: Path) -> str:
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as connection:
        row = connection.execute("SELECT id FROM identity").fetchone()
        if row is None:
            row = (str(uuid.uuid4()),)
            connection.execute("INSERT INTO identity (id) VALUES (?)", row)
        return str(row[0])


def _take_over(path: Path, aside: Path) -> int:
    """Copy every object that can still be read: without a cloud of ours there is no other way to them."""
    taken = 0
    with contextlib.closing(sqlite3.connect(path)) as fresh, fresh:
        for row in _readable(aside):
            fresh.execute("INSERT OR IGNORE INTO meta (key, type, value) VALUES (?, ?, ?)", row)
            taken += 1
    return taken


def _readable(aside: Path) -> Iterator[tuple[str, str, str]]:
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(aside)) as damaged:
        for key, kind, value in damaged.execute("SELECT key, type, value FROM meta"):
            if isinstance(key, str) and isinstance(kind, str) and isinstance(value, str) and value[:1] == "{":
                yield key, kind, value
