"""Sensors, for the conformance kit: the real bleak against a BlueZ without a radio."""

from __future__ import annotations

import asyncio
import os
import tempfile
from pathlib import Path
from typing import Any

from octoedge.mappers.ble.bluez import Bluez
from octoedge.mappers.ble.simulator import TARGET, Sensor, address, serve
from octoedge.mappers.kit import Point, Rig


class BleRig(Rig, protocol="ble"):
    """A thousand sensors behind one radio that keeps twenty connections, as real ones do: 7 to 30, says their maker.
    Twenty report, the others are offline, and the mapper lives. More need more adapters (`adapter`)."""

    most = 20
    spoils = frozenset({"slow", "absent", "nonsense", "deaf"})
    points = (
        Point("temperature", "FLOAT", {"characteristicUUID": "2a6e", "format": "int16", "scale": 0.01, "notify": True}),
        Point(
            "target", "FLOAT", {"characteristicUUID": TARGET, "format": "int16", "scale": 0.01},
            True, "5", "40", ("22", "19.5"),
        ),
    )  # fmt: skip

    def __init__(self) -> None:
        self._bluez = Bluez(self.most)
        self._folder = Path()
        self._sensors = [Sensor(number + 1) for number in range(self.many + 1)]
        self._there = True

    def settings(self, number: int) -> dict[str, Any]:
        return {"macAddress": self._sensors[number % len(self._sensors)].peripheral.address, "timeout": 4}

    def environment(self) -> dict[str, str]:
        return {"DBUS_SYSTEM_BUS_ADDRESS": address(self._folder)}

    async def run(self, ready: asyncio.Event) -> None:
        with tempfile.TemporaryDirectory(prefix="octoedge-ble-") as folder:
            self._folder = Path(folder)
            await serve(self._bluez, self._sensors, self._folder, ready=ready)

    async def value(self, name: str) -> str | None:
        return str(self._sensors[0].target.value) if name == "target" else None

    async def there(self, there: bool) -> None:
        if there != self._there:
            self._there = there
            (self._bluez.add if there else self._bluez.remove)(self._sensors[0].peripheral)

    def late(self, seconds: float) -> None:
        self._bluez.hold(False)
        self._bluez.hold(seconds > 1)

    def deaf(self, deaf: bool) -> None:
        self._sensors[0].target.deaf = deaf

    def wrong(self, wrong: bool) -> None:
        self._bluez.spoil = (lambda raw: os.urandom(len(raw) + 3)) if wrong else bytes
