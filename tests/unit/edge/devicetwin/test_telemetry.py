"""What DeviceTwin hands to telemetry: every value of a Device that asks for it, and its twin at a sane rate."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

from octoedge.edge.devicetwin.devicetwin import DeviceTwin
from octoedge.protocol import payloads as p
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import DeviceWorld
from octoedge.testing.inline import InlineDatabase

DEVICE = {
    "apiVersion": "devices.kubeedge.io/v1beta1",
    "kind": "Device",
    "metadata": {"name": "lamp", "namespace": "default", "uid": "u", "annotations": {"octoedge.io/telemetry": "level"}},
    "spec": {"nodeName": "edge-1", "properties": [{"name": "level", "reportToCloud": True}]},
}


class Remembering:
    """Implements `ports.Recorder`."""

    def __init__(self) -> None:
        self.declared: dict[str, frozenset[str]] = {}
        self.kept: list[tuple[str, dict[str, tuple[str, int]]]] = []

    def declare(self, device: str, properties: frozenset[str]) -> None:
        self.declared[device] = properties

    def keeps(self, device: str) -> bool:
        return bool(self.declared.get(device))

    async def keep(self, device: str, values: Mapping[str, tuple[str, int]]) -> None:
        if self.keeps(device):
            self.kept.append((device, dict(values)))


def world_with(recorder: Remembering, path: Path) -> DeviceWorld:
    world = DeviceWorld(path, CloudLink(), VirtualClock(), InlineDatabase)
    world.twin = DeviceTwin(
        "edge-1", world.store.database, world.meta, world.meta.outbox, world.bus, world.changes, VirtualClock(),
        world.socket, recorder,
    )  # fmt: skip
    return world


def test_every_value_is_kept_and_the_twin_goes_up_at_a_sane_rate(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Remembering()
        world = world_with(recorder, tmp_path)
        async with world.running():
            await world.put(DEVICE)
            await asyncio.sleep(1)
            assert recorder.declared == {"default/lamp": frozenset({"level"})}
            for number in range(200):
                twin = {"level": {"actual": {"value": str(number), "metadata": {"timestamp": number + 1}}}}
                await world.say("$hw/events/device/default/lamp/twin/update", {"twin": twin})
                await asyncio.sleep(0.1)
            await asyncio.sleep(5)
            assert recorder.kept == [("default/lamp", {"level": (str(n), n + 1)}) for n in range(200)]
            reports = [one for one in world.reports() if isinstance(one, p.TwinReport)]
            assert 10 <= len(reports) <= 25
            assert reports[-1].json()["twin"]["level"]["actual"]["value"] == "199"
            await world.push("delete", "default/device/lamp", DEVICE)
            await asyncio.sleep(1)
            assert recorder.declared == {"default/lamp": frozenset()}

    run(main())


def test_a_value_that_comes_together_with_its_device_is_kept_when_it_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        recorder = Remembering()
        world = world_with(recorder, tmp_path)
        async with world.running(), asyncio.TaskGroup() as group:
            group.create_task(world.put(DEVICE))
            for number in range(100):
                twin = {"level": {"actual": {"value": str(number), "metadata": {"timestamp": number + 1}}}}
                group.create_task(world.say("$hw/events/device/default/lamp/twin/update", {"twin": twin}))
                await asyncio.sleep(0)
            await world.bus.until("twin/update/result", 100)
            answers = world.bus.on("twin/update/result")
            taken = [said["twin"]["level"]["actual"]["value"] for said in answers if "code" not in said]
            assert 0 < len(taken) < 100
            assert [values["level"][0] for _, values in recorder.kept] == taken

    run(main())
