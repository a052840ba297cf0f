"""Dead containers: how many are kept, and how long."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from octoedge.edge.edged.deadgc import DeadPolicy, young
from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.observed import PodSeen
from octoedge.testing.cri import Program
from octoedge.testing.node import World, container, pod, scenario

CRASHES = Program(seconds=1, exit_code=1)


@pytest.mark.parametrize(
    ("policy", "left"),
    [
        (DeadPolicy(), 2),
        (DeadPolicy(per_container=3), 4),
        (DeadPolicy(per_container=0), 1),
        (DeadPolicy(per_container=3, at_most=2), 1),
        (DeadPolicy(per_container=0, min_age=86_400.0), 10),
        (DeadPolicy(per_container=0, min_age=400.0), 1),
    ],
)
def test_what_is_left_of_a_container_that_crashes(tmp_path: Path, policy: DeadPolicy, left: int) -> None:
    async def body(world: World, edged: Edged) -> None:
        world.runtime.programs[("crash",)] = CRASHES
        await world.metadata.put("pod", pod(containers=[container("main", "crash")]))
        await asyncio.sleep(1500)
        assert world.runtime.starts == {("uid-web", "main"): 10}
        assert len(world.runtime.containers) == left

    scenario(tmp_path, body, dead=policy)


def test_what_is_too_young_goes_when_it_is_old_enough(tmp_path: Path) -> None:
    async def body(world: World, edged: Edged) -> None:
        world.runtime.programs[("crash",)] = CRASHES
        await world.metadata.put("pod", pod(containers=[container("main", "crash")]))
        await asyncio.sleep(40)
        before = len(world.runtime.containers)
        world.runtime.programs[("crash",)] = Program()
        await asyncio.sleep(2000)
        assert before > len(world.runtime.containers) == 1

    scenario(tmp_path, body, dead=DeadPolicy(per_container=0, min_age=600.0))


def test_nothing_is_young_where_no_age_is_asked_for() -> None:
    assert young(DeadPolicy(), PodSeen("u", "", "", (), ()), 0.0) == {}
