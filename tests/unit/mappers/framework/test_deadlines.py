"""A call of a driver that loses its cancellation ends its task all the same."""

from __future__ import annotations

import asyncio

import pytest

from octoedge.errors import DeviceError
from octoedge.mappers.framework.deadlines import guarded, within
from octoedge.testing.clock import run


async def _loses_it(ends: Exception | None) -> str:
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        if ends is not None:
            raise ends from None
    return "an answer"


@pytest.mark.parametrize("ends", [None, OSError("refused"), DeviceError("no connection"), TimeoutError()])
def test_a_cancellation_that_a_library_loses_is_heeded(ends: Exception | None) -> None:
    async def main() -> None:
        task = asyncio.get_running_loop().create_task(within(10, guarded(_loses_it(ends)), "no answer"))
        await asyncio.sleep(1)
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())


def test_a_deadline_and_an_error_stay_what_they_are() -> None:
    async def main() -> None:
        with pytest.raises(DeviceError, match="no answer within 10 s"):
            await within(10, guarded(asyncio.Event().wait()), "no answer")
        with pytest.raises(DeviceError, match="OSError: refused"):
            await within(10, guarded(_loses_it(OSError("refused"))), "no answer")

    run(main())


def test_what_an_author_cancels_is_an_error_and_ends_nothing() -> None:
    async def cancels_what_it_awaits() -> None:
        task = asyncio.get_running_loop().create_task(asyncio.sleep(9))
        task.cancel()
        await task

    async def main() -> None:
        with pytest.raises(DeviceError, match="was cancelled"):
            await within(10, guarded(cancels_what_it_awaits()), "no answer")

    run(main())
