"""The EdgeCore of the kit: it gives the mapper its devices, and remembers what is reported."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from pathlib import Path

from octoedge.dmi import messages as m
from octoedge.dmi.services import MAPPER, call, manager_methods
from octoedge.errors import DeadlineError, MessageError
from octoedge.transport.grpc import Channel
from octoedge.transport.grpc_server import serving

CALL_SECONDS = 10.0
KEPT = 5000
"""Reports that are remembered, the newest."""


class Edge:
    """Implements `dmi.services.DeviceManager`."""

    def __init__(self, folder: Path) -> None:
        self.socket = folder / "dmi.sock"
        self.mapper = folder / "mapper.sock"
        self.devices: dict[str, m.Device] = {}
        self.models: dict[str, m.DeviceModel] = {}
        self.latest: dict[tuple[str, str], m.TwinProperty] = {}
        """(device, property) → what was reported last."""
        self.states: dict[str, str] = {}
        self.reports: deque[tuple[str, m.Twin]] = deque(maxlen=KEPT)
        self.values = 0
        self.registered = 0
        self._news = asyncio.Event()

    async def run(self, ready: asyncio.Event) -> None:
        """Serve until cancelled."""
        async with serving(self.socket, 0o600, manager_methods(self)):
            ready.set()
            await asyncio.Event().wait()

    async def until(self, so: Callable[[], bool], seconds: float, what: str) -> None:
        """Return as soon as it is so. Raises `DeadlineError` with `what` was expected."""
        try:
            async with asyncio.timeout(seconds):
                while not so():
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            raise DeadlineError(f"{what}: not within {seconds:g} s") from None

    async def put(self, device: m.Device) -> None:
        """A Device is there, or changed."""
        new = device.name not in self.devices
        self.devices[device.name] = device
        await self._call("RegisterDevice" if new else "UpdateDevice", m.DeviceRequest(device))

    async def remove(self, name: str) -> None:
        """A Device is gone."""
        device = self.devices.pop(name)
        await self._call("RemoveDevice", m.Named(name, device.namespace))
        self.forget(name)

    def forget(self, name: str) -> None:
        """What was reported of it no longer counts."""
        self.latest = {key: twin for key, twin in self.latest.items() if key[0] != name}
        self.states.pop(name, None)

    async def ask(self, name: str) -> m.DeviceRequest:
        """The device as the mapper has it."""
        return await self._call("GetDevice", m.Named(name, self.devices[name].namespace))

    async def _call(self, method: str, request: m.DeviceRequest | m.Named) -> m.DeviceRequest:
        channel = Channel(str(self.mapper))
        try:
            answer: m.DeviceRequest = await call(channel, MAPPER[method], request, CALL_SECONDS)
        finally:
            channel.close()
        return answer

    # ---- what mappers call -----------------------------------------------------------------------------------------

    async def mapper_register(self, request: m.MapperRegisterRequest) -> m.MapperRegisterResponse:
        """The mapper is there."""
        self.mapper = Path(request.mapper.address.decode())
        self.registered += 1
        self._news.set()
        return m.MapperRegisterResponse(tuple(self.models.values()), tuple(self.devices.values()))

    async def report_device_status(self, request: m.ReportDeviceStatusRequest) -> m.Empty:
        """Values; Go's EdgeCore dies of one without `reported`."""
        if request.reported is None or not request.device_name:
            raise MessageError("a report must name its device and its twins")
        for twin in request.reported.twins:
            self.latest[request.device_name, twin.property_name] = twin.reported
            self.reports.append((request.device_name, twin))
            self.values += 1
        self._news.set()
        return m.Empty()

    async def report_device_states(self, request: m.ReportDeviceStatesRequest) -> m.Empty:
        """Whether it can be reached."""
        self.states[request.device_name] = request.state
        self._news.set()
        return m.Empty()
