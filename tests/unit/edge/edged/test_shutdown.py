"""A machine that goes down ends its pods in order; an agent that stops ends none."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged.shutdown import Step, grace, groups, steps
from octoedge.errors import ConfigError
from octoedge.testing.clock import run
from octoedge.testing.cri import Program
from octoedge.testing.node import World, condition, container, is_running, pod

CRITICAL = 2_000_000_000


def make(name: str, priority: int = 0, **spec: Any) -> Pod:
    return view(Pod, msgspec.json.encode(pod(name, priority=priority, **spec)))


def test_two_periods_are_two_steps() -> None:
    assert steps(30.0, 10.0) == (Step(0, 20.0), Step(CRITICAL, 10.0))
    assert steps(0.0, 0.0) == ()
    assert steps(0.0, 0.0, [(1000, 30.0), (-5, 10.0)]) == (Step(-5, 10.0), Step(1000, 30.0))


@pytest.mark.parametrize("wrong", [(10.0, 20.0, []), (10.0, 0.0, [(0, 5.0)])])
def test_what_does_not_fit_together_is_refused(wrong: tuple[float, float, list[tuple[int, float]]]) -> None:
    with pytest.raises(ConfigError, match="shutdownGracePeriod"):
        steps(*wrong)


def test_each_pod_ends_with_its_priority() -> None:
    plan = steps(0.0, 0.0, [(0, 5.0), (1000, 60.0), (CRITICAL, 10.0)])
    pods = [make("a"), make("below", -7), make("b", 1000), make("c", 1500), make("d", CRITICAL)]
    found = {step.priority: [one.metadata.name for one in members] for step, members in groups(pods, plan)}
    assert found == {0: ["a", "below"], 1000: ["b", "c"], CRITICAL: ["d"]}
    assert grace(make("a"), plan[0]) == 5.0
    assert grace(make("b"), plan[1]) == 30.0


@given(st.lists(st.integers(-100, 100)), st.lists(st.integers(-100, 100), min_size=1, unique=True))
def test_nobody_is_forgotten_and_the_order_holds(priorities: list[int], rows: list[int]) -> None:
    plan = steps(0.0, 0.0, [(row, 1.0) for row in rows])
    pods = [make(f"p{index}", priority) for index, priority in enumerate(priorities)]
    found = groups(pods, plan)
    assert sorted(one.metadata.name for _, members in found for one in members) == sorted(
        one.metadata.name for one in pods
    )
    highest = [max(one.spec.priority for one in members) for _, members in found]
    assert highest == sorted(highest)


async def up(world: World, name: str, **spec: Any) -> None:
    world.runtime.programs[("obeys",)] = Program(on_term=0)
    await world.metadata.put("pod", pod(name, containers=[container("main", "obeys")], **spec))
    await world.metadata.until_status(f"uid-{name}", is_running)


def test_the_machine_goes_down(tmp_path: Path) -> None:
    async def goes_down() -> bool:
        return True

    async def main() -> None:
        world = World(tmp_path)
        async with world.edged(shutdown=steps(30.0, 10.0), stopping=goes_down) as edged:
            await up(world, "critical", priority=CRITICAL)
            await up(world, "plain")
            stubborn = pod("stubborn", terminationGracePeriodSeconds=600)
            await world.metadata.put("pod", stubborn)
            await world.metadata.until_status("uid-stubborn", is_running)
            began = asyncio.get_running_loop().time()
            assert edged.drain_seconds >= 30
            draining = asyncio.ensure_future(edged.drain())
            await asyncio.sleep(5)
            assert world.metadata.status("uid-plain")["phase"] == "Failed"
            assert is_running(world.metadata.status("uid-critical"))
            # Who comes now is turned away.
            await world.metadata.put("pod", pod("late"))
            late = await world.metadata.until_status("uid-late", lambda s: s.get("phase") == "Failed")
            assert late["reason"] == "NodeShutdown"
            await draining
            assert asyncio.get_running_loop().time() - began < 31
            assert world.runtime.running() == []
            status = world.metadata.status("uid-critical")
            assert (status["reason"], status["message"]) == (
                "Terminated", "Pod was terminated in response to imminent node shutdown.",
            )  # fmt: skip
            ready = condition(world.metadata.node_statuses[-1], "Ready")
            assert (ready["status"], ready["message"]) == ("False", "node is shutting down")

    run(main())


def test_an_agent_that_stops_ends_no_pod(tmp_path: Path) -> None:
    async def main() -> None:
        world = World(tmp_path)
        async with world.edged(shutdown=steps(30.0, 10.0)) as edged:
            await up(world, "plain")
            await edged.drain()
            await asyncio.sleep(60)
            assert is_running(world.metadata.status("uid-plain"))

    run(main())
