"""Rotates container logs, so that a talkative container does not fill the disk.

    0.log ──rename──► 0.log.20261121-020304     then the runtime opens a new 0.log; the oldest go

The runtime only writes; nobody but the kubelet's place rotates.
"""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import msgspec

from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.observe import Observer
from octoedge.errors import OctoedgeError
from octoedge.runtime.clock import Clock, rfc3339

log = logging.getLogger(__name__)


class RotationSettings(msgspec.Struct, frozen=True):
    """When a log is rotated."""

    size: int = 10 << 20
    """Bytes; 0 or less: never."""
    files: int = 5
    """Files kept per container instance, the current one included."""
    interval: float = 10.0
    """Seconds between two looks."""


class Rotation:
    """Looks after the logs of running containers."""

    def __init__(
        self, settings: RotationSettings, runtime: ContainerRuntime, observer: Observer, layout: Layout, clock: Clock
    ) -> None:
        self._settings = settings
        self._runtime = runtime
        self._observer = observer
        self._layout = layout
        self._clock = clock

    async def run(self) -> None:
        """Rotate until cancelled."""
        if self._settings.size <= 0:
            return
        while True:
            await asyncio.sleep(self._settings.interval)
            for container_id, path in self._large():
                try:
                    await self._rotate(container_id, path)
                except (OSError, OctoedgeError) as error:
                    log.warning("log %s cannot be rotated: %s", path, error)

    def _large(self) -> list[tuple[str, Path]]:
        found = []
        for pod in self._observer.pods.values():
            for container in pod.containers:
                if container.state is ContainerState.RUNNING:
                    path = self._layout.log_file(pod.namespace, pod.name, pod.uid, container.name, container.attempt)
                    if _size(path) > self._settings.size:
                        found.append((container.id, path))
        return found

    async def _rotate(self, container_id: str, path: Path) -> None:
        stamp = "".join(sign for sign in rfc3339(self._clock.now()) if sign.isdigit())
        rotated = path.with_name(f"{path.name}.{stamp[:8]}-{stamp[8:]}")
        os.rename(path, rotated)
        try:
            await self._runtime.reopen_log(container_id)
        except OctoedgeError:
            # The runtime still writes into it: under its own name, so that readers find it.
            os.rename(rotated, path)
            raise
        self._remove_oldest(path)

    def _remove_oldest(self, path: Path) -> None:
        rotated = sorted(path.parent.glob(f"{path.name}.*"), reverse=True)
        for extra in rotated[max(self._settings.files - 1, 0) :]:
            extra.unlink()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
