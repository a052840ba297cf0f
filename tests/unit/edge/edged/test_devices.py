"""Device plugins: registration, what the node offers, and who gets which device."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged import deviceapi as d
from octoedge.edge.edged.deviceapi import CODEC, Device, Grant
from octoedge.edge.edged.devices import Devices, DevicesUnavailable, Ledger, available, choose, objection, wishes
from octoedge.errors import ConnectionClosed
from octoedge.testing.crash import Axe, Killed
from octoedge.testing.node import container, pod
from octoedge.transport.grpc import Channel, GrpcError

GPU = "example.com/gpu"


class FakePlugin:
    """A plugin in memory: its devices change when the test says so."""

    def __init__(self, *ids: str) -> None:
        self.states: asyncio.Queue[tuple[Device, ...] | None] = asyncio.Queue()
        self.states.put_nowait(tuple(Device(one, d.HEALTHY) for one in ids))
        self.allocated: list[list[str]] = []
        self.started: list[list[str]] = []
        self.likes: list[str] = []
        self.closed = False

    async def options(self) -> d.Options:
        return d.Options()

    async def watch(self) -> AsyncIterator[tuple[Device, ...]]:
        while (state := await self.states.get()) is not None:
            yield state
        raise ConnectionClosed("the plugin went away")

    async def preferred(self, available: list[str], must_include: list[str], size: int) -> list[str]:
        return self.likes

    async def allocate(self, ids: list[str]) -> Grant:
        self.allocated.append(ids)
        return Grant(
            {"GPUS": ",".join(ids)},
            (d.DeviceMount("/lib", "/opt/lib", True),),
            tuple(d.DeviceNode(f"/dev/{one}", f"/dev/{one}", "rw") for one in ids),
        )

    async def pre_start(self, ids: list[str]) -> None:
        self.started.append(ids)

    def close(self) -> None:
        self.closed = True


class Desk:
    def __init__(self, root: Path) -> None:
        self.root = root
        self.plugins: dict[str, FakePlugin] = {}
        self.offers: list[dict[str, tuple[int, int]]] = []
        self.active: set[str] = set()
        self.devices = self.again()

    def again(self) -> Devices:
        """The agent after a restart."""
        return Devices(self.root, lambda: self.active, self.offers.append, lambda path: self.plugins[path.name])

    async def register(self, plugin: FakePlugin, name: str = GPU, **options: bool) -> None:
        self.plugins["gpu.sock"] = plugin
        request = d.RegisterRequest(d.VERSION, "gpu.sock", name, d.Options(**options))
        channel = Channel(str(self.root / "device-plugins/kubelet.sock"))
        before = len(self.offers)
        try:
            await channel.unary(d.REGISTER, CODEC.encode(request, d.RegisterRequest), 30.0)
        finally:
            channel.close()
        await self.until(lambda: len(self.offers) > before)

    async def until(self, there: Any) -> None:
        async with asyncio.timeout(30):
            while not there():  # noqa: ASYNC110 - what is awaited is at the other end of a socket
                await asyncio.sleep(0.005)


def at_work(root: Path, body: Any) -> None:
    async def main() -> None:
        desk = Desk(root)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(desk.devices.run())
            await desk.until((root / "device-plugins/kubelet.sock").exists)
            await body(desk)
            task.cancel()

    asyncio.run(main())


def asking(name: str = "web", count: int = 1, **spec: Any) -> Pod:
    limits = {"resources": {"limits": {GPU: str(count)}}}
    return view(Pod, msgspec.json.encode(pod(name, containers=[container("main", image="x", **limits)], **spec)))


def test_a_plugin_registers_and_its_devices_are_given_out(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        plugin = FakePlugin("a", "b", "c")
        await desk.register(plugin)
        assert desk.offers[-1] == {GPU: (3, 3)}
        one, two = asking("one", 2), asking("two", 2)
        desk.active = {"uid-one", "uid-two"}
        grant = await desk.devices.grant(one, one.spec.containers[0])
        assert grant.envs == {"GPUS": "a,b"}
        assert [node.host_path for node in grant.devices] == ["/dev/a", "/dev/b"]
        assert grant.mounts[0].read_only
        # The same container gets the same again; another one waits.
        assert await desk.devices.grant(one, one.spec.containers[0]) == grant
        assert plugin.allocated == [["a", "b"]]
        with pytest.raises(DevicesUnavailable, match="Requested: 2, Available: 1"):
            await desk.devices.grant(two, two.spec.containers[0])
        desk.active = {"uid-two"}
        assert (await desk.devices.grant(two, two.spec.containers[0])).envs == {"GPUS": "a,b"}

    at_work(tmp_path, body)


def test_who_has_what_survives_the_agent_and_waits_for_the_plugin(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        await desk.register(FakePlugin("a", "b"), get_preferred_allocation_available=False)
        desk.active = {"uid-one", "uid-two"}
        one, two = asking("one"), asking("two")
        await desk.devices.grant(one, one.spec.containers[0])
        after = desk.again()
        with pytest.raises(DevicesUnavailable, match="waiting for the device plugin"):
            await after.grant(one, one.spec.containers[0])
        async with asyncio.TaskGroup() as group:
            task = group.create_task(after.run())
            plugin = FakePlugin("a", "b")
            plugin.likes = ["b"]
            desk.plugins["gpu.sock"] = plugin
            await asyncio.sleep(0)
            await after.register(d.RegisterRequest(d.VERSION, "gpu.sock", GPU, d.Options(pre_start_required=True)))
            await desk.until(lambda: after.amounts().get(GPU) == (2, 2))
            assert (await after.grant(one, one.spec.containers[0])).envs == {"GPUS": "a"}
            assert (await after.grant(two, two.spec.containers[0])).envs == {"GPUS": "b"}
            assert plugin.started == [["a"], ["b"]]
            task.cancel()

    at_work(tmp_path, body)


def test_a_plugin_that_goes_away_leaves_nothing_to_be_had(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        plugin = FakePlugin("a", "b")
        await desk.register(plugin)
        desk.active, one, two = {"uid-one", "uid-two"}, asking("one"), asking("two")
        granted = await desk.devices.grant(one, one.spec.containers[0])
        plugin.states.put_nowait((Device("a", d.HEALTHY), Device("b", "Unhealthy")))
        await desk.until(lambda: desk.offers[-1] == {GPU: (2, 1)})
        plugin.states.put_nowait(None)
        await desk.until(lambda: desk.offers[-1] == {GPU: (2, 0)})
        assert plugin.closed
        # Who has a device keeps it over a restart of its container; nobody new gets one.
        assert await desk.devices.grant(one, one.spec.containers[0]) == granted
        with pytest.raises(DevicesUnavailable, match="not registered"):
            await desk.devices.grant(two, two.spec.containers[0])
        await desk.register(FakePlugin("a"))
        assert desk.offers[-1] == {GPU: (1, 1)}

    at_work(tmp_path, body)


def test_a_bad_registration_is_refused_with_the_reason(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        with pytest.raises(GrpcError, match="ResourceName 'cpu' is invalid"):
            await desk.register(FakePlugin(), name="cpu")

    at_work(tmp_path, body)


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        (d.RegisterRequest("v1alpha", "x.sock", GPU), "requested API version 'v1alpha' is not supported"),
        (d.RegisterRequest(d.VERSION, "../x.sock", GPU), "is no name of a socket"),
        (d.RegisterRequest(d.VERSION, "x.sock", "kubernetes.io/gpu"), "is invalid"),
        (d.RegisterRequest(d.VERSION, "x.sock", GPU), ""),
    ],
)
def test_registrations(request_: d.RegisterRequest, said: str) -> None:
    assert objection(request_).find(said) >= 0
    assert bool(objection(request_)) == bool(said)


def test_only_extended_resources_are_devices() -> None:
    limits = {"cpu": "1", "memory": "1Mi", "hugepages-2Mi": "2Mi", GPU: 2, "a.kubernetes.io/x": "1", "b.c/zero": "0"}
    found = view(Pod, msgspec.json.encode(pod(containers=[container(resources={"limits": limits})])))
    assert wishes(found.spec.containers[0]) == {GPU: 2}


def test_what_init_containers_had_is_used_again() -> None:
    held = {"uid-web": {"init": {GPU: {"ids": ["a"], "grant": ""}}, "other": {GPU: {"ids": ["b"], "grant": ""}}}}
    typed = msgspec.convert(held, type=Ledger)
    web = asking(initContainers=[container("init", image="x")])
    free, own = available(["a", "b", "c"], typed, web, GPU)
    assert (free, own) == (["a", "c"], ["a"])


@given(
    st.lists(st.sampled_from("abcdefgh"), unique=True),
    st.lists(st.sampled_from("abcdefghxyz"), unique=True),
    st.integers(0, 8),
)
def test_what_is_chosen_is_free_and_enough(free: list[str], wished: list[str], count: int) -> None:
    chosen = choose(free, free[:1], wished, count)
    assert set(chosen) <= set(free)
    assert len(chosen) == len(set(chosen)) == min(count, len(free))


def test_the_wire_is_kubernetes() -> None:
    request = d.RegisterRequest(d.VERSION, "g.sock", GPU, d.Options(True, False))
    golden = b'\n\x07v1beta1\x12\x06g.sock\x1a\x0fexample.com/gpu"\x02\x08\x01'
    assert CODEC.encode(request, d.RegisterRequest) == golden
    listed = b"\n\x0c\n\x01a\x12\x07Healthy"
    assert CODEC.decode(listed, d.ListAndWatchResponse).devices == (Device("a", "Healthy"),)


def test_a_socket_that_cannot_be_costs_devices_not_pods(tmp_path: Path) -> None:
    """A path longer than the kernel takes for a socket."""

    async def main() -> None:
        root = tmp_path / ("deep" * 30)
        root.mkdir()
        await asyncio.wait_for(Devices(root, set, lambda offer: None).run(), 30)

    asyncio.run(main())


@pytest.mark.parametrize("at", range(4))
def test_killed_while_devices_are_given_they_are_given_once(tmp_path: Path, at: int) -> None:
    """Before and after the plugin is asked, and at each write of who has what: nobody gets another's, none is lost."""

    async def first(desk: Desk) -> None:
        axe, desk.active = Axe((tmp_path,)), {"uid-web", "uid-other"}
        await desk.register(axe.over(FakePlugin("one", "two"), ("allocate",)))
        web = asking("web")
        with axe.over_files():
            axe.arm(at)
            with contextlib.suppress(Killed):
                await desk.devices.grant(web, web.spec.containers[0])
        assert len(axe.steps) == at + 1

    async def second(desk: Desk) -> None:
        desk.active = {"uid-web", "uid-other"}
        await desk.register(FakePlugin("one", "two"))
        pods = [asking(name) for name in ("web", "other", "web")]
        grants = [(await desk.devices.grant(one, one.spec.containers[0])).envs["GPUS"] for one in pods]
        assert sorted(grants[:2]) == ["one", "two"]
        assert grants[2] == grants[0]

    at_work(tmp_path, first)
    at_work(tmp_path, second)


def test_a_plugin_of_the_registry_is_asked_how_it_wants_to_be_treated(tmp_path: Path) -> None:
    async def body(desk: Desk) -> None:
        plugin = desk.plugins["gpu.sock"] = FakePlugin("a")
        with pytest.raises(DevicesUnavailable, match="is not supported by kubelet"):
            await desk.devices.add(GPU, Path("/x/gpu.sock"), ("v1alpha",))
        await desk.devices.add(GPU, Path("/x/gpu.sock"), (d.VERSION,))
        await desk.until(lambda: desk.offers == [{GPU: (1, 1)}])
        desk.active = {"uid-one"}
        one = asking("one")
        assert (await desk.devices.grant(one, one.spec.containers[0])).envs == {"GPUS": "a"}
        assert plugin.allocated == [["a"]]

    at_work(tmp_path, body)
