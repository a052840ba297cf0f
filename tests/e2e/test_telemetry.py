"""Every value that a mapper was answered for is in the cloud's store, once, whatever is killed meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import json
import threading
import time
from collections.abc import Iterator

import pytest

from octoedge.dmi import messages as m
from octoedge.dmi.services import MANAGER, call
from octoedge.errors import OctoedgeError
from octoedge.testing.eventually import eventually
from octoedge.testing.installation import Installation
from octoedge.transport.grpc import Channel

NAME = "counted"
OBJECTS = f"""
apiVersion: devices.kubeedge.io/v1beta1
kind: DeviceModel
metadata: {{name: {NAME}}}
spec: {{protocol: counting, properties: [{{name: count, type: INT, accessMode: ReadOnly}}]}}
---
apiVersion: devices.kubeedge.io/v1beta1
kind: Device
metadata: {{name: {NAME}, annotations: {{octoedge.io/telemetry: count}}}}
spec:
  deviceModelRef: {{name: {NAME}}}
  nodeName: NODE
  protocol: {{protocolName: counting}}
  properties: [{{name: count, reportToCloud: true}}]
"""


class Counter:
    """A mapper that counts, and says each number until EdgeCore has answered for it."""

    def __init__(self, installation: Installation) -> None:
        self._socket = str(installation.layout.edge / "dmi.sock")
        self._over = threading.Event()
        self._begin = int(time.time() * 1000)
        self.said = 0
        self._thread = threading.Thread(target=lambda: asyncio.run(self._run()))

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._over.set()
        self._thread.join(60)

    async def _run(self) -> None:
        while not self._over.is_set():
            channel = Channel(self._socket)
            with contextlib.suppress(OctoedgeError):
                await self._count(channel)
            channel.close()
            await asyncio.sleep(0.1)

    async def _count(self, channel: Channel) -> None:
        while not self._over.is_set():
            number = self.said + 1
            stamp = {"timestamp": str(self._begin + number)}
            twin = m.Twin("count", m.TwinProperty(), m.TwinProperty(str(number), stamp))
            request = m.ReportDeviceStatusRequest(NAME, m.DeviceStatus(twins=(twin,)), "default")
            await call(channel, MANAGER["ReportDeviceStatus"], request, 5)
            self.said = number
            await asyncio.sleep(0.002)


@pytest.fixture
def counter(installation: Installation) -> Iterator[Counter]:
    """A Device that asks for telemetry, and its mapper."""
    node = installation.layout.node
    installation.kubectl("apply", "-f", "-", stdin=OBJECTS.replace("NODE", node)).check()
    made = Counter(installation)
    made.start()
    try:
        yield made
    finally:
        made.stop()
        installation.kubectl("delete", "device,devicemodel", NAME).check()


def test_a_mapper_speaks_while_the_cloud_and_the_edge_are_killed(installation: Installation, counter: Counter) -> None:
    eventually(lambda: counter.said > 50)
    for name in ("cloudcore", "edgecore", "cloudcore"):
        installation.kill(name)
        installation.up()
        before = counter.said
        eventually(lambda before=before: counter.said > before + 50)  # type: ignore[misc]
    counter.stop()

    def account() -> dict[str, object]:
        audit = json.loads(installation.octoedge("telemetry", "audit", "-o", "json").out)
        return next(one for one in audit["accounts"] if one["stream"] == f"default/{NAME}/count")

    eventually(account, lambda seen: seen["stored"] == counter.said)
    seen = account()
    assert (seen["sent"], seen["gaps"], seen["duplicates"]) == (counter.said, [], 0)
    told = installation.octoedge("device", "history", NAME, "count", "-o", "csv").check().splitlines()
    assert [line.partition(",")[2] for line in told] == ["value", *map(str, range(1, counter.said + 1))]
    assert f"{counter.said} values" in installation.octoedge("device", "plot", NAME, "count").check()
