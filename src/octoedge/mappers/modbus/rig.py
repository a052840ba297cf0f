"""The thermometer, for the conformance kit."""

from __future__ import annotations

import asyncio
from typing import Any

from octoedge.mappers.kit import Point, TcpRig
from octoedge.mappers.modbus.simulator import Thermometer, serve_tcp

_TENTHS = {"register": "HoldingRegister", "scale": 0.1}


class ModbusRig(TcpRig, protocol="modbus"):
    """A thermometer over TCP."""

    spoils = TcpRig.spoils | {"deaf"}
    points = (
        Point("temperature", "FLOAT", {**_TENTHS, "offset": 0}),
        Point("setpoint", "FLOAT", {**_TENTHS, "offset": 1}, True, "5", "90", ("35", "36.5")),
        Point("heater", "BOOLEAN", {"register": "CoilRegister", "offset": 0}, True, wishes=("true", "false")),
    )

    def __init__(self) -> None:
        super().__init__()
        self._device = Thermometer()

    def settings(self, number: int) -> dict[str, Any]:
        del number
        return {"ip": "127.0.0.1", "port": self.port, "slaveID": 1, "timeout": 1}

    async def serve(self, port: int, ready: asyncio.Event) -> None:
        await serve_tcp(self._device, "127.0.0.1", port, ready=ready)

    def deaf(self, deaf: bool) -> None:
        self._device.deaf = deaf

    async def value(self, name: str) -> str | None:
        return {"setpoint": str(self._device.setpoint), "heater": str(self._device.heater).lower()}.get(name)
