"""Events: aggregated, bounded, and as the API wants them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import msgspec

from octoedge.api.core import Pod, view
from octoedge.edge.edged.events import Recorder
from octoedge.testing import node
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.metadata import MemoryMetadata

POD = view(Pod, msgspec.json.encode(node.pod()))


def scenario(body: Callable[[Recorder, MemoryMetadata], Awaitable[None]]) -> None:
    async def main() -> None:
        clock = VirtualClock()
        metadata = MemoryMetadata(clock)
        recorder = Recorder(node.NODE, metadata, clock)
        async with asyncio.TaskGroup() as group:
            task = group.create_task(recorder.run())
            await body(recorder, metadata)
            await asyncio.sleep(0.1)
            task.cancel()

    run(main())


def test_an_event_has_what_kubectl_shows() -> None:
    async def body(recorder: Recorder, metadata: MemoryMetadata) -> None:
        recorder.pod(POD, "Warning", "BackOff", "it failed", "main")
        await asyncio.sleep(1)
        [event] = metadata.events
        assert (event["type"], event["reason"], event["message"], event["count"]) == (
            "Warning",
            "BackOff",
            "it failed",
            1,
        )
        assert event["involvedObject"]["fieldPath"] == "spec.containers{main}"
        assert event["involvedObject"]["uid"] == "uid-web"
        assert event["metadata"]["namespace"] == "default"
        assert event["source"] == {"component": "kubelet", "host": node.NODE}

    scenario(body)


def test_repeated_events_are_one_with_a_count() -> None:
    async def body(recorder: Recorder, metadata: MemoryMetadata) -> None:
        for _ in range(3):
            recorder.pod(POD, "Normal", "Pulled", "again")
            await asyncio.sleep(1)
        assert len({event["metadata"]["name"] for event in metadata.events}) == 1
        assert [event["count"] for event in metadata.events] == [1, 2, 3]
        assert metadata.events[0]["firstTimestamp"] == metadata.events[-1]["firstTimestamp"]
        assert metadata.events[0]["lastTimestamp"] != metadata.events[-1]["lastTimestamp"]

    scenario(body)


def test_two_events_of_one_moment_have_two_names() -> None:
    async def body(recorder: Recorder, metadata: MemoryMetadata) -> None:
        recorder.pod(POD, "Normal", "Created", "a")
        recorder.pod(POD, "Normal", "Started", "b")
        await asyncio.sleep(1)
        assert len({event["metadata"]["name"] for event in metadata.events}) == 2

    scenario(body)


def test_a_complaint_without_end_is_held_back() -> None:
    async def body(recorder: Recorder, metadata: MemoryMetadata) -> None:
        for number in range(1000):
            recorder.pod(POD, "Warning", "Failed", f"number {number}")
        await asyncio.sleep(1)
        assert len(metadata.events) == 25
        await asyncio.sleep(601)
        recorder.pod(POD, "Warning", "Failed", "later")
        await asyncio.sleep(1)
        assert metadata.events[-1]["message"] == "later"

    scenario(body)


def test_a_long_message_is_cut() -> None:
    async def body(recorder: Recorder, metadata: MemoryMetadata) -> None:
        recorder.node("Warning", "Odd", "x" * 5000)
        await asyncio.sleep(1)
        assert len(metadata.events[0]["message"]) == 1024

    scenario(body)
