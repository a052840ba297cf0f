"""The node's own MQTT broker (`mqttMode` 0 and 1): a mosquitto that EdgeCore starts, watches and ends.

EventBus is a client of it like any other; who else may come is said in `access`. What it says of its clients is kept
for `octoedge status`. `docs/decisions/0010-own-mqtt-client.md` says why it is no Python library.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import signal
from pathlib import Path

import msgspec

from octoedge.api.config.edgecore import OwnBroker
from octoedge.edge.eventbus.access import Access, access
from octoedge.errors import ConfigError
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce
from octoedge.store import durable
from octoedge.transport.mqtt_clients import Clients

log = logging.getLogger(__name__)

_PLACES = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
_PID = "mosquitto.pid"
_STOP_SECONDS = 5.0
_WORDS = 2000
"""Bytes of the broker's last words that are told."""


class Own(msgspec.Struct, frozen=True):
    """What the broker is started with."""

    program: str
    access: Access
    queue: int
    """Messages that wait for a client that is away."""
    folder: Path
    """Is the broker's alone when clients must say who they are."""

    @property
    def user(self) -> str:
        """Who it runs as; root where nobody else gets to the folder."""
        reached = not self.access.asks or all(parent.stat().st_mode & 0o001 for parent in self.folder.parents)
        return "root" if os.geteuid() == 0 and not (_exists("mosquitto") and reached) else "mosquitto"

    @property
    def config(self) -> str:
        """Its configuration file."""
        lines = (
            *self.access.lines(self.folder), "persistence false", "sys_interval 10",
            f"max_queued_messages {self.queue}", f"user {self.user}", "log_dest stderr", "log_timestamp false",
            "log_type error", "log_type warning", "log_type notice",
        )  # fmt: skip
        return "# Written by EdgeCore at every start.\n" + "\n".join(lines) + "\n"


def own(url: str, queue: int, folder: Path, given: OwnBroker | None = None, places: str = "") -> Own:
    """The broker at `url`; `ConfigError` when it cannot be. `places`: where the program is looked for."""
    door = access(url, given or OwnBroker())
    program = shutil.which("mosquitto", path=places or f"{os.environ.get('PATH', '')}:{_PLACES}")
    if program is None:
        raise ConfigError(
            "modules.eventBus.mqttMode asks for EdgeCore's own broker, which is mosquitto, and there is none on this "
            "machine: install it (apt install mosquitto), or set mqttMode to 2 and name another machine's broker"
        )
    return Own(program, door, queue, folder)


async def keep(broker: Own, clients: Clients | None = None) -> None:
    """Run the broker until cancelled; it is started again when it ends. `clients` is told who comes and goes."""
    known = clients or Clients()
    said, backoff = SaidOnce(log), Backoff(first=0.5, limit=30.0)
    config = broker.folder / "mosquitto.conf"
    while True:
        try:
            await asyncio.to_thread(_prepare, broker, config)
        except (OSError, ConfigError) as error:
            words = str(error)
        else:
            words = await _run(broker, config, known)
        known.clear()
        said.trouble("EdgeCore's own MQTT broker", f"has ended and is started again: {words or 'it said nothing'}")
        await asyncio.sleep(backoff.next())


async def _run(broker: Own, config: Path, clients: Clients) -> str:
    """One life of it; its last words."""
    process = await asyncio.create_subprocess_exec(
        broker.program, "-c", str(config), stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert process.stderr is not None
    await asyncio.to_thread((broker.folder / _PID).write_text, str(process.pid))
    words, rest = "", b""
    try:
        while data := await process.stderr.read(_WORDS):
            *lines, rest = (rest + data).split(b"\n")
            rest = rest[-_WORDS:]
            for line in lines:
                text = line.decode(errors="replace")
                words = words if clients.hear(text) else text
        await process.wait()
    finally:
        if process.returncode is None:
            await _end(process)
    return words


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
    files = broker.access.files()
    for name, data in files.items():
        durable.write(broker.folder / name, data, 0o600)
    if broker.access.asks:
        broker.folder.chmod(0o700)
    if broker.access.asks and os.geteuid() == 0:  # else it runs as who we are
        for path in (*(broker.folder / name for name in files), broker.folder):
            shutil.chown(path, broker.user)
    config.write_text(broker.config)
    with contextlib.suppress(OSError, ValueError):
        pid = int((broker.folder / _PID).read_text())
        if str(config).encode() in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"):
            os.kill(pid, signal.SIGKILL)


def _exists(user: str) -> bool:
    with contextlib.suppress(OSError):
        return any(line.startswith(f"{user}:") for line in Path("/etc/passwd").read_text().splitlines())
    return False
