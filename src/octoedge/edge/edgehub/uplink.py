"""The way up: requests find their answers by parent id, whatever connection is up at the moment.

The hub attaches each new connection and detaches it when it dies; everyone else keeps one `Uplink` for good. Whoever
waits for an answer when the connection dies gets `OfflineError` at once. While the socket takes one message, the others
wait in their lanes: what is most urgent by the route table is written next.
"""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Callable

from octoedge.edge.ports import Reply
from octoedge.errors import ConnectionClosed, DeadlineError, OfflineError
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Keepalive, Payload
from octoedge.protocol.routes import Direction, Lane
from octoedge.protocol.usage import Usage
from octoedge.runtime.clock import Clock
from octoedge.runtime.precedence import Turns
from octoedge.runtime.throttle import Throttle
from octoedge.transport.packed import PackedConnection


def new_id() -> str:
    """A message id as the Go side makes them."""
    return str(uuid.uuid4())


class Uplink:
    """Implements `ports.Link`."""

    def __init__(
        self,
        clock: Clock,
        *,
        write_seconds: float = 15.0,
        throttle: Throttle | None = None,
        make_id: Callable[[], str] = new_id,
    ) -> None:
        self._clock = clock
        self._write_seconds = write_seconds
        self._throttle = throttle
        self._make_id = make_id
        self._connection: PackedConnection | None = None
        self._ours = False
        self._agreed: frozenset[str] = frozenset()
        self._numbers = itertools.count(1)
        self._stored: list[int] = []
        """Numbers of messages that may be acknowledged, by whoever has the next turn."""
        self.usage = Usage(clock.now())
        """What the channel has carried since this EdgeCore started."""
        self._up = asyncio.Event()
        self._down = asyncio.Event()
        self._down.set()
        self._turns = Turns()
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self.silences = 0
        """How often the cloud spoke again after a long silence, or in a new session."""
        self.heard = 0
        """How often the cloud said anything, a pong too."""

    @property
    def connected(self) -> bool:
        return self._connection is not None

    async def until_connected(self) -> None:
        await self._up.wait()

    async def until_disconnected(self) -> None:
        await self._down.wait()

    def answers(self, payload: Payload) -> bool:
        row = routes.row_of(payload)
        return (row.confirm if self._ours else row.confirm_go) is routes.Confirm.REPLY

    def agreed(self, feature: str) -> bool:
        return self.connected and feature in self._agreed

    @property
    def keeps_lease(self) -> bool:
        return self.connected and handshake.LEASES in self._agreed

    async def request(self, payload: Payload, timeout: float) -> Reply:
        message = self._compose(payload)
        message_id = message.header.msg_id
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[message_id] = waiting
        try:
            async with asyncio.timeout(timeout):
                await self._write(message, routes.row_of(payload).lane)
                return await waiting
        except TimeoutError as error:
            what = f"{message.route.operation} {message.route.resource}"
            raise DeadlineError(f"{what}: the cloud gave no answer in {timeout:g} s") from error
        finally:
            del self._waiting[message_id]

    async def send(self, payload: Payload) -> None:
        await self._write(self._compose(payload), routes.row_of(payload).lane, held=not isinstance(payload, Keepalive))

    async def acknowledge(self, message: Message, error: str = "") -> None:
        number = message.header.msg_id
        if not error and handshake.ACKS in self._agreed and number.isascii() and number.isdigit():
            await self._acknowledge_number(int(number))
            return
        message = routes.acknowledge(message, message_id=self._new_id(), timestamp=self._timestamp(), error=error)
        await self._write(message, Lane.CONTROL)

    async def _acknowledge_number(self, number: int) -> None:
        """What is stored while others write is acknowledged together, as soon as it is this one's turn."""
        connection = self._connected("an acknowledgement")
        self._stored.append(number)
        async with self._turns.mine(Lane.CONTROL):
            numbers, self._stored = self._stored, []
            if numbers and self._connection is connection:
                message = routes.acknowledge_many(numbers, message_id=self._new_id(), timestamp=self._timestamp())
                await self._put(connection, message)

    def attach(self, connection: PackedConnection) -> None:
        """From now on messages go out through `connection`."""
        self._connection = connection
        self.silences += 1
        self.heard += 1
        self._ours = handshake.VERSION in connection.peer.headers
        self._agreed = handshake.features(connection.peer.headers)
        self._stored.clear()
        self._down.clear()
        self._up.set()

    def detach(self, connection: PackedConnection) -> None:
        """`connection` is over; nothing happens when another one took its place."""
        if self._connection is not connection:
            return
        self._connection = None
        self._up.clear()
        self._down.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(OfflineError("the connection to the cloud was lost before the answer came"))
                waiting.exception()

    def deliver(self, message: Message, body: bytes) -> bool:
        """Hand an answer to whoever waits for it; whether somebody does."""
        waiting = self._waiting.get(message.header.parent_msg_id)
        if waiting is None or waiting.done():
            return False
        waiting.set_result(Reply(message, body))
        return True

    async def _hold_back(self) -> None:
        """A Go cloud has small buffers; one of ours takes what comes."""
        if self._throttle is not None and not self._ours:
            await asyncio.sleep(self._throttle.take(asyncio.get_running_loop().time()))

    def _compose(self, payload: Payload) -> Message:
        return routes.compose(payload, message_id=self._new_id(), timestamp=self._timestamp())

    def _new_id(self) -> str:
        """A cloud of ours needs no id that is unique in the world: a number costs less."""
        return f"e{next(self._numbers)}" if self._agreed else self._make_id()

    def _connected(self, what: str) -> PackedConnection:
        if self._connection is None:
            raise OfflineError(f"{what}: not connected to the cloud")
        return self._connection

    async def _write(self, message: Message, lane: Lane, *, held: bool = True) -> None:
        connection = self._connected(f"{message.route.operation} {message.route.resource}")
        async with self._turns.mine(lane):
            if held:
                await self._hold_back()
            if self._connection is not connection:
                raise _offline(message, "the connection to the cloud was lost")
            await self._put(connection, message)

    async def _put(self, connection: PackedConnection, message: Message) -> None:
        before = connection.sent
        try:
            async with asyncio.timeout(self._write_seconds):
                await connection.send(codec.encode(message))
        except TimeoutError as error:
            self.detach(connection)
            await connection.close()
            raise OfflineError(f"the cloud took nothing for {self._write_seconds:g} s; connecting anew") from error
        except ConnectionClosed as error:
            raise _offline(message, str(error)) from error
        self.usage.count(Direction.UP, message, connection.sent - before)

    def _timestamp(self) -> int:
        return int(self._clock.now() * 1000)


def _offline(message: Message, why: str) -> OfflineError:
    return OfflineError(f"{message.route.operation} {message.route.resource}: {why}")
