"""Which nodes have a tunnel, and what is said of those that have none."""

from __future__ import annotations

import asyncio

import pytest

from octoedge.cloud.cloudstream.door import tunnel_door
from octoedge.cloud.cloudstream.tunnels import SILENT_SECONDS, Tunnels
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.protocol.tunnel import AGREEMENT, NOTICED_SECONDS, PINGS, RARELY, VERSION, Connector, Kind
from octoedge.runtime.clock import rfc3339
from octoedge.testing.clock import VirtualClock, run
from octoedge.transport.connection import Peer
from octoedge.transport.memory import MemoryConnection, pair


def why(tunnels: Tunnels, node: str) -> str:
    with pytest.raises(ApiError) as caught:
        tunnels.find(node)
    assert (caught.value.code, caught.value.reason) == (503, "ServiceUnavailable")
    return caught.value.message


def test_a_node_is_found_while_its_tunnel_is_open_and_missed_since_it_ended() -> None:
    async def main() -> None:
        clock = VirtualClock()
        tunnels = Tunnels(clock)
        assert f"since {rfc3339(clock.now())}, when CloudCore started" in why(tunnels, "edge-1")
        edge_end, cloud_end = pair(Peer(node="edge-1"))
        task = asyncio.create_task(tunnels.serve(cloud_end))
        await tunnels.wait("edge-1", connected=True)
        assert tunnels.find("edge-1").node == "edge-1"
        await asyncio.sleep(3600)
        await edge_end.close()
        await tunnels.wait("edge-1", connected=False)
        gone = clock.now()
        await asyncio.sleep(60)
        assert f"no tunnel to the cloud since {rfc3339(gone)}" in why(tunnels, "edge-1")
        await task

    run(main())


def test_the_newest_tunnel_wins_and_ends_the_streams_of_the_older() -> None:
    async def main() -> None:
        tunnels = Tunnels(VirtualClock())
        _, first = pair(Peer(node="edge-1"))
        _, second = pair(Peer(node="edge-1"))
        older = asyncio.create_task(tunnels.serve(first))
        await tunnels.wait("edge-1", connected=True)
        stream = await tunnels.find("edge-1").open(Kind.LOGS, Connector("/containerLogs/a/b/c"))
        newer = asyncio.create_task(tunnels.serve(second))
        await older
        with pytest.raises(ConnectionClosed, match="a newer tunnel of node edge-1 took its place"):
            await anext(stream.chunks())
        assert list(tunnels.connected) == ["edge-1"]
        assert len(tunnels.find("edge-1")) == 0
        await tunnels.end_all("stopping")
        await newer
        assert not tunnels.connected

    run(main())


class Hearing:
    """A connection that knows when it last heard of the other end."""

    def __init__(self, inner: MemoryConnection) -> None:
        self._inner = inner
        self.heard = asyncio.get_running_loop().time()
        self.round_trip = 0.0
        self.pinged: list[float] = []
        self.measured = 0

    async def measure(self) -> None:
        self.measured += 1

    async def ping(self, timeout: float) -> None:
        self.pinged.append(timeout)
        await asyncio.sleep(timeout)
        raise ConnectionClosed("no sign of life")

    @property
    def peer(self) -> Peer:
        return self._inner.peer

    async def send(self, data: bytes) -> None:
        await self._inner.send(data)

    async def receive(self) -> bytes:
        return await self._inner.receive()

    async def close(self) -> None:
        await self._inner.close()


def test_a_node_that_has_fallen_silent_is_not_asked_though_its_tunnel_has_not_broken_yet() -> None:
    async def main() -> None:
        clock = VirtualClock()
        tunnels = Tunnels(clock)
        _, cloud_end = pair(Peer(node="edge-1"))
        connection = Hearing(cloud_end)
        task = asyncio.create_task(tunnels.serve(connection))
        await tunnels.wait("edge-1", connected=True)
        last = clock.now()
        await asyncio.sleep(SILENT_SECONDS - 1)
        assert tunnels.find("edge-1").node == "edge-1"
        await asyncio.sleep(2)
        assert f"node edge-1 was last heard of at {rfc3339(last)}" in why(tunnels, "edge-1")
        connection.heard = asyncio.get_running_loop().time()
        assert tunnels.find("edge-1").node == "edge-1"
        await tunnels.end_all("stopping")
        await task

    run(main())


def test_a_node_that_was_not_heard_of_for_a_second_is_asked_for_a_sign_of_life() -> None:
    async def main() -> None:
        tunnels = Tunnels(VirtualClock())
        _, cloud_end = pair(Peer(node="edge-1"))
        connection = Hearing(cloud_end)
        task = asyncio.create_task(tunnels.serve(connection))
        await tunnels.wait("edge-1", connected=True)
        tunnel = tunnels.find("edge-1")
        await tunnel.confirm()
        assert connection.pinged == []
        assert connection.measured == 1, "what the link is like is found out before anybody asks"
        await asyncio.sleep(3)
        began = asyncio.get_running_loop().time()
        for round_trip in (0.0, 0.01, 2.0, 60.0):
            connection.round_trip = round_trip
            with pytest.raises(ConnectionClosed):
                await tunnel.confirm()
        assert connection.pinged == [5.0, 0.8, 6.0, 15.0]
        assert asyncio.get_running_loop().time() - began == pytest.approx(26.8)
        assert "its link seems to be cut" in tunnels.cut(tunnel).message
        await tunnels.end_all("stopping")
        await task

    run(main())


def test_a_node_of_ours_pings_rarely_and_is_asked_for_a_sign_of_life_instead_of_judged() -> None:
    async def main() -> None:
        tunnels = Tunnels(VirtualClock())
        ours = Peer(node="edge-1", headers={AGREEMENT.lower(): VERSION, PINGS.lower(): f"{RARELY:g}"})
        assert tunnel_door().answer_headers(ours)[PINGS] == f"{RARELY:g}"
        assert tunnel_door().silence(ours) == NOTICED_SECONDS
        go = Peer(node="edge-2")
        assert tunnel_door().answer_headers(go) == {}
        assert tunnel_door().silence(go) == 15.0
        _, cloud_end = pair(ours)
        connection = Hearing(cloud_end)
        task = asyncio.create_task(tunnels.serve(connection))
        await tunnels.wait("edge-1", connected=True)
        await asyncio.sleep(RARELY)
        with pytest.raises(ConnectionClosed):
            await tunnels.find("edge-1").confirm()
        await tunnels.end_all("stopping")
        await task

    run(main())


def test_a_node_is_found_by_its_address_too() -> None:
    async def main() -> None:
        tunnels = Tunnels(VirtualClock())
        _, cloud_end = pair(Peer(node="edge-1", headers={"sessioninternalip": "192.0.2.7"}))
        task = asyncio.create_task(tunnels.serve(cloud_end))
        await tunnels.wait("edge-1", connected=True)
        assert tunnels.find("192.0.2.7").node == "edge-1"
        assert tunnels.find("edge-1.edges.example").node == "edge-1"
        assert "node 192.0.2.8 has had no tunnel" in why(tunnels, "192.0.2.8")
        await tunnels.end_all("stopping")
        await task

    run(main())
