"""Pod statuses: what kubectl shows for every state that a container can be in."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.api.core import Pod, PodStatus, view
from octoedge.edge.edged.cri.fields import ContainerState
from octoedge.edge.edged.observed import ContainerSeen, Crash, Health, History, PodSeen, SandboxSeen, Waiting
from octoedge.edge.edged.status import Surroundings, patch, pod_status
from octoedge.testing import node

NOW = 1_800_000_000.0
AROUND = Surroundings(NOW, 100.0, ("192.0.2.7",), "containerd")
SANDBOX = SandboxSeen("s0", 0, True, 1, ("10.0.0.2",))
RUNNING, EXITED = ContainerState.RUNNING, ContainerState.EXITED
SECOND = 10**9


def make(obj: dict[str, Any] | None = None, **spec: Any) -> Pod:
    return view(Pod, msgspec.json.encode(obj or node.pod(**spec)))


def record(state: ContainerState = RUNNING, name: str = "main", attempt: int = 0, **fields: Any) -> ContainerSeen:
    times = {"started_at": 5 * SECOND, "finished_at": 9 * SECOND if state is EXITED else 0}
    return ContainerSeen(f"{name}{attempt}", "s0", name, attempt, state, **{**times, **fields})


def status(
    pod: Pod, *records: ContainerSeen, history: History | None = None, around: Surroundings = AROUND
) -> PodStatus:
    return pod_status(pod, PodSeen("uid-web", "default", "web", (SANDBOX,), records), history or History(), around)


def main_state(said: PodStatus) -> dict[str, Any]:
    state: dict[str, Any] = msgspec.to_builtins(said.container_statuses[0].state)
    return state


def conditions(said: PodStatus) -> dict[str, str]:
    return {condition.type: condition.status for condition in said.conditions}


def test_a_running_pod() -> None:
    said = status(make(), record(image="edge.local/busybox:1", image_ref="sha256:1"))
    assert said.phase == "Running"
    assert set(conditions(said).values()) == {"True"}
    assert list(conditions(said)) == [
        "PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"
    ]  # fmt: skip
    assert main_state(said) == {"running": {"startedAt": "1970-01-01T00:00:05Z"}}
    known = said.container_statuses[0]
    assert (known.ready, known.started, known.image_id) == (True, True, "sha256:1")
    assert known.container_id == "containerd://main0"
    assert (said.pod_ip, said.host_ip, said.qos_class) == ("10.0.0.2", "192.0.2.7", "BestEffort")


def test_a_pod_that_begins() -> None:
    said = pod_status(make(), PodSeen("uid-web"), History(), AROUND)
    assert said.phase == "Pending"
    assert main_state(said) == {"waiting": {"reason": "ContainerCreating"}}
    assert conditions(said)["PodReadyToStartContainers"] == "False"
    assert said.pod_ips == []


@pytest.mark.parametrize("reason", ["ErrImagePull", "ImagePullBackOff", "CreateContainerConfigError"])
def test_what_a_container_waits_for(reason: str) -> None:
    history = History(waiting={"main": Waiting(reason, "because", 200.0, 10.0)})
    said = status(make(), history=history)
    assert main_state(said) == {"waiting": {"reason": reason, "message": "because"}}
    assert said.phase == "Pending"


def test_a_crash_loop_shows_the_last_end_and_the_phase_stays_running() -> None:
    history = History(crashes={"main": Crash("main3", 80.0, 150.0)})
    said = status(make(), record(EXITED, attempt=3, exit_code=2), history=history)
    assert main_state(said)["waiting"]["reason"] == "CrashLoopBackOff"
    assert (
        "back-off 1m20s restarting failed container=main pod=web_default(uid-web)"
        in main_state(said)["waiting"]["message"]
    )
    last = said.container_statuses[0].last_state.terminated
    assert last is not None
    assert (last.exit_code, last.reason) == (2, "Error")
    assert (said.phase, said.container_statuses[0].restart_count) == ("Running", 3)


def test_the_end_before_this_run_is_the_last_state() -> None:
    said = status(make(), record(attempt=1), record(EXITED, exit_code=137, reason="OOMKilled"))
    last = said.container_statuses[0].last_state.terminated
    assert last is not None
    assert last.reason == "OOMKilled"


@pytest.mark.parametrize(
    ("policy", "code", "phase"),
    [("Never", 0, "Succeeded"), ("Never", 1, "Failed"), ("OnFailure", 0, "Succeeded"), ("OnFailure", 1, "Running"),
     ("Always", 0, "Running")],
)  # fmt: skip
def test_phases_after_the_end(policy: str, code: int, phase: str) -> None:
    assert status(make(restartPolicy=policy), record(EXITED, exit_code=code)).phase == phase


def test_a_pod_that_succeeded_is_not_ready_because_it_is_complete() -> None:
    said = status(make(restartPolicy="Never"), record(EXITED))
    reasons = {condition.type: condition.reason for condition in said.conditions}
    assert reasons["Ready"] == reasons["ContainersReady"] == reasons["Initialized"] == "PodCompleted"


def test_probes_decide_readiness() -> None:
    not_ready = status(make(), record(), history=History(ready={"main0": False}))
    assert not not_ready.container_statuses[0].ready
    ready = next(condition for condition in not_ready.conditions if condition.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "ContainersNotReady")
    assert ready.message == "containers with unready status: [main]"
    starting = status(make(), record(), history=History(health={"main0": Health.STARTING}))
    assert starting.container_statuses[0].started is False


def test_init_containers_come_first() -> None:
    pod = make(initContainers=[node.container("init")])
    said = status(pod, record(name="init"))
    assert said.phase == "Pending"
    assert main_state(said) == {"waiting": {"reason": "PodInitializing"}}
    initialized = next(condition for condition in said.conditions if condition.type == "Initialized")
    assert (initialized.status, initialized.reason) == ("False", "ContainersNotInitialized")
    done = status(pod, record(), record(EXITED, "init"))
    assert done.init_container_statuses[0].ready
    assert conditions(done)["Initialized"] == "True"


def test_readiness_gates_wait_for_others() -> None:
    obj = node.pod(readinessGates=[{"conditionType": "example.com/door"}])
    assert conditions(status(make(obj), record()))["Ready"] == "False"
    obj["status"]["conditions"] = [{"type": "example.com/door", "status": "True"}]
    assert conditions(status(make(obj), record()))["Ready"] == "True"


def test_a_condition_keeps_the_time_of_its_last_change() -> None:
    old = "2026-01-01T00:00:00Z"
    obj = node.pod()
    obj["status"]["conditions"] = [
        {"type": "Ready", "status": "True", "lastTransitionTime": old},
        {"type": "ContainersReady", "status": "False", "lastTransitionTime": old},
    ]
    times = {condition.type: condition.last_transition_time for condition in status(make(obj), record()).conditions}
    assert times["Ready"] == old
    assert times["ContainersReady"] == "2027-01-15T08:00:00Z"


def test_a_container_that_is_gone_when_its_pod_ends_has_ended() -> None:
    obj = node.deleting(node.pod())
    obj["status"] = {"phase": "Running", "containerStatuses": [
        {"name": "main", "ready": True, "restartCount": 2, "image": "x", "imageID": "y", "containerID": "containerd://1",
         "state": {"running": {}}}
    ]}  # fmt: skip
    said = pod_status(make(obj), PodSeen("uid-web"), History(), AROUND)
    assert main_state(said)["terminated"]["reason"] == "ContainerStatusUnknown"
    assert said.container_statuses[0].restart_count == 2


def test_a_pod_that_ended_keeps_what_was_said_of_it() -> None:
    ended = {"exitCode": 0, "reason": "Completed"}
    obj = node.pod(restartPolicy="Never")
    obj["status"] = {"phase": "Succeeded", "podIP": "10.0.0.9", "podIPs": [{"ip": "10.0.0.9"}], "containerStatuses": [
        {"name": "main", "ready": False, "restartCount": 0, "image": "x", "imageID": "y", "containerID": "containerd://1",
         "state": {"terminated": ended}}
    ]}  # fmt: skip
    said = pod_status(make(obj), PodSeen("uid-web"), History(), AROUND)
    assert (said.phase, said.pod_ip) == ("Succeeded", "10.0.0.9")
    assert main_state(said)["terminated"]["reason"] == "Completed"


def test_a_termination_message_is_shown() -> None:
    around = msgspec.structs.replace(AROUND, messages={"main0": "out of coffee"})
    said = status(make(restartPolicy="Never"), record(EXITED, exit_code=1), around=around)
    assert main_state(said)["terminated"]["message"] == "out of coffee"


def test_a_refused_pod_says_why() -> None:
    said = pod_status(make(), PodSeen("uid-web"), History(refused="no such volume"), AROUND)
    assert (said.phase, said.message) == ("Pending", "no such volume")
    assert main_state(said)["waiting"] == {"reason": "CreateContainerConfigError", "message": "no such volume"}


def test_a_pod_on_the_host_has_the_hosts_address() -> None:
    assert status(make(hostNetwork=True), record()).pod_ip == "192.0.2.7"


def test_the_patch_removes_what_no_longer_holds() -> None:
    pod = make()
    body = msgspec.json.decode(patch("uid-web", status(pod, record()), ["10.0.0.1"]))
    assert body["metadata"] == {"uid": "uid-web"}
    assert body["status"]["reason"] is None
    assert all(condition["message"] is None for condition in body["status"]["conditions"])
    assert body["status"]["podIPs"] == [{"ip": "10.0.0.2"}, {"$patch": "delete", "ip": "10.0.0.1"}]
    assert body["status"]["containerStatuses"][0]["restartCount"] == 0
