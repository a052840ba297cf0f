"""A pod's status: what is known in, core/v1 PodStatus out. Pure.

    (pod, what the runtime has, memory, outcome) → container states → phase → conditions

Nothing is forgotten that was once reported: a container whose record is gone keeps its last state, and a condition
keeps the time of its last change.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from octoedge.api.core import (
    Condition,
    Container,
    ContainerStateView,
    ContainerStatus,
    EphemeralContainer,
    IpAddress,
    Pod,
    PodStatus,
    StateRunning,
    StateTerminated,
    StateWaiting,
)
from octoedge.edge.edged import resources
from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.holding import HELD
from octoedge.edge.edged.observed import ContainerSeen, Health, History, PodSeen
from octoedge.edge.edged.plan import good_sandbox, is_sidecar, outcome
from octoedge.runtime.clock import rfc3339

_NANO = 1e9


class Surroundings(msgspec.Struct, frozen=True):
    """What a status needs beside the pod: wall clock `now`, monotonic `at`, the node's addresses, runtime's name."""

    now: float
    at: float
    host_ips: tuple[str, ...]
    runtime: str
    messages: dict[str, str] = {}
    """Termination messages by container id."""


def pod_status(pod: Pod, seen: PodSeen, history: History, around: Surroundings) -> PodStatus:
    """The whole status of `pod`."""
    ended = outcome(pod, seen, history)
    init = [_init_status(pod, spec, seen, history, around) for spec in pod.spec.init_containers]
    initialized = _initialized(pod, init, seen)
    main = [_main_status(pod, spec, seen, history, around, initialized) for spec in pod.spec.containers]
    phase = ended.phase if ended is not None else _phase(main, initialized)
    ips = _pod_ips(pod, seen, around)
    let_in = history.failure is None or not history.failure.rejected
    return PodStatus(
        phase=phase,
        conditions=_conditions(pod, seen, phase, init, main, initialized, around.now, history),
        message=ended.message if ended is not None else history.refused,
        reason=ended.reason if ended is not None else ("Unsupported" if history.refused else ""),
        host_ip=around.host_ips[0] if around.host_ips else "",
        host_ips=[IpAddress(ip) for ip in around.host_ips],
        pod_ip=ips[0] if ips else "",
        pod_ips=[IpAddress(ip) for ip in ips],
        start_time=pod.status.start_time or rfc3339(history.start_time or around.now),
        init_container_statuses=init if let_in else [],
        container_statuses=main if let_in else [],
        ephemeral_container_statuses=[
            _debugger_status(pod, spec, seen, history, around) for spec in pod.spec.ephemeral_containers
        ],
        qos_class=pod.status.qos_class or resources.qos_class(pod),
    )


def patch(uid: str, status: PodStatus, gone_ips: Sequence[str] = ()) -> bytes:
    """A strategic merge patch that carries the whole status; what is empty removes what was there."""
    body: dict[str, Any] = msgspec.to_builtins(status)
    for key in ("message", "reason"):
        body.setdefault(key, None)
    for condition in body.get("conditions", []):
        condition.setdefault("reason", None)
        condition.setdefault("message", None)
        condition.setdefault("lastProbeTime", None)
    if gone_ips:
        body["podIPs"] = [*body.get("podIPs", []), *({"$patch": "delete", "ip": ip} for ip in gone_ips)]
    return msgspec.json.encode({"metadata": {"uid": uid}, "status": body})


def _main_status(
    pod: Pod, spec: Container, seen: PodSeen, history: History, around: Surroundings, initialized: bool
) -> ContainerStatus:
    idle = StateWaiting("ContainerCreating") if initialized else StateWaiting("PodInitializing")
    return _container_status(pod, spec, seen, history, around, idle, _will_restart(pod, spec, seen))


def _init_status(pod: Pod, spec: Container, seen: PodSeen, history: History, around: Surroundings) -> ContainerStatus:
    status = _container_status(
        pod, spec, seen, history, around, StateWaiting("PodInitializing"), _will_restart(pod, spec, seen)
    )
    if is_sidecar(spec):
        return status
    ended = status.state.terminated
    return msgspec.structs.replace(status, ready=ended is not None and ended.exit_code == 0)


def _debugger_status(
    pod: Pod, spec: EphemeralContainer, seen: PodSeen, history: History, around: Surroundings
) -> ContainerStatus:
    """An ephemeral container runs once and counts for nothing: never ready, never started in the sense of probes."""
    before = _before(pod, spec.name)
    if not seen.of(spec.name) and before is not None and before.container_id:
        return before if before.state.terminated is not None else _lost(before)
    status = _container_status(pod, spec, seen, history, around, StateWaiting("ContainerCreating"), False)
    refused = history.refused_debuggers.get(spec.name)
    if refused and status.state.waiting is not None:
        waiting = ContainerStateView(waiting=StateWaiting("CreateContainerConfigError", refused))
        status = msgspec.structs.replace(status, state=waiting)
    return msgspec.structs.replace(status, ready=False, started=None)


def _container_status(
    pod: Pod,
    spec: Container,
    seen: PodSeen,
    history: History,
    around: Surroundings,
    idle: StateWaiting,
    will_restart: bool,
) -> ContainerStatus:
    records = seen.of(spec.name)
    if not records:
        return _without_record(pod, spec, history, idle)
    last = records[0]
    state = _state(last, around)
    previous = next((record for record in records[1:] if record.state is ContainerState.EXITED), None)
    waiting = _waiting(pod, spec, last, history, around, idle, will_restart)
    if waiting is not None:
        previous = last if last.state is ContainerState.EXITED else previous
        state = ContainerStateView(waiting=waiting)
    started = state.running is not None and history.health.get(last.id) is not Health.STARTING
    return ContainerStatus(
        name=spec.name,
        ready=started and history.ready.get(last.id, True),
        restart_count=last.attempt,
        image=last.image or spec.image,
        image_id=last.image_ref,
        container_id=_container_id(last, around),
        started=started,
        state=state,
        last_state=ContainerStateView(terminated=_terminated(previous, around)) if previous else ContainerStateView(),
    )


def _without_record(pod: Pod, spec: Container, history: History, idle: StateWaiting) -> ContainerStatus:
    """The runtime knows no container of that name: never made, or its record is gone."""
    before = _before(pod, spec.name)
    gone = before is not None and bool(before.container_id)
    over = pod.metadata.deletion_timestamp is not None or pod.status.phase in ("Succeeded", "Failed")
    if before is not None and gone and over:
        if before.state.terminated is not None:
            return before
        return msgspec.structs.replace(_lost(before), started=False)
    waits = history.waiting.get(spec.name)
    waiting = StateWaiting(waits.reason, waits.message) if waits is not None else idle
    if history.refused:
        waiting = StateWaiting("CreateContainerConfigError", history.refused)
    return ContainerStatus(
        name=spec.name,
        ready=False,
        restart_count=before.restart_count if before is not None else 0,
        image=spec.image,
        image_id="",
        started=False,
        state=ContainerStateView(waiting=waiting),
        last_state=before.last_state if before is not None and gone else ContainerStateView(),
    )


def _lost(before: ContainerStatus) -> ContainerStatus:
    """The status of a container that ran and that the runtime knows no more."""
    text = "The container could not be located when the pod was terminated"
    lost = StateTerminated(137, "ContainerStatusUnknown", text, container_id=before.container_id)
    return msgspec.structs.replace(before, ready=False, state=ContainerStateView(terminated=lost))


def _before(pod: Pod, name: str) -> ContainerStatus | None:
    reported = pod.status
    known = (
        *reported.container_statuses,
        *reported.init_container_statuses,
        *reported.ephemeral_container_statuses,
    )
    return next((status for status in known if status.name == name), None)


def _waiting(
    pod: Pod,
    spec: Container,
    last: ContainerSeen,
    history: History,
    around: Surroundings,
    idle: StateWaiting,
    will_restart: bool,
) -> StateWaiting | None:
    if last.state is ContainerState.CREATED:
        waits = history.waiting.get(spec.name)
        return StateWaiting(waits.reason, waits.message) if waits is not None else idle
    if last.state is not ContainerState.EXITED or not will_restart:
        return None
    waits = history.waiting.get(spec.name)
    if waits is not None:
        return StateWaiting(waits.reason, waits.message)
    crash = history.crashes.get(spec.name)
    if crash is None or crash.container_id != last.id or crash.not_before <= around.at:
        return None
    meta = pod.metadata
    text = (
        f"back-off {_duration(crash.delay)} restarting failed container={spec.name} "
        f"pod={meta.name}_{meta.namespace}({meta.uid})"
    )
    return StateWaiting("CrashLoopBackOff", text)


def _will_restart(pod: Pod, spec: Container, seen: PodSeen) -> bool:
    if pod.metadata.deletion_timestamp is not None or pod.status.phase in ("Succeeded", "Failed"):
        return False
    last = seen.latest(spec.name)
    policy = "Always" if is_sidecar(spec) else pod.spec.restart_policy
    if spec in pod.spec.init_containers and policy == "Always" and not is_sidecar(spec):
        policy = "OnFailure"
    return policy == "Always" or (policy == "OnFailure" and last is not None and last.exit_code != 0)


def _state(container: ContainerSeen, around: Surroundings) -> ContainerStateView:
    if container.state is ContainerState.RUNNING:
        return ContainerStateView(running=StateRunning(rfc3339(container.started_at / _NANO)))
    if container.state is ContainerState.CREATED:
        return ContainerStateView(waiting=StateWaiting("ContainerCreating"))
    return ContainerStateView(terminated=_terminated(container, around))


def _terminated(container: ContainerSeen, around: Surroundings) -> StateTerminated:
    unknown = container.state is ContainerState.UNKNOWN
    reason = "ContainerStatusUnknown" if unknown else container.reason
    return StateTerminated(
        exit_code=137 if unknown else container.exit_code,
        reason=reason or ("Completed" if container.exit_code == 0 else "Error"),
        message=around.messages.get(container.id) or container.message,
        started_at=rfc3339(container.started_at / _NANO) if container.started_at else None,
        finished_at=rfc3339(container.finished_at / _NANO) if container.finished_at else None,
        container_id=_container_id(container, around),
    )


def _container_id(container: ContainerSeen, around: Surroundings) -> str:
    return f"{around.runtime}://{container.id}"


def _initialized(pod: Pod, init: list[ContainerStatus], seen: PodSeen) -> bool:
    if any(seen.latest(spec.name) is not None for spec in pod.spec.containers):
        return True
    for spec, status in zip(pod.spec.init_containers, init, strict=True):
        if not (status.started if is_sidecar(spec) else status.ready):
            return False
    return True


def _phase(main: list[ContainerStatus], initialized: bool) -> str:
    """The kubelet's getPhase for a pod that has not ended."""
    never_ran = any(status.state.waiting and not status.last_state.terminated for status in main)
    if not initialized or never_ran or not main:
        return "Pending"
    return "Running"


