"""Which nodes have a tunnel here; and for those that have none, since when."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Collection

from octoedge.cloud.cloudstream.session import Session
from octoedge.errors import ApiError, ConnectionClosed
from octoedge.runtime.clock import Clock, rfc3339
from octoedge.transport.connection import Connection

log = logging.getLogger(__name__)

SILENT_SECONDS = 11.0
"""Edges ping every 5 s, ours and Go's; one that missed two is not asked anything."""
_MAX_REMEMBERED = 20_000
"""Nodes whose leaving is remembered; the oldest is forgotten first."""


class Sessions:
    """The tunnels of this CloudCore."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._began = clock.now()
        self._sessions: dict[str, Session] = {}
        self._left: dict[str, float] = {}
        self._changed = asyncio.Event()
        self._numbers = itertools.count(1)

    @property
    def connected(self) -> Collection[str]:
        """Names of the nodes that have a tunnel now."""
        return self._sessions.keys()

    async def wait(self, node: str, *, connected: bool) -> None:
        """Return when the node has a tunnel, or has none."""
        while (node in self._sessions) is not connected:
            self._changed.clear()
            await self._changed.wait()

    async def serve(self, node: str, connection: Connection) -> None:
        """Run the tunnel of `node` until it ends; an older one of the same node ends now."""
        session = Session(node, connection, self._numbers)
        older, self._sessions[node] = self._sessions.get(node), session
        self._changed.set()
        if older is not None:
            await older.end(f"a newer tunnel of node {node} took its place")
        log.debug("= tunnel of node %s is open (%s)", node, connection.peer.address)
        try:
            await session.run()
        except ConnectionClosed as error:
            log.debug("= tunnel of node %s has ended: %s", node, error)
        finally:
            if self._sessions.get(node) is session:
                del self._sessions[node]
                self._remember(node)
                self._changed.set()

    def find(self, node: str) -> Session:
        """The tunnel of a node, by its name or internal IP; `ApiError` 503 says since when there is none."""
        session = self._sessions.get(node)
        if session is None:
            session = next((one for one in self._sessions.values() if one.address == node), None)
        if session is not None and session.silent > SILENT_SECONDS:
            # The tunnel has not broken yet, but whoever asks now would only wait for that.
            since = rfc3339(self._clock.now() - session.silent)
            why = f"node {node} was last heard of at {since}; its link seems to be cut, try again when it is back"
            raise ApiError(503, "ServiceUnavailable", why)
        if session is not None:
            return session
        left = self._left.get(node)
        if left is not None:
            why = f"node {node} has no tunnel to the cloud since {rfc3339(left)}; try again when the node is back"
        else:
            why = (
                f"node {node} has had no tunnel to the cloud since {rfc3339(self._began)}, when CloudCore started; "
                "is the node up, and modules.edgeStream.enable true in its edgecore.yaml?"
            )
        raise ApiError(503, "ServiceUnavailable", why)

    async def end_all(self, why: str) -> None:
        """End every tunnel at once."""
        async with asyncio.TaskGroup() as group:
            for node, session in self._sessions.items():
                group.create_task(session.end(why), name=f"end tunnel {node}")

    def _remember(self, node: str) -> None:
        self._left.pop(node, None)
        self._left[node] = self._clock.now()
        if len(self._left) > _MAX_REMEMBERED:
            del self._left[next(iter(self._left))]
