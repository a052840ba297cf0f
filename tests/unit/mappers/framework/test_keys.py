"""Keys of configData that mean nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from importlib.metadata import entry_points
from typing import Any

import pytest

from octoedge.dmi import messages as m
from octoedge.dmi.values import pack_all
from octoedge.mappers import Mapper, read
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.mapper import ENTRY_POINTS, protocol
from octoedge.mappers.framework.panel import Panel
from octoedge.mappers.kit import run as kit
from octoedge.testing.clock import VirtualClock, run

ENTRIES = [one for one in entry_points(group=ENTRY_POINTS) if one.value.startswith("octoedge.mappers.")]
OURS = sorted({one.value: one.name for one in sorted(ENTRIES, reverse=True)}.values())
SPELT = Property("temperature", "FLOAT", visitor={"register": "HoldingRegister", "offest": 4, "dataType": "int"})
DEVICE = Device("plant", "probe", "thermometer", {"ip": "192.0.2.1", "slaveId": 2, "colour": "red"}, {"t": SPELT})


class Own(Mapper, protocol="modbus"):
    """Reads the temperature by itself."""

    @read("temperature")
    async def temperature(self, device: Any) -> float:
        return 0.0


def _mapper(name: str) -> Mapper:
    made: type[Mapper] = type("Made", (Mapper,), {"protocol": name})
    return made()


def test_a_key_that_means_nothing_is_named_by_its_path_with_the_one_that_was_meant() -> None:
    assert sorted(_mapper("modbus").strangers(DEVICE)) == [
        "properties[temperature].visitors.configData.offest means nothing to modbus and is ignored; "
        "did you mean offset?",
        "protocol.configData.colour means nothing to modbus and is ignored",
        "protocol.configData.slaveId means nothing to modbus and is ignored; did you mean slaveID?",
    ]


def test_what_the_author_reads_by_itself_and_protocols_of_ones_own_may_have_any_key() -> None:
    assert not [text for text in Own().strangers(DEVICE) if text.startswith("properties")]
    assert _mapper("nobody-offers-this").strangers(DEVICE) == []


@pytest.mark.parametrize("name", OURS)
def test_every_key_that_a_rig_uses_is_known(name: str) -> None:
    rig = kit.rig_for(name)
    properties = {one.name: Property(one.name, one.type, visitor=one.visitor) for one in rig.points}
    assert hasattr(protocol(name), "octoedge_keys")
    assert _mapper(name).strangers(Device("kit", "d", settings=rig.settings(0), properties=properties)) == []


class Nobody:
    """Implements `ports.Teller`."""

    def report(self, device: tuple[str, str], twins: Sequence[m.Twin]) -> None: ...

    def state(self, device: tuple[str, str], state: str, why: str) -> None: ...


def test_it_is_said_once_of_all_devices_of_a_model(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        panel = Panel(_mapper("virtual"), VirtualClock())
        task = asyncio.get_running_loop().create_task(panel.run(Nobody(), lambda _: None))
        await asyncio.sleep(0.1)
        for number in range(3):
            settings = m.ProtocolSettings("virtual", pack_all({"sead": 1}, wide=True))
            told = m.Device(f"d{number}", m.DeviceSpec("model", settings), m.DeviceStatus(), "plant")
            await panel.register_device(m.DeviceRequest(told))
        task.cancel()
        await asyncio.wait([task])

    run(main())
    said = [text for text in caplog.messages if "configData" in text]
    assert said == ["device plant/d0: protocol.configData.sead means nothing to virtual and is ignored; "
                    "did you mean seed?"]  # fmt: skip
