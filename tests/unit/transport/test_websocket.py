"""The edge's WebSocket client against real servers on loopback: good ones, rude ones, and ones that refuse."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
import threading
from asyncio import sslproto
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from websockets.asyncio.server import ServerConnection, serve
from websockets.datastructures import Headers
from websockets.http11 import Request, Response

from octoedge.errors import ConnectError, ConnectionClosed, ConnectionRefusedByPeer
from octoedge.testing import tls as tls_world
from octoedge.testing.tls import TlsWorld
from octoedge.transport import websocket
from octoedge.transport.websocket import Endpoint, WebSocketConnection, connect


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> TlsWorld:
    return tls_world.make(tmp_path_factory.mktemp("tls"))


def endpoint(world: TlsWorld, port: int, **changes: object) -> Endpoint:
    settings: dict[str, object] = {
        "url": f"wss://127.0.0.1:{port}/e632/edge-1/events",
        "ca_file": world.ca_file,
        "certificate_file": world.certificate_file,
        "key_file": world.key_file,
        "timeout": 5.0,
        "headers": {"node_id": "edge-1", "project_id": "e632", "ConnectionUse": "msg"},
    }
    return Endpoint(**{**settings, **changes})  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def serving(handler: object, tls: ssl.SSLContext, **options: object) -> AsyncIterator[int]:
    async with serve(handler, "127.0.0.1", 0, ssl=tls, compression=None, **options) as server:  # type: ignore[arg-type]
        yield next(iter(server.sockets)).getsockname()[1]


@contextlib.asynccontextmanager
async def connected(world: TlsWorld, handler: object, **changes: object) -> AsyncIterator[WebSocketConnection]:
    async with serving(handler, world.server(), max_size=None) as port:
        connection = await connect(endpoint(world, port, **changes))
        try:
            yield connection
        finally:
            await connection.close()


async def echo(peer: ServerConnection) -> None:
    async for message in peer:
        await peer.send(message)


def test_says_who_it_is_and_where_it_wants_to_go(world: TlsWorld) -> None:
    seen: list[Request] = []

    async def handler(peer: ServerConnection) -> None:
        assert peer.request is not None
        seen.append(peer.request)
        await peer.wait_closed()

    async def main() -> None:
        async with connected(world, handler) as connection:
            assert connection.peer.headers["upgrade"] == "websocket"

    asyncio.run(main())
    (request,) = seen
    assert request.path == "/e632/edge-1/events"
    assert (request.headers["node_id"], request.headers["ConnectionUse"]) == ("edge-1", "msg")
    assert "Sec-WebSocket-Extensions" not in request.headers
    assert "Origin" not in request.headers


def test_an_ipv6_address_stands_in_brackets_in_the_host_header(world: TlsWorld) -> None:
    seen: list[str] = []

    async def handler(peer: ServerConnection) -> None:
        assert peer.request is not None
        seen.append(peer.request.headers["Host"])

    async def main() -> int:
        async with serve(handler, "::1", 0, ssl=world.server()) as server:
            port: int = next(iter(server.sockets)).getsockname()[1]
            connection = await connect(endpoint(world, port, url=f"wss://[::1]:{port}/x"))
            with pytest.raises(ConnectionClosed):
                await connection.receive()
            await connection.close()
            return port

    port = asyncio.run(main())
    assert seen == [f"[::1]:{port}"]


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65535, 65536, 3_000_000])
def test_messages_come_back_as_they_went(world: TlsWorld, size: int) -> None:
    async def main() -> None:
        async with connected(world, echo) as connection:
            data = b"x" * size
            await connection.send(data)
            assert await connection.receive() == data

    asyncio.run(main())


def test_small_fragments_become_one_message_and_pings_between_them_are_answered(world: TlsWorld) -> None:
    async def handler(peer: ServerConnection) -> None:
        async def parts() -> AsyncIterator[str]:
            for number in range(1000):
                if number == 500:
                    await (await peer.ping())
                yield f"{number},"

        await peer.send(parts())
        await peer.wait_closed()

    async def main() -> None:
        async with connected(world, handler) as connection:
            assert await connection.receive() == "".join(f"{number}," for number in range(1000)).encode()

    asyncio.run(main())


def test_a_message_above_the_limit_ends_the_connection_with_a_sentence(world: TlsWorld) -> None:
    async def main() -> None:
        async with connected(world, echo, max_bytes=1000) as connection:
            await connection.send(b"y" * 1001)
            with pytest.raises(ConnectionClosed, match="1000"):
                await connection.receive()
            with pytest.raises(ConnectionClosed):
                await connection.send(b"z")

    asyncio.run(main())


def test_messages_received_before_the_end_still_count(world: TlsWorld) -> None:
    async def handler(peer: ServerConnection) -> None:
        await peer.send("one")
        await peer.send("two")
        await peer.close(1001, "cloud stops")

    async def main() -> None:
        async with connected(world, handler) as connection:
            assert [await connection.receive(), await connection.receive()] == [b"one", b"two"]
            with pytest.raises(ConnectionClosed, match="cloud stops"):
                await connection.receive()

    asyncio.run(main())


def test_an_abrupt_end_as_go_has_it_is_a_closed_connection(world: TlsWorld) -> None:
    async def handler(peer: ServerConnection) -> None:
        peer.transport.abort()

    async def main() -> None:
        async with connected(world, handler) as connection:
            with pytest.raises(ConnectionClosed):
                await connection.receive()

    asyncio.run(main())


def test_a_connection_that_was_reset_can_be_closed(world: TlsWorld) -> None:
    """TLS of Python 3.11.2 breaks at that."""

    async def handler(peer: ServerConnection) -> None:
        reset = struct.pack("ii", 1, 0)
        peer.transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, reset)
        peer.transport.abort()

    async def main() -> None:
        async with serving(handler, world.server(), max_size=None) as port:
            connection = await connect(endpoint(world, port))
            with contextlib.suppress(ConnectionClosed):
                while True:
                    await connection.send(b"x")
                    await asyncio.sleep(0)
            await connection.close()

    asyncio.run(main())


def test_a_ping_is_answered_while_somebody_receives(world: TlsWorld) -> None:
    async def main() -> None:
        async with connected(world, echo) as connection, asyncio.TaskGroup() as group:
            receiving = group.create_task(connection.receive())
            await connection.ping(5.0)
            await connection.send(b"done")
            assert await receiving == b"done"

    asyncio.run(main())


def test_a_machine_that_keeps_its_address_has_not_moved(world: TlsWorld) -> None:
    async def main() -> str:
        async with connected(world, echo) as connection:
            return connection.moved()

    assert asyncio.run(main()) == ""


def test_a_silent_peer_fails_the_ping(world: TlsWorld) -> None:
    async def main() -> None:
        async with connected(world, echo) as connection:
            with pytest.raises(ConnectionClosed, match="did not answer a ping"):  # nobody receives, so no pong is seen
                await connection.ping(0.05)

    asyncio.run(main())


def test_close_says_goodbye(world: TlsWorld) -> None:
    codes: list[int | None] = []

    async def handler(peer: ServerConnection) -> None:
        await peer.wait_closed()
        codes.append(peer.close_code)

    async def main() -> None:
        async with connected(world, handler) as connection:
            await connection.close()
            await connection.close()
            with pytest.raises(ConnectionClosed):
                await connection.receive()

    asyncio.run(main())
    assert codes == [1000]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_a_foreign_certificate_is_refused_in_words(world: TlsWorld, tmp_path: Path, version: ssl.TLSVersion) -> None:
    """As by a Go cloud, with an alert; with TLS 1.3 it comes after the handshake, at the first read."""
    other = tls_world.make(tmp_path / "other")
    tls = world.server()
    tls.minimum_version = tls.maximum_version = version
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def refuse() -> None:
            accepted, _ = listener.accept()
            incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
            session = tls.wrap_bio(incoming, outgoing, server_side=True)
            with accepted, contextlib.suppress(OSError):
                while data := accepted.recv(65536):  # to the end: closing with unread bytes would destroy the alert
                    incoming.write(data)
                    with contextlib.suppress(ssl.SSLError):
                        session.do_handshake()
                    accepted.sendall(outgoing.read())

        refusing = threading.Thread(target=refuse)
        refusing.start()
        with pytest.raises(ConnectionRefusedByPeer, match="does not accept our certificate"):
            asyncio.run(
                connect(
                    endpoint(
                        world,
                        listener.getsockname()[1],
                        certificate_file=other.certificate_file,
                        key_file=other.key_file,
                    )
                )
            )
        refusing.join()


def test_a_cloud_of_another_ca_is_not_trusted(world: TlsWorld, tmp_path: Path) -> None:
    other = tls_world.make(tmp_path / "other")

    async def main() -> None:
        async with serving(echo, other.server()) as port:
            with pytest.raises(ConnectError, match="does not vouch for"):
                await connect(endpoint(world, port))

    asyncio.run(main())


def test_a_cloud_whose_certificate_begins_tomorrow_is_a_matter_of_clocks(tmp_path: Path) -> None:
    """A node without a clock of its own must not be told to throw its certificates away."""
    ahead = tls_world.make(tmp_path / "ahead", ahead=86_400.0)

    async def main() -> None:
        async with serving(echo, ahead.server()) as port:
            with pytest.raises(ConnectError, match="not yet valid, says the clock of this machine") as refused:
                await connect(endpoint(ahead, port))
            assert "remove" not in str(refused.value)

    asyncio.run(main())


def test_http_refusals_give_their_reason(world: TlsWorld) -> None:
    def refuse(_: ServerConnection, __: Request) -> Response:
        return Response(403, "Forbidden", Headers({"Content-Length": "13"}), b"limit reached")

    async def main() -> None:
        async with serving(echo, world.server(), process_request=refuse) as port:
            with pytest.raises(ConnectionRefusedByPeer, match="HTTP 403 limit reached"):
                await connect(endpoint(world, port))

    asyncio.run(main())


@pytest.mark.parametrize("rude", [b"", b"garbage\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])
def test_who_does_not_speak_websocket_is_told_so(world: TlsWorld, rude: bytes) -> None:
    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(rude)
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=world.server())
        async with server:
            with pytest.raises(ConnectError):
                await connect(endpoint(world, server.sockets[0].getsockname()[1]))

    asyncio.run(main())


def test_a_server_that_never_answers_has_a_deadline(world: TlsWorld) -> None:
    stop = asyncio.Event()

    async def handler(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await stop.wait()
        writer.close()

    async def main() -> None:
        server = await asyncio.start_server(handler, "127.0.0.1", 0, ssl=world.server())
        async with server:
            with pytest.raises(ConnectError, match="did not answer within"):
                await connect(endpoint(world, server.sockets[0].getsockname()[1], timeout=0.3))
            stop.set()

    asyncio.run(main())


def test_nobody_listens(world: TlsWorld) -> None:
    with pytest.raises(ConnectError, match="is CloudCore running"):
        asyncio.run(connect(endpoint(world, 1)))


def test_missing_certificate_files_are_named(world: TlsWorld, tmp_path: Path) -> None:
    with pytest.raises(ConnectError, match=r"nothing\.crt"):
        asyncio.run(connect(endpoint(world, 1, certificate_file=tmp_path / "nothing.crt")))


def test_small_tls_buffers_are_what_asyncio_allocates(world: TlsWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    """Guards the one attribute of asyncio that we set: a connection's read buffer must follow it."""
    monkeypatch.setattr(sslproto.SSLProtocol, "max_size", sslproto.SSLProtocol.max_size)  # put back afterwards
    websocket.small_tls_buffers()

    async def main() -> int:
        async with connected(world, echo) as connection:
            transport = connection._writer.transport
            return len(transport._ssl_protocol._ssl_buffer)  # type: ignore[attr-defined]

    assert asyncio.run(main()) == 16 * 1024
