"""Placement never overcommits a node, never goes against a taint, and says why not in known words."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import (
    Condition,
    Container,
    ContainerPort,
    Node,
    NodeSpec,
    NodeStatus,
    ResourceRequirements,
    Taint,
    Toleration,
)
from octoedge.api.meta import ObjectMeta
from octoedge.apiserver.placement import PlacedPod, PlacedSpec, Unplaceable, Usage, choose, demand, tolerates


def node(*, ready: str = "True", cpu: str = "2", pods: str = "110", taints: tuple[Taint, ...] = ()) -> Node:
    return Node(
        metadata=ObjectMeta(labels={"disk": "ssd"}),
        spec=NodeSpec(taints=list(taints)),
        status=NodeStatus(
            allocatable={"cpu": cpu, "memory": "1Gi", "pods": pods},
            conditions=[Condition(type="Ready", status=ready)],
        ),
    )


def pod(*, cpu: str = "0", port: int = 0, selector: dict[str, str] | None = None) -> PlacedPod:
    container = Container(
        name="c",
        image="i",
        resources=ResourceRequirements(requests={"cpu": cpu}),
        ports=[ContainerPort(container_port=80, host_port=port)] if port else [],
    )
    return PlacedPod(spec=PlacedSpec(containers=[container], node_selector=selector or {}))


def why(wanted: PlacedPod, found: Node, used: Usage | None = None) -> str:
    chosen = choose(wanted, {"n": found}, {"n": used or Usage()})
    assert isinstance(chosen, Unplaceable)
    return chosen.message


def test_the_least_used_ready_node_is_taken() -> None:
    nodes = {"a": node(), "b": node(), "c": node(ready="Unknown")}
    assert choose(pod(), nodes, {"a": Usage(pods=2), "b": Usage(pods=1)}) == "b"


def test_it_says_why_in_known_words() -> None:
    assert choose(pod(), {}, {}) == Unplaceable("no nodes available to schedule pods")
    assert why(pod(cpu="3"), node()) == "0/1 nodes are available: 1 Insufficient cpu."
    assert why(pod(selector={"disk": "hdd"}), node()).endswith("1 node(s) didn't match Pod's node affinity/selector.")
    taint = Taint(key="node.kubernetes.io/unreachable", effect="NoSchedule")
    assert "untolerated taint {node.kubernetes.io/unreachable: }" in why(pod(), node(taints=(taint,)))
    assert why(pod(), node(pods="0")) == "0/1 nodes are available: 1 Too many pods."


def test_a_required_affinity_holds() -> None:
    def wanting(operator: str, *values: str) -> PlacedPod:
        term = {"matchExpressions": [{"key": "disk", "operator": operator, "values": list(values)}]}
        required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [{}, term]}}
        return PlacedPod(spec=PlacedSpec(affinity={"nodeAffinity": required}))

    assert choose(wanting("In", "ssd", "nvme"), {"n": node()}, {}) == "n"
    assert "node affinity" in why(wanting("NotIn", "ssd"), node())
    assert "node affinity" in why(wanting("DoesNotExist"), node())


def test_a_host_port_is_given_once() -> None:
    used = Usage()
    used.add(demand(pod(port=8080)))
    assert "free ports" in why(pod(port=8080), node(), used)
    used.remove(demand(pod(port=8080)))
    assert choose(pod(port=8080), {"n": node()}, {"n": used}) == "n"


def test_tolerations() -> None:
    taint = Taint(key="a", value="b", effect="NoSchedule")
    assert tolerates([Toleration(operator="Exists")], taint)
    assert tolerates([Toleration(key="a", value="b")], taint)
    assert not tolerates([Toleration(key="a", value="c")], taint)
    assert not tolerates([Toleration(key="a", operator="Exists", effect="NoExecute")], taint)


@given(st.lists(st.integers(0, 1500), max_size=30), st.integers(1, 4))
def test_no_node_is_overcommitted(requests: list[int], count: int) -> None:
    nodes = {f"n{number}": node(cpu="2") for number in range(count)}
    usage = {name: Usage() for name in nodes}
    for request in requests:
        wanted = pod(cpu=f"{request}m")
        chosen = choose(wanted, nodes, usage)
        if isinstance(chosen, str):
            usage[chosen].add(demand(wanted))
        else:
            assert all(used.cpu + Fraction(request, 1000) > 2 for used in usage.values())
    assert all(used.cpu <= 2 for used in usage.values())