def _conditions(
    pod: Pod,
    seen: PodSeen,
    phase: str,
    init: list[ContainerStatus],
    main: list[ContainerStatus],
    initialized: bool,
    now: float,
    history: History,
) -> list[Condition]:
    containers_ready = _containers_ready(phase, pod, init, main)
    pending = [status.name for status in init if not (status.ready or status.started)]
    init_condition = Condition("Initialized", "True")
    if phase == "Succeeded":
        init_condition = Condition("Initialized", "True", "PodCompleted")
    elif not initialized:
        text = f"containers with incomplete status: [{' '.join(pending)}]"
        init_condition = Condition("Initialized", "False", "ContainersNotInitialized", text)
    wanted = [
        Condition("PodReadyToStartContainers", "True" if good_sandbox(pod, seen) else "False"),
        init_condition,
        _ready(pod, containers_ready),
        containers_ready,
        Condition("PodScheduled", "True"),
    ]
    failure = history.failure
    if history.was_held:
        wanted.append(Condition(HELD, "False"))
    if failure is not None and failure.disruption:
        wanted.append(Condition("DisruptionTarget", "True", failure.disruption, failure.message))
    return [_since(condition, pod.status.conditions, now) for condition in wanted]


def _containers_ready(phase: str, pod: Pod, init: list[ContainerStatus], main: list[ContainerStatus]) -> Condition:
    if phase == "Succeeded":
        return Condition("ContainersReady", "False", "PodCompleted")
    if phase == "Failed":
        return Condition("ContainersReady", "False", "PodFailed")
    sidecars = [status for spec, status in zip(pod.spec.init_containers, init, strict=True) if is_sidecar(spec)]
    unready = [status.name for status in (*sidecars, *main) if not status.ready]
    if unready:
        text = f"containers with unready status: [{' '.join(unready)}]"
        return Condition("ContainersReady", "False", "ContainersNotReady", text)
    return Condition("ContainersReady", "True")


