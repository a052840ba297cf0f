"""Calls of drivers and authors: each has an end, and what it raises is an error of its device."""

from __future__ import annotations

import asyncio
from typing import Any

from octoedge.errors import DeviceError, OctoedgeError


async def within(seconds: float, work: Any, why: str) -> Any:
    """What comes of it. Raises `DeviceError` with `why` when nothing does by then."""
    try:
        async with asyncio.timeout(seconds):
            found = await _plainly(work)
    except Exception as error:
        _heed_cancellation(error)
        if isinstance(error, TimeoutError):
            raise DeviceError(f"{why} within {seconds:g} s") from error
        raise
    _heed_cancellation()
    return found


def _heed_cancellation(instead: Exception | None = None) -> None:
    """A library may lose one, as `asyncio.wait_for` of Python 3.11 does when an answer or an error comes just then."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from instead


async def _plainly(work: Any) -> Any:
    """A cancellation is a `CancelledError`: deadlines look for that type, and libraries have kinds of their own."""
    try:
        return await work
    except asyncio.CancelledError as error:
        _heed_cancellation()
        # Nobody told this task to end: what the author awaited was cancelled, which is an error of the device.
        raise DeviceError("it waited for something that was cancelled") from error


async def guarded(work: Any) -> Any:
    """What drivers and authors raise, as errors of this device."""
    try:
        return await work
    except (OctoedgeError, asyncio.CancelledError, TimeoutError):
        raise
    except Exception as error:
        raise DeviceError(f"{type(error).__name__}: {error}") from error
