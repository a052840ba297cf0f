"""Probes in virtual time: thresholds, order, and what a restart of edged must not change."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

from octoedge.api.core import Pod, view
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.observed import ContainerSeen, Health, History, PodSeen
from octoedge.edge.edged.probes import Prober
from octoedge.testing import node
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime
from octoedge.testing.metadata import MemoryMetadata

EXEC = {"exec": {"command": ["check"]}}


class Desk:
    """One pod with one running container, whose checks a test answers."""

    def __init__(self, probes: dict[str, Any], status: dict[str, Any] | None = None) -> None:
        clock = VirtualClock()
        self.runtime = MemoryRuntime(clock, images=("edge.local/busybox:1",))
        self.runtime.run_command = self.answer
        self.recorder = Recorder(node.NODE, MemoryMetadata(clock), clock)
        self.changed: list[float] = []
        self.asked: list[float] = []
        self.healthy = True
        self.history = History()
        obj = node.pod(containers=[node.container(**probes)])
        obj["status"].update(status or {})
        self.pod: Pod = view(Pod, msgspec.json.encode(obj))
        self.prober = Prober(self.runtime, lambda _: self.changed.append(self.now()), self.recorder)

    def now(self) -> float:
        return round(asyncio.get_running_loop().time(), 3)

    def answer(self, _container: str, _command: tuple[str, ...]) -> f.ExecSyncResponse:
        self.asked.append(self.now())
        return f.ExecSyncResponse(exit_code=0 if self.healthy else 1, stderr=b"" if self.healthy else b"ill")

    async def start(self) -> str:
        sandbox = f.SandboxConfig(f.SandboxMetadata("web", "uid-web", "default"))
        sandbox_id = await self.runtime.run_sandbox(sandbox)
        image = self.runtime.images["edge.local/busybox:1"].id
        config = f.ContainerConfig(f.ContainerMetadata("main"), f.ImageSpec(image))
        container_id = await self.runtime.create_container(sandbox_id, config, sandbox)
        await self.runtime.start_container(container_id)
        self.track(container_id)
        return container_id

    def track(self, container_id: str, state: ContainerState = ContainerState.RUNNING) -> None:
        container = ContainerSeen(container_id, "s", "main", 0, state)
        self.prober.track("uid-web", self.pod, PodSeen("uid-web", "default", "web", (), (container,)), self.history)


def scenario(desk: Callable[[], Desk], body: Callable[[Desk, str], Awaitable[None]]) -> None:
    async def main() -> None:
        made = desk()
        async with asyncio.TaskGroup() as group:
            prober = group.create_task(made.prober.run())
            await body(made, await made.start())
            prober.cancel()

    run(main())


def test_readiness_comes_with_the_first_success_and_goes_with_the_threshold() -> None:
    probe = {**EXEC, "periodSeconds": 5, "initialDelaySeconds": 2, "failureThreshold": 2}

    async def body(desk: Desk, container: str) -> None:
        assert desk.history.ready == {container: False}
        await asyncio.sleep(3)
        assert desk.history.ready == {container: True}
        desk.healthy = False
        await asyncio.sleep(5)
        assert desk.history.ready == {container: True}
        await asyncio.sleep(5)
        assert desk.history.ready == {container: False}
        assert desk.asked == [2, 7, 12]
        assert desk.changed == [2, 12]

    scenario(lambda: Desk({"readinessProbe": probe}), body)


def test_a_failing_liveness_probe_asks_for_a_stop_once() -> None:
    probe = {**EXEC, "periodSeconds": 1, "failureThreshold": 3, "terminationGracePeriodSeconds": 4}

    async def body(desk: Desk, container: str) -> None:
        desk.healthy = False
        await asyncio.sleep(10)
        assert desk.history.health == {container: Health.FAILED}
        assert desk.history.stop_messages == {container: "Container main failed liveness probe, will be restarted"}
        assert desk.history.stop_graces == {container: 4.0}
        assert desk.asked == [0, 1, 2]
        assert desk.changed == [2]

    scenario(lambda: Desk({"livenessProbe": probe}), body)


def test_the_others_wait_for_the_startup_probe() -> None:
    probes = {
        "startupProbe": {**EXEC, "periodSeconds": 1, "failureThreshold": 30},
        "readinessProbe": {"exec": {"command": ["ready"]}, "periodSeconds": 1},
    }

    async def body(desk: Desk, container: str) -> None:
        desk.healthy = False
        await asyncio.sleep(5.5)
        assert desk.history.health == {container: Health.STARTING}
        assert len(desk.asked) == 6
        desk.healthy = True
        await asyncio.sleep(2)
        assert desk.history.health == {container: Health.STARTED}
        assert desk.history.ready == {container: True}

    scenario(lambda: Desk(probes), body)


def test_a_ready_container_stays_ready_over_a_restart_of_edged() -> None:
    known = {"name": "main", "ready": True, "started": True, "restartCount": 0, "image": "", "imageID": "",
             "containerID": "memory://container-0002"}  # fmt: skip

    async def body(desk: Desk, container: str) -> None:
        assert container == "container-0002"
        assert desk.history.ready == {container: True}
        await asyncio.sleep(11)
        assert len(desk.asked) in (1, 2)
        assert desk.changed == []

    scenario(lambda: Desk({"readinessProbe": EXEC}, {"containerStatuses": [known]}), body)


def test_a_container_that_ended_is_not_probed_any_more() -> None:
    async def body(desk: Desk, container: str) -> None:
        await asyncio.sleep(1)
        desk.track(container, ContainerState.EXITED)
        await asyncio.sleep(60)
        assert len(desk.asked) == 1

    scenario(lambda: Desk({"livenessProbe": EXEC}), body)


def test_a_runtime_that_is_away_says_nothing_about_a_container() -> None:
    async def body(desk: Desk, container: str) -> None:
        await asyncio.sleep(1)
        desk.runtime.set_away(True)
        await asyncio.sleep(120)
        assert desk.history.ready == {container: True}
        assert desk.history.health == {}

    scenario(lambda: Desk({"readinessProbe": EXEC, "livenessProbe": EXEC}), body)
