"""Waiting in tests of real processes: poll until something is so, and say what was seen last when it never was."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")

INTERVAL = 0.05


def eventually(look: Callable[[], T], accept: Callable[[T], object] = bool, *, within: float = 30) -> T:
    """What `look` gives as soon as `accept` takes it; `AssertionError` with what was seen last when time is over.

    An `AssertionError` or `OSError` of `look` means "not yet".
    """
    deadline = time.monotonic() + within
    while True:
        try:
            seen = look()
            if accept(seen):
                return seen
            last = repr(seen)
        except (AssertionError, OSError) as problem:
            last = str(problem)
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within:g} s; seen last: {last}")
        time.sleep(INTERVAL)


async def comes_true(look: Callable[[], object], *, within: float = 30) -> None:
    """The same inside an event loop: return as soon as `look` gives something true."""
    deadline = time.monotonic() + within
    while not look():
        if time.monotonic() > deadline:
            raise AssertionError(f"not so within {within:g} s")
        await asyncio.sleep(0.01)


async def listening(port: int, *, within: float = 30) -> None:
    """Return when a port of the loopback takes connections. Raises `TimeoutError`."""
    async with asyncio.timeout(within):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.02)
            else:
                writer.close()
                return
