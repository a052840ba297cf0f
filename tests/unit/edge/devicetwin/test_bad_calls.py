"""Bad DMI calls and hostile messages: refused with a reason, and nothing else suffers."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.dmi import messages as m
from octoedge.dmi.services import MANAGER
from octoedge.edge.devicetwin import records
from octoedge.edge.devicetwin.work import Work
from octoedge.errors import DeviceUnknown, MessageError, OctoedgeError
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.devices import MODEL, DeviceWorld, device
from octoedge.testing.inline import InlineDatabase

LONG = "k" * 10_000
LARGE = "v" * 200_000


def report(*twins: m.Twin, name: str = "boiler", namespace: str = "plant") -> m.ReportDeviceStatusRequest:
    return m.ReportDeviceStatusRequest(name, m.DeviceStatus(twins), namespace)


def twin(name: str, value: str = "1", **metadata: str) -> m.Twin:
    return m.Twin(name, m.TwinProperty(), m.TwinProperty(value, dict(metadata)))


BAD: dict[str, tuple[str, Any, str]] = {
    "a key of 10,000 characters": ("ReportDeviceStatus", report(twin(LONG)), "is not 1 to 128"),
    "a value of 200 kB": ("ReportDeviceStatus", report(twin("setpoint", LARGE)), "at most 4096"),
    "a remark of 200 kB": ("ReportDeviceStatus", report(twin("setpoint", reason=LARGE)), "more than 8 texts"),
    "too many twins": ("ReportDeviceStatus", report(*(twin(f"k{n}") for n in range(1001))), "at most 1000"),
    "no twin": ("ReportDeviceStatus", report(), "names no twin"),
    "no device": ("ReportDeviceStatus", report(twin("setpoint"), name=""), "names no device"),
    "a value of another type": ("ReportDeviceStatus", report(twin("setpoint", "hot")), "is no int"),
    "an unknown device": ("ReportDeviceStatus", report(twin("setpoint"), name=LONG), "there is no device"),
    "an unknown state": ("ReportDeviceStates", m.ReportDeviceStatesRequest("boiler", "plant", LARGE), "is not one of"),
    "a state of an unknown device": ("ReportDeviceStates", m.ReportDeviceStatesRequest("x", "y", "ok"), "no device"),
    "a mapper without a protocol": (
        "MapperRegister", m.MapperRegisterRequest(False, m.MapperInfo("n", address=b"/x")), "a protocol of 1 to 253",
    ),
    "a mapper with a long name": (
        "MapperRegister", m.MapperRegisterRequest(False, m.MapperInfo(LONG, protocol="p", address=b"/x")), "a name of",
    ),
    "a mapper anywhere": (
        "MapperRegister", m.MapperRegisterRequest(True, m.MapperInfo("n", protocol="p", address=b"x")), "absolute path",
    ),
}  # fmt: skip


class Node:
    """What a mapper reaches, with one device."""

    def __init__(self, path: Path) -> None:
        self.world = DeviceWorld(path, CloudLink(), VirtualClock(), InlineDatabase)
        store, meta = self.world.store, self.world.meta
        self.work = Work("edge-1", store.database, meta, meta.outbox, self.world.bus, VirtualClock())

    async def call(self, method: str, request: bytes) -> bytes:
        return await self.work.calls[MANAGER[method].path](request)

    def kept(self) -> object:
        database = self.world.store.database
        return database.read_now(records.devices), database.read_now(lambda c: records.twins(c, "plant/boiler"))


@pytest.mark.parametrize("case", BAD)
def test_what_a_mapper_cannot_say_is_refused_with_a_reason(tmp_path: Path, case: str) -> None:
    method, request, why = BAD[case]

    async def main() -> None:
        node = Node(tmp_path)
        async with node.world.running():
            await node.world.push("insert", "plant/devicemodel/probe", MODEL)
            await node.world.put(device())
            await asyncio.sleep(1)
            before = node.kept()
            with pytest.raises((MessageError, DeviceUnknown), match=why) as caught:
                await node.call(method, m.CODEC.encode(request, MANAGER[method].request))
            assert len(str(caught.value)) < 1000
            assert node.kept() == before
            good = m.CODEC.encode(report(twin("setpoint", "41")), m.ReportDeviceStatusRequest)
            await node.call("ReportDeviceStatus", good)

    run(main())


@settings(max_examples=300, deadline=None)
@given(method=st.sampled_from(sorted(MANAGER)), request=st.binary(max_size=400))
def test_no_bytes_break_anything(method: str, request: bytes) -> None:
    async def main() -> None:
        with tempfile.TemporaryDirectory() as folder:
            node = Node(Path(folder))
            with contextlib.suppress(OctoedgeError):
                await node.call(method, request)
            node.world.meta.close()

    run(main())


def test_hostile_payloads_of_mqtt_clients_are_answered_on_the_documented_topic(tmp_path: Path) -> None:
    async def main() -> None:
        node = Node(tmp_path)
        async with node.world.running():
            await node.world.push("insert", "plant/devicemodel/probe", MODEL)
            await node.world.put(device())
            await asyncio.sleep(1)
            before = node.kept()
            topic = "$hw/events/device/plant/boiler"
            for payload in (
                b"", b"[" * 100_000, LARGE.encode(), b'{"twin": {"%s": {}}}' % LONG.encode(), b"\xff\xfe", b"null",
                b'{"twin": {"setpoint": {"actual": {"value": "%s"}}}}' % LARGE.encode(), b'{"twin": 7}',
            ):  # fmt: skip
                await node.world.say(f"{topic}/twin/update", payload)
            await asyncio.sleep(1)
            refusals = node.world.bus.on("$hw/events/device//twin/update/result")
            assert [said["code"] for said in refusals] == [400] * 8
            assert all(said["reason"] and len(said["reason"]) < 1000 for said in refusals)
            for strange in (f"{topic}/{LONG}/update", f"{topic}/twin/../update", f"$hw/events/device/{LARGE}"):
                await node.world.say(strange, b"{}")
            assert node.kept() == before
            await node.world.say(f"{topic}/twin/update", {"twin": {"setpoint": {"actual": {"value": "41"}}}})
            assert (await node.world.bus.until("plant/boiler/twin/update/result"))["twin"]["setpoint"]

    run(main())
