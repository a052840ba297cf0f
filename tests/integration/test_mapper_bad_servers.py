"""Links of all protocols over TCP against servers that are none: garbage, silence, endless or late answers, no TLS.

Modbus' own ways to be wrong are in test_mapper_modbus.py; Bluetooth has no server, its nonsense is the kit's.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from octoedge.errors import DeviceError, OctoedgeError
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.http.link import connect as http
from octoedge.mappers.modbus.link import connect as modbus
from octoedge.mappers.mqtt.link import connect as mqtt
from octoedge.mappers.opcua import session
from octoedge.mappers.opcua.link import connect as opcua

Behave = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def _closes(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    writer.close()


async def _silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        continue


async def _garbage(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while await reader.read(4096):
        writer.write(os.urandom(500))
        await writer.drain()


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    while True:
        writer.write(b"x" * 65536)
        await writer.drain()


async def _drips(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(4096)
    for byte in itertools.cycle(b"HTTP/1.1 200 OK\r\n"):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0.05)


async def _half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The beginning of what each protocol answers first, and an end."""
    asked = await reader.read(4096)
    for begins, answer in _ANSWERS:
        if begins in asked:
            writer.write(answer[: len(answer) // 2])
            await writer.drain()
    writer.close()


async def _huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A head that promises four gigabytes, and as much of them as is taken."""
    asked = await reader.read(4096)
    for begins, answer in _PROMISES:
        if begins in asked:
            writer.write(answer)
    while True:
        writer.write(bytes(65536))
        await writer.drain()


_ANSWERS = (
    (b"HEL", b"ACKF" + struct.pack("<I", 28) + bytes(20)),
    (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}"),
    (b"MQTT", b"\x20\x02\x00\x00"),
)
_PROMISES = (
    (b"HEL", b"ACKF" + struct.pack("<I", 0xFFFFFFF0)),
    (b"GET", b"HTTP/1.1 200 OK\r\nContent-Length: 4000000000\r\n\r\n"),
    (b"MQTT", b"\x20\xff\xff\xff\x7f"),
)
SERVERS: dict[str, Behave] = {
    "closes": _closes, "says nothing": _silent, "garbage": _garbage, "endless": _endless, "a byte at a time": _drips,
    "half": _half, "four gigabytes": _huge,
}  # fmt: skip
DEVICES: dict[str, tuple[Callable[[Device], Awaitable[Any]], Callable[[int], dict[str, Any]]]] = {
    "opcua": (opcua, lambda port: {"url": f"opc.tcp://127.0.0.1:{port}", "timeout": 1}),
    "http": (http, lambda port: {"baseURL": f"http://127.0.0.1:{port}", "timeoutSeconds": 1}),
    "https": (http, lambda port: {"baseURL": f"https://127.0.0.1:{port}", "timeoutSeconds": 1}),
    "mqtt": (mqtt, lambda port: {"brokerURL": f"tcp://127.0.0.1:{port}"}),
    "mqtts": (mqtt, lambda port: {"brokerURL": f"ssl://127.0.0.1:{port}"}),
    "modbus": (modbus, lambda port: {"ip": "127.0.0.1", "port": port, "timeout": 1}),
}
VALUE = Property(
    "value", "INT", visitor={"nodeID": "ns=2;s=V", "path": "v", "topic": "v", "register": "HoldingRegister"}
)


@contextlib.asynccontextmanager
async def _server(behave: Behave) -> AsyncIterator[int]:
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(cast("asyncio.Task[None]", asyncio.current_task()))
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            try:
                await behave(reader, writer)
            finally:
                writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]
        for task in serving:
            task.cancel()
        if serving:
            await asyncio.wait(serving)


async def _read(port: int, protocol: str) -> Any:
    """What a device of the protocol has there: an error that is ours."""
    connect, settings = DEVICES[protocol]
    try:
        link = await connect(Device("plant", "d", settings=settings(port), properties={"value": VALUE}))
    except OctoedgeError as error:
        return error
    try:
        return (await link.read([VALUE]))["value"]
    except OctoedgeError as error:
        return error
    finally:
        await link.close()


@pytest.mark.parametrize("kind", SERVERS)
def test_a_server_that_is_none_is_an_error_of_the_device_in_time(kind: str) -> None:
    async def main() -> None:
        async with _server(SERVERS[kind]) as port, asyncio.timeout(30):
            found = await asyncio.gather(*(_read(port, protocol) for protocol in DEVICES))
            wrong = [one for one in zip(DEVICES, found, strict=True) if not isinstance(one[1], DeviceError)]
            assert wrong == []

    asyncio.run(main())


def test_an_answer_that_comes_after_its_deadline_is_not_the_next_ones() -> None:
    async def main() -> None:
        asked, given_up, answered = itertools.count(1), asyncio.Event(), asyncio.Event()

        async def late(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            while await reader.readuntil(b"\r\n\r\n"):
                number = next(asked)
                if number == 1:
                    await given_up.wait()
                writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n{number}".encode())
                answered.set()
                await writer.drain()

        async with _server(late) as port, asyncio.timeout(30):
            settings = {"baseURL": f"http://127.0.0.1:{port}", "timeoutSeconds": 1.5}
            link = await http(Device("plant", "d", settings=settings))
            assert isinstance((await link.read([VALUE]))["value"], DeviceError)
            given_up.set()
            await answered.wait()
            assert (await link.read([VALUE]))["value"] == "2"
            await link.close()

    asyncio.run(main())


def test_opc_ua_keeps_no_more_of_an_answer_than_it_says() -> None:
    sent = 0

    async def main() -> None:
        async def huge(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal sent
            await reader.read(4096)
            writer.write(b"ACKF" + struct.pack("<I", 0xFFFFFFF0))
            while True:
                writer.write(bytes(65536))
                await writer.drain()
                sent += 65536

        async with _server(huge) as port, asyncio.timeout(15):
            assert isinstance(await _read(port, "opcua"), DeviceError)

    asyncio.run(main())
    assert sent < 4 * session.MAX_MESSAGE, "the connection is cut, the rest is in buffers of the system"
