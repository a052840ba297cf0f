"""Few commands start at once: each costs the runtime several processes, and many together would stop it for minutes.

A turn is held until the command has surely begun, or has ended; who finds no turn waits, and is refused in the end.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

from octoedge.errors import ApiError

AT_ONCE = 16
START_SECONDS = 1.0
"""A command that has not ended by then has begun."""
PATIENCE_SECONDS = 25.0
"""The cloud gives a node 30 s to answer."""


class Starts:
    """The turns of one node."""

    def __init__(self) -> None:
        self._turns = asyncio.Semaphore(AT_ONCE)

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[Callable[[], None]]:
        """A turn; it is given back `START_SECONDS` after what is yielded was called, or at the end of the context.

        `ApiError` 503 when there was none to be had.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._turns.acquire()
        except TimeoutError as error:
            text = (
                f"this node has been starting {AT_ONCE} commands at once for {PATIENCE_SECONDS:.0f} s; try again later"
            )
            raise ApiError(503, "ServiceUnavailable", text) from error
        held = _Held(self._turns)
        try:
            yield held.begun
        finally:
            held.give_back()


class _Held:
    """A turn that somebody has."""

    def __init__(self, turns: asyncio.Semaphore) -> None:
        self._turns: asyncio.Semaphore | None = turns
        self._timer: asyncio.TimerHandle | None = None

    def begun(self) -> None:
        """The command starts now."""
        self._timer = asyncio.get_running_loop().call_later(START_SECONDS, self.give_back)

    def give_back(self) -> None:
        """Let somebody else start; once is enough."""
        if self._timer is not None:
            self._timer.cancel()
        if self._turns is not None:
            self._turns.release()
            self._turns = None
