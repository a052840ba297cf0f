"""Memory goes back to the kernel after a crowd, and nothing is done for a process that is as it was."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from octoedge.runtime.memory import GivesBack, open_files, resident, trim
from octoedge.testing.clock import run

MIB = 1 << 20
LOOK = 10


class Process:
    """Memory that a trim lets fall to what is in use."""

    def __init__(self) -> None:
        self.used = self.held = 60 * MIB
        self.files = 20
        self.trims = 0

    def use(self, size: int, files: int) -> None:
        self.used, self.files = size, files
        self.held = max(self.held, size)

    def trim(self) -> None:
        self.trims += 1
        self.held = self.used


def watched(story: Callable[[Process], Coroutine[Any, Any, None]]) -> Process:
    process = Process()

    async def main() -> None:
        module = GivesBack(lambda: process.held, lambda: process.files, process.trim)
        task = asyncio.get_running_loop().create_task(module.run(lambda: None))
        await story(process)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    return process


def test_what_a_crowd_took_goes_back_though_nobody_saw_it() -> None:
    async def story(process: Process) -> None:
        await asyncio.sleep(LOOK + 1)
        process.use(130 * MIB, 1000)
        process.use(62 * MIB, 20)
        await asyncio.sleep(3 * LOOK)
        assert process.held == 62 * MIB

    assert watched(story).trims == 1


def test_a_crowd_that_stays_for_an_hour_leaves_nothing_behind() -> None:
    async def story(process: Process) -> None:
        await asyncio.sleep(1)
        process.use(130 * MIB, 1000)
        await asyncio.sleep(3600)
        assert (process.held, process.trims) == (130 * MIB, 1)
        process.use(62 * MIB, 20)
        await asyncio.sleep(3 * LOOK)
        assert process.held == 62 * MIB

    assert watched(story).trims == 2


@pytest.mark.parametrize("step", [0, 1000])
def test_a_process_that_is_as_it_was_or_grows_slowly_is_left_alone(step: int) -> None:
    async def story(process: Process) -> None:
        for _ in range(2000):
            process.use(process.used + step, 20)
            await asyncio.sleep(LOOK)

    assert watched(story).trims == 0


def test_it_waits_while_memory_still_grows() -> None:
    async def story(process: Process) -> None:
        for number in range(20):
            process.use((60 + 5 * number) * MIB, 20)
            await asyncio.sleep(LOOK)
            assert process.trims == 0
        await asyncio.sleep(3 * LOOK)

    assert watched(story).trims == 1


def test_this_process_has_memory_and_files_and_can_be_trimmed() -> None:
    trim()
    assert resident() > MIB
    assert open_files() >= 3
