"""The scheduler on a whole control plane: it binds each Pod once, makes room for the important, says what it did."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import msgspec

from octoedge.apiserver.store.backend import Put
from octoedge.kube.read import Change
from octoedge.testing.controlplane import ControlPlane, simulate

Json = dict[str, Any]


def pod(name: str, cpu: str = "0", **spec: Any) -> Json:
    container = {"name": "c", "image": "i:1", "resources": {"requests": {"cpu": cpu}}}
    return {
        "kind": "Pod",
        "apiVersion": "v1",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {"containers": [container], "terminationGracePeriodSeconds": 2, **spec},
    }


def priority(name: str, value: int, **more: Any) -> Json:
    return {
        "kind": "PriorityClass",
        "apiVersion": "scheduling.k8s.io/v1",
        "metadata": {"name": name},
        "value": value,
        **more,
    }


def node_of(at: ControlPlane, name: str) -> str:
    return str(at.get("pods", name)["spec"].get("nodeName", ""))


def scheduled(at: ControlPlane, name: str) -> tuple[str, str]:
    conditions = at.get("pods", name)["status"].get("conditions") or []
    return next((one["status"], one.get("reason", "")) for one in conditions if one["type"] == "PodScheduled")


def test_pods_fill_the_nodes_and_the_rest_waits_with_a_reason(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(*(pod(f"p{number}", "40") for number in range(3)))
        await asyncio.sleep(1)
        waiting = next(f"p{number}" for number in range(3) if not node_of(at, f"p{number}"))
        assert sorted(node_of(at, f"p{number}") for number in range(3)) == ["", "edge-1", "edge-2"]
        why = (
            "0/2 nodes are available: 2 Insufficient cpu. preemption: 0/2 nodes are available: "
            "2 No preemption victims found for incoming pod."
        )
        assert f"FailedScheduling: {why}" in at.told()
        assert scheduled(at, waiting) == ("False", "Unschedulable")
        gone = next(name for name in ("p0", "p1", "p2") if name != waiting)
        home = node_of(at, gone)
        await at.delete("pods", gone)
        await at.until(lambda: node_of(at, waiting) == home, within=10)
        assert scheduled(at, waiting) == ("True", "")
        assert f"Scheduled: Successfully assigned default/{waiting} to {home}" in at.told()

    simulate(tmp_path, story, ["edge-1", "edge-2"])


def test_a_node_that_changes_or_comes_lets_pods_in(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(pod("picky", nodeSelector={"disk": "ssd"}), pod("cordoned", nodeName=""))
        await asyncio.sleep(30)
        assert node_of(at, "picky") == ""
        assert node_of(at, "cordoned") == "edge-1"
        await at.edit("nodes", "edge-1", lambda obj: obj["metadata"]["labels"].update(disk="ssd"))
        await at.until(lambda: node_of(at, "picky") == "edge-1", within=15)

    simulate(tmp_path, story, ["edge-1"])


def test_pods_of_others_are_left_alone(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(pod("theirs", schedulerName="another"), pod("bound", nodeName="elsewhere"))
        await asyncio.sleep(400)
        assert (node_of(at, "theirs"), node_of(at, "bound")) == ("", "elsewhere")
        assert not [text for text in at.told() if "chedul" in text]

    simulate(tmp_path, story)


def test_gates_hold_a_pod_until_the_last_is_gone(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(pod("gated", schedulingGates=[{"name": "example.com/a"}]))
        await asyncio.sleep(5)
        assert node_of(at, "gated") == ""
        assert scheduled(at, "gated") == ("False", "SchedulingGated")
        await at.edit("pods", "gated", lambda obj: obj["spec"].pop("schedulingGates"))
        await at.until(lambda: node_of(at, "gated"), within=3)

    simulate(tmp_path, story)


def test_an_important_pod_takes_the_place_of_the_least_important(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(priority("low", 1), priority("middle", 5), priority("high", 10))
        await at.create(pod("cheap", "50", priorityClassName="low"))
        await at.create(pod("dear", "50", priorityClassName="middle"))
        await at.until(lambda: node_of(at, "cheap") and node_of(at, "dear"))
        home = node_of(at, "cheap")
        uid = at.get("pods", "cheap")["metadata"]["uid"]
        await at.create(pod("boss", "50", priorityClassName="high"), pod("queue", "50", priorityClassName="low"))
        await asyncio.sleep(0.5)
        assert at.get("pods", "boss")["status"]["nominatedNodeName"] == home
        said = {
            one["type"]: one["reason"] for one in at.get("pods", "cheap")["status"]["conditions"] if "reason" in one
        }
        assert said["DisruptionTarget"] == "PreemptionByScheduler"
        await at.until(lambda: node_of(at, "boss"), within=10)
        assert node_of(at, "boss") == home
        assert node_of(at, "queue") == ""
        boss = at.get("pods", "boss")["metadata"]["uid"]
        assert f"Preempted: Preempted by pod {boss} on node {home}" in at.told()
        assert uid not in {one["metadata"]["uid"] for one in at.all("pods")}
        assert node_of(at, "dear")

    simulate(tmp_path, story, ["edge-1", "edge-2"])


def test_who_never_preempts_waits(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(priority("polite", 10, preemptionPolicy="Never"))
        await at.create(pod("first", "50"))
        await at.until(lambda: node_of(at, "first"))
        await at.create(pod("second", "50", priorityClassName="polite"))
        await asyncio.sleep(5)
        assert at.get("pods", "first")["status"]["phase"] == "Running"
        assert any("preemption: not eligible due to preemptionPolicy=Never." in text for text in at.told())

    simulate(tmp_path, story, ["edge-1"])


def test_a_budget_is_honoured_while_there_is_another_way(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await at.create(priority("low", 1), priority("middle", 5), priority("high", 10))
        budget = {"selector": {"matchLabels": {"app": "kept"}}, "minAvailable": 1}
        about = {"kind": "PodDisruptionBudget", "apiVersion": "policy/v1", "metadata": {"name": "kept"}}
        await at.create({**about, "spec": budget})
        await at.create(pod("kept", "50", priorityClassName="low"))
        await at.create(pod("other", "50", priorityClassName="middle"))
        await at.until(lambda: all(one["status"].get("phase") == "Running" for one in at.all("pods")))
        await asyncio.sleep(2)
        await at.create(pod("boss", "50", priorityClassName="high"))
        await at.until(lambda: node_of(at, "boss"), within=10)
        assert [one["metadata"]["name"] for one in at.living()] == ["boss", "kept"]

    simulate(tmp_path, story, ["edge-1", "edge-2"])


def test_a_pod_that_waits_for_company_goes_where_it_comes(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": {"matchLabels": {"app": "host"}}}
        near = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        await at.create(pod("guest", affinity=near))
        await asyncio.sleep(20)
        assert node_of(at, "guest") == ""
        await at.create(pod("host", nodeSelector={"kubernetes.io/hostname": "edge-2"}))
        await at.until(lambda: node_of(at, "guest") == "edge-2", within=15)

    simulate(tmp_path, story)


def test_a_pod_that_cannot_be_understood_holds_up_nobody(tmp_path: Path) -> None:
    """The API refuses such Pods; an older version of it may have stored one."""

    async def story(at: ControlPlane) -> None:
        label = {"matchExpressions": [{"key": "a", "operator": "Like", "values": ["b"]}]}
        term = {"topologyKey": "kubernetes.io/hostname", "labelSelector": label}
        strange = {"podAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": [term]}}
        match = {"matchExpressions": [{"key": "cores", "operator": "Gt", "values": ["many"]}]}
        greater = {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [match]}}}
        for name, affinity in (("odd", strange), ("uncountable", greater)):
            stored = pod(name, affinity=affinity)
            stored["metadata"] |= {"namespace": "default", "uid": name, "creationTimestamp": "2026-01-01T00:00:00Z"}
            stored["status"] = {"phase": "Pending"}
            await at.backend.change(lambda _, stored=stored: [Put("pods", stored)])  # type: ignore[misc]
        await at.create(pod("plain"))
        await at.until(lambda: node_of(at, "plain"), within=5)
        assert node_of(at, "odd") == node_of(at, "uncountable") == ""
        assert any(text.startswith("FailedScheduling: ") and "Like" in text for text in at.told())

    simulate(tmp_path, story)


def test_no_pod_is_bound_twice_whenever_it_is_killed(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        homes: dict[str, set[str]] = {}

        def seen(change: Change) -> None:
            found = msgspec.json.decode(change.item.data)
            homes.setdefault(found["metadata"]["uid"], set()).add(found["spec"].get("nodeName", ""))

        at.watchers.append(seen)
        for number in range(20):
            await at.create(*(pod(f"p{number}-{one}", "1") for one in range(3)))
            await asyncio.sleep(0)
            await at.restart()
        await at.until(lambda: all(one["spec"].get("nodeName") for one in at.all("pods")))
        assert all(len(found - {""}) <= 1 for found in homes.values())

    simulate(tmp_path, story)
