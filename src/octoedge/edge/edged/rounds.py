"""What the worker of one pod keeps between two rounds, and what it has in hand during one."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable

import msgspec

from octoedge.api.core import Pod
from octoedge.edge.edged.admission import Surroundings
from octoedge.edge.edged.containers import Containers
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.deadgc import DeadPolicy
from octoedge.edge.edged.downward import Facts
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.layout import Layout, make_private, write_file
from octoedge.edge.edged.manifests import is_static_uid
from octoedge.edge.edged.observe import Observer
from octoedge.edge.edged.observed import Failure, History, PodSeen
from octoedge.edge.edged.report import Reporter
from octoedge.edge.edged.tokens import Tokens
from octoedge.edge.edged.volumes import Volumes
from octoedge.edge.ports import Metadata
from octoedge.runtime.clock import Clock, parse_rfc3339

log = logging.getLogger(__name__)


class Parts(msgspec.Struct, frozen=True):
    """What a sync is made of."""

    node_name: str
    runtime: ContainerRuntime
    observer: Observer
    containers: Containers
    volumes: Volumes
    tokens: Tokens
    layout: Layout
    metadata: Metadata
    recorder: Recorder
    reporter: Reporter
    clock: Clock
    facts: Callable[[], Facts]
    """Facts about the node, without a pod's addresses."""
    surroundings: Callable[[], Awaitable[Surroundings]]
    """The node as new pods meet it."""
    dead: DeadPolicy = DeadPolicy()


class Record(msgspec.Struct):
    """What is kept of one pod."""

    history: History = msgspec.field(default_factory=History)
    scope: asyncio.Timeout | None = None
    """The wait that may be interrupted, while there is one."""
    refresh: bool = True
    """Content of the volumes is to be looked at."""
    finished: bool = False
    wish: tuple[bool, int | None] = (False, None)
    hooked: set[str] = msgspec.field(default_factory=set)
    """Containers whose preStop hook has begun."""
    recalled: bool = False
    """Whether what was written down about the pod has been read."""
    held: bool = False
    """Whether the pod waits for somebody on this node to release it."""
    released: bool = False
    admitted: bool = False
    """Whether the pod was let in; until then nothing of it is made."""
    doubted: bool = False
    """Whether the node's labels did not fit the pod: they may be on their way, so it is looked at once more."""

    def interrupt(self) -> None:
        """End the wait that the worker is in."""
        if self.scope is not None:
            self.scope.reschedule(asyncio.get_running_loop().time())


class Round(msgspec.Struct, frozen=True):
    """One look at one pod; its status is the one that was reported last."""

    uid: str
    pod: Pod | None
    refused: str
    seen: PodSeen
    record: Record
    refused_debuggers: dict[str, str]


def keep_failure(layout: Layout, uid: str, failure: Failure) -> None:
    """Write down that a pod ended for good, before anything follows from it: a restart must not begin it anew.

    A static pod is begun anew by every boot, as its file says.
    """
    if is_static_uid(uid):
        return
    try:
        make_private(layout.pod(uid))
        write_file(layout.mark(uid), msgspec.json.encode(failure), 0o600)
    except OSError as error:
        log.warning("that pod %s ended cannot be written down: %s", uid, error)


def kept_failure(layout: Layout, uid: str) -> Failure | None:
    """What `keep_failure` wrote; None for a pod that has not failed as a whole."""
    try:
        return msgspec.json.decode(layout.mark(uid).read_bytes() or b"null", type=Failure | None)
    except (OSError, ValueError, msgspec.DecodeError):
        return None


def started(pod: Pod | None) -> float:
    """When the pod was first seen on this node, as was reported; 0 when it was not."""
    try:
        return parse_rfc3339(pod.status.start_time) if pod is not None and pod.status.start_time else 0.0
    except ValueError:
        return 0.0


def logged_attempts(layout: Layout, pod: Pod) -> dict[str, int]:
    """Highest attempt of each container that log files tell of."""
    found: dict[str, int] = {}
    for spec in pod.spec.everyone():
        folder = layout.log_directory(pod.metadata.namespace, pod.metadata.name, pod.metadata.uid) / spec.name
        try:
            stems = [name.partition(".")[0] for name in os.listdir(folder)]
        except (OSError, ValueError):
            continue
        attempts = [int(stem) for stem in stems if stem.isdigit()]
        if attempts:
            found[spec.name] = max(attempts)
    return found
