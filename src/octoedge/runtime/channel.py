"""Bounded channels between modules: a sender and a receiver, two different objects.

A constructor's signature so shows which way data flows. Closing one end ends the other: a receiver's `async for`
stops once the channel is empty, a sender's `send` raises `ChannelClosed`. The depth is a metric (`len(receiver)`).
"""

from __future__ import annotations

import asyncio
import enum
from collections import deque
from collections.abc import AsyncIterator
from typing import Generic, TypeVar

from octoedge.errors import OctoedgeError

T = TypeVar("T")


class ChannelClosed(OctoedgeError):
    """The other end of the channel is gone."""


class Overflow(enum.Enum):
    """What happens to an item that does not fit."""

    WAIT = "wait"
    """The sender waits until there is room."""
    DROP_OLDEST = "drop-oldest"
    """The oldest item goes; right where only the newest matters."""


class _State(Generic[T]):
    def __init__(self, name: str, capacity: int, overflow: Overflow) -> None:
        if capacity < 1:
            raise ValueError(f"channel {name!r} needs room for at least one item, not {capacity}")
        self.name = name
        self.capacity = capacity
        self.overflow = overflow
        self.items: deque[T] = deque()
        self.dropped = 0
        self.closed = False
        self.changed = asyncio.Condition()

    async def close(self) -> None:
        async with self.changed:
            self.closed = True
            self.changed.notify_all()


class Sender(Generic[T]):
    """The end that puts items in."""

    def __init__(self, state: _State[T]) -> None:
        self._state = state

    async def send(self, item: T) -> None:
        """Put one item in; waits for room or drops the oldest, as the channel was made."""
        state = self._state
        async with state.changed:
            while not state.closed and len(state.items) >= state.capacity:
                if state.overflow is Overflow.DROP_OLDEST:
                    state.items.popleft()
                    state.dropped += 1
                else:
                    await state.changed.wait()
            if state.closed:
                raise ChannelClosed(f"channel {state.name} is closed")
            state.items.append(item)
            state.changed.notify_all()

    async def close(self) -> None:
        """No more items will come."""
        await self._state.close()

    @property
    def dropped(self) -> int:
        """How many items have gone because there was no room."""
        return self._state.dropped


class Receiver(Generic[T]):
    """The end that takes items out, in order."""

    def __init__(self, state: _State[T]) -> None:
        self._state = state

    def __len__(self) -> int:
        return len(self._state.items)

    async def receive(self) -> T:
        """The next item; `ChannelClosed` when the channel is closed and empty."""
        state = self._state
        async with state.changed:
            while not state.items:
                if state.closed:
                    raise ChannelClosed(f"channel {state.name} is closed")
                await state.changed.wait()
            item = state.items.popleft()
            state.changed.notify_all()
            return item

    async def close(self) -> None:
        """Nobody will take items any more."""
        await self._state.close()

    async def __aiter__(self) -> AsyncIterator[T]:
        while True:
            try:
                yield await self.receive()
            except ChannelClosed:
                return


def channel(name: str, capacity: int, overflow: Overflow = Overflow.WAIT) -> tuple[Sender[T], Receiver[T]]:
    """Make a channel with room for `capacity` items."""
    state: _State[T] = _State(name, capacity, overflow)
    return Sender(state), Receiver(state)
