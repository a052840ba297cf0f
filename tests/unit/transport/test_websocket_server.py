"""The listener's small parts; connections through it are tested with the hub (tests/unit/cloud/test_doors.py)."""

from __future__ import annotations

import asyncio
import logging

import aiohttp
import pytest
from aiohttp.http_exceptions import BadHttpMessage

from octoedge.errors import ConnectError
from octoedge.protocol import handshake
from octoedge.transport.connection import Connection
from octoedge.transport.websocket_server import AcceptedConnection, OneLineForGarbage, WebSocketServer, channel_door


def _logged(error: Exception) -> logging.LogRecord:
    record = logging.LogRecord(
        "aiohttp.server",
        logging.ERROR,
        "x.py",
        1,
        "Error handling request from %s",
        ("192.0.2.1",),
        (type(error), error, None),
    )
    assert OneLineForGarbage().filter(record)
    return record


def test_garbage_is_one_line() -> None:
    record = _logged(BadHttpMessage("\x00garbage"))
    assert (record.getMessage(), record.levelno) == (
        "Error handling request from 192.0.2.1: this is no HTTP",
        logging.INFO,
    )
    assert record.exc_info is None


def test_our_own_mistakes_keep_their_traceback() -> None:
    record = _logged(KeyError("bug"))
    assert record.levelno == logging.ERROR
    assert record.exc_info is not None


async def _nobody(connection: Connection) -> None:
    await connection.close()


def test_a_port_that_is_taken_is_named() -> None:
    async def main() -> None:
        taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = taken.sockets[0].getsockname()[1]
        server = WebSocketServer(
            "127.0.0.1",
            port,
            tls=lambda: None,
            serve=_nobody,
            door=channel_door(lambda _: "", lambda _: {}, 1),
        )
        async with taken:
            with pytest.raises(ConnectError, match=rf"wss://127\.0\.0\.1:{port}: Address already in use"):
                await server.run(lambda: None)

    asyncio.run(main())


def test_a_round_trip_is_that_of_the_ping_whose_pong_came() -> None:
    async def main() -> None:
        accepted: asyncio.Queue[AcceptedConnection] = asyncio.Queue()

        async def serve(connection: Connection) -> None:
            assert isinstance(connection, AcceptedConnection)
            accepted.put_nowait(connection)
            while await connection.receive() != b"over":
                accepted.put_nowait(connection)

        door = channel_door(lambda _: "", lambda _: {}, 1000)
        server = WebSocketServer("127.0.0.1", 0, tls=lambda: None, serve=serve, door=door)
        async with asyncio.timeout(60), server.listening(), aiohttp.ClientSession() as session:
            headers = {handshake.USE: handshake.USE_MESSAGES}
            url = f"ws://127.0.0.1:{server.port}/"
            async with session.ws_connect(url, headers=headers, autoping=False) as edge:
                connection = await accepted.get()
                await connection.measure()
                early = (await edge.receive()).data
                await connection.measure()
                late = (await edge.receive()).data
                for pong, known in ((b"", False), (b"nan", False), (early, False), (late, True)):
                    await edge.pong(pong)
                    await edge.send_str("taken")
                    await accepted.get()
                    assert (connection.round_trip > 0) is known
                await edge.send_str("over")

    asyncio.run(main())
