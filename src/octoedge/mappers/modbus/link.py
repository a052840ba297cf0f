"""The link to one Modbus device; devices behind one address or on one serial line share the connection.

Settings of a device (KubeEdge's keys): `communicateMode` (TCP, RTU; guessed when absent), `ip`, `port`, `slaveID`;
`serialPort`, `baudRate`, `dataBits`, `parity`, `stopBits`; `timeout` in seconds.

What comes back must be an answer to what was asked: of this unit, this function, this length. A serial line has no
numbers on requests, so after one without an answer it is opened anew: what comes late is nobody's answer then.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakValueDictionary

from pymodbus.client import AsyncModbusSerialClient, AsyncModbusTcpClient
from pymodbus.exceptions import ModbusException

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import keys
from octoedge.mappers.framework.settings import seconds, whole
from octoedge.mappers.modbus.registers import Block, Register, Table, blocks, register

PORT = 502
TIMEOUT = 3.0
_WHERE = "protocol.configData"
_PARITIES = {"none": "N", "even": "E", "odd": "O", "n": "N", "e": "E", "o": "O"}
_EXCEPTIONS = {
    1: "illegal function",
    2: "illegal data address",
    3: "illegal data value",
    4: "device failure",
    6: "busy",
}
_FUNCTIONS = {Table.COILS: 1, Table.DISCRETE: 2, Table.HOLDING: 3, Table.INPUT: 4}
_WRITE_COIL, _WRITE_ONE, _WRITE_MANY = 5, 6, 16
_SERIAL_TRIES = 2

Client = AsyncModbusTcpClient | AsyncModbusSerialClient
Ask = Callable[[], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Address:
    """Where a device is; equal ones share a connection."""

    host: str = ""
    port: int = PORT
    serial: str = ""
    baud: int = 9600
    bits: int = 8
    parity: str = "N"
    stop: int = 1
    timeout: float = TIMEOUT

    def client(self) -> Client:
        """A client that is not connected yet; pymodbus' own reconnecting is off, the mapper's is on."""
        if self.serial:
            return AsyncModbusSerialClient(
                self.serial, baudrate=self.baud, bytesize=self.bits, parity=self.parity, stopbits=self.stop,
                timeout=self.timeout, retries=0, reconnect_delay=0,
            )  # fmt: skip
        return AsyncModbusTcpClient(self.host, port=self.port, timeout=self.timeout, retries=1, reconnect_delay=0)

    def __str__(self) -> str:
        return self.serial or f"{self.host}:{self.port}"


class Connections:
    """Open connections by address, each closed with its last user."""

    def __init__(self) -> None:
        self._open: dict[Address, tuple[Client, int]] = {}
        self._turns: WeakValueDictionary[Address, asyncio.Lock] = WeakValueDictionary()

    async def take(self, address: Address) -> Client:
        """A connected client, the same for all who ask at once. Raises `DeviceError`."""
        async with self.turn(address):
            return await self._take(address)

    def turn(self, address: Address) -> asyncio.Lock:
        """Held by who opens the way to an address, and by who asks on a serial line."""
        return self._turns.setdefault(address, asyncio.Lock())

    async def _take(self, address: Address) -> Client:
        client, users = self._open.get(address, (None, 0))
        if client is None or not client.connected:
            client = address.client()
            try:
                connected = await client.connect()
            except (ModbusException, OSError) as error:
                raise DeviceError(f"no connection to {address}: {error}") from error
            if not connected:
                client.close()
                raise DeviceError(f"no connection to {address}")
            users = 0
        self._open[address] = (client, users + 1)
        return client

    def leave(self, address: Address, client: Client) -> None:
        """The client is needed once less."""
        current, users = self._open.get(address, (None, 0))
        if current is not client:
            client.close()
        elif users <= 1:
            del self._open[address]
            client.close()
        else:
            self._open[address] = (client, users - 1)


_shared = Connections()


@keys(
    settings="communicateMode ip port slaveID serialPort baudRate dataBits parity stopBits timeout",
    visitor="register offset limit scale isSwap isRegisterSwap dataType",
)
async def connect(device: Device) -> Link:
    """Connect to a device. Raises `ConfigError` with the setting's path, `DeviceError`."""
    settings = device.settings
    unit = whole(settings, "slaveID", 1, 0, 255, _WHERE)
    address = _address(settings)
    found: dict[str, Register] = {}
    problems: dict[str, ConfigError] = {}
    for prop in device.properties.values():
        if prop.visitor:
            where = f"properties[{prop.name}].visitors.configData"
            try:
                found[prop.name] = register(prop.visitor, prop.type, where)
            except ConfigError as error:
                problems[prop.name] = error
    return Link(address, unit, await _shared.take(address), found, problems)


