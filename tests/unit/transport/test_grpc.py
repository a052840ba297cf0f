"""Our gRPC client against the server of the `grpclib` library on a unix socket, and against rude ones."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from octoedge.errors import ConnectError, ConnectionClosed, DeadlineError
from octoedge.transport.grpc import Channel, GrpcError

TIMEOUT = 10.0


class _Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class Judge:
    """Echoes, fails, streams and stays silent."""

    def __init__(self) -> None:
        self.cancelled = asyncio.Event()

    async def echo(self, stream: Stream[bytes, bytes]) -> None:
        message = await stream.recv_message()
        await stream.send_message(message or b"")

    async def fail(self, stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        raise GRPCError(Status.NOT_FOUND, 'kein Container "ü" – 100%')

    async def silent(self, stream: Stream[bytes, bytes]) -> None:
        await stream.recv_message()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()

    async def count(self, stream: Stream[bytes, bytes]) -> None:
        wanted = int(await stream.recv_message() or b"0")
        for number in range(wanted):
            await stream.send_message(b"%d" % number + b"x" * 1000)

    def __mapping__(self) -> dict[str, Handler]:
        unary, streaming = Cardinality.UNARY_UNARY, Cardinality.UNARY_STREAM
        return {
            "/t.T/Echo": Handler(self.echo, unary, bytes, bytes),
            "/t.T/Fail": Handler(self.fail, unary, bytes, bytes),
            "/t.T/Silent": Handler(self.silent, unary, bytes, bytes),
            "/t.T/Count": Handler(self.count, streaming, bytes, bytes),
        }


@contextlib.asynccontextmanager
async def serving(path: Path) -> AsyncIterator[Judge]:
    judge = Judge()
    server = Server([judge], codec=_Bytes())
    await server.start(path=str(path))
    try:
        yield judge
    finally:
        server.close()
        await server.wait_closed()


@contextlib.asynccontextmanager
async def channel(path: Path) -> AsyncIterator[tuple[Channel, Judge]]:
    async with serving(path) as judge:
        client = Channel(str(path))
        try:
            yield client, judge
        finally:
            client.close()


@pytest.mark.parametrize("size", [0, 1, 16_379, 16_380, 65_536, 300_000, 5_000_000])
def test_messages_of_any_size_come_back_as_they_went(tmp_path: Path, size: int) -> None:
    async def main() -> None:
        async with channel(tmp_path / "s") as (client, _):
            data = bytes(range(256)) * (size // 256 + 1)
            assert await client.unary("/t.T/Echo", data[:size], TIMEOUT) == data[:size]

    asyncio.run(main())


def test_many_calls_at_once(tmp_path: Path) -> None:
    async def main() -> None:
        async with channel(tmp_path / "s") as (client, _):
            calls = [client.unary("/t.T/Echo", b"%d" % number * 2000, TIMEOUT) for number in range(300)]
            assert await asyncio.gather(*calls) == [b"%d" % number * 2000 for number in range(300)]

    asyncio.run(main())


def test_a_refusal_has_the_servers_code_and_text(tmp_path: Path) -> None:
    async def main() -> None:
        async with channel(tmp_path / "s") as (client, _):
            with pytest.raises(GrpcError) as refused:
                await client.unary("/t.T/Fail", b"", TIMEOUT)
            assert (refused.value.code, refused.value.message) == (5, 'kein Container "ü" – 100%')
            with pytest.raises(GrpcError) as unknown:
                await client.unary("/t.T/Nothing", b"", TIMEOUT)
            assert unknown.value.code == 12
            assert await client.unary("/t.T/Echo", b"still here", TIMEOUT) == b"still here"

    asyncio.run(main())


def test_a_call_without_answer_ends_at_its_deadline_and_the_server_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with channel(tmp_path / "s") as (client, judge):
            with pytest.raises(DeadlineError):
                await client.unary("/t.T/Silent", b"", 0.05)
            async with asyncio.timeout(TIMEOUT):
                await judge.cancelled.wait()
            assert await client.unary("/t.T/Echo", b"a", TIMEOUT) == b"a"

    asyncio.run(main())


def test_a_stream_comes_in_order_however_slowly_it_is_taken(tmp_path: Path) -> None:
    async def main() -> None:
        async with channel(tmp_path / "s") as (client, _):
            numbers = []
            async for reply in client.stream("/t.T/Count", b"5000"):
                numbers.append(int(reply.rstrip(b"x")))
                if len(numbers) % 500 == 0:
                    await asyncio.sleep(0)
            assert numbers == list(range(5000))

    asyncio.run(main())


def test_a_restarted_server_is_found_again(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "s"
        client = Channel(str(path))
        with pytest.raises(ConnectError, match="cannot connect"):
            await client.unary("/t.T/Echo", b"", TIMEOUT)
        for _ in range(3):
            async with serving(path):
                assert await client.unary("/t.T/Echo", b"a", TIMEOUT) == b"a"
        client.close()

    asyncio.run(main())


def test_what_waits_when_the_server_dies_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        async with channel(tmp_path / "s") as (client, _):
            waiting = asyncio.ensure_future(client.unary("/t.T/Silent", b"", TIMEOUT))
            await client.unary("/t.T/Echo", b"", TIMEOUT)
            client.close()
            with pytest.raises(ConnectionClosed):
                await waiting

    asyncio.run(main())


@pytest.mark.parametrize("answer", [b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\xff" * 64, b""])
def test_a_server_that_speaks_something_else_is_a_closed_connection(tmp_path: Path, answer: bytes) -> None:
    async def rude(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(answer)
        writer.close()
        await writer.wait_closed()

    async def main() -> None:
        server = await asyncio.start_unix_server(rude, tmp_path / "s")
        client = Channel(str(tmp_path / "s"))
        with pytest.raises(ConnectionClosed):
            await client.unary("/t.T/Echo", b"", TIMEOUT)
        client.close()
        server.close()
        await server.wait_closed()

    asyncio.run(main())
