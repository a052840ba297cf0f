"""The store: packed blocks of values in SQLite. Every function runs inside one transaction, or on a reader.

A stream is what a device's property said in one epoch of its node's outbox. Of each it is known up to which number all
is settled: stored, or named in a gap. What comes again is below that and is left out; what is missing before that which
comes is a gap, with the node's reason where it gave one. So no value is there twice, and none is missing unsaid.

Another value under a number that is settled tells that the node's disk was set back to an older image and gives numbers
again. From there on it is a stream of its own (`base`), and what was there stays.

A new block takes in those before it that are not much larger, up to 4,096 values, as a binary counter carries: a value
is packed a dozen times at most, and a day at one value a second is 22 blocks and a few small ones.
"""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterator, Sequence

import msgspec

from octoedge.errors import MessageError
from octoedge.protocol.telemetry import MAX_VALUES, Column, Section, joined, split, tail, unpack

MIGRATIONS = (
    """
    CREATE TABLE stream (
        id INTEGER PRIMARY KEY, namespace TEXT NOT NULL, device TEXT NOT NULL, property TEXT NOT NULL,
        epoch TEXT NOT NULL, node TEXT NOT NULL, settled INTEGER NOT NULL DEFAULT 0,
        numbered INTEGER NOT NULL DEFAULT 0, told INTEGER NOT NULL DEFAULT 0, again INTEGER NOT NULL DEFAULT 0,
        forgotten INTEGER NOT NULL DEFAULT 0, forgotten_upto INTEGER NOT NULL DEFAULT 0,
        UNIQUE (namespace, device, property, epoch));
    CREATE TABLE block (
        stream INTEGER NOT NULL, first INTEGER NOT NULL, count INTEGER NOT NULL, begin INTEGER NOT NULL,
        end INTEGER NOT NULL, came INTEGER NOT NULL, data BLOB NOT NULL, PRIMARY KEY (stream, first));
    CREATE INDEX stream_node ON stream (node);
    CREATE INDEX block_time ON block (stream, end);
    CREATE INDEX block_age ON block (came);
    CREATE TABLE gap (
        stream INTEGER NOT NULL, first INTEGER NOT NULL, last INTEGER NOT NULL, why TEXT NOT NULL,
        told INTEGER NOT NULL, PRIMARY KEY (stream, first));
    CREATE TABLE cursor (
        export TEXT NOT NULL, stream INTEGER NOT NULL, number INTEGER NOT NULL, PRIMARY KEY (export, stream));
    """,
    """
    CREATE TABLE unsent (
        export TEXT NOT NULL, stream INTEGER NOT NULL, why TEXT NOT NULL, number INTEGER NOT NULL,
        PRIMARY KEY (export, stream, why));
    """,
    "ALTER TABLE stream ADD COLUMN base INTEGER NOT NULL DEFAULT 0;",
    "ALTER TABLE stream ADD COLUMN unwanted INTEGER NOT NULL DEFAULT 0;",
)
_UNSAID = "the node had them confirmed by another store, or by this one before it was lost or set back"
_MOST_LIVES = 1000
"""Streams of one property: whoever sends other values under old numbers cannot fill the disk with names."""
_READ_MOST = 1_000_000
"""Values in one answer."""


class History(msgspec.Struct, frozen=True):
    """Values of a property, in the order of their times (ms)."""

    times: list[int]
    values: list[str]
    cut: bool
    """Whether there are earlier ones that were asked for too."""


class Account(msgspec.Struct, frozen=True):
    """What there is of one stream, counted in the store."""

    stream: str
    epoch: str
    node: str
    told: int
    """When the node said so, ms."""
    sent: int
    """Numbered by the node."""
    stored: int
    forgotten: int
    """Stored, and dropped here since by age or size."""
    duplicates: int
    again: int
    """Sent again by the node, and not stored a second time."""
    waiting: int
    """On the node still, as far as it told."""
    gaps: list[tuple[int, int, str]]


def owner(connection: sqlite3.Connection, section: Section) -> str:
    """The node that has values of this stream here; empty when there are none."""
    found: tuple[str] | None = connection.execute(
        "SELECT node FROM stream WHERE namespace = ? AND device = ? AND property = ? AND epoch = ? AND NOT unwanted",
        (*split(section.device), section.property_name, section.epoch),
    ).fetchone()
    return found[0] if found else ""


