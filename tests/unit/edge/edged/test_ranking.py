"""Who is evicted first: the kubelet's order."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged.pressure import Amount, Signal, Threshold
from octoedge.edge.edged.ranking import PodUse, binary, is_critical, message, rank, refusal, requested
from octoedge.testing import node

MIB = 1 << 20


def make(name: str, request: int = 0, priority: int = 0, notes: dict[str, str] | None = None, **spec: Any) -> Pod:
    asked = {"requests": {"memory": f"{request}Mi"}} if request else {}
    obj = node.pod(name, priority=priority, containers=[node.container(resources=asked)], **spec)
    obj["metadata"]["annotations"] = notes or {}
    return view(Pod, msgspec.json.encode(obj))


def use(pod: Pod, mib: int) -> PodUse:
    return PodUse(pod, {"memory": mib * MIB}, {"main": {"memory": mib * MIB}})


def names(ranked: list[PodUse]) -> list[str]:
    return [one.pod.metadata.name for one in ranked]


def test_the_order_is_the_kubelets() -> None:
    pods = [
        use(make("within-large", 500), 400),
        use(make("over-little", 100), 110),
        use(make("over-much", 100), 300),
        use(make("over-but-precious", 100, priority=1000), 900),
        use(make("within-small", 500), 100),
        PodUse(make("unknown")),
    ]
    order = ["unknown", "over-much", "over-little", "over-but-precious", "within-large", "within-small"]
    assert names(rank(Signal.MEMORY, pods)) == order


def test_critical_pods_are_never_chosen() -> None:
    notes = {"kubernetes.io/config.source": "file"}, {"kubernetes.io/config.mirror": "x"}
    critical = [make("a", priority=2_000_000_000), make("b", notes=notes[0]), make("c", notes=notes[1])]
    assert all(is_critical(pod) for pod in critical)
    assert rank(Signal.MEMORY, [use(pod, 1000) for pod in critical]) == []


def test_processes_are_not_requested() -> None:
    pods = [PodUse(make(name, priority=priority), {"pids": count}) for name, priority, count in
            (("few", 0, 5), ("many", 0, 500), ("precious", 9, 5000))]  # fmt: skip
    assert names(rank(Signal.PIDS, pods)) == ["many", "few", "precious"]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 300), st.integers(-5, 5)), max_size=12))
def test_properties_of_the_order(rows: list[tuple[int, int, int]]) -> None:
    pods = [use(make(f"p{index}", request, priority), used) for index, (request, used, priority) in enumerate(rows)]
    ranked = rank(Signal.MEMORY, pods)
    assert sorted(names(ranked)) == sorted(names(pods))
    for one, two in pairwise(ranked):
        beyond = [item.total["memory"] - requested(item.pod, "memory") for item in (one, two)]
        assert not (beyond[0] <= 0 < beyond[1])
        if (beyond[0] > 0) == (beyond[1] > 0):
            assert one.pod.spec.priority <= two.pod.spec.priority
            if one.pod.spec.priority == two.pod.spec.priority:
                assert beyond[0] >= beyond[1]


def test_the_words_are_the_kubelets() -> None:
    threshold, amount = Threshold(Signal.MEMORY, "100Mi"), Amount(95356 * 1024, 4096 * MIB)
    assert message(threshold, amount, use(make("x", 50), 80)) == (
        "The node was low on resource: memory. Threshold quantity: 100Mi, available: 95356Ki. "
        "Container main was using 80Mi, request is 50Mi, has larger consumption of memory. "
    )
    disk = Threshold(Signal.NODE_INODES, "5%")
    assert message(disk, Amount(12, 1000), PodUse(make("x"))) == (
        "The node was low on resource: inodes. Threshold quantity: 50, available: 12. "
    )


@pytest.mark.parametrize(
    ("conditions", "spec", "refused"),
    [
        (set(), {}, False),
        ({"MemoryPressure"}, {}, True),
        ({"MemoryPressure"}, {"request": 10}, False),
        ({"MemoryPressure"}, {"tolerations": [{"key": "node.kubernetes.io/memory-pressure"}]}, False),
        ({"DiskPressure"}, {"request": 10}, True),
        ({"DiskPressure", "MemoryPressure"}, {"priority": 2_000_000_000}, False),
    ],
)
def test_a_node_in_need_takes_few_new_pods(conditions: set[str], spec: dict[str, Any], refused: bool) -> None:
    said = refusal(make("x", **spec), frozenset(conditions))
    assert bool(said) == refused
    if refused:
        assert said == f"The node had condition: [{' '.join(sorted(conditions))}]. "


def test_bytes_as_kubernetes_writes_them() -> None:
    assert [binary(n) for n in (0, 1000, 1024, 1536 * 1024, 100 * MIB)] == ["0", "1000", "1Ki", "1536Ki", "100Mi"]
