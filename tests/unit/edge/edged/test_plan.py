"""The plan: exhaustive where the cases are few, a simulated runtime where they are many."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged import plan as planning
from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.observed import ContainerSeen, Health, History, PodSeen, SandboxSeen, Waiting
from octoedge.edge.edged.plan import (
    CreateSandbox,
    Finish,
    Plan,
    RemoveContainer,
    RemoveSandbox,
    StartContainer,
    StopContainer,
    StopSandbox,
    plan,
    spec_hash,
)
from octoedge.testing import node

RUNNING, EXITED, CREATED, UNKNOWN = (
    ContainerState.RUNNING, ContainerState.EXITED, ContainerState.CREATED, ContainerState.UNKNOWN
)  # fmt: skip
SANDBOX = SandboxSeen("s0", 0, True, 1, ("10.0.0.2",))


def make(obj: dict[str, Any] | None = None, **spec: Any) -> Pod:
    return view(Pod, msgspec.json.encode(obj or node.pod(**spec)))


def record(pod: Pod, name: str = "main", state: ContainerState = RUNNING, **fields: Any) -> ContainerSeen:
    specs = {c.name: c for c in (*pod.spec.init_containers, *pod.spec.containers)}
    defaults: dict[str, Any] = {
        "id": f"{name}-{fields.get('attempt', 0)}", "sandbox_id": "s0", "attempt": 0, "created_at": 10,
        "started_at": 0 if state is CREATED else 20, "finished_at": 30 if state is EXITED else 0,
        "spec_hash": spec_hash(specs[name]) if name in specs else "",
    }  # fmt: skip
    return ContainerSeen(name=name, state=state, **{**defaults, **fields})


def seen(*containers: ContainerSeen, sandboxes: tuple[SandboxSeen, ...] = (SANDBOX,)) -> PodSeen:
    return PodSeen("uid-web", "default", "web", sandboxes, containers)


def kinds(thought: Plan) -> list[type]:
    return [type(action) for action in thought.actions]


def test_a_new_pod_begins_with_a_sandbox() -> None:
    assert plan(make(), PodSeen("uid-web"), History(), 0.0) == Plan((CreateSandbox(0),))


def test_a_failed_sandbox_is_replaced_with_the_next_attempt() -> None:
    dead = SandboxSeen("s0", 3, False, 1)
    assert plan(make(), seen(sandboxes=(dead,)), History(), 0.0).actions == (CreateSandbox(4),)


def test_containers_of_a_dead_sandbox_are_stopped_before_it_is_replaced() -> None:
    pod = make()
    dead = SandboxSeen("s0", 0, False, 1)
    assert kinds(plan(pod, seen(record(pod), sandboxes=(dead,)), History(), 0.0)) == [StopContainer]


def test_what_lives_outside_the_good_sandbox_is_stopped() -> None:
    pod = make()
    old, new = SandboxSeen("old", 0, True, 1, ("10.0.0.2",)), SandboxSeen("new", 1, True, 2, ("10.0.0.3",))
    stray = record(pod, sandbox_id="old")
    stranger = ContainerSeen("x", "new", "removed", 0, RUNNING)
    thought = plan(pod, seen(stray, stranger, sandboxes=(new, old)), History(), 0.0)
    assert kinds(thought) == [StopContainer, StopContainer, StopSandbox]
    assert thought.actions[-1] == StopSandbox("old")


def test_a_sandbox_without_an_address_is_no_good_unless_the_pod_is_on_the_host() -> None:
    bare = SandboxSeen("s0", 0, True, 1)
    assert plan(make(), seen(sandboxes=(bare,)), History(), 0.0).actions == (StopSandbox("s0"),)
    on_host = make(hostNetwork=True)
    assert kinds(plan(on_host, seen(sandboxes=(bare,)), History(), 0.0)) == [StartContainer]


def test_a_sandbox_that_failed_is_waited_for() -> None:
    history = History(waiting={"": Waiting("ContainerCreating", "no network", 42.0, 10.0)})
    assert plan(make(), PodSeen("uid-web"), history, 0.0) == Plan((), 42.0)
    assert plan(make(), PodSeen("uid-web"), history, 42.0).actions == (CreateSandbox(0),)


@pytest.mark.parametrize(
    ("policy", "exit_code", "restarts"),
    [("Always", 0, True), ("Always", 1, True), ("OnFailure", 0, False), ("OnFailure", 1, True), ("Never", 0, False),
     ("Never", 1, False)],
)  # fmt: skip
def test_restart_policy(policy: str, exit_code: int, restarts: bool) -> None:
    pod = make(restartPolicy=policy)
    thought = plan(pod, seen(record(pod, state=EXITED, exit_code=exit_code)), History(), 100.0)
    assert kinds(thought) == ([StartContainer] if restarts else [StopSandbox])
    if restarts:
        assert thought.actions[0].attempt == 1  # type: ignore[union-attr]


def test_back_off_grows_from_ten_seconds_to_five_minutes_and_begins_anew_after_ten_minutes_of_running() -> None:
    pod, history = make(), History()
    waits = []
    for attempt in range(9):
        ended = record(pod, state=EXITED, attempt=attempt, started_at=1, finished_at=2)
        planning.note_exits(history, seen(ended), 0.0, 1000.0)
        planning.note_exits(history, seen(ended), 0.0, 2000.0)  # Seen again: no second penalty.
        waits.append(history.crashes["main"].not_before - 1000.0)
    assert waits == [0, 10, 20, 40, 80, 160, 300, 300, 300]
    long = record(pod, state=EXITED, attempt=9, started_at=1, finished_at=601 * 10**9)
    planning.note_exits(history, seen(long), 601.0, 0.0)
    assert history.crashes["main"].delay == 0


def test_a_crashed_container_waits_for_its_time() -> None:
    pod, history = make(), History()
    for attempt in (0, 1):
        planning.note_exits(history, seen(record(pod, state=EXITED, attempt=attempt)), 0.0, 100.0)
    crashed = seen(record(pod, state=EXITED, attempt=1))
    assert plan(pod, crashed, history, 105.0) == Plan((), 110.0)
    assert kinds(plan(pod, crashed, history, 110.0)) == [StartContainer]


def test_a_clock_that_jumps_does_not_hold_a_container_back() -> None:
    pod, history = make(), History()
    for attempt, wall_now in ((0, 0.0), (1, -86400.0)):
        planning.note_exits(history, seen(record(pod, state=EXITED, attempt=attempt)), wall_now, 100.0)
    assert history.crashes["main"].not_before == 110.0


def test_time_that_has_passed_since_the_exit_counts() -> None:
    pod, history = make(), History()
    for attempt in (0, 1):
        ended = record(pod, state=EXITED, attempt=attempt, finished_at=10 * 10**9)
        planning.note_exits(history, seen(ended), 14.0, 100.0)
    assert history.crashes["main"].not_before == 106.0


def test_init_containers_go_one_after_the_other() -> None:
    pod = make(initContainers=[node.container("one"), node.container("two")])
    assert _started(plan(pod, seen(), History(), 0.0)) == ["one"]
    assert plan(pod, seen(record(pod, "one")), History(), 0.0) == Plan()
    done = record(pod, "one", EXITED)
    assert _started(plan(pod, seen(done), History(), 0.0)) == ["two"]
    both = (record(pod, "two", EXITED), done)
    assert _started(plan(pod, seen(*both), History(), 0.0)) == ["main"]


def test_a_failed_init_container_ends_a_pod_that_never_restarts() -> None:
    pod = make(initContainers=[node.container("one")], restartPolicy="Never")
    failed = seen(record(pod, "one", EXITED, exit_code=1))
    ended = planning.outcome(pod, failed, History())
    assert ended is not None
    assert ended.phase == "Failed"
    assert plan(pod, failed, History(), 0.0).actions == (StopSandbox("s0"),)


def test_a_sidecar_starts_first_stays_up_and_stops_last() -> None:
    pod = make(initContainers=[node.container("side", restartPolicy="Always"), node.container("one")])
    assert _started(plan(pod, seen(), History(), 0.0)) == ["side"]
    side = record(pod, "side")
    starting = History(health={side.id: Health.STARTING})
    assert plan(pod, seen(side), starting, 0.0) == Plan()
    assert _started(plan(pod, seen(side), History(), 0.0)) == ["one"]
    running = (record(pod), record(pod, "one", EXITED), side)
    assert plan(pod, seen(*running), History(), 0.0) == Plan()
    died = (record(pod), record(pod, "one", EXITED), record(pod, "side", EXITED))
    assert _started(plan(pod, seen(*died), History(), 0.0)) == ["side"]
    gone = make(node.deleting(node.pod(initContainers=[node.container("side", restartPolicy="Always")])))
    assert _stopped(plan(gone, seen(*running), History(), 0.0)) == ["main"]
    left = (record(pod, state=EXITED), record(pod, "one", EXITED), side)
    assert _stopped(plan(gone, seen(*left), History(), 0.0)) == ["side"]


def test_a_changed_image_replaces_the_container() -> None:
    pod = make()
    old = record(pod, spec_hash="0123456789abcdef")
    [stop] = plan(pod, seen(old), History(), 0.0).actions
    assert isinstance(stop, StopContainer)
    assert "definition changed" in stop.message
    assert _started(plan(pod, seen(record(pod, state=EXITED, spec_hash="0123456789abcdef")), History(), 0.0)) == [
        "main"
    ]


def test_a_container_that_fails_its_probe_is_stopped_with_the_probes_words() -> None:
    pod = make()
    running = record(pod)
    history = History(
        health={running.id: Health.FAILED}, stop_messages={running.id: "it is ill"}, stop_graces={running.id: 3.0}
    )
    assert plan(pod, seen(running), history, 0.0).actions == (StopContainer(running, 3.0, "it is ill"),)


def test_a_container_that_was_only_created_is_made_anew() -> None:
    pod = make()
    remove, start = plan(pod, seen(record(pod, state=CREATED, attempt=2)), History(), 0.0).actions
    assert remove == RemoveContainer("main-2")
    assert isinstance(start, StartContainer)
    assert start.attempt == 2


def test_a_container_in_an_unknown_state_is_stopped_first() -> None:
    pod = make()
    assert kinds(plan(pod, seen(record(pod, state=UNKNOWN)), History(), 0.0)) == [StopContainer]


def test_dead_containers_are_kept_two_of_a_name() -> None:
    pod = make()
    records = [record(pod, attempt=3), *(record(pod, state=EXITED, attempt=n) for n in (2, 1, 0))]
    assert plan(pod, seen(*records), History(), 0.0).actions == (RemoveContainer("main-1"), RemoveContainer("main-0"))


def test_logs_of_a_lost_runtime_count_as_attempts() -> None:
    [start] = plan(make(), seen(), History(logged_attempts={"main": 4}), 0.0).actions
    assert isinstance(start, StartContainer)
    assert start.attempt == 5


@pytest.mark.parametrize("phase", ["Succeeded", "Failed"])
def test_a_pod_that_ended_is_not_run_again_by_a_runtime_that_forgot_it(phase: str) -> None:
    obj = {**node.pod(restartPolicy="Never"), "status": {"phase": phase}}
    assert plan(make(obj), PodSeen("uid-web"), History(), 0.0) == Plan()


def test_a_refused_pod_is_left_alone() -> None:
    assert plan(make(), seen(), History(refused="no"), 0.0) == Plan()


def test_deletion_goes_containers_sandbox_finish() -> None:
    pod = make(node.deleting(node.pod(), 7))
    [stop] = plan(pod, seen(record(pod)), History(stopping_since=0.0), 2.0).actions
    assert isinstance(stop, StopContainer)
    assert stop.grace == 5.0
    late = plan(pod, seen(record(pod)), History(stopping_since=0.0), 60.0).actions[0]
    assert isinstance(late, StopContainer)
    assert late.grace == 1.0
    assert plan(pod, seen(record(pod, state=EXITED)), History(), 0.0).actions == (StopSandbox("s0"),)
    stopped = SandboxSeen("s0", 0, False, 1)
    assert plan(pod, seen(sandboxes=(stopped,)), History(), 0.0).actions == (RemoveSandbox("s0"), Finish())
    assert plan(None, PodSeen("uid-web"), History(), 0.0).actions == (Finish(),)


def _started(thought: Plan) -> list[str]:
    return [action.container.name for action in thought.actions if isinstance(action, StartContainer)]


def _stopped(thought: Plan) -> list[str]:
    return [action.container.name for action in thought.actions if isinstance(action, StopContainer)]


class Simulation:
    """A runtime as plain data: applies actions at once, obeys faults."""

    def __init__(self, pod: Pod) -> None:
        self.pod: Pod | None = pod
        self.sandboxes: list[SandboxSeen] = []
        self.containers: list[ContainerSeen] = []
        self.history = History()
        self.now = 0.0
        self.clock = 1
        self.finished = False

    def seen(self) -> PodSeen:
        sandboxes = sorted(self.sandboxes, key=lambda s: s.attempt, reverse=True)
        containers = sorted(self.containers, key=lambda c: c.created_at, reverse=True)
        return PodSeen("uid-web", "default", "web", tuple(sandboxes), tuple(containers))

    def think(self) -> Plan:
        planning.note_exits(self.history, self.seen(), 0.0, self.now)
        return plan(self.pod, self.seen(), self.history, self.now)

    def settle(self) -> None:
        """Act until there is nothing to do now; waits are waited out."""
        for _ in range(200):
            thought = self.think()
            if not thought.actions:
                if thought.wake_at is None:
                    return
                assert thought.wake_at > self.now
                self.now = thought.wake_at
                continue
            for action in thought.actions:
                self.apply(action)
            self.check()
            if self.finished:
                return
        raise AssertionError("the plan does not come to rest")

    def apply(self, action: planning.Action) -> None:
        self.clock += 1
        if isinstance(action, CreateSandbox):
            assert all(sandbox.attempt != action.attempt for sandbox in self.sandboxes)
            self.sandboxes.append(SandboxSeen(f"s{action.attempt}", action.attempt, True, self.clock, ("10.0.0.2",)))
        elif isinstance(action, StopSandbox):
            self.replace_sandbox(action.sandbox_id)
        elif isinstance(action, RemoveSandbox):
            self.sandboxes = [s for s in self.sandboxes if s.id != action.sandbox_id]
            self.containers = [c for c in self.containers if c.sandbox_id != action.sandbox_id]
        elif isinstance(action, StartContainer):
            self.start(action)
        elif isinstance(action, StopContainer):
            self.end(action.container.id, 137)
        elif isinstance(action, RemoveContainer):
            self.containers = [c for c in self.containers if c.id != action.container_id]
        else:
            assert isinstance(action, Finish)
            self.finished = True

    def start(self, action: StartContainer) -> None:
        name = action.container.name
        container_id = f"{name}-{action.attempt}"
        assert all(c.id != container_id for c in self.containers), "a name is used twice"
        assert any(s.id == action.sandbox_id and s.ready for s in self.sandboxes), "started in a dead sandbox"
        self.containers.append(
            ContainerSeen(container_id, action.sandbox_id, name, action.attempt, RUNNING, self.clock, self.clock,
                          spec_hash=spec_hash(action.container))
        )  # fmt: skip
        if action.init and not planning.is_sidecar(action.container):
            self.end(container_id, 0)

    def end(self, container_id: str, exit_code: int) -> None:
        self.clock += 1
        self.containers = [
            msgspec.structs.replace(c, state=EXITED, exit_code=exit_code, finished_at=self.clock)
            if c.id == container_id and c.alive
            else c
            for c in self.containers
        ]

    def replace_sandbox(self, sandbox_id: str) -> None:
        self.sandboxes = [msgspec.structs.replace(s, ready=False) if s.id == sandbox_id else s for s in self.sandboxes]

    def check(self) -> None:
        alive = [c.name for c in self.containers if c.alive]
        assert len(alive) == len(set(alive)), "two containers of one name are alive"

    def fault(self, kind: str, exit_code: int) -> None:
        if kind == "exit" and self.containers:
            self.end(self.containers[self.clock % len(self.containers)].id, exit_code)
        elif kind == "sandbox" and self.sandboxes:
            self.replace_sandbox(self.sandboxes[-1].id)
        elif kind == "unknown" and self.containers:
            last = self.containers[-1]
            if last.alive:
                self.containers[-1] = msgspec.structs.replace(last, state=UNKNOWN)
        elif kind == "wipe":
            self.sandboxes, self.containers = [], []
            self.history = History()
        elif kind == "restart":
            self.history = History()
        self.now += 1000.0


FAULTS = st.lists(
    st.tuples(st.sampled_from(["exit", "sandbox", "unknown", "wipe", "restart"]), st.sampled_from([0, 1])), max_size=8
)


@settings(max_examples=300)
@given(
    policy=st.sampled_from(["Always", "OnFailure", "Never"]),
    inits=st.lists(st.booleans(), max_size=3),
    mains=st.integers(1, 3),
    faults=FAULTS,
)
def test_whatever_happens_a_pod_comes_to_rest_runs_once_and_ends_clean(
    policy: str, inits: list[bool], mains: int, faults: list[tuple[str, int]]
) -> None:
    init = [
        node.container(f"init{n}", **({"restartPolicy": "Always"} if sidecar else {}))
        for n, sidecar in enumerate(inits)
    ]
    main = [node.container(f"main{n}") for n in range(mains)]
    obj = node.pod(restartPolicy=policy, initContainers=init, containers=main)
    world = Simulation(make(obj))
    world.settle()
    for kind, exit_code in faults:
        world.fault(kind, exit_code)
        world.settle()
    assert world.pod is not None
    if planning.outcome(world.pod, world.seen(), world.history) is None and policy == "Always":
        running = {c.name for c in world.containers if c.state is RUNNING}
        assert {container["name"] for container in main} <= running
    world.pod = make(node.deleting(obj))
    world.settle()
    assert world.finished
    assert world.sandboxes == []
    assert world.containers == []
