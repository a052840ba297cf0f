"""A database that writes on the calling thread, for tests in virtual time: same SQL, same transactions, no waiting.

`full` makes every commit fail as on a disk without room. Where it is `breakable`, a crash (cancellation) may fall
between a transaction's work and its commit: what was not synced is lost then.
"""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from octoedge.errors import StoreError, StoreFull
from octoedge.store.sqlite import Database

T = TypeVar("T")


class InlineDatabase(Database):
    """Gives other tasks a turn before and after each write, as the real one does."""

    def __init__(self, path: Path, writer: sqlite3.Connection, max_waiting: int) -> None:
        super().__init__(path, writer, max_waiting)
        self._turn = asyncio.Lock()
        self.full = False
        self.breakable = False
        writer.execute("PRAGMA synchronous=OFF")  # the machine under the simulation does not lose power

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        await asyncio.sleep(0)
        async with self._turn:
            if self._closed:
                raise StoreError(f"{self.path} is closed")
            self._writer.execute("BEGIN IMMEDIATE")
            try:
                result = work(self._writer)
                if self.breakable:
                    await asyncio.sleep(0)
                if self.full:
                    raise StoreFull(f"{self.path}: the disk is full")
            except BaseException:
                if not self._closed:
                    self._writer.execute("ROLLBACK")
                raise
            self._writer.execute("COMMIT")
        await asyncio.sleep(0)
        return result

    def reserve(self, size: int) -> bool:
        return size > 0 and not self.full

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        await asyncio.sleep(0)
        return self.read_now(work)
