"""What probes and hooks do on the network, against real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import Any

import pytest
from grpclib.const import Cardinality, Handler, Status
from grpclib.encoding.base import CodecBase
from grpclib.exceptions import GRPCError
from grpclib.server import Server, Stream

from octoedge.api.core import (
    Container,
    ContainerPort,
    GrpcAction,
    HttpGetAction,
    HttpHeader,
    SleepAction,
    TcpSocketAction,
)
from octoedge.edge.edged import handlers
from octoedge.edge.edged.handlers import Target, Verdict, port_number
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cri import MemoryRuntime

CONTAINER = Container("main", ports=[ContainerPort(8080, name="web")])


def target() -> Target:
    return Target(MemoryRuntime(VirtualClock()), "c", CONTAINER, "127.0.0.1")


def http(answer: bytes, action: HttpGetAction | None = None, timeout: float = 2.0) -> tuple[Verdict, bytes]:
    """The verdict on a server that answers with these bytes, and what it was asked."""

    async def main() -> tuple[Verdict, bytes]:
        asked = b""
        over = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal asked
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                asked = await reader.readuntil(b"\r\n\r\n")
                writer.write(answer)
                if not answer:
                    await reader.read()
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            over.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            wanted = action or HttpGetAction(port)
            wanted = HttpGetAction(port, wanted.path, http_headers=wanted.http_headers)
            verdict = await handlers.run(wanted, target(), timeout)
            await over.wait()
            return verdict, asked

    return asyncio.run(main())


@pytest.mark.parametrize(
    ("answer", "healthy"),
    [
        (b"HTTP/1.1 200 OK\r\n\r\n", True), (b"HTTP/1.0 204\r\n\r\n", True), (b"HTTP/1.1 302 Found\r\n\r\n", True),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", False), (b"HTTP/1.1 500 x\r\n\r\n", False), (b"SSH-2.0 hello\r\n", False),
        (b"\r\n", False), (b"x" * 100_000, False),
    ],
    ids=range(8),
)  # fmt: skip
def test_answers(answer: bytes, healthy: bool) -> None:
    assert http(answer)[0].healthy is healthy


def test_the_request_is_as_the_kubelets() -> None:
    action = HttpGetAction(0, "healthz", http_headers=[HttpHeader("host", "example.com"), HttpHeader("X-A", "b")])
    _, asked = http(b"HTTP/1.1 200 OK\r\n\r\n", action)
    lines = asked.decode().split("\r\n")
    assert lines[0] == "GET /healthz HTTP/1.1"
    assert "host: example.com" in lines
    assert "X-A: b" in lines
    assert "User-Agent: kube-probe/1.32" in lines
    assert not [line for line in lines if line.startswith("Host:")]


def test_a_header_cannot_smuggle_a_second_request() -> None:
    verdict, _ = http(b"", HttpGetAction(0, http_headers=[HttpHeader("X", "a\r\nGET /")]))
    assert not verdict.healthy
    assert "cannot stand in an HTTP request" in verdict.text


def test_a_server_that_does_not_answer_fails_in_time() -> None:
    verdict, _ = http(b"", timeout=0.2)
    assert (verdict.healthy, verdict.text) == (False, "no answer within 0.2s")


def test_tcp() -> None:
    async def main() -> tuple[Verdict, Verdict]:
        over = asyncio.Event()

        async def serve(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.close()
            await writer.wait_closed()
            over.set()

        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server:
            there = await handlers.run(TcpSocketAction(port), target(), 2.0)
            await over.wait()
        server.close()
        await server.wait_closed()
        return there, await handlers.run(TcpSocketAction(port), target(), 2.0)

    there, gone = asyncio.run(main())
    assert there.healthy
    assert not gone.healthy


class _Bytes(CodecBase):
    __content_subtype__ = "proto"

    def encode(self, message: Any, message_type: Any) -> bytes:
        return bytes(message)

    def decode(self, data: bytes, message_type: Any) -> Any:
        return data


class Health:
    """Knows three services: 1 serves, 2 does not, and one never answers."""

    async def check(self, stream: Stream[bytes, bytes]) -> None:
        service = await stream.recv_message() or b""
        if service == b"\n\x06silent":
            await asyncio.Event().wait()
        answers = {b"": b"\x08\x01", b"\n\x04down": b"\x08\x02"}
        if service not in answers:
            raise GRPCError(Status.NOT_FOUND, "unknown service")
        await stream.send_message(answers[service])

    def __mapping__(self) -> dict[str, Handler]:
        return {"/grpc.health.v1.Health/Check": Handler(self.check, Cardinality.UNARY_UNARY, bytes, bytes)}


@pytest.mark.parametrize(
    ("service", "healthy", "words"),
    [("", True, ""), ("down", False, "status 2"), ("other", False, "unknown service"), ("silent", False, "no answer")],
)
def test_grpc(service: str, healthy: bool, words: str) -> None:
    async def main() -> tuple[Verdict, Verdict]:
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            port = listening.getsockname()[1]
            server = Server([Health()], codec=_Bytes())
            await server.start(sock=listening)
            there = await handlers.run(GrpcAction(port, service), target(), 0.5)
            server.close()
            await server.wait_closed()
        return there, await handlers.run(GrpcAction(port), target(), 0.5)

    there, gone = asyncio.run(main())
    assert there.healthy is healthy
    assert words in there.text
    assert not gone.healthy
    assert "cannot connect to 127.0.0.1 port" in gone.text


def test_sleep_is_bounded() -> None:
    async def main() -> tuple[Verdict, Verdict]:
        return await handlers.run(SleepAction(5), target(), 10.0), await handlers.run(SleepAction(500), target(), 10.0)

    short, long = run(main())
    assert short.healthy
    assert not long.healthy


def test_ports_by_name() -> None:
    assert [port_number(port, CONTAINER) for port in (80, "81", "web")] == [80, 81, 8080]
    with pytest.raises(ValueError, match="no port called 'other'"):
        port_number("other", CONTAINER)
