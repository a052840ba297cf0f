"""A database that writes on the calling thread, for tests in virtual time: same SQL, same transactions, no waiting."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable
from typing import TypeVar

from octoedge.errors import StoreError
from octoedge.store.sqlite import Database

T = TypeVar("T")


class InlineDatabase(Database):
    """Gives other tasks a turn before and after each write, as the real one does."""

    async def write(self, work: Callable[[sqlite3.Connection], T]) -> T:
        await asyncio.sleep(0)
        if self._closed:
            raise StoreError(f"{self.path} is closed")
        self._writer.execute("BEGIN IMMEDIATE")
        try:
            result = work(self._writer)
        except BaseException:
            self._writer.execute("ROLLBACK")
            raise
        self._writer.execute("COMMIT")
        await asyncio.sleep(0)
        return result

    async def read(self, work: Callable[[sqlite3.Connection], T]) -> T:
        await asyncio.sleep(0)
        return self.read_now(work)
