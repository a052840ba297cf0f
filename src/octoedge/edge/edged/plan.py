"""Decides what to do next about one pod: (desired pod, what the runtime has, memory, time) → actions. Pure.

The order of thought, the first that has something to do wins:

    ended or unwanted?  stop containers → stop sandboxes → (when to be deleted) remove sandboxes → finish
    no good sandbox?    stop what is left of the old one → create one with the next attempt
    ephemeral           what was added for debugging, once, whatever the others do
    init containers     one after the other; sidecars stay up
    containers          start, restart by policy with back-off, replace when the image changed
    rubbish             dead containers but the last of a name, sandboxes that were replaced

Actions of one plan belong together; when they are done, the pod is observed and planned again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import msgspec

from octoedge.api.core import Container, EphemeralContainer, Pod
from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.observed import ContainerSeen, Crash, Health, History, PodSeen, SandboxSeen

FIRST_CRASH_DELAY = 10.0
MAX_CRASH_DELAY = 300.0
_LEAST_GRACE = 1.0
CRASH_RESET_SECONDS = 600.0
"""A container that ran this long begins with the first delay again."""


class CreateSandbox(msgspec.Struct, frozen=True):
    attempt: int


class StopSandbox(msgspec.Struct, frozen=True):
    sandbox_id: str


class RemoveSandbox(msgspec.Struct, frozen=True):
    sandbox_id: str


class StartContainer(msgspec.Struct, frozen=True):
    """Pull the image as its policy says, create, start."""

    container: Container
    attempt: int
    sandbox_id: str
    init: bool = False


class StopContainer(msgspec.Struct, frozen=True):
    container: ContainerSeen
    grace: float
    message: str


class RemoveContainer(msgspec.Struct, frozen=True):
    container_id: str


class Finish(msgspec.Struct, frozen=True):
    """Nothing of the pod is left in the runtime: clean up, and tell the cloud when it asked for the deletion."""


Action = CreateSandbox | StopSandbox | RemoveSandbox | StartContainer | StopContainer | RemoveContainer | Finish


class Plan(msgspec.Struct, frozen=True):
    """What to do now, and when to think again if nothing happens before."""

    actions: tuple[Action, ...] = ()
    wake_at: float | None = None


class Outcome(msgspec.Struct, frozen=True):
    """A pod that has ended."""

    phase: str
    reason: str = ""
    message: str = ""


def plan(pod: Pod | None, seen: PodSeen, history: History, now: float) -> Plan:
    """The next actions for a pod; `pod` is None when it is not wanted here any more."""
    if pod is None or pod.metadata.deletion_timestamp is not None:
        return _delete(pod, seen, history, now)
    if history.refused:
        return Plan()
    if outcome(pod, seen, history) is not None:
        grace = history.failure.grace if history.failure is not None else None
        grace = float(pod.spec.termination_grace_period_seconds) if grace is None else max(grace, _LEAST_GRACE)
        return Plan(tuple(_stop_everything(pod, seen, grace)))
    sandbox = good_sandbox(pod, seen)
    if sandbox is None:
        return _replace_sandbox(pod, seen, history, now)
    strays = tuple(_strays(pod, seen, sandbox))
    if strays:
        return Plan(strays)
    return _run(pod, seen, history, now, sandbox)


def outcome(pod: Pod, seen: PodSeen, history: History) -> Outcome | None:
    """How the pod ended, None while it has not. A phase that was reported as the last one stays."""
    if history.failure is not None:
        return Outcome("Failed", history.failure.reason, history.failure.message)
    if pod.status.phase in ("Succeeded", "Failed"):
        return Outcome(pod.status.phase, pod.status.reason, pod.status.message)
    if pod.spec.restart_policy == "Always":
        return None
    if pod.spec.restart_policy == "Never" and _init_failed(pod, seen):
        return Outcome("Failed")
    ended = [seen.latest(container.name) for container in pod.spec.containers]
    if not ended or any(container is None or container.state is not ContainerState.EXITED for container in ended):
        return None
    failed = any(container is not None and container.exit_code != 0 for container in ended)
    if failed and pod.spec.restart_policy == "OnFailure":
        return None
    return Outcome("Failed" if failed else "Succeeded")


def good_sandbox(pod: Pod, seen: PodSeen) -> SandboxSeen | None:
    """The sandbox to work in: the newest, if it is ready and has an address where it should have one."""
    newest = seen.sandboxes[0] if seen.sandboxes else None
    if newest is None or not newest.ready or not (newest.ips or pod.spec.host_network):
        return None
    return newest


def spec_hash(container: Container) -> str:
    """Changes when a running container must be replaced: only its image can change in a pod that exists."""
    return hashlib.sha256(f"{container.name}\0{container.image}".encode()).hexdigest()[:16]


def note_exits(history: History, seen: PodSeen, wall_now: float, now: float) -> None:
    """Remember what has ended, once per container: this is where back-off grows.

    How long ago it ended counts towards the waiting time; a wall clock that jumped neither lengthens nor spoils it.
    """
    for container in seen.containers:
        if container.state is ContainerState.EXITED and container is seen.latest(container.name):
            ago = wall_now - container.finished_at / 1e9 if container.finished_at else 0.0
            _note_exit(history, container, ago, now)


def _note_exit(history: History, container: ContainerSeen, seconds_ago: float, now: float) -> None:
    last = history.crashes.get(container.name)
    if last is not None and last.container_id == container.id:
        return
    ran = (container.finished_at - container.started_at) / 1e9 if container.started_at else 0.0
    if last is None or ran > CRASH_RESET_SECONDS:
        delay = 0.0
    else:
        delay = min(max(FIRST_CRASH_DELAY, last.delay * 2), MAX_CRASH_DELAY)
    history.crashes[container.name] = Crash(container.id, delay, now + delay - min(max(seconds_ago, 0.0), delay))


def is_sidecar(container: Container) -> bool:
    """An init container that stays up."""
    return container.restart_policy == "Always"


def _delete(pod: Pod | None, seen: PodSeen, history: History, now: float) -> Plan:
    grace = _deletion_grace(pod, seen)
    if history.stopping_since is not None:
        grace -= now - history.stopping_since
    stops = tuple(_stop_everything(pod, seen, max(grace, 1.0)))
    if stops:
        return Plan(stops)
    return Plan((*(RemoveSandbox(sandbox.id) for sandbox in seen.sandboxes), Finish()))


def _deletion_grace(pod: Pod | None, seen: PodSeen) -> float:
    if pod is None:
        return float(max((container.grace for container in seen.containers), default=30))
    asked = pod.metadata.deletion_grace_period_seconds
    return float(pod.spec.termination_grace_period_seconds if asked is None else asked)


def _stop_everything(pod: Pod | None, seen: PodSeen, grace: float) -> Iterator[Action]:
    """Containers, then sidecars in reverse order, then sandboxes."""
    alive = [container for container in seen.containers if container.alive]
    sidecars = [container.name for container in pod.spec.init_containers if is_sidecar(container)] if pod else []
    main = [container for container in alive if container.name not in sidecars]
    if not main and alive:
        last = max(alive, key=lambda container: sidecars.index(container.name))
        main = [last]
    if main:
        for container in main:
            yield StopContainer(container, grace, f"Stopping container {container.name}")
        return
    for sandbox in seen.sandboxes:
        if sandbox.ready:
            yield StopSandbox(sandbox.id)


def _replace_sandbox(pod: Pod, seen: PodSeen, history: History, now: float) -> Plan:
    left = tuple(_stop_everything(pod, seen, float(pod.spec.termination_grace_period_seconds)))
    if left:
        return Plan(left)
    wait = history.waiting.get("")
    if wait is not None and wait.not_before > now:
        return Plan(wake_at=wait.not_before)
    attempt = seen.sandboxes[0].attempt + 1 if seen.sandboxes else 0
    return Plan((CreateSandbox(attempt),))


def _strays(pod: Pod, seen: PodSeen, good: SandboxSeen) -> Iterator[Action]:
    """What lives outside the good sandbox, or is no container of the pod."""
    names = {container.name for container in pod.spec.everyone()}
    for container in seen.containers:
        if container.alive and (container.sandbox_id != good.id or container.name not in names):
            yield StopContainer(container, float(container.grace), f"Stopping container {container.name}")
    for sandbox in seen.sandboxes:
        if sandbox.ready and sandbox.id != good.id:
            yield StopSandbox(sandbox.id)


class _Step(msgspec.Struct):
    """A plan in the making."""

    seen: PodSeen
    history: History
    now: float
    sandbox: SandboxSeen
    actions: list[Action] = []
    wake_at: float | None = None

    def start(self, container: Container, last: ContainerSeen | None, *, init: bool) -> None:
        """Start `container` anew, unless it has to wait."""
        if last is not None and last.state is ContainerState.UNKNOWN:
            self.actions.append(StopContainer(last, float(last.grace), "Container is in an unknown state"))
            return
        crash = self.history.crashes.get(container.name)
        waits = self.history.waiting.get(container.name)
        not_before = waits.not_before if waits is not None else self.now
        if last is not None and crash is not None and crash.container_id == last.id:
            not_before = max(not_before, crash.not_before)
        if not_before > self.now:
            self.wake_at = not_before if self.wake_at is None else min(self.wake_at, not_before)
            return
        if last is not None and last.state is ContainerState.CREATED:
            self.actions.append(RemoveContainer(last.id))
        self.actions.append(StartContainer(container, self._next_attempt(container.name), self.sandbox.id, init))

    def _next_attempt(self, name: str) -> int:
        last = self.seen.latest(name)
        if last is not None and last.state is ContainerState.CREATED:
            return last.attempt  # It never ran: not a restart.
        logged = self.history.logged_attempts.get(name, -1)
        return max(logged, last.attempt if last is not None else -1) + 1


def _run(pod: Pod, seen: PodSeen, history: History, now: float, sandbox: SandboxSeen) -> Plan:
    step = _Step(seen, history, now, sandbox, [])
    for debugger in pod.spec.ephemeral_containers:
        if not has_run(pod, debugger, seen) and debugger.name not in history.refused_debuggers:
            step.start(debugger, seen.latest(debugger.name), init=False)
    begun = any(container.sandbox_id == sandbox.id for c in pod.spec.containers for container in seen.of(c.name))
    if _init(step, pod, begun):
        for container in pod.spec.containers:
            _keep_running(step, container, seen.latest(container.name), pod.spec.restart_policy)
        if not step.actions:
            step.actions.extend(_rubbish(pod, seen, history, sandbox))
    return Plan(tuple(step.actions), step.wake_at)


def has_run(pod: Pod, container: EphemeralContainer, seen: PodSeen) -> bool:
    """Whether an ephemeral container was started, as the runtime or (its record may be gone) the last report says."""
    last = seen.latest(container.name)
    if last is not None:
        return last.state is not ContainerState.CREATED
    reported = (status for status in pod.status.ephemeral_container_statuses if status.name == container.name)
    return any(status.container_id for status in reported)


def _init(step: _Step, pod: Pod, begun: bool) -> bool:
    """Bring init containers on; whether the others may run."""
    for container in pod.spec.init_containers:
        last = next((c for c in step.seen.of(container.name) if c.sandbox_id == step.sandbox.id), None)
        if is_sidecar(container):
            _keep_running(step, container, last, "Always", init=True)
            if not begun and not _started(step.history, last):
                return False
        elif not begun and not _complete(last):
            if last is None or last.state != ContainerState.RUNNING:
                step.start(container, last, init=True)
            return False
    return True


def _complete(container: ContainerSeen | None) -> bool:
    return container is not None and container.state is ContainerState.EXITED and container.exit_code == 0


def _started(history: History, container: ContainerSeen | None) -> bool:
    return (
        container is not None
        and container.state is ContainerState.RUNNING
        and history.health.get(container.id) is not Health.STARTING
    )


def _keep_running(
    step: _Step, container: Container, last: ContainerSeen | None, policy: str, *, init: bool = False
) -> None:
    if last is None:
        step.start(container, None, init=init)
    elif last.state is ContainerState.RUNNING:
        _replace_if_bad(step, container, last)
    elif last.state is not ContainerState.EXITED or _restarts(policy, last) or _changed(container, last):
        step.start(container, last, init=init)


def _replace_if_bad(step: _Step, container: Container, last: ContainerSeen) -> None:
    if _changed(container, last):
        message = f"Container {container.name} definition changed, will be restarted"
    elif step.history.health.get(last.id) is Health.FAILED:
        message = step.history.stop_messages.get(last.id, f"Container {container.name} failed its liveness probe")
    else:
        return
    grace = step.history.stop_graces.get(last.id, float(last.grace))
    step.actions.append(StopContainer(last, grace, message))


def _changed(container: Container, last: ContainerSeen) -> bool:
    return last.spec_hash not in ("", spec_hash(container))


def _restarts(policy: str, last: ContainerSeen) -> bool:
    return policy == "Always" or (policy == "OnFailure" and last.exit_code != 0)


def _init_failed(pod: Pod, seen: PodSeen) -> bool:
    for container in pod.spec.init_containers:
        last = seen.latest(container.name)
        if not is_sidecar(container) and last is not None and last.state is ContainerState.EXITED and last.exit_code:
            return True
    return False


def _rubbish(pod: Pod, seen: PodSeen, history: History, sandbox: SandboxSeen) -> Iterator[Action]:
    """Dead containers but the last beside the current one; replaced sandboxes once nothing in them is current."""
    names = dict.fromkeys(container.name for container in seen.containers)
    for name in names:
        dead = [container for container in seen.of(name)[1:] if not container.alive]
        for container in dead[history.dead_kept :]:
            if container.id not in history.young:
                yield RemoveContainer(container.id)
    needed = {last.sandbox_id for c in pod.spec.containers if (last := seen.latest(c.name)) is not None}
    for old in seen.sandboxes:
        if old.id != sandbox.id and old.id not in needed:
            yield RemoveSandbox(old.id)