def streams_of(connection: sqlite3.Connection, node: str) -> int:
    """How many streams a node has sent."""
    return int(connection.execute("SELECT count(*) FROM stream WHERE node = ?", (node,)).fetchone()[0])


def take(connection: sqlite3.Connection, node: str, section: Section, now: int) -> None:
    """Store a section; `now` in ms."""
    row = _stream(connection, section)
    key, settled = row[:2] if row else (_made(connection, node, section), 0)
    known = min(max(0, settled - section.first + 1), len(section.column))
    same = _as_stored(connection, key, section, known) if known else 0
    if same < known and _lives(connection, section) < _MOST_LIVES:
        known, settled = same, _base(section, same)
        key = _begin_anew(connection, key, section.epoch, settled)
    for first, last, why in _missing(section, settled):
        connection.execute("INSERT OR REPLACE INTO gap VALUES (?, ?, ?, ?, ?)", (key, first, last, why, now))
    column = tail(section.column, known) if known else section.column
    if len(column):
        _append(connection, key, section.first + known, column, now)
    connection.execute(
        "UPDATE stream SET settled = max(settled, ?), numbered = max(numbered, ?), told = ?, again = again + ?, "
        "node = ?, unwanted = 0 WHERE id = ?",
        (section.last, section.numbered, now, known, node, key),
    )


def give_up(connection: sqlite3.Connection, node: str, section: Section, why: str, now: int) -> None:
    """Store none of a section's values, but that they came and `why` nobody wants them; `now` in ms."""
    row = _stream(connection, section)
    key, settled = row[:2] if row else (_made(connection, node, section), 0)
    if section.last > settled:
        longer = connection.execute(
            "UPDATE gap SET last = ?, told = ? WHERE stream = ? AND last = ? AND why = ?",
            (section.last, now, key, settled, why),
        )
        if not longer.rowcount:
            connection.execute("INSERT INTO gap VALUES (?, ?, ?, ?, ?)", (key, settled + 1, section.last, why, now))
    connection.execute(
        "UPDATE stream SET settled = max(settled, ?), numbered = max(numbered, ?), told = ?, node = ?, unwanted = 1 "
        "WHERE id = ?",
        (section.last, section.numbered, now, node, key),
    )


def history(
    connection: sqlite3.Connection, device: str, name: str, since: int, until: int, most: int = _READ_MOST
) -> History | None:
    """What the property said from `since` to `until` (ms), the latest `most` of it; None when it never did."""
    namespace, of = split(device)
    keys = connection.execute(
        "SELECT id FROM stream WHERE namespace = ? AND device = ? AND property = ? AND NOT unwanted",
        (namespace, of, name),
    ).fetchall()
    if not keys:
        return None
    most = min(most, _READ_MOST)
    found: list[tuple[int, str]] = []
    for (key,) in keys:
        blocks = connection.execute(
            "SELECT data FROM block WHERE stream = ? AND end >= ? AND begin <= ? ORDER BY first DESC",
            (key, since, until),
        )
        count = 0
        for (data,) in blocks:
            times, texts = unpack(_column(data))
            found += [(time, text) for time, text in zip(times, texts, strict=True) if since <= time <= until]
            count += len(times)
            if count > most + MAX_VALUES:
                break
    found.sort(key=lambda pair: pair[0])
    cut = len(found) > most
    found = found[-most:]
    return History([time for time, _ in found], [text for _, text in found], cut)


