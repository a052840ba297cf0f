"""Reports to an EdgeCore that takes one call a second, as KubeEdge's does."""

from __future__ import annotations

import asyncio
from pathlib import Path

from octoedge.dmi import messages as m
from octoedge.dmi.services import manager_methods
from octoedge.errors import MessageError
from octoedge.mappers.framework.edgecore import EdgeCore
from octoedge.testing.clock import run
from octoedge.transport.grpc_server import serving

DEVICES = 40


class Limited:
    """A DeviceManager with KubeEdge's limit, smaller at the start."""

    def __init__(self) -> None:
        self.values: dict[str, list[str]] = {}
        self.states: list[str] = []
        self._left, self._at = 10.0, 0.0

    async def mapper_register(self, _request: m.MapperRegisterRequest) -> m.MapperRegisterResponse:
        return m.MapperRegisterResponse()

    async def report_device_status(self, request: m.ReportDeviceStatusRequest) -> m.Empty:
        self._check(request.device_name)
        assert request.reported is not None
        self.values.setdefault(request.device_name, []).append(request.reported.twins[0].reported.value)
        return m.Empty()

    async def report_device_states(self, request: m.ReportDeviceStatesRequest) -> m.Empty:
        self._check(request.device_name)
        self.states.append(request.device_name)
        return m.Empty()

    def _check(self, name: str) -> None:
        now = asyncio.get_running_loop().time()
        self._left, self._at = min(10.0, self._left + now - self._at), now
        if self._left < 1:
            raise MessageError(f"fail to report device status because of too many request: {name}")
        self._left -= 1


def test_every_device_has_its_turn_at_an_edgecore_that_takes_one_call_a_second(tmp_path: Path) -> None:
    async def main() -> None:
        limited, info = Limited(), m.MapperInfo("x", protocol="y", address=b"/x.sock")
        edgecore = EdgeCore(tmp_path / "dmi.sock", info, lambda _: None)
        async with serving(tmp_path / "dmi.sock", 0o600, manager_methods(limited)), asyncio.TaskGroup() as group:
            work = group.create_task(edgecore.run())
            for second in range(4 * DEVICES):
                for number in range(DEVICES):
                    name = ("default", f"d{number}")
                    edgecore.report(name, [m.Twin("p", reported=m.TwinProperty(str(second)))])
                    edgecore.state(name, "ok", "")
                await asyncio.sleep(1)
            work.cancel()
        assert sorted(limited.states) == sorted(f"d{number}" for number in range(DEVICES)), "each state once"
        assert len(limited.values) == DEVICES
        assert min(map(len, limited.values.values())) >= 2, "nobody is passed over"
        assert all(said == sorted(said, key=int) for said in limited.values.values()), "the newest value each time"

    run(main())
