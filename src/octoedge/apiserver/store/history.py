"""The recent changes of one resource, in order, and cursors that follow them.

There is no queue per watcher: a watcher is a place in the one shared list, so a thousand watchers cost a thousand
numbers. When the list is cut at its beginning, a watcher that stood before the cut is told that its changes are gone.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_right
from collections.abc import Callable, Sequence
from operator import attrgetter

from octoedge.errors import gone
from octoedge.kube.read import Change

MAX_CHANGES = 4096
MAX_BYTES = 6 * 1024 * 1024
BATCH = 256
"""Changes handed out at once."""
HOT = 256
"""The newest changes keep the lines that watchers get; who is further behind has them made again."""

_version = attrgetter("version")


class History:
    """Changes of one resource; `floor` is the version of the last one forgotten."""

    def __init__(self, floor: int = 0, *, max_changes: int = MAX_CHANGES, max_bytes: int = MAX_BYTES) -> None:
        self.floor = floor
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._changes: list[Change] = []
        self._bytes = 0
        self._signal = asyncio.Event()

    def append(self, change: Change) -> None:
        """Add the newest change; watchers hear of it at `publish`."""
        self._changes.append(change)
        self._bytes += len(change.item.data)
        if len(self._changes) > HOT:
            self._changes[-1 - HOT].frames.clear()
        if len(self._changes) > self._max_changes or self._bytes > self._max_bytes:
            self._cut()

    def publish(self) -> None:
        """Wake everybody who waits."""
        self._signal.set()
        self._signal = asyncio.Event()

    def forget(self, version: int) -> None:
        """Forget changes up to `version`."""
        self._drop(bisect_right(self._changes, version, key=_version))

    def end(self) -> None:
        """Everything was replaced: whoever follows has to begin anew."""
        self.floor = sys.maxsize
        self._changes.clear()
        self.publish()

    def after(self, version: int) -> Sequence[Change]:
        """The next changes after `version`, none when there are none yet; `gone` when some were forgotten."""
        if version < self.floor:
            raise gone(f"too old resource version: {version} ({self.floor})")
        if not self._changes or self._changes[-1].version <= version:
            return ()
        start = bisect_right(self._changes, version, key=_version)
        return self._changes[start : start + BATCH]

    async def wait(self) -> None:
        """Return at the next `publish`."""
        await self._signal.wait()

    def _cut(self) -> None:
        """Forget a quarter at once: cutting a list at its beginning costs its length."""
        count, size = 0, 0
        while count < len(self._changes) - 1 and (
            len(self._changes) - count > self._max_changes * 3 // 4 or self._bytes - size > self._max_bytes * 3 // 4
        ):
            size += len(self._changes[count].item.data)
            count += 1
        self._drop(count)

    def _drop(self, count: int) -> None:
        if count:
            self.floor = self._changes[count - 1].version
            self._bytes -= sum(len(change.item.data) for change in self._changes[:count])
            del self._changes[:count]


class Follower:
    """A place in a history."""

    def __init__(self, history: History, after: int, newest: Callable[[], int]) -> None:
        history.after(after)
        self._history = history
        self._after = after
        self._newest = newest

    async def next(self) -> Sequence[Change]:
        """Changes after this place; waits for them."""
        while True:
            changes = self._history.after(self._after)
            if changes:
                self._after = changes[-1].version
                return changes
            await self._history.wait()

    @property
    def version(self) -> int:
        """Every change up to this version was handed out."""
        return self._after if self._history.after(self._after) else max(self._after, self._newest())
