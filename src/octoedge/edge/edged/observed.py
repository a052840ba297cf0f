"""What the runtime says about one pod, as plain objects; and what edged remembers about it beyond that."""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from octoedge.edge.edged.cri.fields import ContainerState


class SandboxSeen(msgspec.Struct, frozen=True):
    """A pod sandbox."""

    id: str
    attempt: int
    ready: bool
    created_at: int
    ips: tuple[str, ...] = ()


class ContainerSeen(msgspec.Struct, frozen=True):
    """A container; times are nanoseconds since the epoch, 0 when there is none."""

    id: str
    sandbox_id: str
    name: str
    attempt: int
    state: ContainerState
    created_at: int = 0
    started_at: int = 0
    finished_at: int = 0
    exit_code: int = 0
    reason: str = ""
    message: str = ""
    image: str = ""
    image_ref: str = ""
    spec_hash: str = ""
    grace: int = 30
    log_path: str = ""
    termination_path: str = ""
    termination_policy: str = ""

    @property
    def alive(self) -> bool:
        """Whether it may still have a process."""
        return self.state in (ContainerState.RUNNING, ContainerState.UNKNOWN)


class PodSeen(msgspec.Struct, frozen=True):
    """Everything of one pod that the runtime has; both lists are newest first."""

    uid: str
    namespace: str = ""
    name: str = ""
    sandboxes: tuple[SandboxSeen, ...] = ()
    containers: tuple[ContainerSeen, ...] = ()

    def of(self, name: str) -> tuple[ContainerSeen, ...]:
        """Containers called `name`, newest first."""
        return tuple(container for container in self.containers if container.name == name)

    def latest(self, name: str) -> ContainerSeen | None:
        """The newest container called `name`."""
        return next((container for container in self.containers if container.name == name), None)


class Crash(msgspec.Struct, frozen=True):
    """When a container that ended may start again."""

    container_id: str
    delay: float
    not_before: float


class Waiting(msgspec.Struct, frozen=True):
    """Why a container (or, under the name "", the sandbox) could not be made, and when to try again."""

    reason: str
    message: str
    not_before: float
    delay: float


class Health(enum.Enum):
    """What probes say about a container."""

    STARTING = "starting"
    """The startup probe has not succeeded yet."""
    STARTED = "started"
    FAILED = "failed"
    """The liveness or startup probe failed: to be stopped."""


class Failure(msgspec.Struct, frozen=True):
    """A failure of the pod as a whole."""

    reason: str
    message: str
    grace: float | None = None
    """Seconds that its containers get; None: the pod's own."""
    disruption: str = ""
    """Reason of the condition DisruptionTarget, where somebody else's need ended the pod."""
    rejected: bool = False
    """The pod was never let in: nothing is said of its containers, so that `kubectl get` shows the reason."""


class History(msgspec.Struct):
    """What edged remembers about one pod in memory. Monotonic seconds, but for `start_time` (wall clock)."""

    crashes: dict[str, Crash] = msgspec.field(default_factory=dict)
    waiting: dict[str, Waiting] = msgspec.field(default_factory=dict)
    health: dict[str, Health] = msgspec.field(default_factory=dict)
    """By container id; a container without an entry has no startup or liveness probe."""
    ready: dict[str, bool] = msgspec.field(default_factory=dict)
    """By container id; what the readiness probe said. No entry: no such probe."""
    stop_messages: dict[str, str] = msgspec.field(default_factory=dict)
    """By container id; why the probe wants it stopped."""
    stop_graces: dict[str, float] = msgspec.field(default_factory=dict)
    """By container id; the grace that the failed probe gives."""
    logged_attempts: dict[str, int] = msgspec.field(default_factory=dict)
    """Highest attempt per container that a log file tells of, for a runtime that lost its records."""
    was_held: bool = False
    """Whether the pod was held and is released now."""
    dead_kept: int = 1
    """Dead instances of a container that are kept beside the current one."""
    young: frozenset[str] = frozenset()
    """Ids of dead containers that are not old enough to be removed."""
    start_time: float = 0.0
    stopping_since: float | None = None
    failure: Failure | None = None
    refused: str = ""
    """Why the pod cannot run here: fields that are not supported."""
    refused_debuggers: dict[str, str] = msgspec.field(default_factory=dict)
    """The same for single ephemeral containers, by name."""

    def forget_but(self, seen: PodSeen) -> None:
        """Drop what is remembered of containers that no longer exist: a pod may restart for years."""
        there = {container.id for container in seen.containers}
        tables: tuple[dict[str, Any], ...] = (self.health, self.ready, self.stop_messages, self.stop_graces)
        for table in tables:
            for container_id in table.keys() - there:
                del table[container_id]
