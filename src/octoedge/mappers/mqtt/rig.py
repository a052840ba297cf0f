"""The valve and a broker (mosquitto), for the conformance kit."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from pathlib import Path
from typing import Any

from octoedge.errors import ConfigError
from octoedge.mappers.kit import Point, TcpRig
from octoedge.mappers.mqtt.simulator import Valve

_BROKER = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")
_STATE = {"topic": "valve/state"}


class MqttRig(TcpRig, protocol="mqtt"):
    """A valve; the broker is away, slow or talks nonsense."""

    spoils = TcpRig.spoils | {"deaf"}
    points = (
        Point("flow", "DOUBLE", {**_STATE, "pointer": "/flow"}),
        Point(
            "position", "FLOAT", {**_STATE, "pointer": "/position", "writeTopic": "valve/set", "writeKey": "position"},
            True, "0", "100", ("35", "62.5"),
        ),
    )  # fmt: skip

    def __init__(self) -> None:
        super().__init__()
        self._device = Valve()

    def settings(self, number: int) -> dict[str, Any]:
        return {"brokerURL": f"tcp://127.0.0.1:{self.port}", "clientID": f"d{number}", "keepAlive": 4, "maxAge": 3}

    async def serve(self, port: int, ready: asyncio.Event) -> None:
        if _BROKER is None:
            raise ConfigError("the rig of mqtt needs a broker: install mosquitto")
        with tempfile.TemporaryDirectory(prefix="octoedge-broker-") as folder:
            config = Path(folder) / "mosquitto.conf"
            config.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\nuser root\n")
            broker = await asyncio.create_subprocess_exec(
                _BROKER, "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
            )
            try:
                await _listening(port)
                await self._device.run(f"tcp://127.0.0.1:{port}", ready=ready)
            finally:
                broker.kill()
                await broker.wait()

    def deaf(self, deaf: bool) -> None:
        self._device.deaf = deaf

    async def value(self, name: str) -> str | None:
        return str(self._device.position) if name == "position" else None


async def _listening(port: int) -> None:
    async with asyncio.timeout(15):
        while True:
            try:
                _, writer = await asyncio.open_connection("127.0.0.1", port)
            except OSError:
                await asyncio.sleep(0.05)
            else:
                writer.close()
                return
