"""Many keys at once, each key in order: the level-triggered work queue.

A key that is added while it waits is worked once; a key that is added while it is being worked is worked again
afterwards. What there is to do is read by the worker when it starts, so nothing but keys is queued and the queue
cannot grow beyond the number of things there are.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyedQueue(Generic[K]):
    """Runs `work(key)` for every added key with at most `workers` keys at once."""

    def __init__(self, work: Callable[[K], Awaitable[None]], *, workers: int, name: str) -> None:
        self._work = work
        self._workers = workers
        self._name = name
        self._waiting: dict[K, None] = {}
        self._running: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, key: K) -> None:
        """Ask for `work(key)` as soon as there is room and the key is not being worked."""
        self._cancel_timer(key)
        self._waiting.setdefault(key)
        self._idle.clear()
        self._wake.set()

    def add_later(self, key: K, seconds: float) -> None:
        """Ask for `work(key)` after `seconds`; the earliest of several wishes counts."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None and timer.when() <= loop.time() + seconds:
            return
        self._cancel_timer(key)
        self._timers[key] = loop.call_later(max(0.0, seconds), self.add, key)

    def forget(self, key: K) -> None:
        """Drop a wish that has not begun."""
        self._cancel_timer(key)
        self._waiting.pop(key, None)
        self._note_idle()

    async def idle(self) -> None:
        """Return when nothing waits and nothing runs (timers do not count)."""
        await self._idle.wait()

    async def run(self) -> None:
        """Work until cancelled. An error that `work` lets out ends the queue: catching is the worker's decision.

        What was not finished then waits for the next `run`.
        """
        slots = asyncio.Semaphore(self._workers)
        try:
            async with asyncio.TaskGroup() as group:
                while True:
                    await self._wake.wait()
                    self._wake.clear()
                    for key in [key for key in self._waiting if key not in self._running]:
                        await slots.acquire()
                        if key not in self._waiting:  # forgotten while it waited for room
                            slots.release()
                            continue
                        del self._waiting[key]
                        self._running.add(key)
                        group.create_task(self._one(key, slots), name=f"{self._name} {key}")
        finally:
            for key in [*self._running, *self._timers]:
                self.add(key)
            self._running.clear()

    async def _one(self, key: K, slots: asyncio.Semaphore) -> None:
        await self._work(key)
        # Only here: a key whose work was broken off stays in `_running`, from where `run` takes it up again.
        self._running.discard(key)
        slots.release()
        if self._waiting:
            self._wake.set()
        self._note_idle()

    def _note_idle(self) -> None:
        if not self._waiting and not self._running:
            self._idle.set()

    def _cancel_timer(self, key: K) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
