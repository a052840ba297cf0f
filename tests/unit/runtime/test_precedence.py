"""Turns: the most urgent first, nobody forgotten, a cancelled one passes its turn on."""

from __future__ import annotations

import asyncio

from octoedge.runtime.precedence import Turns
from octoedge.testing.clock import run


def test_the_most_urgent_goes_first_and_equals_in_order() -> None:
    async def main() -> None:
        turns = Turns()
        order: list[str] = []

        async def use(name: str, urgency: int) -> None:
            async with turns.mine(urgency):
                await asyncio.sleep(1)
                order.append(name)

        async with asyncio.TaskGroup() as group:
            for name, urgency in (("first", 4), ("bulk", 4), ("lease", 0), ("pod", 1), ("pod 2", 1)):
                group.create_task(use(name, urgency))
        assert order == ["first", "lease", "pod", "pod 2", "bulk"]

    run(main())


def test_who_is_cancelled_while_waiting_or_just_called_holds_up_nobody() -> None:
    async def main() -> None:
        turns = Turns()
        done: list[str] = []

        async def use(name: str) -> None:
            async with turns.mine(1):
                await asyncio.sleep(1)
                done.append(name)

        async with asyncio.TaskGroup() as group:
            group.create_task(use("a"))
            waiting, called = group.create_task(use("b")), group.create_task(use("c"))
            group.create_task(use("d"))
            await asyncio.sleep(0.5)
            waiting.cancel()
            asyncio.get_running_loop().call_at(1.0, called.cancel)
        assert done == ["a", "d"]
        async with turns.mine(0):
            pass

    run(main())
