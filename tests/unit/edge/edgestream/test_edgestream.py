"""The tunnel is dialled again, soon but not in a hurry, and what is wrong is said once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import pytest

from octoedge.edge.edgestream.edgestream import EdgeStream, State
from octoedge.edge.ports import LogRequest
from octoedge.errors import ConnectError, not_found
from octoedge.protocol.tunnel import Connector, Kind, decode, encode, encode_connector
from octoedge.testing.clock import run
from octoedge.testing.streaming import StreamsAt
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import MemoryConnection, pair


class NoLogs(StreamsAt):
    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        raise not_found("pods", request.pod)


class Dialled:
    """A cloud that is up or down."""

    def __init__(self) -> None:
        self.up = True
        self.times: list[float] = []
        self.ends: list[MemoryConnection] = []
        self.dialled = asyncio.Event()

    async def dial(self) -> Connection:
        self.times.append(asyncio.get_running_loop().time())
        if not self.up:
            raise ConnectError("cannot connect to cloud:10004")
        edge_end, cloud_end = pair(Peer(), Peer(address="cloud:10004"))
        self.ends.append(cloud_end)
        self.dialled.set()
        return edge_end


def test_a_lost_tunnel_is_dialled_again_within_two_seconds_for_as_long_as_it_takes() -> None:
    async def main() -> None:
        cloud = Dialled()
        module = EdgeStream(cloud.dial, NoLogs())
        ready = asyncio.Event()
        task = asyncio.create_task(module.run(ready.set))
        await asyncio.sleep(10)
        assert ready.is_set()
        assert (len(cloud.times), module.state) == (1, State.OPEN)
        cloud.up = False
        await cloud.ends[0].close()
        await asyncio.sleep(600)
        gaps = [later - earlier for earlier, later in zip(cloud.times[1:], cloud.times[2:], strict=False)]
        assert len(gaps) > 300
        assert max(gaps) <= 2.0
        cloud.up = True
        await asyncio.sleep(2)
        assert module.state is State.OPEN
        task.cancel()
        await asyncio.wait([task])

    run(main())


def test_an_end_right_after_the_beginning_does_not_become_a_storm() -> None:
    async def main() -> None:
        cloud = Dialled()
        task = asyncio.create_task(EdgeStream(cloud.dial, NoLogs()).run(lambda: None))
        for _ in range(100):
            await cloud.dialled.wait()
            cloud.dialled.clear()
            await cloud.ends.pop().close()
        assert asyncio.get_running_loop().time() > 100
        task.cancel()
        await asyncio.wait([task])

    run(main())


class SlowToEnd(StreamsAt):
    """A log that takes a second to close."""

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        return self._body()

    async def _body(self) -> AsyncIterator[bytes]:
        try:
            yield b"x"
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(1)


def test_it_stops_although_the_tunnel_is_just_ending() -> None:
    async def main() -> None:
        cloud = Dialled()
        task = asyncio.create_task(EdgeStream(cloud.dial, SlowToEnd()).run(lambda: None))
        await cloud.dialled.wait()
        log = Connector("/containerLogs/shop/cart/app", "follow=true")
        await cloud.ends[0].send(encode(1, Kind.LOGS, encode_connector(1, log)))
        assert decode(await cloud.ends[0].receive()).data == b"x"
        await cloud.ends[0].close()
        await asyncio.sleep(0.5)
        task.cancel()
        _, running = await asyncio.wait([task], timeout=60)
        assert not running

    run(main())


def test_trouble_is_said_once_and_its_end_too(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        cloud = Dialled()
        cloud.up = False
        task = asyncio.create_task(EdgeStream(cloud.dial, NoLogs()).run(lambda: None))
        await asyncio.sleep(300)
        cloud.up = True
        await asyncio.sleep(10)
        task.cancel()
        await asyncio.wait([task])

    with caplog.at_level(logging.INFO, "octoedge"):
        run(main())
    said = [record.getMessage() for record in caplog.records]
    assert said == [
        "tunnel for logs and exec: cannot connect to cloud:10004; dialling again",
        "tunnel for logs and exec: open again",
    ]
