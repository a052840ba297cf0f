"""Probes of all containers under one scheduler: a heap of what is due, a bounded number under way, no task per probe.

    startup ──succeeds──► liveness and readiness begin
    liveness or startup fails `failureThreshold` times ──► history.health FAILED ──► plan stops the container
    readiness ──► history.ready ──► status

What a container was before edged restarted counts on: a ready container does not become unready by our restart.
"""

from __future__ import annotations

import asyncio
import enum
import heapq
import itertools
import logging
import random
from collections.abc import Callable, Iterator

import msgspec

from octoedge.api.core import Container, Pod, Probe
from octoedge.edge.edged import handlers
from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.cri.interface import ContainerRuntime
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.observed import ContainerSeen, Health, History, PodSeen
from octoedge.errors import OctoedgeError

log = logging.getLogger(__name__)

_AT_ONCE = 16


class Kind(enum.Enum):
    """What a probe decides."""

    STARTUP = "Startup"
    LIVENESS = "Liveness"
    READINESS = "Readiness"


class _Worker(msgspec.Struct, eq=False):
    """One probe of one container."""

    uid: str
    kind: Kind
    probe: Probe
    spec: Container
    container: ContainerSeen
    history: History
    ip: str
    pod: Pod
    good: int = 0
    bad: int = 0
    over: bool = False


_Due = tuple[float, int, _Worker]
"""When, a number that no other has (so workers are never compared), and what is due."""


