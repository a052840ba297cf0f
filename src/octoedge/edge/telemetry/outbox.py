"""The outbox: values of streams with their numbers, on disk in a file of its own, until the cloud has stored them.

    keep ──► stream (next number), value ──► batch ──► … answered ──► settle: forgotten here
                     └── too many, too old: dropped from the oldest on, and a gap says which and why

A disk without room is an outbox that is full: the oldest go, and new values take their place in the file.

A value has its number when it is on disk, and only then is the mapper answered. Where a mapper, unsure whether it was
heard, says the same value of the same time again, it counts once.
"""

from __future__ import annotations

import asyncio
import fnmatch
import logging
import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from octoedge.edge.telemetry.settings import Settings
from octoedge.errors import StoreFull
from octoedge.protocol.telemetry import (
    LATEST,
    MAX_BATCH,
    MAX_GAPS,
    MAX_SECTIONS,
    MAX_TEXT,
    MAX_VALUES,
    Gap,
    Section,
    pack,
)
from octoedge.runtime.clock import Clock
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)

T = TypeVar("T")
MIGRATIONS = (
    """
    CREATE TABLE stream (
        id INTEGER PRIMARY KEY, device TEXT NOT NULL, property TEXT NOT NULL, epoch TEXT NOT NULL,
        next INTEGER NOT NULL DEFAULT 1, confirmed INTEGER NOT NULL DEFAULT 0, dropped INTEGER NOT NULL DEFAULT 0,
        stamp INTEGER NOT NULL DEFAULT 0, text TEXT NOT NULL DEFAULT '', UNIQUE (device, property));
    CREATE TABLE value (
        stream INTEGER NOT NULL, number INTEGER NOT NULL, time INTEGER NOT NULL, came INTEGER NOT NULL,
        text TEXT NOT NULL, PRIMARY KEY (stream, number)) WITHOUT ROWID;
    CREATE TABLE gap (
        stream INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, why TEXT NOT NULL,
        PRIMARY KEY (stream, first)) WITHOUT ROWID;
    """,
)
_LOOK_EVERY = 128
"""Writes between two looks at size and age."""
_AT_A_TIME, _FEW = 500, 20
"""Values of one stream that are dropped before the next victim is looked for; on a full disk, where less is to go."""
_MUCH = 128 << 10
"""Characters of texts in one batch; a section more may come."""
_LOG_PAGES, _RESERVE = 128, 1 << 20
"""What is in SQLite's log before it is brought into the file, and the bytes with which a full disk takes it too."""
_ROOM = 64 << 10
"""Bytes that a full disk's outbox is made smaller by at a time."""
_DISK = "the disk under telemetry"
_CLOCK_SET = 1_577_836_800
"""A clock before 2020 was not set: what came then has no age."""


def opened(path: Path) -> Database:
    """The file of an outbox. Blocks; raises as `Database.open` does."""
    database = Database.open(path, MIGRATIONS, log_pages=_LOG_PAGES)
    database.reserve(_RESERVE)
    return database


