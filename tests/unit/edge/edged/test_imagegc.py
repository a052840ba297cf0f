"""Images go when room is short, the longest unused first, and never one that somebody needs."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.core import Pod, view
from octoedge.edge.edged.cri import fields as f
from octoedge.edge.edged.events import Recorder
from octoedge.edge.edged.imagegc import ImageCollector, ImagePolicy, NotEnough, Seen, by_age, to_free, wanted
from octoedge.edge.edged.machine import Disk
from octoedge.edge.edged.pods import Pods
from octoedge.testing.clock import run
from octoedge.testing.cri import image
from octoedge.testing.node import BUSYBOX, NODE, World, container, pod

GIB = 1 << 30


class Place:
    """A collector on a disk whose fill the test sets."""

    def __init__(self, root: Path, policy: ImagePolicy) -> None:
        self.world = World(root)
        self.runtime = self.world.runtime
        self.pods = Pods(NODE)
        self.disk = Disk(100_000_000, 50_000_000, 0, 0)
        recorder = Recorder(NODE, self.world.metadata, self.world.clock)
        self.recorder = recorder
        self.collector = ImageCollector(policy, self.runtime, self.pods, recorder, lambda _: self.disk, root)

    def add(self, *names: str) -> None:
        for name in names:
            made = image(name)
            self.runtime.images[name] = msgspec.structs.replace(made, repo_digests=(f"{name}@sha256:1",))

    def fill(self, percent: int) -> None:
        self.disk = Disk(100_000_000, (100 - percent) * 1_000_000, 0, 0)

    def left(self) -> set[str]:
        return set(self.runtime.images)


def check(tmp_path: Path, body: Callable[[Place], Awaitable[None]], **policy: Any) -> None:
    async def main() -> None:
        place = Place(tmp_path, ImagePolicy(**policy))
        place.runtime.images.clear()
        await body(place)

    run(main())


def test_nothing_goes_while_there_is_room(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        place.add("a/a:1", "a/b:1")
        place.fill(84)
        assert await place.collector.collect() == 0
        assert len(place.left()) == 2

    check(tmp_path, body)


def test_the_longest_unused_go_first_until_there_is_enough(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        place.add(*(f"a.io/{number}:1" for number in range(9)))
        await place.collector.collect()
        # 3 was needed a while ago; 7 was needed just now.
        for number in (3, 7):
            place.pods.put(msgspec.json.encode(pod(containers=[container(image=f"a.io/{number}:1")])))
            await asyncio.sleep(60)
            await place.collector.collect()
        place.pods.remove(b"", "default", "web")
        await asyncio.sleep(300)
        place.fill(87)
        assert await place.collector.collect() == 7_000_000
        assert place.left() == {"a.io/3:1", "a.io/7:1"}

    check(tmp_path, body)


def test_what_is_needed_stays_though_the_disk_is_full(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        kept = {
            "registry.k8s.io/pause:3.6", "edge.local/sandbox:1", "docker.io/library/offline:latest",
            "docker.io/library/init:2", "docker.io/library/debug:3", "foreign/used:1", "pinned/it:1",
        }  # fmt: skip
        place.add(*kept, "docker.io/library/over:1", "un/used:1")
        place.runtime.sandbox_image = "edge.local/sandbox:1"
        pinned = place.runtime.images["pinned/it:1"]
        place.runtime.images["pinned/it:1"] = msgspec.structs.replace(pinned, pinned=True)
        # A stored pod without any container: the node was rebooted without its cloud.
        offline = pod(
            containers=[container(image="offline")],
            initContainers=[container("i", image="init:2")],
            ephemeralContainers=[container("e", image="debug:3")],
        )
        over = {**pod("over", containers=[container(image="over:1")]), "status": {"phase": "Succeeded"}}
        place.pods.put(msgspec.json.encode(offline))
        place.pods.put(msgspec.json.encode(over))
        # A container of somebody else, on the same runtime.
        sandbox = f.SandboxConfig(metadata=f.SandboxMetadata("x"))
        sandbox_id = await place.runtime.run_sandbox(sandbox)
        config = f.ContainerConfig(image=f.ImageSpec(place.runtime.images["foreign/used:1"].id))
        await place.runtime.create_container(sandbox_id, config, sandbox)
        place.fill(99)
        with pytest.raises(NotEnough, match="Attempted to free 19000000 bytes, but only found 2000000 bytes"):
            await place.collector.collect()
        assert place.left() == kept
        assert await place.collector.remove_unused() == 0

    check(tmp_path, body)


def test_a_young_image_is_spared(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        await place.collector.collect()
        place.add("a/new:1")
        place.fill(99)
        with pytest.raises(NotEnough):
            await place.collector.collect()
        await asyncio.sleep(119)
        with pytest.raises(NotEnough):
            await place.collector.collect()
        await asyncio.sleep(2)
        with pytest.raises(NotEnough):
            await place.collector.collect()
        assert place.left() == set()

    check(tmp_path, body)


def test_age_alone_is_enough_where_it_is_asked_for(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        place.add("a/old:1", "docker.io/library/kept:1")
        place.pods.put(msgspec.json.encode(pod(containers=[container(image="kept:1")])))
        await place.collector.collect()
        await asyncio.sleep(3599)
        await place.collector.collect()
        assert len(place.left()) == 2
        await asyncio.sleep(2)
        await place.collector.collect()
        assert place.left() == {"docker.io/library/kept:1"}

    check(tmp_path, body, max_age=3600.0)


def test_failing_again_is_told_and_the_loop_lives(tmp_path: Path) -> None:
    async def body(place: Place) -> None:
        place.fill(99)
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(place.collector.run()), group.create_task(place.recorder.run())]
            await asyncio.sleep(1)
            reasons = [event["reason"] for event in place.world.metadata.events]
            assert reasons == ["FreeDiskSpaceFailed"]
            await asyncio.sleep(300)
            assert "ImageGCFailed" in place.world.metadata.reasons()
            place.runtime.set_away(True)
            await asyncio.sleep(600)
            place.runtime.set_away(False)
            place.add("a/a:1")
            await asyncio.sleep(900)
            assert place.left() == set()
            for task in tasks:
                task.cancel()

    check(tmp_path, body)


def test_names_are_compared_in_full() -> None:
    names = ["busybox", "a/b:1", "localhost/x@sha256:00", "r.io/a:1@sha256:11", "r:5000/a"]
    pods = [view(Pod, msgspec.json.encode(pod(containers=[container(image=name)]))) for name in names]
    assert wanted(pods) == {
        "docker.io/library/busybox:latest", "docker.io/a/b:1", "localhost/x@sha256:00", "r.io/a@sha256:11",
        "r:5000/a:latest",
    }  # fmt: skip


@given(st.integers(1, 1 << 40), st.floats(0, 1), st.integers(0, 98), st.integers(1, 99))
def test_the_goal_is_the_low_mark(size: int, share: float, low: int, more: int) -> None:
    free = int(size * share)
    policy = ImagePolicy(high=min(low + more, 99), low=low)
    goal = to_free(policy, Disk(size, free, 0, 0))
    assert goal >= 0
    if goal:
        assert (free + goal) * 100 >= size * (100 - low) - 100
        assert 100 - free * 100 // size >= policy.high


def test_what_no_registry_gave_goes_last() -> None:
    images = [image(BUSYBOX), msgspec.structs.replace(image("r/x:1"), repo_digests=("r/x@sha256:0",))]
    seen = {images[0].id: Seen(0.0), images[1].id: Seen(0.0, 50.0)}
    assert [one.repo_tags for one in by_age(images, seen, 1000.0, 120.0)] == [("r/x:1",), (BUSYBOX,)]
