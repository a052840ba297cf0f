"""The energy meter, for the conformance kit."""

from __future__ import annotations

import asyncio
from typing import Any

from octoedge.mappers.http.simulator import Meter, serve
from octoedge.mappers.kit import Point, TcpRig

_LIMIT = {"path": "state", "pointer": "/limit", "writePath": "limit", "writeKey": "value"}


class HttpRig(TcpRig, protocol="http"):
    """A meter with a limit."""

    spoils = TcpRig.spoils | {"deaf"}
    points = (
        Point("total", "DOUBLE", {"path": "state", "pointer": "/energy/total"}),
        Point("limit", "FLOAT", _LIMIT, True, "0", "50", ("12", "13.5")),
    )

    def __init__(self) -> None:
        super().__init__()
        self._device = Meter()

    def settings(self, number: int) -> dict[str, Any]:
        del number
        return {"baseURL": f"http://127.0.0.1:{self.port}", "timeoutSeconds": 2}

    async def serve(self, port: int, ready: asyncio.Event) -> None:
        await serve(self._device, "127.0.0.1", port, ready=ready)

    def deaf(self, deaf: bool) -> None:
        self._device.deaf = deaf

    async def value(self, name: str) -> str | None:
        return str(self._device.limit) if name == "limit" else None
