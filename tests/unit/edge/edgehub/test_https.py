"""The small HTTPS request, against servers that are right, rude, endless and silent."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from octoedge.edge.edgehub import https
from octoedge.edge.edgehub.https import Answer, Limits
from octoedge.errors import ConfigError, ConnectError
from octoedge.testing import tls
from octoedge.testing.tls import TlsWorld

SHORT = Limits(seconds=2.0, max_body=1000)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TlsWorld:
    return tls.make(tmp_path_factory.mktemp("tls"))


def trusting(world: TlsWorld) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(world.ca_file)
    return context


@contextlib.asynccontextmanager
async def answering(world: TlsWorld, *parts: bytes, hold: bool = False) -> AsyncIterator[int]:
    stop = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        with contextlib.suppress(OSError):
            for part in parts:
                writer.write(part)
                await writer.drain()
            if hold:
                await stop.wait()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=world.server(want_client=False))
    async with server:
        try:
            yield server.sockets[0].getsockname()[1]
        finally:
            stop.set()


def ask(world: TlsWorld, *parts: bytes, hold: bool = False, limits: Limits = SHORT) -> Answer:
    async def main() -> Answer:
        async with answering(world, *parts, hold=hold) as port:
            return await https.get(f"https://127.0.0.1:{port}/ca.crt", trusting(world), limits=limits)

    return asyncio.run(main())


@pytest.mark.parametrize(
    "parts",
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",),
        (b"HTTP/1.1 200 OK\r\ncontent-length:5\r\n", b"\r\nhel", b"lo"),
        (b"HTTP/1.0 200\r\n\r\nhello",),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x=1\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",),
    ],
)
def test_bodies_by_length_by_chunks_and_to_the_end(world: TlsWorld, parts: tuple[bytes, ...]) -> None:
    assert ask(world, *parts) == Answer(200, b"hello")


@pytest.mark.parametrize(
    "parts",
    [
        (b"",),
        (b"SSH-2.0-OpenSSH\r\n",),
        (b"HTTP/1.1 abc\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhel",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: -5\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n" + b"x" * 1001,),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 1001,),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nfff\r\n" + b"x" * 5000,),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",),
        (b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n",),
        (b"HTTP/1.1 200 OK\r\na: " + b"b" * 100_000,),
    ],
)
def test_everything_else_is_a_failed_request(world: TlsWorld, parts: tuple[bytes, ...]) -> None:
    with pytest.raises(ConnectError):
        ask(world, *parts)


def test_a_refusal_before_the_body_was_read_is_still_heard(world: TlsWorld) -> None:
    async def main() -> None:
        refusal = b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 5\r\n\r\nnever"
        async with answering(world, refusal, hold=True) as port:
            answer = await https.get(
                f"https://127.0.0.1:{port}/edge.crt", trusting(world), body=b"x" * 500_000, limits=SHORT
            )
            assert (answer.status, answer.text) == (401, "never")

    asyncio.run(main())


def test_silence_has_a_deadline(world: TlsWorld) -> None:
    with pytest.raises(ConnectError, match="gave no answer within"):
        ask(world, b"HTTP/1.1 200 OK\r\n", hold=True, limits=Limits(seconds=0.2))


def test_a_foreign_server_is_not_trusted(world: TlsWorld, tmp_path_factory: pytest.TempPathFactory) -> None:
    other = tls.make(tmp_path_factory.mktemp("other"))

    async def main() -> None:
        async with answering(other, b"HTTP/1.1 200 OK\r\n\r\n") as port:
            with pytest.raises(ConnectError, match="cannot be trusted"):
                await https.get(f"https://127.0.0.1:{port}/edge.crt", trusting(world), limits=SHORT)

    asyncio.run(main())


@pytest.mark.parametrize("url", ["http://a/b", "https:///b", "https://a:x/b", "a", ""])
def test_what_is_no_https_url_is_a_configuration_error(world: TlsWorld, url: str) -> None:
    with pytest.raises(ConfigError):
        asyncio.run(https.get(url, trusting(world)))
