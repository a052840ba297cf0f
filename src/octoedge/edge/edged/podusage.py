"""What pods use of the node, gathered when the node is short of something: memory, disk, inodes, processes.

Disk is what a pod leaves on this machine: the writable layers of its containers (the runtime knows), its logs and its
emptyDirs (walked, in small steps, so that nothing waits).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable
from pathlib import Path

from octoedge.api.core import Pod
from octoedge.edge.edged import names
from octoedge.edge.edged.cgroups import Cgroups
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.layout import Layout
from octoedge.edge.edged.ranking import PodUse
from octoedge.edge.edged.resources import cgroup_parent

_STEP = 256


class Usage:
    """Looks at what pods use."""

    def __init__(
        self, runtime: ContainerRuntime, node_name: str, layout: Layout, cgroups: Cgroups, cgroup_root: str
    ) -> None:
        self._runtime = runtime
        self._labels = {names.NODE: node_name}
        self._layout = layout
        self._cgroups = cgroups
        self._cgroup_root = cgroup_root

    async def of(self, pods: Iterable[Pod], resource: str) -> list[PodUse]:
        """What each pod uses of `resource`. Raises as the runtime does."""
        stats: dict[str, list[f.ContainerStats]] = {}
        for one in await self._runtime.container_stats(self._labels):
            labels = one.attributes.labels if one.attributes is not None else {}
            stats.setdefault(labels.get(names.POD_UID, ""), []).append(one)
        return [await self._pod(pod, stats.get(pod.metadata.uid, []), resource) for pod in pods]

    async def volume(self, pod: Pod, volume: str) -> int:
        """Bytes in an emptyDir."""
        return (await tree(self._layout.volume(pod.metadata.uid, "empty-dir", volume)))[0]

    async def _pod(self, pod: Pod, stats: list[f.ContainerStats], resource: str) -> PodUse:
        if resource == "pids":
            count = self._cgroups.processes(cgroup_parent(self._cgroup_root, pod))
            return PodUse(pod, {} if count is None else {resource: count})
        if not stats:
            return PodUse(pod)
        containers = {_name(one): {resource: _amount(one, resource)} for one in stats}
        total = sum(used[resource] for used in containers.values())
        if resource != "memory":
            total += await self._left_on_disk(pod, resource)
        return PodUse(pod, {resource: total}, containers)

    async def _left_on_disk(self, pod: Pod, resource: str) -> int:
        meta = pod.metadata
        folders = [self._layout.log_directory(meta.namespace, meta.name, meta.uid)]
        folders += [
            self._layout.volume(meta.uid, "empty-dir", volume.name)
            for volume in pod.spec.volumes
            if volume.empty_dir is not None and volume.empty_dir.medium != "Memory"
        ]
        sizes = [await tree(folder) for folder in folders]
        return sum(inodes if resource == "inodes" else size for size, inodes in sizes)


async def tree(folder: Path) -> tuple[int, int]:
    """(bytes on disk, inodes) of a directory with all in it; links are not followed, what vanishes counts nothing."""
    size = inodes = 0
    pending = [str(folder)]
    while pending:
        here = pending.pop()
        try:
            with os.scandir(here) as entries:
                for entry in entries:
                    size, inodes = size + entry.stat(follow_symlinks=False).st_blocks * 512, inodes + 1
                    if entry.is_dir(follow_symlinks=False):
                        pending.append(entry.path)
                    if inodes % _STEP == 0:
                        await asyncio.sleep(0)
        except OSError:
            continue
    return size, inodes


def _name(stats: f.ContainerStats) -> str:
    return stats.attributes.labels.get(names.CONTAINER_NAME, "") if stats.attributes is not None else ""


def _amount(stats: f.ContainerStats, resource: str) -> int:
    if resource == "memory":
        value = stats.memory.working_set_bytes if stats.memory is not None else None
    elif stats.writable_layer is None:
        value = None
    else:
        value = stats.writable_layer.inodes_used if resource == "inodes" else stats.writable_layer.used_bytes
    return value.value if value is not None else 0
