"""The Modbus link against servers that answer nonsense: garbage, wrong lengths, half frames, other slaves' answers."""

from __future__ import annotations

import asyncio
import contextlib
import os
import pty
import struct
import tty
from collections.abc import AsyncIterator, Callable
from typing import Any, cast

import pytest

from octoedge.errors import ConfigError, DeviceError
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.modbus.link import Link, connect

HOLDING = {"register": "HoldingRegister", "offset": 0, "scale": 0.1}
VALUE = Property("temperature", "FLOAT", visitor=HOLDING)
Answer = Callable[[int, int, bytes], bytes]
"""(transaction, unit, request) → the bytes that go back."""


def _frame(transaction: int, unit: int, answer: bytes) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(answer) + 1, unit) + answer


def _right(transaction: int, unit: int, request: bytes) -> bytes:
    count = struct.unpack(">H", request[3:5])[0]
    return _frame(transaction, unit, bytes([request[0], 2 * count]) + b"\x02\x7b" * count)


BAD: dict[str, Answer] = {
    "garbage": lambda *_: b"\xff\x00\x80 HTTP/1.1 400 Bad Request\r\n\r\n" * 3,
    "another slave's": lambda number, unit, _: _frame(number, unit + 1, b"\x03\x02\x02\x7b"),
    "to another request": lambda number, unit, _: _frame(number + 7, unit, b"\x03\x02\x02\x7b"),
    "of another function": lambda number, unit, _: _frame(number, unit, b"\x04\x02\x02\x7b"),
    "too long": lambda number, unit, _: _frame(number, unit, b"\x03\x04\x02\x7b\x02\x7b"),
    "too short": lambda number, unit, _: _frame(number, unit, b"\x03\x00"),
    "a length that lies": lambda number, unit, _: _frame(number, unit, b"\x03\x08\x02\x7b"),
    "half a frame": lambda number, unit, _: _frame(number, unit, b"\x03\x02\x02\x7b")[:7],
    "nothing": lambda *_: b"",
}


class Server:
    """A Modbus TCP server whose answers are bytes of ours."""

    def __init__(self) -> None:
        self.answer: Answer = _right
        self.requests: list[bytes] = []
        self.port = 0
        self._serving: set[asyncio.Task[None]] = set()

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Server]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        async with server:
            yield self
        if self._serving:
            await asyncio.wait(self._serving)  # the link has closed its end

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._serving.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError), contextlib.closing(writer):
            while True:
                number, _, length, unit = struct.unpack(">HHHB", await reader.readexactly(7))
                request = await reader.readexactly(length - 1)
                self.requests.append(request)
                writer.write(self.answer(number, unit, request))
                await writer.drain()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


@contextlib.asynccontextmanager
async def _link(port: int, *properties: Property) -> AsyncIterator[Link]:
    settings = {"ip": "127.0.0.1", "port": port, "slaveID": 1, "timeout": 1}
    link = await connect(Device("plant", "probe", "", settings, {prop.name: prop for prop in properties}))
    try:
        yield link
    finally:
        await link.close()


async def _read(link: Link, prop: Property) -> Any:
    return (await link.read([prop]))[prop.name]


@pytest.mark.parametrize("kind", BAD)
def test_an_answer_that_is_none_is_an_error_and_never_a_value(kind: str) -> None:
    async def main() -> None:
        async with Server().serving() as server, asyncio.timeout(30):
            server.answer = BAD[kind]
            async with _link(server.port, VALUE) as link:
                with pytest.raises(DeviceError):
                    await link.holding(0)
            server.answer = _right
            async with _link(server.port, VALUE) as link:
                assert await _read(link, VALUE) == pytest.approx(63.5)

    asyncio.run(main())


def test_neighbours_go_in_one_request_and_strangers_do_not() -> None:
    async def main() -> None:
        near = [Property(f"p{n}", "INT", visitor={**HOLDING, "offset": n, "scale": 1}) for n in (0, 1, 2, 9, 40)]
        async with Server().serving() as server, _link(server.port, *near) as link:
            assert set((await link.read(near)).values()) == {0x027B}
            assert server.requests == [b"\x03\x00\x00\x00\x0a", b"\x03\x00\x28\x00\x01"]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("visitor", "field"),
    [
        ({"register": "SecretRegister"}, "register"),
        ({"register": "HoldingRegister", "dataType": "complex128"}, "dataType"),
        ({"register": "HoldingRegister", "offset": 70000}, "offset"),
        ({"register": "HoldingRegister", "dataType": "float32", "limit": 3}, "limit"),
        ({"register": "HoldingRegister", "scale": 0}, "scale"),
    ],
)
def test_a_visitor_that_makes_no_sense_is_refused_with_its_path_and_the_others_are_read(
    visitor: dict[str, Any], field: str
) -> None:
    async def main() -> None:
        odd = Property("odd", visitor=visitor)
        async with Server().serving() as server, _link(server.port, VALUE, odd) as link:
            found = await link.read([VALUE, odd])
            assert found["temperature"] == pytest.approx(63.5)
            assert isinstance(found["odd"], ConfigError)
            assert str(found["odd"]).startswith(f"properties[odd].visitors.configData.{field}: ")

    asyncio.run(main())


def test_on_a_serial_line_a_late_answer_is_nobodys_and_devices_share_the_line() -> None:
    async def main() -> None:
        master, slave = pty.openpty()
        tty.setraw(slave)
        asked: list[bytes] = []

        def hear() -> None:
            asked.append(os.read(master, 256))
            if len(asked) > 2:  # the first two wait too long
                unit, address = asked[-1][0], asked[-1][3]
                body = bytes([unit, 3, 2, 0, 10 * unit + address])
                os.write(master, body + _crc(body))
            elif len(asked) == 2:
                late = bytes([1, 3, 2, 0, 99])
                os.write(master, (late + _crc(late))[:4])

        loop = asyncio.get_running_loop()
        loop.add_reader(master, hear)
        try:
            async with asyncio.timeout(30):
                settings = {"serialPort": os.ttyname(slave), "timeout": 1}
                devices = [Device("plant", f"d{unit}", "", {**settings, "slaveID": unit}) for unit in (1, 2)]
                one, two = await asyncio.gather(*(connect(device) for device in devices))
                with pytest.raises(DeviceError):
                    await one.holding(7)
                assert tuple(await asyncio.gather(one.holding(5), two.holding(6))) == (15, 26)
                await one.close()
                await two.close()
        finally:
            loop.remove_reader(master)
            os.close(master)
            os.close(slave)

    asyncio.run(main())


def _crc(data: bytes) -> bytes:
    crc = 0xFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ 0xA001 if crc & 1 else crc >> 1
    return struct.pack("<H", crc)
