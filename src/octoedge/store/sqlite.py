"""SQLite with one writer thread and group commit.

    await db.write(fn)   fn(connection) runs inside a transaction; durable when the await returns
    await db.read(fn)    fn(connection) runs on a reader connection, sees everything written before

Writers that arrive while a commit is on its way share the next one (one fsync for many), each in a savepoint of its
own, so that one failing write takes back only itself. The file is in WAL mode with synchronous=FULL: what was answered
survives kill -9 and loss of power.

A write for which the disk has no room fails, and what the log holds is brought into the file: the log's own room may be
written again then. Where the file would have to grow for that, a reserve helps (`Database.reserve`); once that is spent
the file grows no more, so that the log can always be brought into it, until there is a reserve again.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

from octoedge.errors import StoreCorrupt, StoreError, StoreFull

log = logging.getLogger(__name__)

T = TypeVar("T")
Work = Callable[[sqlite3.Connection], Any]
_Job = tuple[Work, "Future[Any]"]

MAX_GROUP = 512
"""Writes that share one commit at most."""
LOG_PAGES = 1000
"""SQLite's own number."""
_FEW_PAGES, _MOST_PAGES = 64, 4294967294
"""To which a file grows without a reserve, and with one: all that SQLite can."""
MAX_WAITING = 10_000
"""Writes that may wait; further ones are refused, since the disk does not keep up."""


