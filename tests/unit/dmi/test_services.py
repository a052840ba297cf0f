"""Both services, typed, over a real socket."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from octoedge.dmi import messages as m
from octoedge.dmi.services import MANAGER, MAPPER, call, manager_methods
from octoedge.errors import MessageError
from octoedge.transport.grpc import Channel, GrpcError
from octoedge.transport.grpc_server import UNKNOWN, serving

TIMEOUT = 10.0


class Manager:
    """Takes everything and remembers it."""

    def __init__(self) -> None:
        self.seen: list[object] = []

    async def mapper_register(self, request: m.MapperRegisterRequest) -> m.MapperRegisterResponse:
        self.seen.append(request)
        return m.MapperRegisterResponse((m.DeviceModel("probe"),), (m.Device("boiler"),))

    async def report_device_status(self, request: m.ReportDeviceStatusRequest) -> m.Empty:
        if request.reported is None:
            raise MessageError("reportedDevice is missing")
        self.seen.append(request)
        return m.Empty()

    async def report_device_states(self, request: m.ReportDeviceStatesRequest) -> m.Empty:
        self.seen.append(request)
        return m.Empty()


def test_a_mapper_registers_and_reports(tmp_path: Path) -> None:
    async def main() -> None:
        manager = Manager()
        path = tmp_path / "dmi.sock"
        async with serving(path, 0o600, manager_methods(manager)):
            channel = Channel(str(path))
            register = m.MapperRegisterRequest(True, m.MapperInfo("x", protocol="modbus", address=b"/x.sock"))
            said = await call(channel, MANAGER["MapperRegister"], register, TIMEOUT)
            assert said == m.MapperRegisterResponse((m.DeviceModel("probe"),), (m.Device("boiler"),))
            twin = m.Twin("t", reported=m.TwinProperty("63.5"))
            report = m.ReportDeviceStatusRequest("boiler", m.DeviceStatus((twin,)), "plant")
            assert await call(channel, MANAGER["ReportDeviceStatus"], report, TIMEOUT) == m.Empty()
            assert manager.seen == [register, report]
            with pytest.raises(GrpcError, match="reportedDevice is missing") as caught:
                await call(channel, MANAGER["ReportDeviceStatus"], m.ReportDeviceStatusRequest("boiler"), TIMEOUT)
            assert caught.value.code == UNKNOWN
            channel.close()

    asyncio.run(main())


def test_the_paths_are_kubeedges() -> None:
    assert MANAGER["ReportDeviceStates"].path == "/v1beta1.DeviceManagerService/ReportDeviceStates"
    assert MAPPER["CreateDeviceModel"].path == "/v1beta1.DeviceMapperService/CreateDeviceModel"
    assert set(MAPPER) == {
        "RegisterDevice", "RemoveDevice", "UpdateDevice", "CreateDeviceModel", "RemoveDeviceModel",
        "UpdateDeviceModel", "GetDevice",
    }  # fmt: skip
