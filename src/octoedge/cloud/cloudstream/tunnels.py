"""Which nodes have a tunnel here; and for those that have none, since when."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable, Collection

from octoedge.cloud.cloudstream.door import pings_rarely
from octoedge.cloud.cloudstream.kept import KeptLogs
from octoedge.cloud.cloudstream.tunnel import Tunnel
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.runtime.clock import Clock, rfc3339
from octoedge.transport.connection import Connection

log = logging.getLogger(__name__)

SILENT_SECONDS = 11.0
"""Go edges ping every 5 s; one that missed two is not asked anything. Others are asked for a sign of life first."""
_MAX_REMEMBERED = 20_000
"""Nodes whose leaving is remembered; the oldest is forgotten first."""


class Tunnels:
    """The tunnels of this CloudCore."""

    def __init__(self, clock: Clock, kept: KeptLogs | None = None, opened: Callable[[str], None] | None = None) -> None:
        """`opened` is told the name of each node whose tunnel has opened."""
        self._clock = clock
        self._opened = opened
        self._kept = kept
        self._began = clock.now()
        self._tunnels: dict[str, Tunnel] = {}
        self._pinging: set[str] = set()
        """Nodes that ping often enough for their silence to say something."""
        self._left: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._numbers = itertools.count(1)

    @property
    def connected(self) -> Collection[str]:
        """Names of the nodes that have a tunnel now."""
        return self._tunnels.keys()

    async def wait(self, node: str, *, connected: bool) -> None:
        """Return when the node has a tunnel, or has none."""
        while (node in self._tunnels) is not connected:
            self._changed.clear()
            await self._changed.wait()

    async def serve(self, connection: Connection) -> None:
        """Run a node's tunnel until it ends; an older one of the same node ends now."""
        node = connection.peer.node
        tunnel = Tunnel(node, connection, self._numbers, self._kept)
        older, self._tunnels[node] = self._tunnels.get(node), tunnel
        (self._pinging.discard if pings_rarely(connection.peer) else self._pinging.add)(node)
        self._changed.set()
        if older is not None:
            await older.end(f"a newer tunnel of node {node} took its place")
        log.debug("= tunnel of node %s is open (%s)", node, connection.peer.address)
        if self._opened is not None:
            self._opened(node)
        try:
            await tunnel.run()
        except ConnectionClosed as error:
            log.debug("= tunnel of node %s has ended: %s", node, error)
        finally:
            if self._tunnels.get(node) is tunnel:
                del self._tunnels[node]
                self._pinging.discard(node)
                self._remember(node)
                self._changed.set()

    def find(self, node: str) -> Tunnel:
        """The tunnel of a node, by its name (a domain behind it does no harm) or internal IP.

        `ApiError` 503 says since when there is none.
        """
        ways = (self._tunnels.get, self._by_address, self._by_domain)
        # A tunnel without streams counts as false.
        tunnel = next((found for way in ways if (found := way(node)) is not None), None)
        if tunnel is not None and tunnel.silent > SILENT_SECONDS and tunnel.node in self._pinging:
            # The tunnel has not broken yet, but whoever asks now would only wait for that.
            raise self.cut(tunnel)
        if tunnel is not None:
            return tunnel
        left = self._left.get(node)
        if left is not None:
            why = f"node {node} has no tunnel to the cloud since {rfc3339(left)}; try again when the node is back"
        else:
            why = (
                f"node {node} has had no tunnel to the cloud since {rfc3339(self._began)}, when CloudCore started; "
                "is the node up, and modules.edgeStream.enable true in its edgecore.yaml?"
            )
        raise ApiError(503, "ServiceUnavailable", why)

    def _by_address(self, address: str) -> Tunnel | None:
        return next((one for one in self._tunnels.values() if one.address == address), None)

    def _by_domain(self, name: str) -> Tunnel | None:
        """`edge-1.edges.example` → edge-1; a node's name may have dots itself."""
        while "." in name:
            name = name.rpartition(".")[0]
            if name in self._tunnels:
                return self._tunnels[name]
        return None

    def cut(self, tunnel: Tunnel) -> ApiError:
        """What is said of a node whose tunnel is open, but which is not there."""
        since = rfc3339(self._clock.now() - tunnel.silent)
        why = f"node {tunnel.node} was last heard of at {since}; its link seems to be cut, try again when it is back"
        return ApiError(503, "ServiceUnavailable", why)

    async def end(self, node: str, why: str) -> None:
        """End a node's tunnel, if it has one."""
        tunnel = self._tunnels.get(node)
        if tunnel is not None:
            await tunnel.end(why)

    async def end_all(self, why: str) -> None:
        """End every tunnel at once."""
        async with asyncio.TaskGroup() as group:
            for node, tunnel in self._tunnels.items():
                group.create_task(tunnel.end(why), name=f"end tunnel {node}")

    def _remember(self, node: str) -> None:
        self._left.pop(node, None)
        self._left[node] = self._clock.now()
        if len(self._left) > _MAX_REMEMBERED:
            del self._left[next(iter(self._left))]