class Database:
    """An open database; make it with `Database.open`."""

    def __init__(self, path: Path, writer: sqlite3.Connection, max_waiting: int) -> None:
        self.path = path
        self._spare = Path(f"{path.resolve()}.reserve")
        self._has_reserve = False
        self._may_grow = self._grows = True
        """Whether the file may become larger, and whether SQLite was told so."""
        self._writer = writer
        self._jobs: queue.Queue[_Job | None] = queue.Queue(max_waiting)
        self._reader = _connect(path)
        self._reader.execute("PRAGMA query_only=ON")
        self._reader_lock = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._write_forever, name=f"sqlite {path.name}", daemon=True)
        self._thread.start()

    @classmethod
    def open(
        cls, path: Path, migrations: Sequence[str], *, max_waiting: int = MAX_WAITING, log_pages: int = LOG_PAGES
    ) -> Database:
        """Open or create the file and bring its schema up to date (`PRAGMA user_version` counts applied migrations).

        After `log_pages` in the log they are brought into the file.

        Blocks; meant for start-up. Raises `StoreCorrupt` when the file is not a whole database, `StoreError` when it
        was written by a newer version.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            # Tokens and Secrets lie in here; SQLite gives its companion files the same mode.
            path.touch(mode=0o600)
        except OSError as error:
            raise StoreError(f"{path} cannot be opened: {error.strerror}") from error
        with contextlib.ExitStack() as undo:
            try:
                writer = undo.enter_context(contextlib.closing(_connect(path)))
                _check(writer, path)
                _migrate(writer, path, migrations)
                writer.execute(f"PRAGMA wal_autocheckpoint={log_pages}")
                database = cls(path, writer, max_waiting)
            except sqlite3.Error as error:
                raise _mapped(error, path) from error
            undo.pop_all()
        return database

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` in a transaction; its result is durable when this returns."""
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        future: Future[T] = Future()
        try:
            self._jobs.put_nowait((work, future))
        except queue.Full:
            raise StoreError(
                f"{self.path}: {self._jobs.maxsize} writes wait already; the disk does not keep up"
            ) from None
        return await asyncio.wrap_future(future)

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run `work` on a reader connection, on a thread, so that a long read holds up nobody."""
        return await asyncio.to_thread(self.read_now, work)

    def read_now(self, work: Callable[[sqlite3.Connection], T]) -> T:
        """Run a short `work` at once on the calling thread."""
        with self._reader_lock:
            try:
                return work(self._reader)
            except sqlite3.Error as error:
                raise _mapped(error, self.path) from error

    def reserve(self, size: int) -> bool:
        """Keep so many bytes of the disk for the moment when it is full; whether they are kept.

        They should be more than the log has (`log_pages` of 4 KiB, and a transaction). Blocks for a moment; to be asked
        for again now and then, since they are given away when they are needed.
        """
        self._has_reserve = True
        self._may_grow = self._spare.exists() or self._set_apart(size)
        return self._may_grow

    def _set_apart(self, size: int) -> bool:
        try:
            disk = os.statvfs(self._spare.parent)
            if disk.f_bavail * disk.f_frsize < 2 * size:
                return False
            self._spare.touch(mode=0o600)
            with self._spare.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, size)
        except OSError as error:
            log.debug("%s: no reserve: %s", self.path, error)
            self._spare.unlink(missing_ok=True)
            return False
        return True

    def close(self) -> None:
        """Finish what waits and close the file; idempotent."""
        if self._closed:
            return
        self._closed = True
        self._jobs.put(None)
        self._thread.join()
        self._refuse_rest()
        with self._reader_lock:
            self._reader.close()
        self._writer.close()

    def _write_forever(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            group = [job]
            last = False
            while len(group) < MAX_GROUP:
                try:
                    following = self._jobs.get_nowait()
                except queue.Empty:
                    break
                if following is None:
                    last = True
                    break
                group.append(following)
            self._commit(group)
            if last:
                return

    def _refuse_rest(self) -> None:
        """Answer those who asked from another thread while the database was closing."""
        with contextlib.suppress(queue.Empty):
            while True:
                job = self._jobs.get_nowait()
                if job is not None:
                    _settle(job[1], error=StoreError(f"{self.path} is closed"))

    def _commit(self, group: list[_Job]) -> None:
        answers: list[tuple[Future[Any], Any]] = []
        try:
            self._tell_growth()
            self._writer.execute("BEGIN IMMEDIATE")
            for work, future in group:
                answers += self._run_one(work, future)
            self._writer.execute("COMMIT")
        except Exception as error:
            # Whatever it was: nobody may be left waiting, and the thread must live.
            with contextlib.suppress(sqlite3.Error):
                self._writer.execute("ROLLBACK")
            said = _mapped(error, self.path) if isinstance(error, sqlite3.Error) else error
            if isinstance(said, StoreFull):
                self._make_room()
            for _, future in group:
                if not future.done():
                    _settle(future, error=said)
            return
        for future, result in answers:
            _settle(future, result)

    def _make_room(self) -> None:
        """The log begins anew, so that there is room in it for a next try, and for deleting."""
        with contextlib.suppress(OSError):
            self._spare.unlink(missing_ok=True)
        with contextlib.suppress(sqlite3.Error):
            self._writer.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        self._may_grow = not self._has_reserve

    def _tell_growth(self) -> None:
        if self._may_grow is not self._grows:
            pages = int(self._writer.execute("PRAGMA page_count").fetchone()[0])
            most = _MOST_PAGES if self._may_grow else max(pages, _FEW_PAGES)
            self._writer.execute(f"PRAGMA max_page_count={most}")
            self._grows = self._may_grow

    def _run_one(self, work: Work, future: Future[Any]) -> list[tuple[Future[Any], Any]]:
        """Run one write in its savepoint; an error of its own is answered at once and takes back only itself."""
        self._writer.execute("SAVEPOINT one")
        try:
            result = work(self._writer)
        except Exception as error:
            if not self._writer.in_transaction:
                # SQLite gave up the whole transaction (full disk, I/O error): then the group fails for that reason.
                raise
            self._writer.execute("ROLLBACK TO one")
            self._writer.execute("RELEASE one")
            _settle(future, error=_mapped(error, self.path) if isinstance(error, sqlite3.Error) else error)
            return []
        self._writer.execute("RELEASE one")
        return [(future, result)]


def set_aside(path: Path, now: float) -> Path:
    """Move a corrupt database and its companions out of the way; returns where it lies now."""
    aside = path.with_name(f"{path.name}.corrupt-{int(now)}")
    for suffix in ("", "-wal", "-shm"):
        companion = path.with_name(path.name + suffix)
        if companion.exists():
            companion.rename(aside.with_name(aside.name + suffix))
    return aside


def _settle(future: Future[Any], result: Any = None, error: BaseException | None = None) -> None:
    """Answer a writer that may have stopped waiting meanwhile."""
    if not future.set_running_or_notify_cancel():
        return
    if error is not None:
        future.set_exception(error)
    else:
        future.set_result(result)


def _connect(path: Path) -> sqlite3.Connection:
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, timeout=10)
    try:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")
        connection.execute("PRAGMA foreign_keys=ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: Path) -> None:
    found = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
    if found != "ok":
        raise StoreCorrupt(f"{path} is damaged: {found}")


def _migrate(connection: sqlite3.Connection, path: Path, migrations: Sequence[str]) -> None:
    applied = int(connection.execute("PRAGMA user_version").fetchone()[0])
    if applied > len(migrations):
        raise StoreError(f"{path} was written by a newer version (schema {applied}, known {len(migrations)})")
    for number, script in enumerate(migrations[applied:], applied + 1):
        connection.executescript(f"BEGIN IMMEDIATE; {script}; PRAGMA user_version={number}; COMMIT;")


def _mapped(error: sqlite3.Error, path: Path) -> StoreError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return StoreCorrupt(f"{path} is not a whole database: {error}")
    if code in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR):
        return StoreFull(f"{path} cannot be written ({error}); free some space on its disk")
    return StoreError(f"{path}: {error}")
