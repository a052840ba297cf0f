"""What the node and its containers use: read when somebody asks, never otherwise.

Processor time is counted by kernel and runtime as a total; the rate needs two readings. The last reading is kept; when
it is too old to tell anything (or there is none), a second one is taken a second later.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import msgspec

from octoedge.edge.edged import names
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.machine import memory
from octoedge.runtime.clock import Clock

_FRESH_SECONDS = 5.0
"""For so long the same answer is given again."""
_STALE_SECONDS = 120.0
"""A rate over a longer time says little about now."""
_PAUSE_SECONDS = 1.0


class ContainerUse(msgspec.Struct, frozen=True):
    """One running container; `cpu` is nanoseconds since it began, `rate` billionths of a core now."""

    id: str
    uid: str
    namespace: str
    pod: str
    name: str
    cpu: int
    working_set: int
    usage: int
    rss: int
    disk: int
    rate: int = 0


class Use(msgspec.Struct, frozen=True):
    """The node at a time (wall clock, seconds)."""

    at: float
    cpu: int
    memory: int
    available: int
    containers: tuple[ContainerUse, ...]
    rate: int = 0
    window: float = 0.0
    """Seconds that rates are taken over."""


class Meter:
    """Reads, and remembers the last reading."""

    def __init__(self, runtime: ContainerRuntime, node_name: str, clock: Clock, proc: Path = Path("/proc")) -> None:
        self._runtime = runtime
        self._labels = {names.NODE: node_name}
        self._clock = clock
        self._proc = proc
        self._last: tuple[float, Use] | None = None
        self._one_at_a_time = asyncio.Lock()

    async def read(self) -> Use:
        """What is used now. Raises as the runtime does."""
        async with self._one_at_a_time:
            now = asyncio.get_running_loop().time()
            if self._last is None or now - self._last[0] > _STALE_SECONDS:
                self._last = (now, await self._look())
                await asyncio.sleep(_PAUSE_SECONDS)
            elif self._last[1].window and now - self._last[0] < _FRESH_SECONDS:
                return self._last[1]
            began, before = self._last
            now = asyncio.get_running_loop().time()
            use = rates(before, await self._look(), now - began)
            self._last = (now, use)
            return use

    async def _look(self) -> Use:
        found = await self._runtime.container_stats(self._labels)
        total, available = memory()
        cpu = _processor_time(self._proc)
        return Use(self._clock.now(), cpu, total, available, tuple(_container(stats) for stats in found))


def rates(before: Use, now: Use, seconds: float) -> Use:
    """`now` with what was used per second since `before`; what is new or began anew counts from nothing."""
    known = {container.id: container.cpu for container in before.containers}

    def per_second(total: int, earlier: int) -> int:
        return int((total - earlier if total >= earlier else total) / seconds)

    containers = tuple(
        msgspec.structs.replace(one, rate=per_second(one.cpu, known.get(one.id, 0))) for one in now.containers
    )
    return msgspec.structs.replace(now, containers=containers, rate=per_second(now.cpu, before.cpu), window=seconds)


def _container(stats: f.ContainerStats) -> ContainerUse:
    about = stats.attributes or f.ContainerAttributes()
    used = stats.memory or f.MemoryUsage()
    working_set = _value(used.working_set_bytes)
    return ContainerUse(
        id=about.id,
        uid=about.labels.get(names.POD_UID, ""),
        namespace=about.labels.get(names.POD_NAMESPACE, ""),
        pod=about.labels.get(names.POD_NAME, ""),
        name=about.labels.get(names.CONTAINER_NAME, ""),
        cpu=_value(stats.cpu.usage_core_nano_seconds) if stats.cpu else 0,
        working_set=working_set,
        usage=_value(used.usage_bytes) or working_set,
        rss=_value(used.rss_bytes),
        disk=_value(stats.writable_layer.used_bytes) if stats.writable_layer else 0,
    )


def _value(number: f.UInt64Value | None) -> int:
    return number.value if number is not None else 0


def _processor_time(proc: Path) -> int:
    """Nanoseconds that all processors have worked since the machine started."""
    try:
        first = (proc / "stat").read_text().partition("\n")[0].split()
        user, nice, system, _idle, _waiting, irq, soft_irq, stolen = map(int, first[1:9])
    except (OSError, ValueError):
        return 0
    return (user + nice + system + irq + soft_irq + stolen) * 1_000_000_000 // os.sysconf("SC_CLK_TCK")
