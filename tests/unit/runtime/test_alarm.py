"""An alarm rings once, at the time that was set last, and makes a timer for a stretch of waiting, not for each set."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from octoedge.runtime.alarm import Alarm
from octoedge.testing.clock import run


class Rung:
    """When it rang, and how many timers that took."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.times: list[float] = []
        self.timers = 0
        self.alarm = Alarm(self, lambda: self.times.append(self.time()))
        self._began = self.time()

    def time(self) -> float:
        return self._loop.time()

    def call_at(self, when: float, callback: Callable[[], object]) -> asyncio.TimerHandle:
        self.timers += 1
        return self._loop.call_at(when, callback)

    def set(self, seconds: float) -> None:
        self.alarm.set(self._began + seconds)

    async def until(self, seconds: float) -> list[float]:
        await asyncio.sleep(self._began + seconds - self.time())
        return [round(time - self._began, 3) for time in self.times]


def test_it_rings_once_at_the_time_that_was_set_last() -> None:
    async def main() -> None:
        rung = Rung()
        rung.set(5.0)
        rung.set(9.0)
        assert await rung.until(8.0) == []
        assert await rung.until(60.0) == [9.0]
        rung.set(70.0)
        rung.set(65.0)
        assert await rung.until(100.0) == [9.0, 65.0]

    run(main())


def test_what_is_put_off_at_every_message_costs_a_timer_for_each_stretch() -> None:
    async def main() -> None:
        rung = Rung()
        for millisecond in range(10_000):
            rung.set(millisecond / 1000 + 5.0)
            await rung.until((millisecond + 1) / 1000)
        assert rung.timers <= 3
        assert await rung.until(60.0) == [14.999]

    run(main())


def test_what_is_off_or_closed_does_not_ring() -> None:
    async def main() -> None:
        rung = Rung()
        rung.set(5.0)
        rung.alarm.off()
        assert await rung.until(10.0) == []
        rung.set(15.0)
        rung.alarm.close()
        assert await rung.until(20.0) == []
        rung.set(25.0)
        assert await rung.until(30.0) == [25.0]

    run(main())
