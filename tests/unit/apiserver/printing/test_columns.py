"""The words of `kubectl get`."""

from __future__ import annotations

from typing import Any

import pytest

from octoedge.apiserver.printing.cells import age, duration
from octoedge.apiserver.printing.columns import columns_of, pod_reason

Json = dict[str, Any]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (125, "2m5s"),
        (600, "10m"),
        (3 * 3600, "3h"),
        (5 * 3600 + 60, "5h1m"),
        (26 * 3600, "26h"),
        (50 * 3600, "2d2h"),
        (30 * 86400, "30d"),
        (800 * 86400, "2y70d"),
        (4000 * 86400, "10y"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_an_age_that_is_not_known() -> None:
    assert age(None, 0.0) == age("soon", 0.0) == "<unknown>"


def pod(*states: Json, phase: str = "Running", **more: Any) -> Json:
    statuses = [
        {"name": f"c{n}", "restartCount": 0, "ready": "running" in state, "state": state}
        for n, state in enumerate(states)
    ]
    spec = {"containers": [{"name": f"c{n}"} for n in range(len(states))]}
    return {"metadata": {"name": "p"}, "spec": spec, "status": {"phase": phase, "containerStatuses": statuses, **more}}


@pytest.mark.parametrize(
    ("obj", "word"),
    [
        (pod(phase="Pending"), "Pending"),
        (pod({"running": {}}), "Running"),
        (pod({"waiting": {"reason": "CrashLoopBackOff"}}), "CrashLoopBackOff"),
        (pod({"terminated": {"reason": "OOMKilled"}}), "OOMKilled"),
        (pod({"terminated": {"exitCode": 3}}), "ExitCode:3"),
        (pod({"terminated": {"signal": 9}}), "Signal:9"),
        (pod({"terminated": {"reason": "Completed"}}, phase="Succeeded"), "Completed"),
        (pod(phase="Failed", reason="Evicted"), "Evicted"),
        (pod({"running": {}}, initContainerStatuses=[{"name": "i", "state": {"running": {}}}]), "Init:0/0"),
        ({**pod({"running": {}}), "metadata": {"name": "p", "deletionTimestamp": "x"}}, "Terminating"),
    ],
)
def test_the_status_of_a_pod(obj: Json, word: str) -> None:
    assert pod_reason(obj) == word


def test_rows() -> None:
    cells = [column.cell(pod({"running": {}}), 0.0) for column in columns_of("pods")]
    assert cells == ["p", "1/1", "Running", "0", "<unknown>", "<none>", "<none>", "<none>", "<none>"]
    node = {
        "metadata": {"name": "n", "labels": {"node-role.kubernetes.io/edge": "", "node-role.kubernetes.io/agent": ""}},
        "spec": {"unschedulable": True},
        "status": {"conditions": [{"type": "Ready", "status": "Unknown"}], "nodeInfo": {"kubeletVersion": "v1"}},
    }
    assert [column.cell(node, 0.0) for column in columns_of("nodes")][:5] == [
        "n",
        "NotReady,SchedulingDisabled",
        "agent,edge",
        "<unknown>",
        "v1",
    ]


@pytest.mark.parametrize(
    "resource", ["pods", "nodes", "events", "services", "namespaces", "secrets", "leases.coordination.k8s.io"]
)
def test_an_empty_object_has_a_row_too(resource: str) -> None:
    assert all(column.cell({"metadata": {}}, 0.0) is not None for column in columns_of(resource))
