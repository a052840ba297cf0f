"""A thermometer with a heater, on a real Modbus server over TCP or a serial line: for trying out, and for tests.

holding register 0   temperature, tenths of a degree; moves towards the setpoint while the heater is on, else to 20
holding register 1   setpoint, tenths of a degree
coil 0               heater
input registers 0-1  temperature as a 32-bit float
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import struct
import sys
from collections.abc import Iterator

from pymodbus import FramerType
from pymodbus.constants import ExcCodes
from pymodbus.simulator import DataType, SimData, SimDevice


@contextlib.contextmanager
def _without(package: str) -> Iterator[None]:
    """Keep an optional package from being imported, unless it is there already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


# pymodbus imports a web page for its server, and all of aiohttp for that (12 MiB), which nobody here asks for.
with _without("aiohttp"):
    from pymodbus.server import ModbusSerialServer, ModbusTcpServer

AMBIENT = 20.0
_Values = list[int] | list[bool] | None
_COILS, _REGISTERS = 16, 16
_WRITE_COIL, _WRITE_COILS, _WRITE_REGISTER, _WRITE_REGISTERS = 5, 15, 6, 16
_READ_HOLDING, _READ_INPUT = 3, 4


class Thermometer:
    """The device: physics, and what its registers show of it."""

    def __init__(self, *, temperature: float = AMBIENT, setpoint: float = 40.0, seconds: float = 20.0) -> None:
        self._temperature = temperature
        self._seconds = seconds
        """How long it takes to come to 63 % of the way."""
        self.setpoint = setpoint
        self.heater = True
        self.writes: list[tuple[int, int, list[int]]] = []
        """(function, address, values), newest last; a bounded number."""
        self.requests = 0
        self.deaf = False
        """Whether it takes what is written, and ignores it."""
        self._at = 0.0

    @property
    def temperature(self) -> float:
        """Degrees now."""
        now = asyncio.get_running_loop().time()
        target = self.setpoint if self.heater else AMBIENT
        gone, self._at = now - (self._at or now), now
        self._temperature = target + (self._temperature - target) * math.exp(-gone / self._seconds)
        return self._temperature

    def device(self, unit: int = 1) -> SimDevice:
        """As pymodbus serves it, under this slave id."""
        coils = [SimData(0, count=_COILS, values=False, datatype=DataType.BITS)]
        registers = [SimData(0, count=_REGISTERS, values=0, datatype=DataType.REGISTERS)]
        return SimDevice(
            unit, simdata=(coils, coils, registers, registers), use_bit_addressing=True, action=self._asked
        )

    async def _asked(
        self, function: int, _start: int, address: int, _count: int, cells: list[int], values: _Values
    ) -> ExcCodes | None:
        self.requests += 1
        degrees = self.temperature
        if values is not None and function in (_WRITE_REGISTER, _WRITE_REGISTERS):
            self._written(function, address, [int(value) for value in values])
        elif values is not None and function in (_WRITE_COIL, _WRITE_COILS):
            self._note(function, address, [int(value) for value in values])
            self.heater = bool(values[0]) if address == 0 and not self.deaf else self.heater
        elif function == _READ_HOLDING:
            cells[0:2] = [round(degrees * 10) & 0xFFFF, round(self.setpoint * 10) & 0xFFFF]
        elif function == _READ_INPUT:
            cells[0:2] = struct.unpack(">HH", struct.pack(">f", degrees))
        else:
            cells[0] = cells[0] | 1 if self.heater else cells[0] & ~1
        return None

    def _written(self, function: int, address: int, values: list[int]) -> None:
        self._note(function, address, values)
        if address <= 1 < address + len(values) and not self.deaf:
            self.setpoint = values[1 - address] / 10

    def _note(self, function: int, address: int, values: list[int]) -> None:
        self.writes = [*self.writes[-99:], (function, address, values)]


async def serve_tcp(
    device: Thermometer, host: str, port: int, *, unit: int = 1, ready: asyncio.Event | None = None
) -> None:
    """Serve the device over TCP until cancelled. Raises `OSError` when the port is taken."""
    server = ModbusTcpServer(device.device(unit), address=(host, port))
    await _serve(server, ready)


async def serve_serial(
    device: Thermometer, line: str, *, unit: int = 1, baud: int = 9600, ready: asyncio.Event | None = None
) -> None:
    """Serve the device on a serial line until cancelled."""
    server = ModbusSerialServer(device.device(unit), framer=FramerType.RTU, port=line, baudrate=baud)
    await _serve(server, ready)


async def _serve(server: ModbusTcpServer | ModbusSerialServer, ready: asyncio.Event | None) -> None:
    await server.serve_forever(background=True)
    if ready is not None:
        ready.set()
    try:
        await asyncio.Event().wait()
    finally:
        await server.shutdown()  # type: ignore[no-untyped-call]
