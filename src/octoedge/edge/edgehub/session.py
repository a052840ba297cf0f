"""One connection, from open to closed: signs of life up, messages down.

Broken and unknown messages are told of once per kind and dropped; the connection lives on. Answers go to whoever
waits, everything else to MetaManager, in order per object.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from typing import Protocol, runtime_checkable

from octoedge.edge.edgehub.uplink import Uplink
from octoedge.edge.ports import Inbound
from octoedge.errors import ConnectionClosed, MessageError, OfflineError, ProtocolError, StoreCorrupt, first_of
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import NOWHERE, Answer, Keepalive, Payload
from octoedge.protocol.routes import Direction
from octoedge.runtime.inorder import InOrder
from octoedge.transport.connection import Connection
from octoedge.transport.packed import PackedConnection
from octoedge.transport.tap import Tap

log = logging.getLogger(__name__)

_AT_ONCE = 64
"""Messages that may be on their way into the store; the next ones wait in the socket."""


_KINDS_TOLD = 100
"""So many kinds of dropped messages are told of; a peer that makes up more fills neither log nor memory."""


class Dropped:
    """Tells once per kind that messages are dropped, and counts them."""

    def __init__(self) -> None:
        self.kinds: dict[str, int] = {}

    def tell(self, kind: str, error: Exception) -> None:
        """A message of this kind was dropped because of `error`."""
        kind = kind[:100]
        if kind not in self.kinds and len(self.kinds) < _KINDS_TOLD:
            self.kinds[kind] = 0
            log.warning("%s are dropped, for example: %s", kind, error)
        if kind in self.kinds:
            self.kinds[kind] += 1


_WAY_SECONDS = 4.0
"""Between two looks whether this machine still has the address that the connection began with."""

_LONG = 4 / 3
"""So many heartbeats without a word are a long silence."""
_PROOF_SECONDS = 3.0
"""For the cloud's answer, once the address has changed or a keepalive was left unanswered."""


@runtime_checkable
class Movable(Protocol):
    """A connection that can tell that this machine's own address has changed."""

    def moved(self) -> str:
        """What has changed, as a sentence; empty when nothing has."""
        ...


@runtime_checkable
class Pingable(Protocol):
    """A connection whose other end can be asked for a sign of life."""

    async def ping(self, timeout: float) -> None:
        """Return when the peer has answered; `ConnectionClosed` when it has not in `timeout` seconds."""
        ...


class Session:
    """Serves one connection until it dies."""

    def __init__(
        self, connection: Connection, uplink: Uplink, inbound: Inbound, dropped: Dropped, *, heartbeat: float,
        tap: Tap | None = None,
    ) -> None:  # fmt: skip
        packed = handshake.PACKED in handshake.features(connection.peer.headers)
        self._connection = PackedConnection(connection, Direction.UP, packed=packed, tap=tap)
        self._uplink = uplink
        self._inbound = inbound
        self._dropped = dropped
        self._heartbeat = heartbeat
        self._heard = 0.0
        self._storing = False

    async def run(self) -> str:
        """Serve; returns why the connection ended. Raises `StoreCorrupt`: then nothing can be received any more."""
        why = "it was closed"
        fatal: BaseException | None = None
        self._heard = asyncio.get_running_loop().time()
        self._uplink.attach(self._connection)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._live(), name="keepalive")
                if isinstance(self._connection.inner, Movable):
                    group.create_task(self._watch_way(self._connection.inner), name="own address")
                await self._receive(InOrder(group, _AT_ONCE))
        except* (ConnectionClosed, OfflineError) as lost:
            why = str(first_of(lost))
        except* StoreCorrupt as corrupt:
            fatal = first_of(corrupt)
        finally:
            self._uplink.detach(self._connection)
            await self._connection.close()
        if fatal is not None:
            raise fatal
        return why

    async def _live(self) -> None:
        """A keepalive at once and every heartbeat; a ping when nothing came although something should have.

        A cloud of ours answers keepalives, so its silence says enough, and an idle link carries nothing more; from a Go
        cloud only the ping tells a half-open link. Either is noticed within three heartbeats. While the store does not
        keep up, nothing is read, no pong either: then the silence is ours.
        """
        loop = asyncio.get_running_loop()
        answered = self._uplink.agreed(handshake.BEATS)
        while True:
            began = loop.time()
            await self._uplink.send(Keepalive(body=b'"ping"'))
            if not answered and loop.time() - self._heard >= self._heartbeat:
                await self._ask(self._heartbeat)
            await asyncio.sleep(self._heartbeat)
            if answered and self._heard < began:
                await self._ask(_PROOF_SECONDS)

    async def _ask(self, seconds: float) -> None:
        if not self._storing and isinstance(self._connection.inner, Pingable):
            await self._connection.inner.ping(seconds)
            self._hear()

    def _hear(self) -> None:
        """The cloud said something. After a long silence it may have given the node up, and does not say so."""
        now = asyncio.get_running_loop().time()
        if now - self._heard > self._heartbeat * _LONG:
            self._uplink.silences += 1
        self._heard = now
        self._uplink.heard += 1

    async def _watch_way(self, connection: Movable) -> None:
        """Another address is only a reason to ask at once: where several ways lead to the cloud, the old may live."""
        lives = ""
        while True:
            await asyncio.sleep(_WAY_SECONDS)
            why = connection.moved()
            if not why or why == lives:
                continue
            if isinstance(connection, Pingable):
                try:
                    await connection.ping(_PROOF_SECONDS)
                except ConnectionClosed as error:
                    raise ConnectionClosed(why) from error
            lives = why

    async def _receive(self, lanes: InOrder) -> None:
        while True:
            before = self._connection.received
            data = await self._connection.receive()
            self._hear()
            known = self._read(data, self._connection.received - before)
            if known is None:
                continue
            message, payload = known
            if isinstance(payload, Answer) and (
                self._uplink.deliver(message, payload.body) or payload.resource is NOWHERE
            ):
                continue
            self._storing = True
            await lanes.submit(str(payload.resource), functools.partial(self._handle, message, payload))
            self._storing = False

    def _read(self, data: bytes, size: int) -> tuple[Message, Payload] | None:
        try:
            message = codec.decode(data)
        except MessageError as error:
            self._dropped.tell("broken messages of the cloud", error)
            return None
        log.debug("< %s %s", message.route.operation, message.route.resource)
        self._uplink.usage.count(Direction.DOWN, message, size)
        try:
            return message, routes.classify(Direction.DOWN, message)
        except ProtocolError as error:
            route = message.route
            kind = f"{route.source}/{route.group}/{route.operation}"
            self._dropped.tell(f"messages of the kind {kind}", error)
            return None

    async def _handle(self, message: Message, payload: Payload) -> None:
        try:
            await self._inbound(message, payload)
        except (ConnectionClosed, OfflineError, StoreCorrupt):
            raise
        except Exception:
            log.exception("%s %s could not be handled", message.route.operation, message.route.resource)
