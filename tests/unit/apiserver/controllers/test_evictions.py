"""A node that is away keeps its Pods unless they say otherwise; nobody is sent to them, and all ends well."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import Taint
from octoedge.apiserver.controllers.plans.evictions import FOREVER, Since, TimedToleration, stay
from octoedge.testing.controlplane import ControlPlane, is_living, is_ready, simulate, template, workload

Json = dict[str, Any]
UNREACHABLE = "node.kubernetes.io/unreachable"


def leaves_after(seconds: int) -> Json:
    toleration = {"key": UNREACHABLE, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": seconds}
    return template("web", tolerations=[toleration])


def on(at: ControlPlane, node: str) -> list[Json]:
    return [pod for pod in at.all("pods") if pod["spec"].get("nodeName") == node]


def addresses(at: ControlPlane, condition: str = "ready") -> set[str]:
    slices = at.all("endpointslices.discovery.k8s.io")
    ends = [end for one in slices for end in one["endpoints"] if end["conditions"][condition]]
    return {end["addresses"][0] for end in ends}


async def spread_out(at: ControlPlane, **spec: Any) -> None:
    await at.create(workload("Deployment", "web", replicas=3, **spec))
    await at.until(lambda: sum(is_ready(pod) for pod in at.living()) == 3)
    assert all(len(on(at, name)) == 1 for name in at.nodes)


def test_pods_of_a_node_that_is_away_stay_and_get_no_requests(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await spread_out(at)
        service = {"selector": {"app": "web"}, "ports": [{"port": 80}]}
        await at.create({"kind": "Service", "apiVersion": "v1", "metadata": {"name": "web"}, "spec": service})
        before = {pod["metadata"]["uid"] for pod in at.all("pods")}
        await at.until(lambda: len(addresses(at)) == 3)
        at.cut_off = {"edge-2"}
        await at.until(lambda: len(addresses(at)) == 2, within=60)
        lost = on(at, "edge-2")[0]
        assert not is_ready(lost)
        assert lost["status"]["phase"] == "Running"
        assert "NodeNotReady: Node is not ready" in at.told()
        await asyncio.sleep(3600)
        assert {pod["metadata"]["uid"] for pod in at.all("pods")} == before
        at.cut_off = set()
        await at.until(lambda: len(addresses(at)) == 3, within=60)
        assert {pod["metadata"]["uid"] for pod in at.all("pods")} == before
        ready = next(one for one in on(at, "edge-2")[0]["status"]["conditions"] if one["type"] == "Ready")
        assert "reason" not in ready

    simulate(tmp_path, story, heartbeats=True)


def test_a_pod_that_says_how_long_is_replaced_and_ends_once(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await spread_out(at, template=leaves_after(120))
        lost = on(at, "edge-2")[0]["metadata"]
        at.cut_off = {"edge-2"}
        await asyncio.sleep(140)
        assert is_living(at.get("pods", lost["name"]))
        await at.until(lambda: len(at.all("pods")) == 4, within=60)
        gone = at.get("pods", lost["name"])
        said = {one["type"]: one.get("reason") for one in gone["status"]["conditions"]}
        assert said["DisruptionTarget"] == "DeletionByTaintManager"
        await asyncio.sleep(1000)
        assert [pod["metadata"]["uid"] for pod in on(at, "edge-2")] == [lost["uid"]]
        at.cut_off = set()
        await at.until(lambda: not on(at, "edge-2"), within=60)
        await asyncio.sleep(100)
        assert sum(is_ready(pod) for pod in at.living()) == 3
        ended = [one for one in at.changes if one.item.name == lost["name"] and one.type == "DELETED"]
        assert len(ended) == 1

    simulate(tmp_path, story, heartbeats=True)


def test_while_everybody_is_away_nobody_is_evicted(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await spread_out(at, template=leaves_after(60))
        before = {pod["metadata"]["uid"] for pod in at.living()}
        at.cut_off = set(at.nodes)
        await asyncio.sleep(3600)
        at.cut_off = {"edge-2", "edge-3"}
        await asyncio.sleep(30)
        at.cut_off = {"edge-2"}
        await asyncio.sleep(20)
        assert {pod["metadata"]["uid"] for pod in at.living()} == before
        await at.until(lambda: len(at.all("pods")) == 4, within=100)

    simulate(tmp_path, story, heartbeats=True)


def test_a_restart_gives_nodes_time_to_come_back(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        await spread_out(at, template=leaves_after(300))
        before = {pod["metadata"]["uid"] for pod in at.living()}
        at.cut_off = {"edge-2"}
        await asyncio.sleep(200)
        await at.stop()
        at.epoch_shift = 86400.0
        at.cut_off = set()
        await at.start()
        await asyncio.sleep(600)
        assert {pod["metadata"]["uid"] for pod in at.living()} == before

    simulate(tmp_path, story, heartbeats=True)


def test_a_stateful_pod_is_never_doubled_until_its_node_is_given_up(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        seconds = leaves_after(60)
        seconds["metadata"]["labels"] = {"app": "db"}
        await at.create(workload("StatefulSet", "db", replicas=3, serviceName="db", template=seconds))
        await at.until(lambda: sum(is_ready(pod) for pod in at.living()) == 3)
        home = at.get("pods", "db-1")["spec"]["nodeName"]
        uid = at.get("pods", "db-1")["metadata"]["uid"]
        at.cut_off = {home}
        await asyncio.sleep(600)
        lost = at.get("pods", "db-1")
        assert lost["metadata"]["uid"] == uid
        assert lost["metadata"]["deletionTimestamp"]
        taint = {"key": "node.kubernetes.io/out-of-service", "value": "nodeshutdown", "effect": "NoExecute"}
        await at.edit("nodes", home, lambda obj: obj["spec"]["taints"].append(taint))
        await at.until(lambda: is_ready(at.get("pods", "db-1")), within=60)
        assert at.get("pods", "db-1")["metadata"]["uid"] != uid
        assert at.get("pods", "db-1")["spec"]["nodeName"] != home

    simulate(tmp_path, story, heartbeats=True)


def test_a_taint_of_a_user_evicts_who_does_not_tolerate_it(tmp_path: Path) -> None:
    async def story(at: ControlPlane) -> None:
        toleration = {"key": "mine", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 30}
        for name, more in (
            ("soon", {}),
            ("later", {"tolerations": [toleration]}),
            ("never", {"tolerations": [{"operator": "Exists"}]}),
        ):
            pod = {"kind": "Pod", "apiVersion": "v1", **template(name, nodeName="edge-1", **more)}
            pod["metadata"]["name"] = name
            await at.create(pod)
        await at.until(lambda: all(is_ready(pod) for pod in at.all("pods")))
        await at.edit(
            "nodes", "edge-1", lambda obj: obj["spec"].update(taints=[{"key": "mine", "effect": "NoExecute"}])
        )
        await asyncio.sleep(5)
        assert {pod["metadata"]["name"] for pod in at.all("pods")} == {"later", "never"}
        await asyncio.sleep(30)
        assert {pod["metadata"]["name"] for pod in at.all("pods")} == {"never"}
        assert "TaintManagerEviction: Marking for deletion Pod default/later" in at.told()

    simulate(tmp_path, story)


_tolerations = st.lists(
    st.builds(
        TimedToleration,
        key=st.sampled_from(["", "a", "b"]),
        operator=st.sampled_from(["Exists", "Equal"]),
        effect=st.sampled_from(["", "NoExecute", "NoSchedule"]),
        toleration_seconds=st.one_of(st.none(), st.integers(-5, 100)),
    ),
    max_size=4,
)


@given(_tolerations, st.lists(st.sampled_from(["a", "b"]), min_size=1, max_size=2, unique=True))
def test_every_taint_needs_a_toleration(tolerations: list[TimedToleration], keys: list[str]) -> None:
    taints = [Since(Taint(key=key, effect="NoExecute"), 1000.0) for key in keys]
    until = stay(tolerations, taints)
    assert until >= 1000.0
    assert until == min(stay(tolerations, [one]) for one in taints)
    if until == FOREVER:
        assert tolerations
    assert stay([TimedToleration(operator="Exists"), *tolerations], taints) == FOREVER
    assert stay([], taints) == 1000.0
