"""Virtual time: it jumps, it keeps order, it finds deadlocks and forgotten tasks, and it waits for threads."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from octoedge.testing.clock import Deadlock, VirtualClock, VirtualLoop, run


def test_hours_cost_nothing() -> None:
    async def main() -> float:
        await asyncio.sleep(36_000)
        return asyncio.get_running_loop().time()

    began = time.monotonic()
    assert run(main()) == 36_000
    assert time.monotonic() - began < 10


def test_years_pass_too() -> None:
    """Where a float no longer holds nanoseconds, timers still fire."""

    async def main() -> float:
        for _ in range(1000):
            await asyncio.sleep(86_400.1)
        return asyncio.get_running_loop().time()

    assert run(main()) == pytest.approx(86_400_100)


def test_no_timer_fires_early() -> None:
    """Who looks at the clock and waits for the rest would otherwise do so for ever."""

    async def main() -> None:
        loop = asyncio.get_running_loop()
        for number in range(1, 200):
            fired = loop.create_future()
            loop.call_at(due := loop.time() + 1e-8 / number, fired.set_result, None)
            await fired
            assert loop.time() >= due

    run(main())


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main() -> list[float]:
        seen: list[float] = []

        async def at(seconds: float) -> None:
            await asyncio.sleep(seconds)
            seen.append(seconds)

        async with asyncio.TaskGroup() as group:
            for seconds in (3, 0.1, 2, 0.2, 0.3, 1e-6):
                group.create_task(at(seconds))
        return seen

    assert run(main()) == [1e-6, 0.1, 0.2, 0.3, 2, 3]


def test_deadlines_count_in_virtual_time() -> None:
    async def main() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        assert asyncio.get_running_loop().time() == 3600

    run(main())


def test_the_wall_clock_follows_and_can_jump() -> None:
    async def main() -> None:
        clock = VirtualClock(1000.0)
        await asyncio.sleep(50)
        assert clock.now() == 1050
        clock.shift(-3600)
        assert clock.now() == -2550
        assert asyncio.get_running_loop().time() == 50

    run(main())


def test_a_deadlock_is_an_error() -> None:
    loop = VirtualLoop(patience=0.01)
    try:
        with pytest.raises(Deadlock):
            loop.run_until_complete(asyncio.Event().wait())
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()


def test_a_task_left_behind_is_an_error_that_names_it() -> None:
    async def main() -> None:
        asyncio.get_running_loop().create_task(asyncio.sleep(3600), name="forgotten")

    with pytest.raises(AssertionError, match="tasks left behind: forgotten"):
        run(main())


def test_the_errors_of_the_program_come_out_and_its_tasks_end_properly() -> None:
    ended: list[str] = []

    async def beside() -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            await asyncio.sleep(1)
            ended.append("beside")

    async def main() -> None:
        task = asyncio.get_running_loop().create_task(beside())
        await asyncio.sleep(1)
        raise ValueError(task.get_name())

    with pytest.raises(ValueError, match="Task"):
        run(main())
    assert ended == ["beside"]


def test_threads_are_waited_for() -> None:
    async def main() -> str:
        done = threading.Event()

        def work() -> str:
            done.wait(0.05)
            return "answer"

        return await asyncio.to_thread(work)

    assert run(main()) == "answer"
