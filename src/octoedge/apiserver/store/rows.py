"""The rows of the store in SQLite: objects, the log that watches resume from, and how far back it reaches.

A row of `compacted` says up to which version the log of a resource was forgotten; the row without a resource says it
for all, since everything was replaced at once (a snapshot was restored).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Sequence

import msgspec

from octoedge.kube.read import Change, Item

MIGRATIONS = (
    """
    CREATE TABLE objects (
        resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        uid TEXT NOT NULL, resource_version INTEGER NOT NULL, data BLOB NOT NULL,
        UNIQUE (resource, namespace, name)
    );
    CREATE TABLE log (
        resource_version INTEGER PRIMARY KEY, resource TEXT NOT NULL, namespace TEXT NOT NULL, name TEXT NOT NULL,
        type TEXT NOT NULL, data BLOB NOT NULL, before BLOB
    );
    CREATE INDEX log_by_resource ON log (resource, resource_version);
    CREATE TABLE compacted (resource TEXT PRIMARY KEY, resource_version INTEGER NOT NULL);
    CREATE TABLE counter (only INTEGER PRIMARY KEY CHECK (only = 1), resource_version INTEGER NOT NULL);
    INSERT INTO counter VALUES (1, 0);
    """,
)
EVERYTHING = ""
"""In place of a resource in `compacted`."""


def newest(connection: sqlite3.Connection) -> int:
    """The newest resourceVersion."""
    return int(connection.execute("SELECT resource_version FROM counter").fetchone()[0])


def write(
    connection: sqlite3.Connection,
    changes: Iterable[tuple[str, Change]],
    version: int,
    floors: Iterable[tuple[str, int]],
) -> None:
    """The rows of one commit: changes by resource, the newest version, and what of the log is forgotten."""
    for resource, change in changes:
        item = change.item
        where = (resource, item.namespace, item.name)
        before = msgspec.json.encode([change.before.labels, change.before.fields]) if change.before else None
        connection.execute(
            "INSERT INTO log VALUES (?, ?, ?, ?, ?, ?, ?)", (item.version, *where, change.type, item.data, before)
        )
        if change.type == "DELETED":
            connection.execute("DELETE FROM objects WHERE resource=? AND namespace=? AND name=?", where)
        else:
            connection.execute(
                "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET"
                " uid=excluded.uid, resource_version=excluded.resource_version, data=excluded.data",
                (*where, _uid(item.data), item.version, item.data),
            )
    connection.execute("UPDATE counter SET resource_version=?", (version,))
    for resource, floor in floors:
        connection.execute("DELETE FROM log WHERE resource=? AND resource_version<=?", (resource, floor))
        connection.execute("INSERT OR REPLACE INTO compacted VALUES (?, ?)", (resource, floor))


def replace(connection: sqlite3.Connection, items: Sequence[tuple[str, Item]], version: int) -> None:
    """These objects and no others; nothing before `version` can be watched any more."""
    for table in ("objects", "log", "compacted"):
        connection.execute(f"DELETE FROM {table}")  # noqa: S608 (the names stand in the line above)
    connection.executemany(
        "INSERT INTO objects VALUES (?, ?, ?, ?, ?, ?)",
        ((resource, item.namespace, item.name, _uid(item.data), item.version, item.data) for resource, item in items),
    )
    connection.execute("UPDATE counter SET resource_version=?", (version,))
    connection.execute("INSERT INTO compacted VALUES (?, ?)", (EVERYTHING, version))


def attributes(item: Item, before: bytes | None) -> Item | None:
    """What the log kept of the version before: enough for selectors."""
    if before is None:
        return None
    labels, fields = msgspec.json.decode(before)
    return Item(item.namespace, item.name, 0, b"", labels, fields)


class _Metadata(msgspec.Struct, frozen=True):
    uid: str = ""


class _Uid(msgspec.Struct):
    metadata: _Metadata = _Metadata()


_uids = msgspec.json.Decoder(_Uid)


def _uid(data: bytes) -> str:
    return _uids.decode(data).metadata.uid
