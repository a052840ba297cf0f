"""Modules start in the order of their needs, stop in the reverse one, and a failure is never silent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from octoedge.errors import ModuleFailed
from octoedge.runtime.supervisor import Supervisor
from octoedge.testing.clock import run


@dataclass
class Recorded:
    """A module that writes down what happens to it."""

    name: str
    story: list[str]
    needs: tuple[str, ...] = ()
    ready_after: float = 1.0
    stop_takes: float = 0.0
    fails_after: float | None = None
    error: BaseException = field(default_factory=lambda: ValueError("boom"))
    restart: bool = False
    runs: int = 0
    times: list[float] = field(default_factory=list)

    async def run(self, ready: Callable[[], None]) -> None:
        self.runs += 1
        self.times.append(asyncio.get_running_loop().time())
        self.story.append(f"{self.name} starts")
        try:
            if self.fails_after is not None:
                await asyncio.sleep(self.fails_after)
                raise self.error
            await asyncio.sleep(self.ready_after)
            self.story.append(f"{self.name} ready")
            ready()
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(self.stop_takes)
            self.story.append(f"{self.name} ends")


@dataclass
class Draining(Recorded):
    """… and finishes what is under way."""

    drain_takes: float = 1.0
    drain_fails: bool = False

    async def drain(self) -> None:
        self.story.append(f"{self.name} drains")
        await asyncio.sleep(self.drain_takes)
        if self.drain_fails:
            raise ValueError("cannot drain")
        self.story.append(f"{self.name} drained")


def supervised(supervisor: Supervisor, then: Callable[[], Awaitable[None]]) -> None:
    """Run the supervisor, do something beside it, and return when it has ended."""

    async def main() -> None:
        task = asyncio.create_task(supervisor.run())
        await then()
        await task

    run(main())


def stopped_when_ready(*modules: Recorded) -> Supervisor:
    supervisor = Supervisor(modules)

    async def then() -> None:
        await supervisor.all_ready()
        supervisor.stop()
        supervisor.stop()

    supervised(supervisor, then)
    return supervisor


def test_modules_start_by_their_needs_and_stop_the_other_way_round() -> None:
    story: list[str] = []
    stopped_when_ready(
        Recorded("hub", story, needs=("store",)),
        Recorded("edged", story, needs=("store", "hub")),
        Recorded("store", story),
    )
    assert story == [
        "store starts", "store ready", "hub starts", "hub ready", "edged starts", "edged ready",
        "edged ends", "hub ends", "store ends",
    ]  # fmt: skip


def test_what_nobody_needs_starts_side_by_side() -> None:
    async def main() -> float:
        supervisor = Supervisor([Recorded(str(n), [], ready_after=5) for n in range(10)])
        task = asyncio.create_task(supervisor.run())
        await supervisor.all_ready()
        now = asyncio.get_running_loop().time()
        supervisor.stop()
        await task
        return now

    assert run(main()) == 5


def test_each_module_has_ended_before_the_one_it_needs_is_told() -> None:
    story: list[str] = []
    stopped_when_ready(
        Recorded("store", story),
        Draining("hub", story, needs=("store",), stop_takes=3.0),
    )
    assert story[-4:] == ["hub drains", "hub drained", "hub ends", "store ends"]


def test_draining_has_a_deadline_and_its_failure_stops_nothing(caplog: pytest.LogCaptureFixture) -> None:
    story: list[str] = []
    stopped_when_ready(
        Recorded("store", story),
        Draining("slow", story, needs=("store",), drain_takes=3600),
        Draining("broken", story, needs=("slow",), drain_fails=True),
    )
    assert story[-5:] == ["broken drains", "broken ends", "slow drains", "slow ends", "store ends"]
    assert "module slow did not finish within 5 s" in caplog.text
    assert "module broken failed while it finished" in caplog.text


def test_a_module_that_fails_ends_the_daemon_in_order_with_its_error() -> None:
    story: list[str] = []
    modules = [
        Recorded("store", story),
        Draining("hub", story, needs=("store",)),
        Recorded("edged", story, needs=("store",), fails_after=10),
    ]
    with pytest.raises(ModuleFailed, match="module edged failed: boom") as caught:
        run(Supervisor(modules).run())
    assert isinstance(caught.value.__cause__, ValueError)
    assert story[-5:] == ["edged ends", "hub drains", "hub drained", "hub ends", "store ends"]


def test_a_group_of_one_error_says_what_the_one_says() -> None:
    group = ExceptionGroup("unhandled errors in a TaskGroup", [ExceptionGroup("inner", [ValueError("boom")])])
    with pytest.raises(ModuleFailed, match="module a failed: boom"):
        run(Supervisor([Recorded("a", [], fails_after=1, error=group)]).run())


def test_a_module_that_is_cancelled_from_within_has_failed() -> None:
    with pytest.raises(ModuleFailed, match="module a failed: CancelledError"):
        run(Supervisor([Recorded("a", [], fails_after=1, error=asyncio.CancelledError())]).run())


def test_of_two_failures_the_first_is_told() -> None:
    first = Recorded("a", [], fails_after=1)
    second = Recorded("b", [], fails_after=2, error=ValueError("later"))
    with pytest.raises(ModuleFailed, match="module a failed: boom"):
        run(Supervisor([first, second]).run())


def test_a_module_that_may_restart_does_so_with_growing_pauses(caplog: pytest.LogCaptureFixture) -> None:
    module = Recorded("hub", [], fails_after=0.0, restart=True)
    supervisor = Supervisor([module])

    async def then() -> None:
        await asyncio.sleep(600)
        supervisor.stop()

    with caplog.at_level(logging.CRITICAL):
        supervised(supervisor, then)
    gaps = [later - earlier for earlier, later in zip(module.times, module.times[1:], strict=False)]
    assert 0.4 <= gaps[0] <= 0.6
    assert 15 < len(gaps) < 40
    assert 24 <= max(gaps) <= 36


def test_a_module_that_ran_long_restarts_soon(caplog: pytest.LogCaptureFixture) -> None:
    module = Recorded("hub", [], fails_after=100.0, restart=True)
    supervisor = Supervisor([module])

    async def then() -> None:
        await asyncio.sleep(99)
        assert supervisor.failed == frozenset()
        await asyncio.sleep(1.3)
        assert supervisor.failed == {"hub"}
        await asyncio.sleep(949.7)
        assert supervisor.failed == frozenset()
        supervisor.stop()

    with caplog.at_level(logging.CRITICAL):
        supervised(supervisor, then)
    assert module.runs == 11


def test_a_module_that_returns_is_ready_and_the_rest_goes_on() -> None:
    @dataclass
    class Once:
        name: str = "once"
        needs: tuple[str, ...] = ()

        async def run(self, ready: Callable[[], None]) -> None:
            """Does something at start-up only."""

    story: list[str] = []
    supervisor = Supervisor([Once(), Recorded("next", story, needs=("once",))])

    async def then() -> None:
        await supervisor.all_ready()
        await asyncio.sleep(1000)
        supervisor.stop()

    supervised(supervisor, then)
    assert story == ["next starts", "next ready", "next ends"]


def test_stopping_before_everything_is_ready_ends_all_the_same() -> None:
    story: list[str] = []
    supervisor = Supervisor([Recorded("store", story, ready_after=1e6), Recorded("hub", story, needs=("store",))])

    async def then() -> None:
        await asyncio.sleep(10)
        assert supervisor.waiting_for == ["store", "hub"]
        supervisor.stop()

    supervised(supervisor, then)
    assert story == ["store starts", "store ends"]


def test_a_slow_start_is_complained_about_by_name(caplog: pytest.LogCaptureFixture) -> None:
    supervisor = Supervisor([Recorded("store", [], ready_after=100), Recorded("hub", [])])

    async def then() -> None:
        await asyncio.sleep(200)
        supervisor.stop()

    supervised(supervisor, then)
    assert "after 60 s not ready yet: store" in caplog.text


def test_cancelling_the_supervisor_stops_in_order_too() -> None:
    story: list[str] = []
    supervisor = Supervisor([Recorded("store", story), Draining("hub", story, needs=("store",))])

    async def main() -> None:
        task = asyncio.create_task(supervisor.run())
        await supervisor.all_ready()
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()

    run(main())
    assert story[-4:] == ["hub drains", "hub drained", "hub ends", "store ends"]


def test_a_module_that_clings_to_life_is_named_and_waited_for(caplog: pytest.LogCaptureFixture) -> None:
    story: list[str] = []
    stopped_when_ready(Recorded("stubborn", story, stop_takes=15))
    # Its own ending was cut off by the second cancellation.
    assert story == ["stubborn starts", "stubborn ready"]
    assert "module stubborn does not end although it was cancelled" in caplog.text


def test_needs_that_cannot_be_met_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="module hub needs store, which is not there"):
        Supervisor([Recorded("hub", [], needs=("store",))])
    with pytest.raises(ValueError, match="in a circle: a, b"):
        Supervisor([Recorded("a", [], needs=("b",)), Recorded("b", [], needs=("a",)), Recorded("c", [])])
    with pytest.raises(ValueError, match="of the same name: a, a"):
        Supervisor([Recorded("a", []), Recorded("a", [])])
