"""An edge of KubeEdge, as far as a cloud can tell: it keeps what it is sent, with the limits of the Go implementation.

    cable ─► inbound buffer (100, full: the oldest is dropped) ─► stored ─► acknowledgement (30 a second, 60 at once)

It names no database and no features, registers its Node, renews its lease, and runs nothing. What it holds survives
its death, as a database does.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable

import msgspec

from octoedge.api.meta import view
from octoedge.errors import ConnectionClosed, TransportError
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.runtime.channel import Overflow, Receiver, Sender, channel
from octoedge.runtime.throttle import Throttle
from octoedge.transport.connection import Connection

_BUFFER = 100
_A_SECOND, _AT_ONCE = 30, 60
_HEARTBEAT = 15.0
_AGAIN_SECONDS = 5.0


class GoEdge:
    """One edge; `live` until cancelled."""

    def __init__(self, name: str, dial: Callable[[dict[str, str]], Awaitable[Connection]]) -> None:
        self.name = name
        self._dial = dial
        self._ids = itertools.count(1)
        self.held: dict[str, tuple[str, int]] = {}
        """By wire path: uid and version of what is stored."""
        self._ending: dict[str, str] = {}
        """Pods that are to end, by path: told at every heartbeat until the cloud has them deleted."""
        self.backwards: list[str] = []
        """Every message that would have taken an object back to an older version."""

    async def live(self) -> None:
        """Connect again and again."""
        while True:
            try:
                connection = await self._dial({handshake.NODE: self.name})
            except TransportError:
                await asyncio.sleep(_AGAIN_SECONDS)
                continue
            try:
                await self._serve(connection)
            except* TransportError:
                pass  # no waiting in here: Python 3.11.2 would wrap the cancellation
            finally:
                await connection.close()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _serve(self, connection: Connection) -> None:
        ends: tuple[Sender[bytes], Receiver[bytes]] = channel("inbound", _BUFFER, Overflow.DROP_OLDEST)
        sender, receiver = ends
        async with asyncio.TaskGroup() as group:
            group.create_task(self._beat(connection), name="keepalive")
            group.create_task(self._work(connection, receiver), name="worker")
            while True:
                await sender.send(await connection.receive())

    async def _beat(self, connection: Connection) -> None:
        labels = {"node-role.kubernetes.io/edge": ""}
        node = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": self.name, "labels": labels}}
        resource = Resource(CLUSTER, "node", self.name)
        while True:
            if str(resource) not in self.held:
                await self._say(connection, p.NodeInsert(resource=resource, body=msgspec.json.encode(node)))
            await self._say(connection, p.Keepalive(body=b'"ping"'))
            for path, uid in self._ending.items():
                namespace, kind, name = path.split("/")
                options = msgspec.json.encode({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
                await self._say(connection, p.PodDelete(resource=Resource(namespace, kind, name), body=options))
            await asyncio.sleep(_HEARTBEAT)

    async def _work(self, connection: Connection, inbound: Receiver[bytes]) -> None:
        loop = asyncio.get_running_loop()
        limit = Throttle(_A_SECOND, _AT_ONCE)
        async for data in inbound:
            message = codec.decode(data)
            payload = routes.classify(routes.Direction.DOWN, message)
            if isinstance(payload, p.Answer):
                continue
            self._store(payload)
            await asyncio.sleep(limit.take(loop.time()))
            answer = routes.acknowledge(message, message_id=self._id(), timestamp=0)
            await connection.send(codec.encode(answer))
        raise ConnectionClosed("the inbound buffer was closed")

    def _store(self, payload: p.Payload) -> None:
        path = str(payload.resource)
        meta = view(payload.body).metadata
        before = self.held.get(path)
        if isinstance(payload, p.ObjectDelete):
            if before is not None and before[0] == meta.uid:
                del self.held[path]
            if self._ending.get(path) == meta.uid:
                del self._ending[path]
        elif isinstance(payload, p.ObjectInsert | p.ObjectUpdate):
            version = int(payload.version or 0)
            if before is not None and before[0] == meta.uid and version < before[1]:
                self.backwards.append(f"{path}: {version} after {before[1]}")
            self.held[path] = (meta.uid, version)
            if meta.deletion_timestamp:
                self._ending[path] = meta.uid

    async def _say(self, connection: Connection, payload: p.Payload) -> None:
        await connection.send(codec.encode(routes.compose(payload, message_id=self._id(), timestamp=0)))

    def _id(self) -> str:
        return f"{self.name}-{next(self._ids)}"
