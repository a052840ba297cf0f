"""One device's values on their ways: to the servers that its properties name, and to EdgeCore. Pure but for the hub.

A property is read on the quicker of its two cycles. `reportCycle` is how often a value is pushed, `collectCycle` how
often it goes to EdgeCore; of each only a value that has just been read, so nothing is pushed twice or while the device
is away.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from octoedge.dmi import messages as m
from octoedge.mappers.framework.schedule import Schedule
from octoedge.mappers.push.sending import Sample

if TYPE_CHECKING:
    from octoedge.mappers.framework.device import Device
    from octoedge.mappers.push.hub import Hub


class Outgoing:
    """The values of one device, as it is described now."""

    def __init__(self, device: Device, hub: Hub, now: float) -> None:
        self._device = device
        self._hub = hub
        pushed = {name: prop for name, prop in device.properties.items() if prop.pushes}
        self._pushes = Schedule({name: prop.push_cycle for name, prop in pushed.items()}, now)
        slow = {name: prop.cycle for name, prop in pushed.items() if prop.reported and prop.cycle > prop.push_cycle}
        self._slow = frozenset(slow)
        """What is read more often than EdgeCore is to hear of it."""
        self._reports = Schedule(slow, now)
        hub.wants(device.id, [target for prop in pushed.values() for target in prop.pushes])

    def soon(self, names: Iterable[str], now: float) -> None:
        """Values of these are news: EdgeCore hears of them at once."""
        self._reports.soon(names, now)

    def sift(self, twins: Sequence[m.Twin], now: float) -> list[m.Twin]:
        """Push what is due of values that have just been read; the ones for EdgeCore come back."""
        due, told = set(self._pushes.due(now)), set(self._reports.due(now))
        for twin in twins:
            if twin.property_name in due:
                self._push(twin)
        return [
            twin
            for twin in twins
            if self._device.properties[twin.property_name].reported
            and (twin.property_name not in self._slow or twin.property_name in told)
        ]

    def _push(self, twin: m.Twin) -> None:
        prop = self._device.properties[twin.property_name]
        kind, time = prop.said_type or prop.type.lower(), int(twin.reported.metadata["timestamp"])
        value = twin.reported.value.encode(errors="replace").decode()  # half a pair of UTF-16 is no text for a server
        for target in prop.pushes:
            self._hub.put(Sample(target, self._device.namespace, self._device.name, prop.name, kind, value, time))
