"""DeviceManagerService: what EdgeCore does for mappers."""

from __future__ import annotations

from octoedge.dmi import messages as m
from octoedge.edge.devicetwin.attention import Attention
from octoedge.edge.devicetwin.desk import Desk
from octoedge.edge.devicetwin.mappers import Mappers
from octoedge.edge.devicetwin.twin import Twin, Value, check
from octoedge.errors import MessageError

_DEFAULT_NAMESPACE = "default"


class Manager:
    """Implements `dmi.services.DeviceManager`; what is wrong with a call is told to the mapper."""

    def __init__(self, desk: Desk, mappers: Mappers, attention: Attention) -> None:
        self._desk = desk
        self._attention = attention
        self._mappers = mappers

    async def mapper_register(self, request: m.MapperRegisterRequest) -> m.MapperRegisterResponse:
        """A mapper is there."""
        known = await self._mappers.register(request.mapper, with_data=request.with_data)
        self._attention.wake()
        return known

    async def report_device_status(self, request: m.ReportDeviceStatusRequest) -> m.Empty:
        """Values of one device; stored when this returns."""
        device = _device(request.device_namespace, request.device_name)
        if request.reported is None or not request.reported.twins:
            raise MessageError(f"the report of device {device} names no twin")
        twins = {twin.property_name: _twin(twin) for twin in request.reported.twins}
        check(twins)
        observed = {twin.property_name: twin.observed_desired.value for twin in request.reported.twins}
        await self._desk.update(device, twins, observed=observed)
        await self._attention.heard(device)
        return m.Empty()

    async def report_device_states(self, request: m.ReportDeviceStatesRequest) -> m.Empty:
        """Whether a device can be reached; stored when this returns."""
        device = _device(request.device_namespace, request.device_name)
        await self._desk.set_state(device, request.state, request.reason)
        await self._attention.heard(device)
        return m.Empty()


def _device(namespace: str, name: str) -> str:
    if not name:
        raise MessageError("the report names no device")
    return f"{namespace or _DEFAULT_NAMESPACE}/{name}"


def _twin(given: m.Twin) -> Twin:
    """Mappers say times as text; what is no number is dropped, the value counts."""
    notes: dict[str, object] = {key: text for key, text in given.reported.metadata.items() if key != "type"}
    stamp = str(notes.pop("timestamp", ""))
    if stamp.isdecimal() and len(stamp) < 20:
        notes["timestamp"] = int(stamp)
    return Twin(actual=Value(given.reported.value, notes or None))
