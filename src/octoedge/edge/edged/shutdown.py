"""How a node goes down in an orderly way: pods end in order of their priority, each group within its time.

    shutdownGracePeriod 30s, shutdownGracePeriodCriticalPods 10s   ──►  ordinary pods 20 s, then critical ones 10 s
    shutdownGracePeriodByPodPriority                               ──►  one group for each row, lowest first

The agent is told to stop like any service, by TERM; whether the whole machine goes down is asked of systemd then. All
but `Shutdown` and `is_stopping` is pure.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from typing import Protocol

import msgspec

from octoedge.api.core import Pod
from octoedge.edge.edged.ranking import SYSTEM_CRITICAL, is_critical
from octoedge.errors import ConfigError

log = logging.getLogger(__name__)

_POLL = 0.2
_ASK_SECONDS = 5.0
REASON, MESSAGE = "Terminated", "Pod was terminated in response to imminent node shutdown."


class Step(msgspec.Struct, frozen=True):
    """Pods of `priority` and above (up to the next step) get `seconds`."""

    priority: int
    seconds: float


def steps(period: float, critical: float, by_priority: Iterable[tuple[int, float]] = ()) -> tuple[Step, ...]:
    """The steps that the configuration asks for, lowest priority first; none: pods are left running.

    Raises `ConfigError` where the two ways of saying it are mixed, or do not fit together.
    """
    rows = sorted(by_priority)
    if rows and (period or critical):
        raise ConfigError(
            "shutdownGracePeriodByPodPriority excludes shutdownGracePeriod and shutdownGracePeriodCriticalPods"
        )
    if rows:
        return tuple(Step(priority, seconds) for priority, seconds in rows)
    if critical > period:
        raise ConfigError("shutdownGracePeriodCriticalPods must not be longer than shutdownGracePeriod, its whole")
    if not period:
        return ()
    return (Step(0, period - critical), Step(SYSTEM_CRITICAL, critical))


def groups(pods: Iterable[Pod], plan: tuple[Step, ...]) -> list[tuple[Step, list[Pod]]]:
    """Who ends at which step; a pod below the lowest priority ends with the first."""
    found: list[tuple[Step, list[Pod]]] = [(step, []) for step in plan]
    for pod in pods:
        priority = max(pod.spec.priority, SYSTEM_CRITICAL) if is_critical(pod) else pod.spec.priority
        place = max((index for index, step in enumerate(plan) if step.priority <= priority), default=0)
        found[place][1].append(pod)
    return [(step, members) for step, members in found if members]


def grace(pod: Pod, step: Step) -> float:
    """Seconds that the containers of a pod get: its own time, and no more than the step has."""
    return min(float(pod.spec.termination_grace_period_seconds), step.seconds)


class Ending(Protocol):
    """Sync, as a shutdown sees it."""

    def active(self) -> Iterable[Pod]:
        """Pods that have not ended."""
        ...

    def fail(self, uid: str, reason: str, message: str, grace: float | None) -> None:
        """End a pod for good."""
        ...

    def runs(self, uid: str) -> bool:
        """Whether a container of the pod is alive."""
        ...


class Shutdown:
    """Ends a node's pods when the machine goes down."""

    def __init__(
        self, plan: tuple[Step, ...], pods: Ending, leave: Callable[[], None], stopping: Callable[[], Awaitable[bool]]
    ) -> None:
        self._plan = plan
        self._pods = pods
        self._leave = leave
        self._stopping = stopping
        self.under_way = False

    @property
    def seconds(self) -> float:
        """The longest that it takes."""
        return sum(step.seconds for step in self._plan) + _ASK_SECONDS + 1.0 if self._plan else 0.0

    async def run(self) -> None:
        """End the pods in order if the machine goes down; when only the agent stops, all of them go on."""
        if not self._plan or not await self._stopping():
            return
        self.under_way = True
        self._leave()
        for step, members in groups(list(self._pods.active()), self._plan):
            log.info("the machine goes down: %d pods of priority %d and above end", len(members), step.priority)
            for pod in members:
                self._pods.fail(pod.metadata.uid, REASON, MESSAGE, grace(pod, step))
            await self._until_ended([pod.metadata.uid for pod in members], step.seconds)

    async def _until_ended(self, uids: list[str], seconds: float) -> None:
        left = seconds
        while left > 0 and any(self._pods.runs(uid) for uid in uids):
            await asyncio.sleep(_POLL)
            left -= _POLL


async def is_stopping() -> bool:
    """Whether the machine is on its way down, by systemd's word; a machine without systemd never says so."""
    try:
        process = await asyncio.create_subprocess_exec(
            "systemctl", "is-system-running", stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        async with asyncio.timeout(_ASK_SECONDS):
            output, _ = await process.communicate()
    except (OSError, TimeoutError):
        return False
    return output.strip() == b"stopping"