class Link:
    """One Modbus device."""

    def __init__(
        self, address: Address, unit: int, client: Client, registers: Mapping[str, Register],
        problems: Mapping[str, ConfigError],
    ) -> None:  # fmt: skip
        self._address = address
        self._unit = unit
        self._client = client
        self._registers = registers
        self._problems = problems
        self._turn = _shared.turn(address)

    async def close(self) -> None:
        """No longer needed."""
        _shared.leave(self._address, self._client)

    # ---- for functions under @read and @write ------------------------------------------------------------------------

    async def holding(self, address: int, count: int = 1, kind: str = "") -> Any:
        """The value in holding registers; unsigned unless `kind` (int16, float32 …) says otherwise."""
        return await self._one(Table.HOLDING, address, count, kind)

    async def input(self, address: int, count: int = 1, kind: str = "") -> Any:
        """The value in input registers."""
        return await self._one(Table.INPUT, address, count, kind)

    async def coil(self, address: int) -> bool:
        """A coil."""
        return bool(await self._one(Table.COILS, address, 1, "boolean"))

    async def discrete(self, address: int) -> bool:
        """A discrete input."""
        return bool(await self._one(Table.DISCRETE, address, 1, "boolean"))

    async def write_holding(self, address: int, value: float, count: int = 1, kind: str = "") -> None:
        """Set holding registers."""
        one = register(
            {"register": "HoldingRegister", "offset": address, "limit": count, "dataType": kind}, "", "write"
        )
        await self._write(one, value)

    async def write_coil(self, address: int, value: bool) -> None:
        """Set a coil."""
        await self._write(Register(Table.COILS, address), value)

    # ---- by visitor ------------------------------------------------------------------------------------------------

    async def read(self, wanted: Sequence[Property]) -> dict[str, Any]:
        """Values by property; neighbouring registers in one request."""
        found: dict[str, Any] = {}
        for prop in wanted:
            if prop.name not in self._registers:
                found[prop.name] = self._problem(prop.name)
        known = [(prop.name, self._registers[prop.name]) for prop in wanted if prop.name in self._registers]
        for block in blocks(known):
            found.update(await self._block(block))
        return found

    async def write(self, prop: Property, value: Any) -> None:
        """Set a property."""
        if prop.name not in self._registers:
            raise self._problem(prop.name)
        await self._write(self._registers[prop.name], value)

    def _problem(self, name: str) -> ConfigError:
        missing = f"properties[{name}].visitors.configData.register is missing"
        return self._problems.get(name) or ConfigError(missing)

    async def _block(self, block: Block) -> dict[str, Any]:
        """What a request gives; where the device refuses the whole, one request each."""
        try:
            return block.values(await self._read(block.table, block.address, block.count))
        except ValueRefused as error:
            if len(block.members) == 1:
                return {block.members[0][0]: DeviceError(str(error))}
        found: dict[str, Any] = {}
        for name, one in block.members:
            found.update(await self._block(Block(one.table, one.address, one.count, ((name, one),))))
        return found

    # ---- requests --------------------------------------------------------------------------------------------------

    async def _one(self, table: Table, address: int, count: int, kind: str) -> Any:
        visitor = {"register": table.value, "offset": address, "limit": count, "dataType": kind}
        one = register(visitor, "", f"{table.value} {address}")
        try:
            return one.decode(await self._read(table, one.address, one.count))
        except ValueRefused as error:
            raise DeviceError(str(error)) from error

    async def _read(self, table: Table, address: int, count: int) -> list[int]:
        client = self._client
        calls: dict[Table, Callable[..., Awaitable[Any]]] = {
            Table.COILS: client.read_coils,
            Table.DISCRETE: client.read_discrete_inputs,
            Table.HOLDING: client.read_holding_registers,
            Table.INPUT: client.read_input_registers,
        }
        what = f"reading {table.value} {address}"
        ask = functools.partial(calls[table], address, count=count, device_id=self._unit)
        answer = await self._ask(what, _FUNCTIONS[table], ask)
        data = list(answer.bits if table.bits else answer.registers)
        if len(data) != (-(-count // 8) * 8 if table.bits else count):
            raise DeviceError(f"{what} of {self._address}: {len(data)} values came instead of {count}")
        return data[:count]

    async def _write(self, one: Register, value: Any) -> None:
        words, client = one.encode(value), self._client
        what = f"writing {one.table.value} {one.address}"
        if one.table.bits:
            function, ask = _WRITE_COIL, functools.partial(client.write_coil, one.address, bool(words[0]))
        elif len(words) == 1:
            function, ask = _WRITE_ONE, functools.partial(client.write_register, one.address, words[0])
        else:
            function, ask = _WRITE_MANY, functools.partial(client.write_registers, one.address, words)
        await self._ask(what, function, functools.partial(ask, device_id=self._unit))

    async def _ask(self, what: str, function: int, ask: Ask) -> Any:
        """The answer. Raises `DeviceError` when none comes, `ValueRefused` when the device says no."""
        try:
            answer = await self._answer(ask)
        except (ModbusException, OSError) as error:
            raise DeviceError(f"{what} of {self._address}: {error}") from error
        if answer.function_code & 0x7F != function:
            self._anew()
            raise DeviceError(f"{what} of {self._address}: the answer is to function {answer.function_code & 0x7F}")
        if answer.isError():
            code = getattr(answer, "exception_code", 0)
            why = _EXCEPTIONS.get(code, f"exception {code}")
            text = f"{what} of unit {self._unit} at {self._address}: {why}"
            raise DeviceError(text) if code in (4, 5, 6, 10, 11) else ValueRefused(text)
        return answer

    async def _answer(self, ask: Ask) -> Any:
        if not self._address.serial:
            return await ask()
        async with self._turn:
            for left in reversed(range(_SERIAL_TRIES)):
                try:
                    if not self._client.connected and not await self._client.connect():
                        raise DeviceError(f"no connection to {self._address}")
                    return await ask()
                except BaseException as error:
                    self._anew()
                    if not left or not isinstance(error, ModbusException | OSError):
                        raise
            raise AssertionError("there is at least one try")

    def _anew(self) -> None:
        """Forget what may still come on a serial line; the next request opens it again."""
        if self._address.serial:
            self._client.close()


def _address(settings: Mapping[str, Any]) -> Address:
    mode = str(settings.get("communicateMode") or ("RTU" if settings.get("serialPort") else "TCP")).upper()
    timeout = seconds(settings, "timeout", TIMEOUT, _WHERE)
    if mode == "TCP":
        host = str(settings.get("ip", ""))
        if not host:
            raise ConfigError(f"{_WHERE}.ip is missing: the address of the Modbus device")
        return Address(host, whole(settings, "port", PORT, 1, 65535, _WHERE), timeout=timeout)
    if mode != "RTU":
        raise ConfigError(f"{_WHERE}.communicateMode: {mode[:40]!r} is neither TCP nor RTU")
    serial = str(settings.get("serialPort", ""))
    if not serial:
        raise ConfigError(f"{_WHERE}.serialPort is missing: the serial line, such as /dev/ttyUSB0")
    parity = str(settings.get("parity", "none")).lower()
    if parity not in _PARITIES:
        raise ConfigError(f"{_WHERE}.parity: {parity[:40]!r} is none of none, even, odd")
    return Address(
        "", PORT, serial, whole(settings, "baudRate", 9600, 50, 4_000_000, _WHERE),
        whole(settings, "dataBits", 8, 5, 8, _WHERE), _PARITIES[parity], whole(settings, "stopBits", 1, 1, 2, _WHERE),
        timeout,
    )  # fmt: skip
