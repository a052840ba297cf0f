"""The real API server process under clients that do not behave: a watcher that never reads, bodies that never end."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

pytest.importorskip("aiohttp")

from octoedge.commands.bench.fanout import gather
from octoedge.commands.bench.plane import Plane
from octoedge.commands.bench.process import memory
from octoedge.kube.client import Client
from octoedge.kube.kinds import CONFIGMAPS

WATCHERS = 20
EVENTS = 900
SIZE = 16 * 1024
"""Together more than the server remembers (6 MiB)."""


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    at = Plane(tmp_path / "data", port)
    at.folder.mkdir()
    at.start()
    yield at
    at.stop()


def configmap(name: str, text: str) -> bytes:
    return msgspec.json.encode(
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"t": text}}
    )


async def write(client: Client, name: str, count: int, size: int) -> None:
    """Change one object again and again."""
    await client.create(CONFIGMAPS, "default", configmap(name, ""))
    for number in range(count):
        text = msgspec.json.encode({"data": {"t": str(number).ljust(size, ".")}})
        await client.patch(CONFIGMAPS, "default", name, text)


def test_a_watcher_that_never_reads_is_cut_off_and_holds_up_nobody(plane: Plane) -> None:
    async def main() -> None:
        async with Client(plane.access) as client:
            version = (await client.list(CONFIGMAPS)).version
            path = f"/api/v1/configmaps?watch=true&resourceVersion={version}&timeoutSeconds=120"
            readers, connections = await gather(plane.access, path, WATCHERS)
            reader, writer = await asyncio.open_connection(
                "127.0.0.1", plane.port, ssl=plane.access.tls, server_hostname="127.0.0.1", limit=4096
            )
            writer.write(f"GET {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode())
            assert b"200" in await reader.readline()
            before = memory(plane.pid).rss
            await write(client, "busy", EVENTS, SIZE)
            await readers.until((EVENTS + 1) * WATCHERS)
            assert memory(plane.pid).rss - before < 60
            # What lay in the buffers between still comes; then the server says that the rest is forgotten.
            rest = b""
            while piece := await asyncio.wait_for(reader.read(1 << 20), 20):
                rest = rest[-1000:] + piece
                if b'"code":410' in rest:
                    break
            assert b'"type":"ERROR"' in rest
            assert b'"code":410' in rest
            writer.transport.abort()
            for connection in connections:
                connection.abort()

    asyncio.run(main())


def test_bodies_that_never_end_hold_up_nobody(plane: Plane) -> None:
    """More of them than there are turns for writing."""

    async def main() -> None:
        head = (
            b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: here\r\nContent-Type: application/json\r\n"
            b'Content-Length: 1000\r\n\r\n{"half":'
        )
        held = []
        for _ in range(250):
            made = await asyncio.open_connection(
                "127.0.0.1", plane.port, ssl=plane.access.tls, server_hostname="127.0.0.1"
            )
            made[1].write(head)
            held.append(made[1])
        async with Client(plane.access) as client:
            async with asyncio.timeout(10):
                await write(client, "quick", 5, 10)
        for writer in held:
            writer.transport.abort()

    asyncio.run(main())


def test_nobody_known_cannot_make_the_server_read_a_body(plane: Plane) -> None:
    """An answer comes although the body never does."""

    async def main() -> None:
        access = ssl.create_default_context(cafile=str(plane.folder / "pki/ca.crt"))
        reader, writer = await asyncio.open_connection("127.0.0.1", plane.port, ssl=access, server_hostname="127.0.0.1")
        writer.write(
            b"POST /api/v1/namespaces/default/configmaps HTTP/1.1\r\nHost: here\r\nContent-Length: 1000000\r\n\r\n"
        )
        status = await asyncio.wait_for(reader.readline(), 10)
        assert status.split()[1] in (b"401", b"403")
        writer.transport.abort()

    asyncio.run(main())
