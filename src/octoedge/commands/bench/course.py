"""One run: scenario after scenario; what each found is kept at once, what fails costs its own figures only.

    scenario ─► samples, or why not ─► record, table and page ─► the next

Scenarios with an installation share one; after a failure the next ones get a new one.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager

from octoedge.commands.bench.record import Record
from octoedge.commands.bench.report import Samples
from octoedge.commands.bench.scenarios import Scenario
from octoedge.commands.bench.world import World
from octoedge.errors import OctoedgeError, first_of

Installation = Callable[[], AbstractAsyncContextManager[World]]
Keep = Callable[[Record], None]


class Course:
    """A run of some scenarios."""

    def __init__(self, chosen: Sequence[Scenario], record: Record, taken: str, keep: Keep) -> None:
        self.record = record
        self.failures = 0
        self._chosen = chosen
        self.taken = taken
        self._keep = keep
        self._began = time.monotonic()
        self._done = 0

    async def run(self, installation: Installation) -> None:
        """Measure all; what a scenario raises is its own affair."""
        for scenario in self._chosen:
            if scenario.alone is not None:
                await self._measured(scenario, scenario.alone)
        left = deque(scenario for scenario in self._chosen if scenario.within is not None)
        while left:
            self._say("bringing an installation up for measuring …")
            try:
                await self._within(installation, left)
            except OctoedgeError as error:
                traceback.print_exception(error)
                self._fail(left, f"no installation: {error}")
                return

    async def _within(self, installation: Installation, left: deque[Scenario]) -> None:
        """As many as one installation takes: until the end, or to the first that fails."""
        async with installation() as world:
            while left:
                scenario = left.popleft()
                assert scenario.within is not None
                within = scenario.within
                if not await self._measured(scenario, lambda within=within: within(world)):  # type: ignore[misc]
                    return

    async def _measured(self, scenario: Scenario, measure: Callable[[], Awaitable[Samples]]) -> bool:
        """Whether it went well."""
        self._done += 1
        self._say(f"[{self._done}/{len(self._chosen)}] {scenario.title} … ({self._times()})")
        began = time.monotonic()
        try:
            samples = await measure()
        except Exception as error:
            traceback.print_exception(error)
            self._fail([scenario], _why(error))
            return False
        self.record = self.record.measured(scenario.title, samples, self.taken, time.monotonic() - began)
        self._keep(self.record)
        return True

    def _fail(self, scenarios: Iterable[Scenario], why: str) -> None:
        for scenario in scenarios:
            self.failures += 1
            self.record = self.record.failed(scenario.figures(), why, self.taken)
        self._keep(self.record)

    def _times(self) -> str:
        passed = f"{(time.monotonic() - self._began) / 60:.0f} min passed"
        rest = [self.record.seconds.get(scenario.title) for scenario in self._chosen[self._done - 1 :]]
        known = [seconds for seconds in rest if seconds is not None]
        return f"{passed}, about {sum(known) / 60:.0f} min to go" if len(known) == len(rest) else passed

    @staticmethod
    def _say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)


def _why(error: BaseException) -> str:
    first = first_of(error)
    return str(first) if isinstance(first, OctoedgeError) else f"{type(first).__name__}: {first}"
