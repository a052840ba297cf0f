"""The node's own MQTT broker (`mqttMode` 0 and 1): a mosquitto that EdgeCore starts, watches and ends.

It listens on the loopback and asks nobody who he is, as KubeEdge's own broker does. EventBus is a client of it like any
other. `docs/decisions/0010-own-mqtt-client.md` says why it is no Python library.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import os
import shutil
import signal
import urllib.parse
from pathlib import Path

import msgspec

from octoedge.errors import ConfigError
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_KEY = "modules.eventBus.mqttServerInternal"
_PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_PID = "mosquitto.pid"
_STOP_SECONDS = 5.0
_WORDS = 2000
"""Bytes of the broker's last words that are told."""


class Own(msgspec.Struct, frozen=True):
    """What the broker is started with."""

    program: str
    host: str
    port: int
    queue: int
    """Messages that wait for a client that is away."""
    folder: Path

    @property
    def config(self) -> str:
        """Its configuration file."""
        user = "root" if os.geteuid() == 0 and not _exists("mosquitto") else "mosquitto"
        lines = (
            f"listener {self.port} {self.host}", "allow_anonymous true", "persistence false",
            "sys_interval 10", f"max_queued_messages {self.queue}", f"user {user}", "log_dest stderr",
            "log_type error", "log_type warning",
        )  # fmt: skip
        return "# Written by EdgeCore at every start.\n" + "\n".join(lines) + "\n"


def own(url: str, queue: int, folder: Path, places: str = "") -> Own:
    """The broker at `url`; `ConfigError` when it cannot be. `places`: where the program is looked for."""
    try:
        parts = urllib.parse.urlsplit(url)
        host, port = parts.hostname or "", parts.port or 1884
    except ValueError as error:
        raise ConfigError(f"{_KEY}: {url!r} is no address: {error}") from error
    if parts.scheme not in ("tcp", "mqtt") or not _is_loopback(host):
        raise ConfigError(
            f"{_KEY} is {url!r}; EdgeCore's own broker asks nobody who he is and so listens on the loopback only, as "
            "in tcp://127.0.0.1:1884. For clients elsewhere run a broker with users, and set mqttMode to 2"
        )
    program = shutil.which("mosquitto", path=places or f"{os.environ.get('PATH', '')}:{_PLACES}")
    if program is None:
        raise ConfigError(
            "modules.eventBus.mqttMode asks for EdgeCore's own broker, which is mosquitto, and there is none on this "
            "machine: install it (apt install mosquitto), or set mqttMode to 2 and name another machine's broker"
        )
    return Own(program, host, port, queue, folder)


async def keep(broker: Own) -> None:
    """Run the broker until cancelled; it is started again when it ends."""
    said, backoff = SaidOnce(log), Backoff(first=0.5, limit=30.0)
    config = broker.folder / "mosquitto.conf"
    while True:
        await asyncio.to_thread(_prepare, broker, config)
        words = await _run(broker, config)
        said.trouble("EdgeCore's own MQTT broker", f"has ended and is started again: {words or 'it said nothing'}")
        await asyncio.sleep(backoff.next())


async def _run(broker: Own, config: Path) -> str:
    """One life of it; its last words."""
    process = await asyncio.create_subprocess_exec(
        broker.program, "-c", str(config), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    await asyncio.to_thread((broker.folder / _PID).write_text, str(process.pid))
    words = b""
    try:
        while data := await process.stderr.read(_WORDS):
            words = (words + data)[-_WORDS:]
        await process.wait()
    finally:
        if process.returncode is None:
            await _end(process)
    return words.decode(errors="replace").strip().rpartition("\n")[2]


async def _end(process: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
        try:
            async with asyncio.timeout(_STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _prepare(broker: Own, config: Path) -> None:
    """Write the configuration; end one that an EdgeCore which was killed has left."""
    broker.folder.mkdir(parents=True, exist_ok=True)
    config.write_text(broker.config)
    with contextlib.suppress(OSError, ValueError):
        pid = int((broker.folder / _PID).read_text())
        if str(config).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGKILL)


def _exists(user: str) -> bool:
    with contextlib.suppress(OSError):
        return any(line.startswith(f"{user}:") for line in Path("/etc/passwd").read_text().splitlines())
    return False


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
