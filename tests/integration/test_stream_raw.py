"""Raw streams (exec, attach, port-forward) on real sockets: whole, refused, broken, and clients that never read."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.testing.streaming import StreamingServer
from octoedge.transport.spdy import Data, Framer

from .streamworld import World, in_world

EXEC = "/exec/shop/cart/app?command=cat&input=1&output=1"


@contextlib.asynccontextmanager
async def raw(
    w: World, target: str = EXEC, upgrade: str = "raw"
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter, str]]:
    """A connection to 10003 that asks to leave HTTP, and the head of the answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", w.cloud.stream_port, ssl=w.client_tls)
    writer.write(f"POST {target} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n\r\n".encode())
    try:
        yield reader, writer, (await reader.readuntil(b"\r\n\r\n")).decode()
    finally:
        writer.transport.abort()


def with_runtime(
    folder: Path, test: Callable[[World, StreamingServer], Any], runtime: StreamingServer | None = None
) -> None:
    async def inside(w: World) -> None:
        async with (runtime or StreamingServer()).running() as server:
            w.logs.server = server
            await test(w, server)

    in_world(folder, inside)


def test_ten_megabytes_go_in_and_come_out_byte_for_byte(tmp_path: Path) -> None:
    every = bytes(range(256)) * 40_000

    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w) as (reader, writer, head), asyncio.TaskGroup() as group:
            assert head.startswith("HTTP/1.1 101 ")

            async def send() -> None:
                writer.write(every)
                await writer.drain()

            group.create_task(send())
            assert await reader.readexactly(len(every)) == every
        await server.until_open(0)
        assert w.logs.streams_asked[0].command == ("cat",)

    with_runtime(tmp_path, test)


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/exec/shop/away/app?output=1", 503), ("/exec/shop/cart/app", 400), ("/portForward/shop/pending", 400),
        ("/attach/shop/none/app?output=1", 404),
    ],
)  # fmt: skip
def test_raw_requests_are_refused_with_their_status(tmp_path: Path, target: str, status: int) -> None:
    async def test(w: World, _: StreamingServer) -> None:
        async with raw(w, target) as (_reader, _writer, head):
            assert head.startswith(f"HTTP/1.1 {status} ")

    with_runtime(tmp_path, test)


def test_a_raw_client_that_is_killed_frees_both_ends(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w):
            await server.until_open(1)
        await server.until_open(0)

    with_runtime(tmp_path, test)


def test_a_tunnel_that_breaks_ends_raw_streams(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w, "/portForward/shop/cart") as (reader, _, _head):
            w.edge_task.cancel()
            assert await reader.read() == b""
        await server.until_open(0)

    with_runtime(tmp_path, test)


def test_a_command_whose_tunnel_breaks_has_an_outcome(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        asked = "SPDY/3.1\r\nX-Stream-Protocol-Version: v4.channel.k8s.io"
        async with raw(w, upgrade=asked) as (reader, writer, _head):
            writer.write(Framer().syn_stream(1, {"streamType": "error"}))
            assert b"\x80\x03" in await reader.read(100)
            w.edge_task.cancel()
            (last,) = Framer().feed(await reader.read())
        assert isinstance(last, Data)
        assert (last.stream, last.fin) == (1, True)
        status = msgspec.json.decode(last.data)
        assert status["status"] == "Failure"
        assert "the node may have gone away (node edge-1: " in status["message"]
        await server.until_open(0)

    with_runtime(tmp_path, test)


def test_a_client_that_never_reads_holds_up_only_its_own_container(tmp_path: Path) -> None:
    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w):
            await server.held_up.wait()
            assert server.written < 40_000_000
            server.flood = False
            for _ in range(5):
                async with raw(w) as (reader, writer, _head):
                    writer.write(b"quick")
                    assert await reader.readexactly(5) == b"quick"
            assert await w.get("/containerLogs/shop/cart/app") == (200, b"one\ntwo \xff\xfe\n")
        await server.until_open(0)

    with_runtime(tmp_path, test, StreamingServer(flood=True))


def test_a_container_that_never_reads_holds_up_only_its_own_client(tmp_path: Path) -> None:
    async def push(writer: asyncio.StreamWriter) -> None:
        while True:
            writer.write(b"x" * 1_000_000)
            await writer.drain()

    async def test(w: World, server: StreamingServer) -> None:
        async with raw(w) as (_, writer, _head):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(push(writer), 1)
            server.silent = False
            async with raw(w) as (reader, other, _head):
                other.write(b"quick")
                assert await reader.readexactly(5) == b"quick"

    with_runtime(tmp_path, test, StreamingServer(silent=True))
