"""Sensors behind a BlueZ without a radio, on a private D-Bus: for trying out, and for tests.

characteristic 2a6e                                   temperature, int16, hundredths of a degree; read, notify
characteristic f0000001-0451-4000-b000-000000000000   target, int16, hundredths of a degree; read, write
"""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

from octoedge.errors import ConfigError
from octoedge.mappers.ble.bluez import Bluez, Number, Peripheral

SERVICE = "0000181a-0000-1000-8000-00805f9b34fb"
TEMPERATURE = "00002a6e-0000-1000-8000-00805f9b34fb"
TARGET = "f0000001-0451-4000-b000-000000000000"
BEAT = 0.5
_START_SECONDS = 15.0
_CONFIG = """<!DOCTYPE busconfig PUBLIC "-//freedesktop//DTD D-Bus Bus Configuration 1.0//EN"
 "http://www.freedesktop.org/standards/dbus/1.0/busconfig.dtd">
<busconfig>
  <listen>unix:path={socket}</listen>
  <auth>EXTERNAL</auth>
  <policy context="default">
    <allow send_destination="*" eavesdrop="true"/><allow eavesdrop="true"/><allow own="*"/><allow user="*"/>
  </policy>
</busconfig>
"""


class Sensor:
    """One thermometer with a target."""

    def __init__(self, number: int = 1) -> None:
        self.temperature, self.target = Number(21.5), Number(20.0)
        high, low = divmod(number, 256)
        self.peripheral = Peripheral(
            f"C0:FF:EE:00:{high:02X}:{low:02X}", f"sensor-{number}", SERVICE,
            {TEMPERATURE: (("read", "notify"), self.temperature), TARGET: (("read", "write"), self.target)},
        )  # fmt: skip


async def serve(bluez: Bluez, sensors: list[Sensor], folder: Path, *, ready: asyncio.Event | None = None) -> None:
    """Play the sensors on a bus of their own, whose address is `address(folder)`, until cancelled."""
    program = shutil.which("dbus-daemon")
    if program is None:
        raise ConfigError("the simulator of Bluetooth needs a D-Bus: install the package dbus")
    config, socket = folder / "dbus.conf", folder / "dbus.sock"
    config.write_text(_CONFIG.format(socket=socket))
    daemon = await asyncio.create_subprocess_exec(
        program, f"--config-file={config}", "--nofork", "--nopidfile", "--print-address=1",
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
    )  # fmt: skip
    try:
        async with asyncio.timeout(_START_SECONDS):
            assert daemon.stdout is not None
            if not await daemon.stdout.readline():  # the address, as soon as it listens
                raise ConfigError("the D-Bus of the simulator ended at once; is the package dbus whole?")
        for one in sensors:
            bluez.add(one.peripheral)
        serving = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            group.create_task(bluez.run(address(folder), serving), name="BlueZ without a radio")
            await serving.wait()
            if ready is not None:
                ready.set()
            while True:
                await asyncio.sleep(BEAT)
                for one in sensors:
                    one.temperature.value += (one.target.value - one.temperature.value) / 20
                bluez.notify()
    finally:
        daemon.kill()
        await daemon.wait()


def address(folder: Path) -> str:
    """For DBUS_SYSTEM_BUS_ADDRESS, from which bleak takes its bus."""
    return f"unix:path={folder / 'dbus.sock'}"
