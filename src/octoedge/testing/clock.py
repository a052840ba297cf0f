"""Virtual time: waits of hours cost nothing.

`run(main())` runs a coroutine on an event loop whose clock jumps to the next timer whenever nothing else is ready. A
program that waits for nothing at all (a deadlock) ends with an error instead of hanging. Real sockets and threads do
not belong here: the loop does not wait for them.
"""

from __future__ import annotations

import asyncio
import math
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class Deadlock(AssertionError):
    """Nothing is ready and no timer is set: the program would wait forever."""


class _JumpingSelector(selectors.DefaultSelector):
    """A selector that never blocks: it moves the loop's clock on instead."""

    loop: VirtualLoop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            # Threads (a database writer) answer through the self-pipe: give them a moment of real time.
            events = super().select(self.loop.patience)
            if not events:
                raise Deadlock("every task waits and no timer is set")
            return events
        self.loop.advance(timeout)
        return events


class VirtualLoop(asyncio.SelectorEventLoop):
    """An event loop whose time is a number."""

    def __init__(self, *, start: float = 0.0, patience: float = 5.0) -> None:
        selector = _JumpingSelector()
        selector.loop = self
        self._virtual = start
        self.patience = patience
        """Real seconds to wait for a thread before calling it a deadlock."""
        super().__init__(selector)
        self.advance(0.0)

    def time(self) -> float:
        return self._virtual

    def advance(self, seconds: float) -> None:
        """Move the clock on."""
        self._virtual += seconds
        # A timer is run when it is due to the last bit: asyncio's nanosecond would run it a little early, over and over
        # in a program that then waits for the rest, and is lost in a float that counts months.
        self._clock_resolution = math.ulp(self._virtual)


class VirtualClock:
    """A wall clock that follows the running virtual loop; `shift` makes it jump."""

    def __init__(self, epoch: float = 1_790_000_000.0) -> None:
        self.epoch = epoch

    def now(self) -> float:
        return self.epoch + asyncio.get_running_loop().time()

    def shift(self, seconds: float) -> None:
        """Let the wall clock jump, as an NTP correction does."""
        self.epoch += seconds


def run(main: Coroutine[Any, Any, T]) -> T:
    """Run `main` in virtual time and return its result; tasks left behind are an error."""
    loop = VirtualLoop()
    try:
        result = loop.run_until_complete(main)
        left = [task for task in asyncio.all_tasks(loop) if not task.done()]
        if left:
            raise AssertionError(f"tasks left behind: {', '.join(task.get_name() for task in left)}")
        return result
    finally:
        if rest := asyncio.all_tasks(loop):
            for task in rest:
                task.cancel()
            loop.run_until_complete(asyncio.wait(rest))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


async def until(moment: float) -> None:
    """Sleep until the running loop's clock shows `moment`; not at all when it has passed."""
    left = moment - asyncio.get_running_loop().time()
    if left > 0:
        await asyncio.sleep(left)


class SettableClock:
    """A wall clock that a test moves, for programs on a real event loop."""

    def __init__(self, now: float) -> None:
        self.time = now

    def now(self) -> float:
        """What it shows."""
        return self.time
