"""In front of a listener: so many handshakes and connections, deadlines, and what comes early is not lost."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import cast

import pytest
import uvloop

from octoedge.testing import tls
from octoedge.transport import gate
from octoedge.transport.gate import Limits

MANY = 20


class Echo(asyncio.Protocol):
    """Says back what it hears."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.transport.write(data)

    def eof_received(self) -> None:
        self.transport.close()


@contextlib.asynccontextmanager
async def _silent(port: int, number: int, room: int) -> AsyncIterator[list[asyncio.StreamReader]]:
    """So many that connect and say nothing; gives those that were let in, when the others are cut off."""
    pairs = [await asyncio.open_connection("127.0.0.1", port) for _ in range(number)]
    waiting = [asyncio.ensure_future(reader.read(1)) for reader, _ in pairs]
    async with asyncio.timeout(30):
        while sum(one.done() for one in waiting) < number - room:
            await asyncio.wait([one for one in waiting if not one.done()], return_when=asyncio.FIRST_COMPLETED)
    done, _ = await asyncio.wait(waiting, timeout=0.3)
    for one in done:
        assert isinstance(one.exception(), ConnectionError) or one.result() == b""
    try:
        yield [reader for (reader, _), one in zip(pairs, waiting, strict=True) if one not in done]
    finally:
        for one in waiting:
            one.cancel()
        for _, writer in pairs:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()


async def _says(port: int, context: ssl.SSLContext, text: bytes = b"hello") -> bytes:
    """What comes back to who greets as it should."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="127.0.0.1")
    writer.write(text)
    answer = await reader.readexactly(len(text))
    writer.close()
    with contextlib.suppress(ConnectionError, ssl.SSLError):
        await writer.wait_closed()
    return answer


@pytest.mark.parametrize("make", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_flood_of_one_address_is_cut_off_and_leaves_room_when_it_ends(tmp_path: Path, make: object) -> None:
    world = tls.make(tmp_path)

    async def main() -> None:
        server = world.server(want_client=False)
        limits = Limits(handshakes=100, handshakes_per_address=5, connections_per_address=8)
        async with gate.listening(Echo, "127.0.0.1", 0, server, limits) as port:
            async with _silent(port, MANY, 5) as let_in:
                assert len(let_in) == 5
                with pytest.raises((OSError, asyncio.IncompleteReadError)):
                    await _says(port, _client(world))
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        assert await _says(port, _client(world), b"x" * 100_000) == b"x" * 100_000
                        break
                    await asyncio.sleep(0.05)

    _run(make, main())


def test_handshakes_in_all_are_limited_too_and_a_stop_waits_for_none(tmp_path: Path) -> None:
    world = tls.make(tmp_path)

    async def main() -> None:
        began = asyncio.get_running_loop().time()
        opened = gate.listening(Echo, "127.0.0.1", 0, world.server(want_client=False), Limits(handshakes=3))
        async with opened as port, _silent(port, MANY, 3) as let_in:
            assert len(let_in) == 3
        assert asyncio.get_running_loop().time() - began < 5

    asyncio.run(main())


def test_open_connections_of_an_address_are_counted_until_they_close(tmp_path: Path) -> None:
    world = tls.make(tmp_path)

    async def main() -> None:
        limits = Limits(connections_per_address=2)
        async with gate.listening(Echo, "127.0.0.1", 0, world.server(want_client=False), limits) as port:
            held = [
                await asyncio.open_connection("127.0.0.1", port, ssl=_client(world), server_hostname="127.0.0.1")
                for _ in range(2)
            ]
            with pytest.raises((OSError, asyncio.IncompleteReadError)):
                await _says(port, _client(world))
            for _, writer in held:
                writer.close()
            async with asyncio.timeout(10):
                while True:
                    with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                        await _says(port, _client(world))
                        break
                    await asyncio.sleep(0.05)

    asyncio.run(main())


def test_an_error_within_is_not_wrapped(tmp_path: Path) -> None:
    async def main() -> None:
        with pytest.raises(ValueError, match="as it is"):
            async with gate.listening(Echo, "127.0.0.1", 0, None):
                raise ValueError("as it is")

    asyncio.run(main())


def _client(world: tls.TlsWorld) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=world.ca_file)


def _run(make: object, work: object) -> None:
    with asyncio.Runner(loop_factory=make) as runner:  # type: ignore[arg-type]
        runner.run(work)  # type: ignore[arg-type]
