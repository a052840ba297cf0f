"""The pump, for the conformance kit."""

from __future__ import annotations

import asyncio
from typing import Any

from octoedge.mappers.kit import Point, TcpRig
from octoedge.mappers.opcua.simulator import Pump, serve


class OpcuaRig(TcpRig, protocol="opcua"):
    """A pump; all devices share a session."""

    spoils = TcpRig.spoils | {"deaf"}
    points = (
        Point("speed", "DOUBLE", {"nodeID": "ns=2;s=Pump.Speed", "subscribe": True}),
        Point("set", "DOUBLE", {"nodeID": "ns=2;s=Pump.Set"}, True, "0", "3000", ("900", "1200.5")),
        Point("run", "BOOLEAN", {"nodeID": "ns=2;s=Pump.Run"}, True, wishes=("false", "true")),
    )

    def __init__(self) -> None:
        super().__init__()
        self._device = Pump()

    def settings(self, number: int) -> dict[str, Any]:
        del number
        return {"url": f"opc.tcp://127.0.0.1:{self.port}", "timeout": 2}

    async def serve(self, port: int, ready: asyncio.Event) -> None:
        await serve("127.0.0.1", port, ready=ready, pump=self._device)

    def deaf(self, deaf: bool) -> None:
        self._device.deaf = deaf
