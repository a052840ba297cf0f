"""What is used: rates from two readings, and the pages that are made from them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edged import names
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.meter import ContainerUse, Meter, Use, rates
from octoedge.edge.edged.pages import cadvisor_metrics, exposition, resource_metrics, summary
from octoedge.errors import RuntimeUnavailable
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime, image

MAIN = ContainerUse("c1", "u1", "shop", "cart", "app", 5_000_000_000, 10 << 20, 12 << 20, 8 << 20, 4096)
SIDE = ContainerUse("c2", "u1", "shop", "cart", "side", 1_000_000_000, 1 << 20, 1 << 20, 1 << 20, 0)


def use(*containers: ContainerUse, cpu: int = 0) -> Use:
    return Use(1_700_000_000.0, cpu, 4 << 30, 3 << 30, containers)


def spent(container: ContainerUse, cpu: int) -> ContainerUse:
    return ContainerUse(container.id, "u1", "shop", "cart", container.name, cpu, 0, 0, 0, 0)


def test_a_rate_is_what_was_used_between_two_readings() -> None:
    now = rates(use(spent(MAIN, 1_000), cpu=0), use(spent(MAIN, 3_000), cpu=10_000), 2.0)
    assert (now.containers[0].rate, now.rate, now.window) == (1_000, 5_000, 2.0)


def test_what_is_new_or_began_anew_counts_from_nothing() -> None:
    now = rates(use(spent(MAIN, 5_000)), use(spent(MAIN, 500), spent(SIDE, 700)), 1.0)
    assert [container.rate for container in now.containers] == [500, 700]


@given(st.integers(0, 2**63), st.integers(0, 2**63), st.floats(0.001, 1e6))
def test_a_rate_is_never_negative(before: int, after: int, seconds: float) -> None:
    assert rates(use(spent(MAIN, before)), use(spent(MAIN, after)), seconds).containers[0].rate >= 0


async def a_container(runtime: MemoryRuntime, folder: Path, node: str = "edge-1") -> None:
    labels = {
        names.NODE: node, names.POD_UID: "u1", names.POD_NAME: "cart", names.POD_NAMESPACE: "shop",
        names.CONTAINER_NAME: "app",
    }  # fmt: skip
    place = f.SandboxConfig(f.SandboxMetadata(node, "u1", "shop"), log_directory=str(folder))
    sandbox = await runtime.run_sandbox(place)
    config = f.ContainerConfig(
        f.ContainerMetadata("app"), f.ImageSpec(image("i").id), labels=labels, log_path="app/0.log"
    )
    await runtime.start_container(await runtime.create_container(sandbox, config, place))


def test_the_first_reading_takes_a_second_the_next_ones_nothing(tmp_path: Path) -> None:
    (tmp_path / "stat").write_text("cpu  100 0 100 9000 0 0 0 0 0 0\n")

    async def main() -> None:
        clock = VirtualClock()
        runtime = MemoryRuntime(clock, images=("i",))
        await a_container(runtime, tmp_path)
        await a_container(runtime, tmp_path, "another-node-on-this-machine")
        meter = Meter(runtime, "edge-1", clock, tmp_path)
        loop = asyncio.get_running_loop()
        began = loop.time()
        first, again = await asyncio.gather(meter.read(), meter.read())
        assert loop.time() - began == pytest.approx(1)
        assert again is first
        (container,) = first.containers
        assert (container.pod, container.name, container.working_set) == ("cart", "app", 10 << 20)
        assert container.rate == pytest.approx(100_000_000, rel=0.01)
        assert first.cpu == 2_000_000_000
        await asyncio.sleep(60)
        assert (await meter.read()).window == pytest.approx(60)
        await asyncio.sleep(1000)
        assert (await meter.read()).window == pytest.approx(1)

    run(main())


def test_a_runtime_that_is_away_is_said_and_asked_again(tmp_path: Path) -> None:
    async def main() -> None:
        clock = VirtualClock()
        runtime = MemoryRuntime(clock)
        meter = Meter(runtime, "edge-1", clock, tmp_path)
        runtime.fail_next("container_stats", RuntimeUnavailable("away"))
        with pytest.raises(RuntimeUnavailable):
            await meter.read()
        assert (await meter.read()).containers == ()

    run(main())


def test_the_summary_adds_containers_to_pods() -> None:
    told = summary(
        rates(use(), use(MAIN, SIDE, cpu=9), 1.0),
        "edge-1",
        {"capacityBytes": 7},
        {"u1": [{"name": "data", "usedBytes": 3}]},
    )
    assert told["node"]["nodeName"] == "edge-1"
    assert told["node"]["memory"]["workingSetBytes"] == 1 << 30
    assert told["node"]["fs"]["capacityBytes"] == 7
    (pod,) = told["pods"]
    assert pod["podRef"] == {"name": "cart", "namespace": "shop", "uid": "u1"}
    assert [one["name"] for one in pod["containers"]] == ["app", "side"]
    assert [(one["name"], one["usedBytes"]) for one in pod["volume"]] == [("data", 3)]
    assert pod["cpu"]["usageNanoCores"] == 6_000_000_000
    assert pod["memory"]["workingSetBytes"] == 11 << 20


def test_metrics_are_in_the_text_format() -> None:
    lines = resource_metrics(use(MAIN, SIDE, cpu=2_000_000_000)).decode().splitlines()
    assert "node_cpu_usage_seconds_total 2.0" in lines
    assert 'pod_cpu_usage_seconds_total{namespace="shop",pod="cart"} 6.0' in lines
    assert f'container_memory_working_set_bytes{{container="app",namespace="shop",pod="cart"}} {10 << 20}' in lines
    assert b'container_memory_rss{container="app",id="/c1",name="c1",namespace="shop",pod="cart"}' in cadvisor_metrics(
        use(MAIN)
    )
    assert exposition([("a", "gauge", "A.", [("", 1)])]) == b"# HELP a A.\n# TYPE a gauge\na 1\n"
