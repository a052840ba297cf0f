"""A real mosquitto for tests, on a free port of the loopback, that may be killed and started again."""

from __future__ import annotations

import asyncio
import shutil
import socket
from pathlib import Path

from octoedge.errors import TransportError
from octoedge.testing.eventually import listening
from octoedge.transport.mqtt import Broker, MqttClient, connect

PATH = shutil.which("mosquitto", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin") or "mosquitto"


class Mosquitto:
    """`async with Mosquitto(folder) as broker`; `lines` are further lines of its configuration."""

    def __init__(self, folder: Path, *lines: str) -> None:
        self._folder = folder
        self.port = _free_port()
        self._lines = lines or ("allow_anonymous true",)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"tcp://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Mosquitto:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.kill()

    async def start(self) -> None:
        """Start it, and return when it takes connections."""
        config = self._folder / "mosquitto.conf"
        base = (f"listener {self.port} 127.0.0.1", "sys_interval 1", "max_queued_messages 0", *self._lines)
        await asyncio.to_thread(config.write_text, "\n".join((*base, f"user {_user()}")) + "\n")
        self._process = await asyncio.create_subprocess_exec(
            PATH, "-c", str(config), stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL
        )
        await listening(self.port, within=10)

    async def kill(self) -> None:
        """kill -9; nothing happens when it does not run."""
        if self._process is not None and self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def client(self, name: str, *, clean: bool = True) -> MqttClient:
        """A client of it; tries until it is there."""
        async with asyncio.timeout(10):
            while True:
                try:
                    return await connect(Broker(self.url, name, clean=clean))
                except TransportError:
                    await asyncio.sleep(0.02)


def _user() -> str:
    return "root" if Path("/root").is_dir() else "mosquitto"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
