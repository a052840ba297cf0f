"""What a pod is asked at the door."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api.core import Pod, view
from octoedge.edge.edged.admission import Surroundings, preempted, rejection
from octoedge.edge.edged.edged import Edged
from octoedge.testing import node

LABELS = {"kubernetes.io/hostname": "edge-1", "disk": "ssd", "rank": "5"}
NODE = Surroundings(LABELS, {"cpu": "1500m", "memory": "100Mi", "ephemeral-storage": "1Gi", "pods": "3"})


def make(name: str = "web", **spec: Any) -> Pod:
    return view(Pod, msgspec.json.encode(node.pod(name, **spec)))


def asking(name: str = "web", **requests: str) -> Pod:
    return make(name, containers=[node.container(resources={"requests": requests})])


def on(port: int, protocol: str = "TCP", name: str = "web") -> Pod:
    ports = [{"containerPort": 80, "hostPort": port, "protocol": protocol}]
    return make(name, containers=[node.container(ports=ports)])


def reason(pod: Pod, *others: Pod, around: Surroundings = NODE) -> str:
    refused = rejection(pod, others, around)
    return refused.reason if refused is not None else ""


def affinity(*expressions: dict[str, Any]) -> dict[str, Any]:
    terms = {"nodeSelectorTerms": [{"matchExpressions": list(expressions)}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def test_an_ordinary_pod_comes_in() -> None:
    assert reason(make(), make("other"), on(81, name="third")) == ""
    assert reason(asking(cpu="1500m", memory="100Mi")) == ""


def test_the_words_are_the_kubelets() -> None:
    refused = rejection(asking(cpu="2"), [asking("other", cpu="100m")], NODE)
    assert refused is not None
    assert refused.reason == "OutOfcpu"
    text = "Node didn't have enough resource: cpu, requested: 2000, used: 100, capacity: 1500"
    assert refused.message == text
    refused = rejection(make(nodeSelector={"disk": "hdd"}), [], NODE)
    assert refused is not None
    assert refused.reason == "NodeAffinity"
    assert refused.message == "Predicate NodeAffinity failed: node(s) didn't match Pod's node affinity/selector"


def test_room_is_counted_with_those_who_are_here() -> None:
    assert reason(asking(memory="60Mi"), asking("b", memory="60Mi")) == "OutOfmemory"
    assert reason(asking(memory="40Mi"), asking("b", memory="60Mi")) == ""
    assert reason(make(), make("a"), make("b"), make("c")) == "OutOfpods"


def test_a_port_of_the_host_is_had_once() -> None:
    assert reason(on(80), on(80, name="b")) == "NodePorts"
    assert reason(on(80), on(80, "UDP", name="b")) == ""


@pytest.mark.parametrize(
    ("expression", "fits"),
    [
        ({"key": "disk", "operator": "In", "values": ["ssd", "nvme"]}, True),
        ({"key": "disk", "operator": "NotIn", "values": ["ssd"]}, False),
        ({"key": "disk", "operator": "Exists"}, True),
        ({"key": "gpu", "operator": "Exists"}, False),
        ({"key": "gpu", "operator": "DoesNotExist"}, True),
        ({"key": "rank", "operator": "Gt", "values": ["4"]}, True),
        ({"key": "rank", "operator": "Lt", "values": ["4"]}, False),
        ({"key": "disk", "operator": "Gt", "values": ["4"]}, False),
        ({"key": "disk", "operator": "New", "values": ["4"]}, False),
    ],
)
def test_affinity_to_the_node(expression: dict[str, Any], fits: bool) -> None:
    assert (reason(make(affinity=affinity(expression))) == "") == fits


def test_affinity_in_a_form_of_its_own_harms_nobody() -> None:
    assert reason(make(affinity={"nodeAffinity": "x"})) == ""
    assert reason(make(affinity={"podAffinity": {"x": 1}})) == ""
    assert reason(make(affinity=affinity())) == "NodeAffinity"


def test_labels_that_are_not_known_forbid_nothing() -> None:
    assert reason(make(nodeSelector={"disk": "hdd"}), around=Surroundings(None, {})) == ""


def test_a_node_that_ends_or_is_short_of_something_takes_nothing() -> None:
    assert reason(make(), around=Surroundings(LABELS, {}, shutting_down=True)) == "NodeShutdown"
    assert reason(make(), around=Surroundings(LABELS, {}, frozenset({"DiskPressure"}))) == "Evicted"


@pytest.mark.parametrize(
    ("where", "kind", "refused"),
    [
        ("pod", "RuntimeDefault", True), ("container", "Localhost", True), ("pod", "Unconfined", False),
        ("container", "Unconfined", False),
    ],
)  # fmt: skip
def test_a_profile_that_nobody_enforces_refuses_the_pod(where: str, kind: str, refused: bool) -> None:
    context: dict[str, Any] = {"securityContext": {"appArmorProfile": {"type": kind, "localhostProfile": "x"}}}
    pod = make(**context) if where == "pod" else make(containers=[node.container(**context)])
    assert reason(pod, around=Surroundings(LABELS, {}, apparmor=False)) == ("AppArmor" if refused else "")
    assert reason(pod) == ""


CRITICAL = 2_000_001_000


def critical(name: str = "critical", **requests: str) -> Pod:
    return make(name, containers=[node.container(resources={"requests": requests})], priority=CRITICAL)


def names(pods: list[Pod]) -> list[str]:
    return sorted(pod.metadata.name for pod in pods)


def test_a_critical_pod_sends_away_as_few_as_will_do() -> None:
    sure = {"limits": {"cpu": "500m", "memory": "20Mi"}}
    guaranteed = make("guaranteed", containers=[node.container(resources=sure)])
    small, large = asking("small", cpu="200m"), asking("large", cpu="700m")
    assert names(preempted(critical(cpu="300m"), [guaranteed, small, large], NODE.allocatable)) == ["small"]
    assert names(preempted(critical(cpu="100m"), [guaranteed, small], NODE.allocatable)) == []
    assert names(preempted(critical(cpu="1300m"), [guaranteed, small, large], NODE.allocatable)) == [
        "guaranteed",
        "large",
    ]
    full = [make("a"), make("b", priority=5), asking("c", cpu="1m")]
    assert names(preempted(critical(), full, NODE.allocatable)) == ["a"]


def test_nobody_goes_where_that_would_not_help_or_nobody_critical_comes() -> None:
    assert preempted(critical(cpu="2"), [asking("a", cpu="1")], NODE.allocatable) == []
    assert preempted(critical(cpu="1"), [critical("other", cpu="1")], NODE.allocatable) == []
    assert preempted(asking("b", cpu="1"), [asking("a", cpu="1")], NODE.allocatable) == []


def test_a_critical_pod_finds_its_place_and_the_other_is_told_why(tmp_path: Path) -> None:
    async def body(world: node.World, edged: Edged) -> None:
        ask = {"requests": {"cpu": "1500m"}}
        await world.metadata.put("pod", node.pod("low", containers=[node.container(resources=ask)]))
        await world.metadata.until_status("uid-low", node.is_running)
        await world.metadata.put("pod", node.pod("high", containers=[node.container(resources=ask)], priority=CRITICAL))
        await world.metadata.until_status("uid-high", node.is_running)
        status = await world.metadata.until_status("uid-low", lambda s: s.get("phase") == "Failed")
        assert (status["reason"], status["message"]) == ("Preempting", "Preempted in order to admit critical pod")
        assert node.condition(status, "DisruptionTarget")["reason"] == "TerminationByKubelet"
        assert "Preempting" in world.metadata.reasons()
        await asyncio.sleep(60)
        assert len(world.runtime.running()) == 1

    node.scenario(tmp_path, body)