class Outbox:
    """Values that wait for the cloud."""

    def __init__(self, database: Database, clock: Clock, settings: Settings) -> None:
        self._database = database
        self._clock = clock
        self._settings = settings
        self._writes = 0
        self._turn = 0
        """The stream that was served last: each has its turn."""
        self._full = asyncio.Lock()
        self._said = SaidOnce(log)

    async def keep(self, device: str, values: Mapping[str, tuple[str, int]]) -> None:
        """Number and store values: property → (text, ms; 0: now)."""
        now = self._clock.now()

        def write(connection: sqlite3.Connection) -> None:
            for name, (text, stamp) in values.items():
                if len(text) <= MAX_TEXT:
                    _number(connection, device, name, text, stamp, now)
            self._writes += 1
            if self._writes % _LOOK_EVERY == 0:
                self._trim(connection, now)

        try:
            await self._database.write(write)
        except StoreFull as error:
            async with self._full:  # what one drops makes room for others
                await self._keep_in_less(write, error)

    async def _keep_in_less(self, write: Callable[[sqlite3.Connection], None], error: StoreFull) -> None:
        """The disk is full: another try, now that the log has begun anew, and one in the place of the oldest."""
        try:
            await self._database.write(write)
        except StoreFull:
            self._said.trouble(_DISK, f"{error}; until then the oldest values are dropped for new ones")
            await self._database.write(self._shrink)
            await self._database.write(write)

    async def tidy(self) -> None:
        """Keep to the limits also while nothing comes."""
        now = self._clock.now()
        await self._database.write(lambda connection: self._trim(connection, now))
        if self._database.reserve(_RESERVE):
            self._said.over(_DISK, "there is room again")

    async def batch(self, without: frozenset[str]) -> list[Section]:
        """What to send next, but for these streams; empty when nothing waits."""

        def read(connection: sqlite3.Connection) -> list[Section]:
            rows = connection.execute(
                "SELECT id, device, property, epoch, next, confirmed FROM stream WHERE confirmed < next - 1 "
                "ORDER BY id <= ?, id", (self._turn,),
            ).fetchall()  # fmt: skip
            sections: list[Section] = []
            room, much = MAX_BATCH, _MUCH
            for key, device, name, epoch, following, confirmed in rows:
                if room <= 0 or much <= 0 or len(sections) == MAX_SECTIONS:
                    break
                if f"{device}/{name}" in without:
                    continue
                section, size = _section(connection, key, (device, name, epoch), following, confirmed, room)
                sections.append(section)
                room, much = room - len(section.column), much - size
                self._turn = key
            return sections

        return await self._database.read(lambda connection: _at_one_moment(connection, read))

    async def settle(self, sections: Sequence[Section]) -> None:
        """The cloud has stored these."""

        def write(connection: sqlite3.Connection) -> None:
            for section in sections:
                _settle(connection, section)

        await self._database.write(write)

    def counts(self) -> dict[str, int]:
        """For the status socket."""

        def read(connection: sqlite3.Connection) -> dict[str, int]:
            row = connection.execute(
                "SELECT count(*), total(next - 1), total(next - 1 - confirmed), total(dropped) FROM stream"
            ).fetchone()
            gone = connection.execute("SELECT total(last - first + 1) FROM gap").fetchone()[0]
            return {
                "streams": row[0], "numbered": int(row[1]), "waiting": int(row[2] - gone), "dropped": int(row[3]),
                "bytes": _used(connection),
            }  # fmt: skip

        return self._database.read_now(read)

    # ---- limits ----------------------------------------------------------------------------------------------------

    def _trim(self, connection: sqlite3.Connection, now: float) -> None:
        if now - self._settings.max_seconds > _CLOCK_SET:
            self._drop_old(connection, int(now - self._settings.max_seconds))
        if _used(connection) <= self._settings.max_bytes:
            return
        why = f"the outbox was full: {self._settings.max_bytes} bytes (octoedge.telemetry.maxMiB)"
        self._drop_to(connection, self._settings.max_bytes * 0.95, why, _AT_A_TIME)

    def _shrink(self, connection: sqlite3.Connection) -> None:
        """Into less than the file has, which cannot grow."""
        enough = min(_used(connection) * 0.95, _used(connection) - _ROOM)
        self._drop_to(connection, enough, "the node's disk was full", _FEW)

    def _drop_to(self, connection: sqlite3.Connection, enough: float, why: str, most: int) -> None:
        while _used(connection) > enough and self._drop_one(connection, why, most):
            pass

    def _drop_old(self, connection: sqlite3.Connection, before: int) -> None:
        why = f"older than {self._settings.max_seconds / 86400:g} days (octoedge.telemetry.maxDays)"
        for (key,) in connection.execute("SELECT id FROM stream WHERE confirmed < next - 1").fetchall():
            first, last = connection.execute(
                "SELECT min(number), max(number) FROM value WHERE stream = ?", (key,)
            ).fetchone()
            kept = connection.execute(
                "SELECT number FROM value WHERE stream = ? AND NOT came BETWEEN ? AND ? ORDER BY number LIMIT 1",
                (key, _CLOCK_SET, before),
            ).fetchone()
            upto = kept[0] - 1 if kept else last
            if first is not None and upto >= first:
                _drop(connection, key, first, upto, why)

    def _drop_one(self, connection: sqlite3.Connection, why: str, most: int) -> bool:
        """Drop `most` values of whom it hits first: by the declared order, then the oldest; whether there were any."""
        rows = connection.execute(
            "SELECT id, device || '/' || property, number, time FROM stream JOIN value ON stream = id AND number = "
            "(SELECT min(number) FROM value WHERE stream = id)"
        ).fetchall()
        if not rows:
            return False
        key, _, first, _ = min(rows, key=lambda row: (self._rank(row[1]), row[3]))
        last = connection.execute(
            "SELECT max(number) FROM (SELECT number FROM value WHERE stream = ? ORDER BY number LIMIT ?)",
            (key, most),
        ).fetchone()[0]
        _drop(connection, key, first, last, why)
        return True

    def _rank(self, stream: str) -> int:
        order = self._settings.drop_first
        return next((at for at, pattern in enumerate(order) if fnmatch.fnmatchcase(stream, pattern)), len(order))


