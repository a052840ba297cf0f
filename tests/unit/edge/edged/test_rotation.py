"""Log rotation in virtual time."""

from __future__ import annotations

import asyncio
from pathlib import Path

from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.observe import Observer
from octoedge.edge.edged.observed import ContainerSeen, PodSeen
from octoedge.edge.edged.rotation import Rotation, RotationSettings
from octoedge.errors import CriError
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime


def test_a_log_that_grew_is_rotated_and_the_oldest_go(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        runtime = MemoryRuntime(clock)
        reopened: list[str] = []

        async def reopen(container_id: str) -> None:
            reopened.append(container_id)
            path.touch()

        runtime.reopen_log = reopen  # type: ignore[method-assign]
        observer = Observer(runtime, "edge-1")
        running = ContainerSeen("c", "s", "main", 0, ContainerState.RUNNING)
        observer.pods["u"] = PodSeen("u", "default", "web", (), (running,))
        layout = Layout(tmp_path, tmp_path)
        path = layout.log_file("default", "web", "u", "main", 0)
        path.parent.mkdir(parents=True)
        rotation = Rotation(RotationSettings(size=100, files=3), runtime, observer, layout, clock)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rotation.run())
            for _ in range(4):
                path.write_bytes(b"x" * 101)
                await asyncio.sleep(10.5)
            assert path.read_bytes() == b""
            assert len(reopened) == 4
            assert len(list(path.parent.iterdir())) == 3
            path.write_bytes(b"y" * 99)
            await asyncio.sleep(60)
            assert len(reopened) == 4
            task.cancel()

    run(main())


def test_a_runtime_that_does_not_reopen_keeps_its_file(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        runtime = MemoryRuntime(clock)
        runtime.fail_next("reopen_log", CriError("ReopenContainerLog", 2, "no"))
        observer = Observer(runtime, "edge-1")
        running = ContainerSeen("c", "s", "main", 0, ContainerState.RUNNING)
        observer.pods["u"] = PodSeen("u", "default", "web", (), (running,))
        layout = Layout(tmp_path, tmp_path)
        path = layout.log_file("default", "web", "u", "main", 0)
        path.parent.mkdir(parents=True)
        path.write_bytes(b"x" * 101)
        rotation = Rotation(RotationSettings(size=100), runtime, observer, layout, clock)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rotation.run())
            await asyncio.sleep(11)
            assert list(path.parent.iterdir()) == [path]
            task.cancel()

    run(main())
