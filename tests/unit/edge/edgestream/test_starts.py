"""Few commands start at once."""

from __future__ import annotations

import asyncio

import pytest

from octoedge.edge.edgestream.starts import AT_ONCE, PATIENCE_SECONDS, START_SECONDS, Starts
from octoedge.errors import ApiError
from octoedge.testing.clock import run


async def command(starts: Starts, seconds: float, began: list[float]) -> None:
    async with starts.turn() as begun:
        began.append(asyncio.get_running_loop().time())
        begun()
        await asyncio.sleep(seconds)


def test_quick_commands_follow_each_other_and_slow_ones_hold_up_nobody_for_long() -> None:
    async def main(seconds: float) -> list[float]:
        starts, began = Starts(), list[float]()
        async with asyncio.TaskGroup() as group:
            for _ in range(3 * AT_ONCE):
                group.create_task(command(starts, seconds, began))
        return began

    for seconds in (0.1, START_SECONDS * 10):
        waves = sorted(set(run(main(seconds))))
        assert waves == pytest.approx([number * min(seconds, START_SECONDS) for number in range(3)])


def test_who_waited_too_long_is_told_and_a_turn_is_given_back_whatever_happens() -> None:
    async def main() -> None:
        starts = Starts()

        async def never_begins() -> None:
            async with starts.turn():
                await asyncio.Event().wait()

        stuck = [asyncio.create_task(never_begins()) for _ in range(AT_ONCE)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError, match="try again later") as refused:
            await command(starts, 0, [])
        assert refused.value.code == 503
        assert asyncio.get_running_loop().time() == PATIENCE_SECONDS
        for task in stuck:
            task.cancel()
        await asyncio.wait(stuck)
        began: list[float] = []
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(command(starts, 0, began))
        assert len(began) == AT_ONCE

    run(main())
