"""Our gRPC server, asked by the client of the `grpclib` library, by our own, and by rude ones."""

from __future__ import annotations

import asyncio
import contextlib
import stat
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from grpclib.client import Channel as JudgesChannel
from grpclib.client import UnaryUnaryMethod
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.errors import ConfigError, ConnectionClosed, DeadlineError, OctoedgeError, ProtocolError
from octoedge.transport.grpc import DEADLINE_EXCEEDED, INTERNAL, NOT_FOUND, Channel, GrpcError
from octoedge.transport.grpc_server import MAX_REQUEST, RESOURCE_EXHAUSTED, UNIMPLEMENTED, UNKNOWN, serving
from octoedge.transport.http2 import Http2Client, Http2Server

TIMEOUT = 10.0


class _Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class Service:
    """Echoes, fails in three ways, and stays silent."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.cancelled = asyncio.Event()

    async def echo(self, request: bytes) -> bytes:
        return request

    async def missing(self, _: bytes) -> bytes:
        raise GrpcError(NOT_FOUND, 'kein Gerät "ü" – 100%')

    async def refuse(self, _: bytes) -> bytes:
        raise OctoedgeError("the disk is full")

    async def crash(self, _: bytes) -> bytes:
        raise ZeroDivisionError("oops")

    async def silent(self, _: bytes) -> bytes:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return b""


@contextlib.asynccontextmanager
async def served(path: Path) -> AsyncIterator[Service]:
    service = Service()
    names = ("echo", "missing", "refuse", "crash", "silent")
    async with serving(path, 0o600, {f"/t.T/{name}": getattr(service, name) for name in names}):
        yield service


def test_the_judge_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "s.sock"
        async with served(path), JudgesChannel(path=str(path), codec=_Bytes()) as channel:
            echo: Any = UnaryUnaryMethod(channel, "/t.T/echo", bytes, bytes)
            for size in (0, 1, 16_384, 70_000, 3_000_000):
                assert await echo(b"x" * size, timeout=TIMEOUT) == b"x" * size
            replies = await asyncio.gather(*(echo(b"%d" % number, timeout=TIMEOUT) for number in range(200)))
            assert replies == [b"%d" % number for number in range(200)]
            missing: Any = UnaryUnaryMethod(channel, "/t.T/missing", bytes, bytes)
            with pytest.raises(GRPCError) as caught:
                await missing(b"", timeout=TIMEOUT)
            assert (caught.value.status.value, caught.value.message) == (NOT_FOUND, 'kein Gerät "ü" – 100%')

    asyncio.run(main())


@pytest.mark.parametrize(
    ("method", "code", "said"),
    [
        ("missing", NOT_FOUND, "kein Gerät"),
        ("refuse", UNKNOWN, "the disk is full"),
        ("crash", INTERNAL, "oops"),
        ("nothing", UNIMPLEMENTED, "there is no method"),
    ],
)
def test_every_failure_has_its_code_and_its_text(tmp_path: Path, method: str, code: int, said: str) -> None:
    async def main() -> None:
        path = tmp_path / "s.sock"
        async with served(path):
            channel = Channel(str(path))
            with pytest.raises(GrpcError) as caught:
                await channel.unary(f"/t.T/{method}", b"x", TIMEOUT)
            assert caught.value.code == code
            assert said in caught.value.message
            assert await channel.unary("/t.T/echo", b"still there", TIMEOUT) == b"still there"
            channel.close()

    asyncio.run(main())


def test_a_request_that_is_too_large_is_refused_and_the_next_is_answered(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "s.sock"
        async with served(path):
            channel = Channel(str(path))
            with pytest.raises(GrpcError) as caught:
                await channel.unary("/t.T/echo", b"x" * (MAX_REQUEST + 100_000), TIMEOUT)
            assert caught.value.code == RESOURCE_EXHAUSTED
            assert await channel.unary("/t.T/echo", b"x" * MAX_REQUEST, TIMEOUT) == b"x" * MAX_REQUEST
            channel.close()

    asyncio.run(main())


def test_who_goes_away_ends_the_call(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "s.sock"
        async with served(path) as service:
            channel = Channel(str(path))
            with pytest.raises(DeadlineError):
                await channel.unary("/t.T/silent", b"", 0.2)
            async with asyncio.timeout(TIMEOUT):
                await service.cancelled.wait()
            channel.close()

    asyncio.run(main())


def test_a_deadline_that_the_client_names_is_kept(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "s.sock"
        async with served(path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            client = Http2Client()
            client.request(((":method", "POST"), (":path", "/t.T/silent"), ("grpc-timeout", "50m")), b"\0\0\0\0\0")
            writer.write(client.data_to_send())
            trailers: dict[str, str] = {}
            async with asyncio.timeout(TIMEOUT):
                while "grpc-status" not in trailers:
                    for event in client.receive(await reader.read(65_536)):
                        trailers |= dict(getattr(event, "fields", ()))
            assert trailers["grpc-status"] == str(DEADLINE_EXCEEDED)
            writer.close()

    asyncio.run(main())


def test_the_end_of_the_server_ends_calls_and_removes_the_socket(tmp_path: Path) -> None:
    async def main() -> None:
        path = tmp_path / "s.sock"
        channel = Channel(str(path))
        async with asyncio.TaskGroup() as group:
            async with served(path) as service:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600
                call = group.create_task(_failing(channel))
                await service.begun.wait()
            assert isinstance(await call, ConnectionClosed)
        assert not path.exists()

    asyncio.run(main())


async def _failing(channel: Channel) -> Exception | None:
    try:
        await channel.unary("/t.T/silent", b"", TIMEOUT)
    except OctoedgeError as error:
        return error
    return None


def test_a_socket_that_was_left_is_replaced_and_a_file_is_not(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "s.sock"

    async def main() -> None:
        async with served(path):
            pass
        path.write_text("mine")
        with pytest.raises(ConfigError, match="something else under that name"):
            async with served(path):
                pass
        path.unlink()
        reader_less = await asyncio.start_unix_server(lambda _r, w: w.close(), str(path))
        reader_less.close()
        async with served(path):
            channel = Channel(str(path))
            assert await channel.unary("/t.T/echo", b"x", TIMEOUT) == b"x"
            channel.close()

    asyncio.run(main())


@pytest.mark.parametrize("rude", [b"GET / HTTP/1.1\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 20])
def test_who_does_not_speak_it_is_cut_off(tmp_path: Path, rude: bytes) -> None:
    async def main() -> None:
        path = tmp_path / "s.sock"
        async with served(path):
            reader, writer = await asyncio.open_unix_connection(str(path))
            writer.write(rude)
            async with asyncio.timeout(TIMEOUT):
                with contextlib.suppress(ConnectionError):
                    while await reader.read(1000):
                        pass
            writer.close()
            channel = Channel(str(path))
            assert await channel.unary("/t.T/echo", b"x", TIMEOUT) == b"x"
            channel.close()

    asyncio.run(main())


@settings(max_examples=200)
@given(st.lists(st.binary(max_size=80), max_size=5))
def test_anything_gives_events_or_a_protocol_error(pieces: list[bytes]) -> None:
    server = Http2Server()
    with contextlib.suppress(ProtocolError):
        list(server.receive(Http2Client().data_to_send()))
        for piece in pieces:
            list(server.receive(piece))


@given(st.integers(1, 40))
def test_the_preface_may_come_in_pieces(size: int) -> None:
    client, server = Http2Client(), Http2Server()
    stream = client.request(((":path", "/x"),), b"body")
    data = client.data_to_send()
    events = [event for at in range(0, len(data), size) for event in server.receive(data[at : at + size])]
    assert {event.stream for event in events} == {stream}  # type: ignore[union-attr]