def _at_one_moment(connection: sqlite3.Connection, read: Callable[[sqlite3.Connection], T]) -> T:
    """Streams and their values belong together: what is numbered in between would be more than the stream says."""
    connection.execute("BEGIN")
    try:
        return read(connection)
    finally:
        connection.execute("ROLLBACK")


def _number(connection: sqlite3.Connection, device: str, name: str, text: str, stamp: int, now: float) -> None:
    row = connection.execute(
        "SELECT id, next, stamp, text FROM stream WHERE device = ? AND property = ?", (device, name)
    ).fetchone()
    if row is None:
        epoch = os.urandom(6).hex()
        made = connection.execute(
            "INSERT INTO stream (device, property, epoch) VALUES (?, ?, ?)", (device, name, epoch)
        ).lastrowid
        row = (made, 1, 0, "")
    key, number, before, same = row
    stamp = stamp if 0 < stamp < LATEST else 0
    if stamp and (stamp, text) == (before, same):
        return
    time = stamp or min(max(0, int(now * 1000)), LATEST - 1)
    connection.execute("INSERT INTO value VALUES (?, ?, ?, ?, ?)", (key, number, time, int(now), text))
    connection.execute("UPDATE stream SET next = next + 1, stamp = ?, text = ? WHERE id = ?", (stamp, text, key))


def _section(
    connection: sqlite3.Connection, key: int, names: tuple[str, str, str], following: int, confirmed: int, room: int
) -> tuple[Section, int]:
    """The next values of a stream, and how many characters they have."""
    rows = connection.execute(
        "SELECT number, time, text FROM value WHERE stream = ? ORDER BY number LIMIT ?", (key, min(room, MAX_VALUES))
    ).fetchall()
    size = 0
    for at, row in enumerate(rows, 1):
        size += len(row[2])
        if size > _MUCH:
            rows = rows[:at]
            break
    found = connection.execute(
        "SELECT first, last, why FROM gap WHERE stream = ? ORDER BY first LIMIT ?", (key, MAX_GAPS)
    ).fetchall()
    gaps = [Gap(max(first, confirmed + 1), last, why) for first, last, why in found if last > confirmed]
    if len(gaps) == MAX_GAPS:
        rows = []  # more of them may come before the values
    first = rows[0][0] if rows else (gaps[-1].last + 1 if gaps else confirmed + 1)
    column = pack([row[1] for row in rows], [row[2] for row in rows])
    return Section(*names, first, following - 1, gaps, column), size


def _settle(connection: sqlite3.Connection, section: Section) -> None:
    row = connection.execute(
        "SELECT id FROM stream WHERE device = ? AND property = ? AND epoch = ?",
        (section.device, section.property_name, section.epoch),
    ).fetchone()
    if row is None:
        return
    connection.execute("UPDATE stream SET confirmed = max(confirmed, ?) WHERE id = ?", (section.last, row[0]))
    connection.execute("DELETE FROM value WHERE stream = ? AND number <= ?", (row[0], section.last))
    connection.execute("DELETE FROM gap WHERE stream = ? AND last <= ?", (row[0], section.last))


def _drop(connection: sqlite3.Connection, key: int, first: int, last: int, why: str) -> None:
    connection.execute("DELETE FROM value WHERE stream = ? AND number BETWEEN ? AND ?", (key, first, last))
    connection.execute("UPDATE stream SET dropped = dropped + ? WHERE id = ?", (last - first + 1, key))
    longer = connection.execute(
        "UPDATE gap SET last = ? WHERE stream = ? AND last = ? AND why = ?", (last, key, first - 1, why)
    )
    if not longer.rowcount:
        connection.execute("INSERT INTO gap VALUES (?, ?, ?, ?)", (key, first, last, why))


def _used(connection: sqlite3.Connection) -> int:
    pages, free, size = (
        connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