def _ready(pod: Pod, containers: Condition) -> Condition:
    gates = [gate.condition_type for gate in pod.spec.readiness_gates]
    passed = {condition.type for condition in pod.status.conditions if condition.status == "True"}
    missing = [gate for gate in gates if gate not in passed]
    if containers.status == "True" and missing:
        text = "\n".join(f'corresponding condition of pod readiness gate "{gate}" does not exist.' for gate in missing)
        return Condition("Ready", "False", "ReadinessGatesNotReady", text)
    return Condition("Ready", containers.status, containers.reason, containers.message)


def _since(condition: Condition, before: list[Condition], now: float) -> Condition:
    """The condition with the time of its last change."""
    old = next((known for known in before if known.type == condition.type), None)
    same = old is not None and old.status == condition.status and old.last_transition_time
    since = old.last_transition_time if old is not None and same else rfc3339(now)
    return msgspec.structs.replace(condition, last_transition_time=since)


def _pod_ips(pod: Pod, seen: PodSeen, around: Surroundings) -> tuple[str, ...]:
    if pod.spec.host_network:
        return around.host_ips if seen.sandboxes or pod.status.pod_ip else ()
    found = next((sandbox.ips for sandbox in seen.sandboxes if sandbox.ips), ())
    return found or tuple(address.ip for address in pod.status.pod_ips)


def _duration(seconds: float) -> str:
    """As Go prints it: 10s, 1m20s, 5m0s."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}m{rest}s" if minutes else f"{rest}s"