def names(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    """(device, property) of all that ever said something."""
    rows = connection.execute(
        "SELECT DISTINCT namespace || '/' || device, property FROM stream WHERE NOT unwanted ORDER BY 1, 2"
    )
    return list(rows)


def accounts(connection: sqlite3.Connection, node: str = "") -> list[Account]:
    """Each stream counted: blocks against numbers."""
    rows = connection.execute(
        "SELECT id, namespace, device, property, epoch, node, settled, numbered, told, again, forgotten, "
        "forgotten_upto, base FROM stream WHERE ? IN ('', node) ORDER BY 2, 3, 4, id", (node,),
    ).fetchall()  # fmt: skip
    latest = {row[1:4] + row[5:6]: row[0] for row in rows}  # of each node: a Device may have moved
    return [_account(connection, row, latest=latest[row[1:4] + row[5:6]] == row[0]) for row in rows]


def forget(connection: sqlite3.Connection, before: int, most_bytes: int) -> int:
    """Drop what came before this (ms), and the oldest of what is too much; how many blocks.

    Of each stream from its first value on, whatever the clock said when they came: it may have been set back since.
    """
    dropped = 0
    while rows := _oldest(connection, before, most_bytes):
        for key, first in rows:
            counts = connection.execute(
                "DELETE FROM block WHERE stream = ? AND first <= ? RETURNING first + count - 1, count", (key, first)
            ).fetchall()
            if counts:
                upto, count = max(last for last, _ in counts), sum(count for _, count in counts)
                connection.execute(
                    "UPDATE stream SET forgotten = forgotten + ?, forgotten_upto = max(forgotten_upto, ?) WHERE id = ?",
                    (count, upto, key),
                )
            dropped += len(counts)
    return dropped


def after(connection: sqlite3.Connection, key: int, number: int, most: int) -> tuple[int, list[int], list[str]]:
    """(number of the last one, times, values) of a stream beyond this number, at most so many."""
    times: list[int] = []
    texts: list[str] = []
    rows = connection.execute(
        "SELECT first, count, data FROM block WHERE stream = ? AND first + count > ? ORDER BY first", (key, number + 1)
    )
    for first, count, data in rows:
        some = unpack(_column(data))
        skip = max(0, number + 1 - first)
        times += some[0][skip:]
        texts += some[1][skip:]
        number = first + count - 1
        if len(times) >= most:
            break
    beyond = max(0, len(times) - most)
    return number - beyond, times[:most], texts[:most]


def _made(connection: sqlite3.Connection, node: str, section: Section) -> int:
    made = connection.execute(
        "INSERT INTO stream (namespace, device, property, epoch, node) VALUES (?, ?, ?, ?, ?)",
        (*split(section.device), section.property_name, section.epoch, node),
    ).lastrowid
    assert made is not None
    return made


def _stream(connection: sqlite3.Connection, section: Section) -> tuple[int, int, str] | None:
    found: tuple[int, int, str] | None = connection.execute(
        "SELECT id, settled, node FROM stream WHERE namespace = ? AND device = ? AND property = ? AND epoch = ?",
        (*split(section.device), section.property_name, section.epoch),
    ).fetchone()
    return found


def _as_stored(connection: sqlite3.Connection, key: int, section: Section, count: int) -> int:
    """How many of the section's first values, `count` at most, are in the store just so."""
    first, last = section.first, section.first + count - 1
    held: dict[int, tuple[int, str]] = {}
    rows = connection.execute(
        "SELECT first, data FROM block WHERE stream = ? AND first <= ? AND first + count > ?", (key, last, first)
    )
    for begin, data in rows:
        held.update(enumerate(zip(*unpack(_column(data)), strict=True), begin))
    said = enumerate(zip(*unpack(section.column), strict=True), first)
    return next((number - first for number, pair in said if number > last or held.get(number) != pair), count)


def _base(section: Section, same: int) -> int:
    """The last number of the old stream, where `same` values of the section are its; what the node says that it dropped
    just before others is the new one's."""
    base = section.first + same - 1
    for gap in sorted(section.gaps, key=lambda gap: -gap.first):
        if not same and gap.last == base:
            base = gap.first - 1
    return base


def _lives(connection: sqlite3.Connection, section: Section) -> int:
    asked = (*split(section.device), section.property_name)
    text = "SELECT count(*) FROM stream WHERE namespace = ? AND device = ? AND property = ?"
    return int(connection.execute(text, asked).fetchone()[0])


def _begin_anew(connection: sqlite3.Connection, key: int, epoch: str, base: int) -> int:
    """A stream under the epoch of this one, which keeps what it has; values up to `base` are the old one's."""
    connection.execute("UPDATE stream SET epoch = ? WHERE id = ?", (f"{epoch}~{key}", key))
    made = connection.execute(
        "INSERT INTO stream (namespace, device, property, epoch, node, settled, numbered, base) "
        "SELECT namespace, device, property, ?, node, ?, ?, ? FROM stream WHERE id = ?",
        (epoch, base, base, base, key),
    ).lastrowid
    assert made is not None
    return made


def _missing(section: Section, settled: int) -> Iterator[tuple[int, int, str]]:
    """What is neither settled nor comes now: with the node's reasons, and where it gave none, with ours."""
    at = settled + 1
    for gap in sorted(section.gaps, key=lambda gap: gap.first):
        if gap.last < at:
            continue
        if gap.first > at:
            yield at, gap.first - 1, _UNSAID
        yield max(at, gap.first), gap.last, gap.why
        at = gap.last + 1
    if at < section.first:
        yield at, section.first - 1, _UNSAID


def _append(connection: sqlite3.Connection, key: int, first: int, column: Column, now: int) -> None:
    """Store values that follow what is there, together with blocks before them that are not much larger."""
    columns = [column]
    total = len(column)
    before = connection.execute(
        "SELECT first, count, data FROM block WHERE stream = ? AND first < ? ORDER BY first DESC LIMIT 16", (key, first)
    ).fetchall()
    for begin, count, data in before:
        if begin + count != first or count > 2 * total or count + total > MAX_VALUES:
            break
        columns.insert(0, _column(data))
        first, total = begin, total + count
        connection.execute("DELETE FROM block WHERE stream = ? AND first = ?", (key, begin))
    whole = joined(columns) if len(columns) > 1 else column
    times = unpack(whole)[0]
    data = zlib.compress(msgspec.msgpack.encode(whole), 6)
    connection.execute(
        "INSERT INTO block VALUES (?, ?, ?, ?, ?, ?, ?)", (key, first, total, min(times), max(times), now, data)
    )


def _column(data: bytes) -> Column:
    try:
        return msgspec.msgpack.decode(zlib.decompress(data), type=Column)
    except (zlib.error, msgspec.DecodeError) as error:
        raise MessageError(f"a block of telemetry cannot be read: {error}") from error


def _account(connection: sqlite3.Connection, row: Sequence[int | str], *, latest: bool) -> Account:
    key, namespace, device, name, epoch, node, settled, numbered, told, again, forgotten, upto, base = row
    gaps: list[tuple[int, int, str]] = connection.execute(
        "SELECT first, last, why FROM gap WHERE stream = ? ORDER BY first", (key,)
    ).fetchall()
    spans = sorted([
        *((first, first + count - 1, True) for first, count in connection.execute(
            "SELECT first, count FROM block WHERE stream = ?", (key,))),
        *((first, last, False) for first, last, _ in gaps if first > int(upto)),
    ])  # fmt: skip
    at, stored, duplicates = max(int(upto), int(base)) + 1, 0, 0
    for first, last, held in spans:
        if first > at:
            gaps.append((at, first - 1, "not in the store, although the node was told that they are"))
        duplicates += max(0, min(at - 1, last) - first + 1)
        stored += last - first + 1 if held else 0
        at = max(at, last + 1)
    waiting = max(0, int(numbered) - int(settled))
    if waiting and not latest:
        gaps.append((int(settled) + 1, int(numbered), "the node's outbox was lost, set back or begun anew"))
        waiting = 0
    return Account(
        f"{namespace}/{device}/{name}", str(epoch), str(node), int(told), int(numbered) - int(base), stored,
        int(forgotten), duplicates, int(again), waiting, sorted(gaps),
    )  # fmt: skip


def _oldest(connection: sqlite3.Connection, before: int, most_bytes: int) -> list[tuple[int, int]]:
    """Some blocks to drop: (stream, first)."""
    old = connection.execute("SELECT stream, first FROM block WHERE came < ? ORDER BY came, first LIMIT 256", (before,))
    found: list[tuple[int, int]] = old.fetchall()
    if not found and used(connection) > most_bytes:
        found = connection.execute("SELECT stream, first FROM block ORDER BY came, first LIMIT 16").fetchall()
    return found


def used(connection: sqlite3.Connection) -> int:
    """Bytes that the store takes."""
    pages, free, size = (
        connection.execute(f"PRAGMA {what}").fetchone()[0] for what in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)
