"""CloudHub: who may connect, who is connected, and the way to each of them.

`Sessions` is what the controllers see (the `Downlink`). `admit(peer)` decides before the WebSocket opens;
`serve(connection)` runs a node's session until it ends. Whatever carries the connection (WebSocket, memory) stands
outside.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

from octoedge.cloud.cloudhub.bases import Bases
from octoedge.cloud.cloudhub.session import Session
from octoedge.cloud.ports import Checkpoints, SessionListener, Upstream
from octoedge.protocol import handshake
from octoedge.protocol.delivery import Item
from octoedge.protocol.message import Message
from octoedge.protocol.usage import Usage
from octoedge.runtime.clock import Clock
from octoedge.runtime.throttle import Throttle
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.tap import Tap
from octoedge.version import VERSION

log = logging.getLogger(__name__)

_MAX_NAME = 253
_SESSIONS_A_SECOND, _SESSIONS_AT_ONCE = 400.0, 200
"""Sessions begin at this rate after so many at once: each compares what its node has with what it should have. Who
waits is connected already, and not asked to come again: its TLS handshake was the dear part."""
_MAX_USAGES = 20_000
"""Nodes whose counts are kept, connected or not; beyond the largest `nodeLimit` that one CloudCore can bear."""


class Sessions:
    """Which nodes are connected here, and the way to them."""

    def __init__(self) -> None:
        self._sessions: dict[str, Session] = {}
        self._began: list[SessionListener] = []
        self._ended: list[SessionListener] = []
        self.usage: dict[str, Usage] = {}
        """What each node's channel has carried since this CloudCore started."""

    def listen(self, *, began: SessionListener | None = None, ended: SessionListener | None = None) -> None:
        """Be told of sessions that begin and end."""
        self._began += [began] if began else []
        self._ended += [ended] if ended else []

    @property
    def connected(self) -> Collection[str]:
        """Names of the nodes that have a session now."""
        return self._sessions.keys()

    def unconfirmed(self) -> dict[str, int]:
        """How many objects each connected node has not confirmed yet."""
        return {node: len(session) for node, session in self._sessions.items()}

    def ours(self, node: str) -> bool:
        """Whether the node is connected and runs an edge of ours: those name their database."""
        session = self._sessions.get(node)
        return session is not None and bool(session.store)

    def usage_of(self, node: str, now: float) -> Usage:
        """The counts of a node, over all its sessions."""
        if len(self.usage) >= _MAX_USAGES and node not in self.usage:
            self.usage.pop(next((name for name in self.usage if name not in self._sessions), ""), None)
        return self.usage.setdefault(node, Usage(now))

    def offer(self, node: str, item: Item) -> None:
        """Deliver an object to a node, if it is connected."""
        session = self._sessions.get(node)
        if session is not None:
            session.offer(item)

    def answer(self, node: str, message: Message) -> None:
        """Send an answer to a node, if it is connected."""
        session = self._sessions.get(node)
        if session is not None:
            session.answer(message)

    def end(self, node: str, why: str) -> None:
        """End a node's session, if it has one."""
        session = self._sessions.get(node)
        if session is not None:
            session.end(why)

    @contextmanager
    def entered(self, session: Session, why: str) -> Iterator[None]:
        """Hold `session` as its node's; an older one of the same node ends because of `why`."""
        node = session.node
        self.end(node, why)
        self._sessions[node] = session
        try:
            for tell in self._began:
                tell(node)
            yield
        finally:
            # A newer session of the same node may have taken the place; that one stays.
            if self._sessions.get(node) is session:
                del self._sessions[node]
                for tell in self._ended:
                    tell(node)


class CloudHub:
    """The sessions of this CloudCore; a module, so that a stop ends them all."""

    name = "cloudHub"
    needs: tuple[str, ...] = ("edgeController", "syncController")

    def __init__(
        self,
        sessions: Sessions,
        upstream: Upstream,
        checkpoints: Checkpoints,
        clock: Clock,
        *,
        node_limit: int,
        keepalive_seconds: float,
        write_seconds: float = 30.0,
        beat: Callable[[str], None] | None = None,
        speaks: frozenset[str] = handshake.KNOWN,
    ) -> None:
        """`beat` is told of each heartbeat of a node whose Lease the cloud renews; `speaks`: what this cloud can."""
        self._speaks = speaks
        self._beat = beat
        self._upstream = upstream
        self._checkpoints = checkpoints
        self._clock = clock
        self._node_limit = node_limit
        self._keepalive_seconds = keepalive_seconds
        self._write_seconds = write_seconds
        self._sessions = sessions
        self._turns = Throttle(_SESSIONS_A_SECOND, _SESSIONS_AT_ONCE)
        self._bases = Bases()
        self._open = False
        self.tap = Tap(self.answer_headers)

    def admit(self, peer: Peer) -> str:
        """Why this peer may not connect; empty when it may."""
        if not self._open:
            return "this CloudCore is starting or stopping; try again"
        if not peer.node or len(peer.node) > _MAX_NAME:
            return f"header {handshake.NODE} must name the node"
        if peer.certificate_name != handshake.certificate_name(peer.node):
            return (
                f"the certificate is of {peer.certificate_name or 'nobody'}, "
                f"but header {handshake.NODE} says {peer.node}; "
                "a node may only connect under the name that its certificate was issued for"
            )
        if len(self._sessions.connected) >= self._node_limit and peer.node not in self._sessions.connected:
            return f"this CloudCore serves {self._node_limit} nodes already (modules.cloudHub.nodeLimit)"
        return ""

    def answer_headers(self, peer: Peer) -> dict[str, str]:
        """What the handshake's answer says to an edge of ours; a Go edge gets a bare one."""
        if handshake.STORE not in peer.headers:
            return {}
        agreed = handshake.features(peer.headers) & self._speaks
        return {handshake.VERSION: VERSION} | ({handshake.FEATURES: handshake.speaks(agreed)} if agreed else {})

    async def serve(self, connection: Connection) -> None:
        """Run the session of an open connection until it ends."""
        peer = connection.peer
        why = self.admit(peer)
        if why:
            log.warning("= refused %s (node %r): %s", peer.address, peer.node, why)
            await connection.close()
            return
        session = Session(
            connection,
            self._upstream.receive,
            self._checkpoints,
            self._clock,
            keepalive_seconds=self._keepalive_seconds,
            write_seconds=self._write_seconds,
            usage=self._sessions.usage_of(peer.node, self._clock.now()),
            beat=self._beat,
            bases=self._bases,
            tap=self.tap,
        )
        wait = self._turns.take(asyncio.get_running_loop().time())
        if wait:
            log.debug("= node %s waits %.1f s for its turn: many nodes connect at once", peer.node, wait)
            await asyncio.sleep(wait)
        if not self._open:
            await connection.close()
            return
        self._checkpoints.opened(peer.node, session.store)
        with self._sessions.entered(session, f"the node connected anew from {peer.address}"):
            count = len(self._sessions.connected)
            log.info("= node %s connected from %s (%d connected)", peer.node, peer.address, count)
            reason = await session.run()
            log.info("= node %s disconnected: %s", peer.node, reason)

    async def run(self, ready: Callable[[], None]) -> None:
        """Admit nodes until cancelled."""
        self._open = True
        ready()
        try:
            await asyncio.Event().wait()
        finally:
            await self.drain()

    async def drain(self) -> None:
        """Admit nobody any more and end all sessions."""
        self._open = False
        for node in list(self._sessions.connected):
            self._sessions.end(node, "this CloudCore stops")
