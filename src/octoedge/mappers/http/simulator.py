"""An energy meter with a limit, over HTTP: for trying out, and for tests.

GET /state          {"energy": {"total": kWh}, "limit": kW, "online": true}
PUT /limit          {"value": kW}; 400 when it is no number from 0 to 100
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiohttp import web


class Meter:
    """The device."""

    def __init__(self) -> None:
        self.limit: float = 10.0
        self.requests = 0
        self.answer: web.Response | None = None
        """What it answers in place of the truth."""
        self.deaf = False
        """Whether it takes what is written, and ignores it."""

    def application(self) -> web.Application:
        """As aiohttp serves it."""
        made = web.Application(client_max_size=4096)
        made.add_routes([web.get("/state", self._state), web.put("/limit", self._limit)])
        return made

    async def _state(self, _request: web.Request) -> web.Response:
        self.requests += 1
        if self.answer is not None:
            return web.Response(status=self.answer.status, text=self.answer.text)
        total = round(asyncio.get_running_loop().time() % 1e6 / 100, 3)
        return web.json_response({"energy": {"total": total}, "limit": self.limit, "online": True})

    async def _limit(self, request: web.Request) -> web.Response:
        try:
            said: Any = await request.json()
            value = float(said["value"])
        except (ValueError, KeyError, TypeError):
            return web.Response(status=400, text="a number is needed")
        if not 0 <= value <= 100:
            return web.Response(status=400, text="the limit is 0 to 100")
        self.limit = self.limit if self.deaf else value
        return web.Response(status=204)


async def serve(device: Meter, host: str, port: int, *, ready: asyncio.Event | None = None) -> None:
    """Serve the device until cancelled. Raises `OSError` when the port is taken."""
    runner = web.AppRunner(device.application(), access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, port).start()
        if ready is not None:
            ready.set()
        await asyncio.Event().wait()
    finally:
        await runner.cleanup()