class Prober:
    """Probes everything that is tracked."""

    def __init__(
        self,
        runtime: ContainerRuntime,
        changed: Callable[[str], None],
        recorder: Recorder,
        rng: random.Random | None = None,
    ) -> None:
        self._runtime = runtime
        self._changed = changed
        self._recorder = recorder
        self._rng = rng or random.Random(random.random())  # noqa: S311  (spreads load, keeps no secret)
        self._workers: dict[tuple[str, Kind], _Worker] = {}
        self._heap: list[_Due] = []
        self._numbers = itertools.count()
        self._wake = asyncio.Event()
        self._slots = asyncio.Semaphore(_AT_ONCE)

    def track(self, uid: str, pod: Pod | None, seen: PodSeen, history: History) -> None:
        """Probe the running containers of a pod as it asks, and no others."""
        wanted: set[tuple[str, Kind]] = set()
        if pod is not None and pod.metadata.deletion_timestamp is None:
            for spec, container in _running(pod, seen):
                for kind, probe in _probes(spec):
                    wanted.add((container.id, kind))
                    if (container.id, kind) not in self._workers:
                        ip = _address(pod, seen)
                        self._add(_Worker(uid, kind, probe, spec, container, history, ip, pod))
        for key, worker in list(self._workers.items()):
            if worker.uid == uid and key not in wanted:
                worker.over = True
                del self._workers[key]

    def forget(self, uid: str) -> None:
        """The pod has ended."""
        self.track(uid, None, PodSeen(uid), History())

    async def run(self) -> None:
        """Probe until cancelled."""
        async with asyncio.TaskGroup() as group:
            while True:
                await self._until_due()
                _, _, worker = heapq.heappop(self._heap)
                if not worker.over:
                    await self._slots.acquire()
                    group.create_task(self._probe(worker), name=f"probe {worker.container.name}")

    async def _until_due(self) -> None:
        while not self._heap or self._heap[0][0] > _now():
            self._wake.clear()
            try:
                async with asyncio.timeout_at(self._heap[0][0] if self._heap else None):
                    await self._wake.wait()
            except TimeoutError:
                return

    def _add(self, worker: _Worker) -> None:
        self._workers[(worker.container.id, worker.kind)] = worker
        first_time = self._set_first_state(worker)
        delay = float(worker.probe.initial_delay_seconds)
        # After a restart of edged all probes would fire at once: they are spread over one period.
        delay = delay if first_time else self._rng.uniform(0, worker.probe.period_seconds)
        self._schedule(worker, delay)

    def _set_first_state(self, worker: _Worker) -> bool:
        """Give the container its state before the first answer; whether it is one that just started."""
        history, container = worker.history, worker.container
        known = next((s for s in worker.pod.status.container_statuses if s.container_id.endswith(container.id)), None)
        if worker.kind is Kind.READINESS:
            history.ready.setdefault(container.id, known is not None and known.ready)
        elif worker.kind is Kind.STARTUP:
            started = known is not None and bool(known.started)
            history.health.setdefault(container.id, Health.STARTED if started else Health.STARTING)
        return known is None

    def _schedule(self, worker: _Worker, delay: float) -> None:
        heapq.heappush(self._heap, (_now() + delay, next(self._numbers), worker))
        self._wake.set()

    async def _probe(self, worker: _Worker) -> None:
        try:
            starting = worker.history.health.get(worker.container.id) is Health.STARTING
            if starting == (worker.kind is Kind.STARTUP) and not worker.over:
                self._take(worker, await self._ask(worker))
            elif worker.kind is Kind.STARTUP:
                worker.over = True
        finally:
            self._slots.release()
            if not worker.over:
                self._schedule(worker, float(max(worker.probe.period_seconds, 1)))

    async def _ask(self, worker: _Worker) -> handlers.Verdict:
        probe = worker.probe
        action = probe.exec_ or probe.http_get or probe.tcp_socket or probe.grpc
        if action is None:
            return handlers.Verdict(True)
        target = handlers.Target(self._runtime, worker.container.id, worker.spec, worker.ip)
        try:
            return await handlers.run(action, target, float(max(probe.timeout_seconds, 1)))
        except OctoedgeError as error:
            # A runtime that is away says nothing about the container: the last verdict stands.
            log.debug("probe of %s could not be made: %s", worker.container.name, error)
            return handlers.Verdict(worker.bad == 0)
        except Exception as error:
            # What no one foresaw of one probe must not end the others.
            log.debug("probe of %s cannot be made", worker.container.name, exc_info=True)
            return handlers.Verdict(False, f"{type(error).__name__}: {error}")

    def _take(self, worker: _Worker, verdict: handlers.Verdict) -> None:
        if worker.over:
            return
        if verdict.healthy:
            worker.good, worker.bad = worker.good + 1, 0
            if worker.good >= max(worker.probe.success_threshold, 1):
                self._set(worker, True)
            return
        worker.good, worker.bad = 0, worker.bad + 1
        text = f"{worker.kind.value} probe failed: {verdict.text}"
        self._recorder.pod(worker.pod, "Warning", "Unhealthy", text, worker.spec.name)
        if worker.bad >= max(worker.probe.failure_threshold, 1):
            self._set(worker, False)

    def _set(self, worker: _Worker, healthy: bool) -> None:
        history, container_id = worker.history, worker.container.id
        if worker.kind is Kind.READINESS:
            if history.ready.get(container_id) is not healthy:
                history.ready[container_id] = healthy
                self._changed(worker.uid)
            return
        if not healthy:
            name, kind = worker.spec.name, worker.kind.value.lower()
            history.health[container_id] = Health.FAILED
            history.stop_messages[container_id] = f"Container {name} failed {kind} probe, will be restarted"
            if worker.probe.termination_grace_period_seconds is not None:
                history.stop_graces[container_id] = float(worker.probe.termination_grace_period_seconds)
        elif worker.kind is Kind.STARTUP:
            history.health[container_id] = Health.STARTED
        else:
            return
        worker.over = not healthy or worker.kind is Kind.STARTUP
        self._changed(worker.uid)


def _running(pod: Pod, seen: PodSeen) -> Iterator[tuple[Container, ContainerSeen]]:
    for spec in (*pod.spec.init_containers, *pod.spec.containers):
        container = seen.latest(spec.name)
        if container is not None and container.state is ContainerState.RUNNING:
            yield spec, container


def _probes(spec: Container) -> Iterator[tuple[Kind, Probe]]:
    if spec.startup_probe is not None:
        yield Kind.STARTUP, spec.startup_probe
    if spec.liveness_probe is not None:
        yield Kind.LIVENESS, spec.liveness_probe
    if spec.readiness_probe is not None:
        yield Kind.READINESS, spec.readiness_probe


def _address(pod: Pod, seen: PodSeen) -> str:
    if pod.spec.host_network:
        return pod.status.host_ip or "127.0.0.1"
    return next((sandbox.ips[0] for sandbox in seen.sandboxes if sandbox.ips), "")


def _now() -> float:
    return asyncio.get_running_loop().time()
