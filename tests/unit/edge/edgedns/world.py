"""Name servers on the loopback, and who asks them."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import cast

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.forward import Forwarder, Resolvers, Server
from octoedge.edge.edgedns.records import Records
from octoedge.edge.edgedns.server import NameServer, serve

HOST = "127.0.0.1"
DOMAIN = ("cluster", "local")
Reply = Callable[[bytes, bool], bytes | None]
"""What a name server says to a query; whether it came by TCP."""


def free_port() -> int:
    """A port that nobody has, by UDP or TCP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as by_udp, socket.socket() as by_tcp:
            by_udp.bind((HOST, 0))
            port: int = by_udp.getsockname()[1]
            try:
                by_tcp.bind((HOST, port))
            except OSError:
                continue
            return port


def says(*addresses: bytes, ttl: int = 60) -> Reply:
    """A name server that knows one answer."""

    def reply(data: bytes, by_tcp: bool) -> bytes:
        query = wire.read_query(data)
        assert query is not None
        records = [wire.Record(query.name, wire.A, ttl, one) for one in addresses]
        return wire.answer(query, answers=records, most=65535 if by_tcp else query.most)

    return reply


class Upstream(asyncio.DatagramProtocol):
    """A name server of the node's."""

    def __init__(self, reply: Reply) -> None:
        self.reply = reply
        self.asked: list[bytes] = []
        self.port = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.append(data)
        answer = self.reply(data, False)
        if answer is not None:
            self._transport.sendto(answer, addr)

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        data = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        self.asked.append(data)
        answer = self.reply(data, True)
        if answer is not None:
            writer.write(len(answer).to_bytes(2, "big") + answer)
        writer.close()


@asynccontextmanager
async def upstream(reply: Reply) -> AsyncIterator[Upstream]:
    """It listens."""
    made = Upstream(reply)
    made.port = free_port()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: made, local_addr=(HOST, made.port))
    listener = await asyncio.start_server(made.accept, HOST, made.port)
    try:
        yield made
    finally:
        listener.close()
        transport.close()


class Given(Resolvers):
    """These name servers, without a file."""

    def __init__(self, *ports: int) -> None:
        super().__init__(Path("/dev/null"), ())
        self._servers = [Server(HOST, port) for port in ports]

    def servers(self) -> list[Server]:
        return list(self._servers)


@asynccontextmanager
async def name_server(records: Records, *upstreams: int) -> AsyncIterator[int]:
    """EdgeDNS's server, and its port."""
    port, listening = free_port(), asyncio.Event()
    server = NameServer(records, Forwarder(Given(*upstreams)), DOMAIN)
    task = asyncio.create_task(serve(server, [(HOST, port)], listening.set))
    try:
        await asyncio.wait_for(listening.wait(), 10)
        yield port
    finally:
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()


async def ask_udp(port: int, data: bytes, seconds: float = 10) -> bytes:
    """One query, and its answer."""
    loop = asyncio.get_running_loop()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
        made.setblocking(False)
        made.connect((HOST, port))
        async with asyncio.timeout(seconds):
            await loop.sock_sendall(made, data)
            return await loop.sock_recv(made, 65535)


async def ask_tcp(port: int, *queries: bytes) -> list[bytes]:
    """Queries over one connection, and their answers, until it ends."""
    reader, writer = await asyncio.open_connection(HOST, port)
    answers = []
    try:
        async with asyncio.timeout(10):
            for data in queries:
                writer.write(len(data).to_bytes(2, "big") + data)
                size = await reader.read(2)
                if len(size) < 2:
                    break
                answers.append(await reader.readexactly(int.from_bytes(size, "big")))
    finally:
        writer.close()
    return answers
