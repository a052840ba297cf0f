"""Snapshots: everything that the API server is, in one file: every object, its CA, and the key of its tokens.

take(data folder) → one consistent view of the database → file, read back and compared before it gets its name
read(file)        → checked to the last byte → objects → `Backend.restore`

The file is gzip'd lines of JSON (`zcat FILE`): what it is, the keys, the objects, and at the end how many there were
and the SHA-256 of all before. It holds Secrets and private keys: its mode is 0600.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import os
import sqlite3
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from octoedge.apiserver.store import rows
from octoedge.errors import StoreCorrupt, StoreError
from octoedge.runtime.clock import rfc3339
from octoedge.store import durable
from octoedge.version import VERSION

FORMAT = 1
KEYS = ("pki/ca.crt", "pki/ca.key", "pki/sa.key")
"""What cannot be made anew: who trusts these would have to be told."""
STAGED = "restore.snapshot"
"""Where in the data folder a running server looks for what it shall restore."""
MAX_LINE = 64 * 1024 * 1024
MAX_BYTES = 4 * 1024 * 1024 * 1024
_LEVEL = 3


class Head(msgspec.Struct, tag_field="line", tag="octoedge apiserver snapshot", rename="camel", frozen=True):
    """The first line."""

    format: int
    version: str
    made: str
    resource_version: int


class Key(msgspec.Struct, tag_field="line", tag="file", frozen=True):
    """A file of the data folder."""

    path: str
    text: str


class Entry(msgspec.Struct, tag_field="line", tag="object", frozen=True):
    """An object as it is stored."""

    resource: str
    object: msgspec.Raw


class End(msgspec.Struct, tag_field="line", tag="end", frozen=True):
    """The last line."""

    objects: int
    sha256: str


_lines = msgspec.json.Decoder(Head | Key | Entry | End)


@dataclass(slots=True)
class Snapshot:
    """What a file holds."""

    head: Head
    keys: dict[str, str] = field(default_factory=dict)
    objects: list[tuple[str, bytes]] = field(default_factory=list)


def take(folder: Path, file: Path, now: float) -> Snapshot:
    """Write what is in a data folder to a file, whether a server runs on it or not; gives what the file holds.

    The file is there whole or not at all. Raises `StoreError`, `StoreCorrupt`.
    """
    partial = file.with_name(f".{file.name}.partial-{os.getpid()}")
    try:
        with _created(partial) as raw, _database(folder) as connection:
            _write(raw, folder, connection, now)
        written = read(partial)
        durable.move(partial, file)
    except OSError as error:
        raise StoreError(f"{file} cannot be written: {error.strerror or error}") from error
    finally:
        partial.unlink(missing_ok=True)
    return written


def read(file: Path) -> Snapshot:
    """A snapshot, checked to the last byte. Raises `StoreCorrupt` for what is none or is damaged."""
    try:
        with gzip.open(file, "rb") as lines:
            return _checked(file, _each(file, lines))
    except gzip.BadGzipFile as error:
        raise StoreCorrupt(f"{file} is no snapshot of an API server, or is damaged: {error}") from error
    except EOFError as error:
        raise StoreCorrupt(f"{file} is cut off; take another snapshot") from error
    except (zlib.error, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StoreCorrupt(f"{file} is no snapshot of an API server, or is damaged: {error}") from error
    except OSError as error:
        raise StoreError(f"{file} cannot be read: {error.strerror or error}") from error


def differing_keys(snapshot: Snapshot, folder: Path) -> list[str]:
    """Which keys of a data folder are not those of the snapshot."""
    return [path for path, text in snapshot.keys.items() if _text(folder / path) != text]


def put_keys(snapshot: Snapshot, folder: Path) -> None:
    """Write the snapshot's keys into a data folder; what they signed is made anew at the next start."""
    for path, text in snapshot.keys.items():
        target = folder / path
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        durable.write(target, text.encode())


def _write(raw: io.BufferedWriter, folder: Path, connection: sqlite3.Connection, now: float) -> None:
    digest, count = hashlib.sha256(), 0
    head = Head(FORMAT, VERSION, rfc3339(now), rows.newest(connection))
    with gzip.GzipFile("", "wb", _LEVEL, raw, mtime=0) as packed:

        def put(line: Head | Key | Entry | End) -> None:
            text = msgspec.json.encode(line) + b"\n"
            digest.update(text)
            packed.write(text)

        put(head)
        for path in KEYS:
            put(Key(path, (folder / path).read_text()))
        for resource, data in connection.execute(
            "SELECT resource, data FROM objects ORDER BY resource, namespace, name"
        ):
            put(Entry(resource, msgspec.Raw(data)))
            count += 1
        put(End(count, digest.hexdigest()))
    raw.flush()
    os.fsync(raw.fileno())


def _each(file: Path, lines: gzip.GzipFile) -> Iterator[bytes]:
    size = 0
    while line := lines.readline(MAX_LINE):
        size += len(line)
        if len(line) == MAX_LINE or size > MAX_BYTES:
            raise StoreCorrupt(f"{file} is no snapshot of an API server: it is larger than any could be")
        yield line


def _checked(file: Path, lines: Iterator[bytes]) -> Snapshot:
    first = next(lines, b"")
    head = _lines.decode(first)
    if not isinstance(head, Head):
        raise StoreCorrupt(f"{file} is no snapshot of an API server: it does not begin as one")
    if head.format > FORMAT:
        raise StoreError(f"{file} was made by a newer Octoedge ({head.version}); use that one to restore it")
    snapshot, digest = Snapshot(head), hashlib.sha256(first)
    for text in lines:
        line = _lines.decode(text)
        if isinstance(line, End):
            return _ended(file, snapshot, line, digest.hexdigest(), next(lines, b""))
        digest.update(text)
        if isinstance(line, Key) and line.path in KEYS:
            snapshot.keys[line.path] = line.text
        elif isinstance(line, Entry):
            snapshot.objects.append((line.resource, bytes(line.object)))
    raise StoreCorrupt(f"{file} is cut off; take another snapshot")


def _ended(file: Path, snapshot: Snapshot, end: End, digest: str, rest: bytes) -> Snapshot:
    if rest or end.sha256 != digest or end.objects != len(snapshot.objects) or snapshot.keys.keys() != set(KEYS):
        raise StoreCorrupt(f"{file} is damaged: it does not hold what was written into it; take another snapshot")
    return snapshot


@contextlib.contextmanager
def _database(folder: Path) -> Iterator[sqlite3.Connection]:
    """One consistent, read-only view of the database."""
    path = folder / "state.db"
    if not path.exists():
        raise StoreError(f"{folder} holds no API server's data: {path.name} is not there")
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None, timeout=10)) as connection:
            connection.execute("PRAGMA query_only=ON")
            connection.execute("BEGIN")
            schema = connection.execute("PRAGMA user_version").fetchone()[0]
            if schema != len(rows.MIGRATIONS):
                raise StoreError(f"{path} has schema {schema}, this Octoedge knows {len(rows.MIGRATIONS)}")
            found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            if found != "ok":
                raise StoreCorrupt(f"{path} is damaged, no snapshot was taken: {found}")
            yield connection
    except sqlite3.Error as error:
        raise StoreCorrupt(f"{path} cannot be read, no snapshot was taken: {error}") from error


def _created(path: Path) -> io.BufferedWriter:
    """A new file that nobody else may read."""
    return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb")


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
