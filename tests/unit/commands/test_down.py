"""Ending pods: what the runtime refuses is asked for again, and in the end told as a sentence."""

from __future__ import annotations

import asyncio

import pytest

from octoedge.commands.down import TRIES, end_all
from octoedge.edge.edged import names
from octoedge.edge.edged.cri import fields as f
from octoedge.errors import CriError, InstallError
from octoedge.testing import clock
from octoedge.testing.clock import VirtualClock
from octoedge.testing.cri import MemoryRuntime, Program, image

BUSY = CriError("StopPodSandbox", 2, "unlinkat /run/netns/cni-1: device or resource busy")


async def two_pods(runtime: MemoryRuntime) -> None:
    for node in ("a", "b"):
        labels = {names.NODE: node}
        sandbox = f.SandboxConfig(metadata=f.SandboxMetadata(name=node, uid=node, namespace="x"), labels=labels)
        sandbox_id = await runtime.run_sandbox(sandbox)
        config = f.ContainerConfig(
            metadata=f.ContainerMetadata("web"), image=f.ImageSpec(image("web:1").id), labels=labels
        )
        await runtime.start_container(await runtime.create_container(sandbox_id, config, sandbox))


def test_a_network_that_is_busy_for_a_moment_is_taken_down_at_the_next_try() -> None:
    async def scenario() -> None:
        runtime = memory()
        await two_pods(runtime)
        runtime.fail_next("stop_sandbox", BUSY)
        runtime.fail_next("stop_container", BUSY)
        await end_all(runtime, True)
        assert await runtime.list_sandboxes({}) == ()

    clock.run(scenario())


def test_what_stays_busy_is_a_sentence() -> None:
    async def scenario() -> None:
        runtime = memory()
        await two_pods(runtime)
        for _ in range(2 * TRIES):
            runtime.fail_next("stop_sandbox", BUSY)
        before = asyncio.get_running_loop().time()
        with pytest.raises(
            InstallError, match=r"2 pods or containers could not be ended .* resource busy .*tries again"
        ):
            await end_all(runtime, True)
        assert asyncio.get_running_loop().time() - before >= TRIES - 1

    clock.run(scenario())


def test_pods_of_other_nodes_are_left_alone() -> None:
    async def scenario() -> None:
        runtime = memory()
        await two_pods(runtime)
        await end_all(runtime, True, {names.NODE: "a"})
        assert [sandbox.labels[names.NODE] for sandbox in await runtime.list_sandboxes({})] == ["b"]
        assert len(runtime.running()) == 1

    clock.run(scenario())


def memory() -> MemoryRuntime:
    """A runtime whose containers end when they are asked to."""
    runtime = MemoryRuntime(VirtualClock(), images=("web:1",))
    runtime.programs[()] = Program(on_term=0)
    return runtime
