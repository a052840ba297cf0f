"""Work that overlaps, except where it has the same key: that is done in the order it came.

Objects pushed together share one commit of the database, while messages about one object keep their order.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

Work = Callable[[], Awaitable[None]]


class InOrder:
    """At most `limit` pieces of work are under way or waiting; `submit` waits for room."""

    def __init__(self, group: asyncio.TaskGroup, limit: int) -> None:
        self._group = group
        self._room = asyncio.Semaphore(limit)
        self._waiting: dict[str, deque[Work]] = {}

    async def submit(self, key: str, work: Work) -> None:
        """Do `work` after everything submitted before with the same key."""
        await self._room.acquire()
        waiting = self._waiting.get(key)
        if waiting is not None:
            waiting.append(work)
            return
        self._waiting[key] = deque([work])
        self._group.create_task(self._work_off(key), name=f"inbound {key}")

    async def _work_off(self, key: str) -> None:
        waiting = self._waiting[key]
        try:
            while waiting:
                work = waiting.popleft()
                try:
                    await work()
                finally:
                    self._room.release()
        finally:
            del self._waiting[key]
