"""The recent changes of one resource, in order, and cursors that follow them.

    append, publish → (the writer's own answer) → _tell, a part at a time → Follower.hear ─► handed on at once
                                                                                    └► or who waits is woken

There is no queue per watcher: a watcher is a place in the one shared list, so a thousand watchers cost a thousand
numbers. When the list is cut at its beginning, a watcher that stood before the cut is told that its changes are gone.
Who waits with a way to hand on changes hears of them in a plain call; waking a task for each costs three times as much.
"""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Sequence
from operator import attrgetter

from octoedge.errors import ApiError, gone
from octoedge.kube.read import Change, HandOn

MAX_CHANGES = 4096
MAX_BYTES = 6 * 1024 * 1024
BATCH = 256
"""Changes handed out at once."""
HOT = 256
"""The newest changes keep the lines that watchers get; who is further behind has them made again."""
TOLD_AT_ONCE = 64
"""Followers told before everything else in the process has its turn: about a millisecond."""

_version = attrgetter("version")


class History:
    """Changes of one resource; `floor` is the version of the last one forgotten."""

    def __init__(self, floor: int = 0, *, max_changes: int = MAX_CHANGES, max_bytes: int = MAX_BYTES) -> None:
        self.floor = floor
        self._max_changes = max_changes
        self._max_bytes = max_bytes
        self._changes: list[Change] = []
        self._bytes = 0
        self._waiting: dict[Follower, None] = {}
        self._untold: deque[Follower] = deque()

    def append(self, change: Change) -> None:
        """Add the newest change; watchers hear of it at `publish`."""
        self._changes.append(change)
        self._bytes += len(change.item.data)
        if len(self._changes) > HOT:
            self._changes[-1 - HOT].frames.clear()
        if len(self._changes) > self._max_changes or self._bytes > self._max_bytes:
            self._cut()

    def publish(self) -> None:
        """Tell everybody who waits, each once, however much is published before it is told."""
        idle = not self._untold
        for follower in self._waiting:
            if not follower.untold:
                follower.untold = True
                self._untold.append(follower)
        if idle and self._untold:
            asyncio.get_running_loop().call_soon(self._tell)

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

    def _tell(self) -> None:
        """Tell a part of them, and the others after whatever else waits for its turn."""
        for _ in range(min(TOLD_AT_ONCE, len(self._untold))):
            follower = self._untold.popleft()
            follower.untold = False
            if follower in self._waiting:
                follower.hear()
        if self._untold:
            asyncio.get_running_loop().call_soon(self._tell)

    async def wait(self, follower: Follower, woken: asyncio.Future[None]) -> None:
        """Return when `woken` is done; until then the follower hears of what is published."""
        self._waiting[follower] = None
        try:
            await woken
        finally:
            del self._waiting[follower]

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
        self._hand_on: HandOn | None = None
        self._woken: asyncio.Future[None] | None = None
        self.untold = False
        """Whether it stands in the history's row of those who are to be told."""

    async def next(self, hand_on: HandOn | None = None) -> Sequence[Change]:
        """Changes after this place; waits for them, and while it waits lets `hand_on` have them first."""
        while True:
            changes = self._history.after(self._after)
            if changes:
                self._after = changes[-1].version
                return changes
            self._hand_on, self._woken = hand_on, asyncio.get_running_loop().create_future()
            await self._history.wait(self, self._woken)

    def hear(self) -> None:
        """Hand on what is new, or wake who waits for it. Raises nothing: the next one is to hear of it too."""
        woken = self._woken
        if woken is None or woken.done():
            return
        try:
            if self._handed_on():
                return
        except ApiError:
            pass  # `next` comes upon it again
        except Exception as error:
            woken.set_exception(error)
            return
        woken.set_result(None)

    def _handed_on(self) -> bool:
        while changes := self._history.after(self._after):
            if self._hand_on is None or not self._hand_on(changes):
                return False
            self._after = changes[-1].version
        return True

    @property
    def version(self) -> int:
        """Every change up to this version was handed out."""
        return self._after if self._history.after(self._after) else max(self._after, self._newest())
