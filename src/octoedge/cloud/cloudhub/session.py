"""One node's session: what comes in, what goes out, how long it lives (spec: channel, sections 4 to 6).

    receive → Keepalive: the timer · Ack: delivery → checkpoint · everything else: upstream
    offer → (first time: a checkpoint, in order) → delivery → send, again until acknowledged
    answer → send, once, in the lane of its question: at most control before what is offered, the rest after it

Ends when the connection does, when no keepalive comes in time, or when somebody calls `end`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import uuid
from collections import deque
from collections.abc import Callable
from functools import partial

from octoedge.cloud.cloudhub.bases import Bases
from octoedge.cloud.ports import Checkpoints
from octoedge.errors import MessageError, RouteError, TransportError
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol.delivery import Delivery, Item, Sending
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Ack, Keepalive, Nack, ObjectDelta, Payload
from octoedge.protocol.routes import Confirm, Direction, Lane, Row
from octoedge.protocol.usage import Usage
from octoedge.runtime.alarm import Alarm
from octoedge.runtime.clock import Clock
from octoedge.transport.connection import Connection
from octoedge.transport.packed import PackedConnection
from octoedge.transport.tap import Tap

log = logging.getLogger(__name__)

_MAX_ANSWERS = 1024
"""Answers that may wait for the socket; a node that does not read them loses the oldest and asks again."""
_WINDOW, _GO_WINDOW = 128, 32
"""Messages under way to an edge of ours, which reads as fast as it stores, and to one of KubeEdge."""
_MAX_QUESTIONS = 4096
"""Questions whose lane is remembered; the answer to an older one counts as control."""

Receive = Callable[[str, Message, Payload], None]


class _Over(TransportError):
    """The session has ended, and why."""


class Session:
    """Speaks with one node over one connection."""

    def __init__(
        self,
        connection: Connection,
        receive: Receive,
        checkpoints: Checkpoints,
        clock: Clock,
        *,
        keepalive_seconds: float,
        write_seconds: float = 30.0,
        usage: Usage | None = None,
        beat: Callable[[str], None] | None = None,
        bases: Bases,
        tap: Tap | None = None,
    ) -> None:
        """`beat` is told of the heartbeats of nodes whose Lease the cloud renews."""
        self.node = connection.peer.node
        self.store = connection.peer.headers.get(handshake.STORE, "")[:64]
        self._agreed = handshake.features(connection.peer.headers)
        self._usage = usage or Usage(clock.now())
        self._beat = beat
        self._bases = bases if handshake.DELTAS in self._agreed else None
        packed = handshake.PACKED in self._agreed
        self._connection = PackedConnection(connection, Direction.DOWN, packed=packed, tap=tap)
        self._receive = receive
        self._checkpoints = checkpoints
        self._clock = clock
        self._keepalive_seconds = keepalive_seconds
        self._write_seconds = write_seconds
        self._delivery = Delivery(
            _numbers() if handshake.ACKS in self._agreed else _ids(), window=_WINDOW if self.store else _GO_WINDOW
        )
        self._expecting: dict[str, Item] = {}
        self._expected: set[str] = set()
        self._answers: dict[Lane, deque[Message]] = {}
        """By lane; one in which none waits is not there: five empty queues took 4 KiB of each node."""
        self._asked: dict[str, Row] = {}
        """The rows of questions that are not answered yet, by message id."""
        self._loop = asyncio.get_running_loop()
        self._wake = asyncio.Event()
        self._due = Alarm(self._loop, self._wake.set)
        """Something is to be sent again."""
        self._stuck = Alarm(self._loop, self._takes_nothing)
        self._heard = asyncio.Event()
        self._over: asyncio.Future[str] = self._loop.create_future()

    def __len__(self) -> int:
        """How many objects the node has not confirmed yet."""
        return len(self._delivery) + len(self._expecting)

    def offer(self, item: Item) -> None:
        """Deliver one version of an object."""
        waiting = self._expecting.get(item.uid)
        if waiting is not None:
            if item.deletes or (item.version > waiting.version and not waiting.deletes):
                self._expecting[item.uid] = item
        elif item.deletes or self._checkpoints.version(self.node, item.uid) is not None:
            self._deliver(item)
        else:
            self._expecting[item.uid] = item
            self._checkpoints.expect(self.node, item, partial(self._is_expected, item.uid))

    def answer(self, message: Message) -> None:
        """Send an answer once, if the node waits for one."""
        row = self._asked.pop(message.header.parent_msg_id, None)
        if row is not None and not self.store and row.confirm_go is Confirm.SOCKET:
            return  # a Go edge would not acknowledge it, and so keep the window occupied
        self._put(row.lane if row is not None else Lane.CONTROL, message)

    def end(self, why: str) -> None:
        """End the session soon; idempotent."""
        if not self._over.done():
            self._over.set_result(why)

    async def run(self) -> str:
        """Speak until the session is over; gives the reason."""
        reason = "the session is over"
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._reader(), name=f"{self.node} reader")
                group.create_task(self._writer(), name=f"{self.node} writer")
                group.create_task(self._watchdog(), name=f"{self.node} watchdog")
                raise _Over(await self._over)
        except* TransportError as errors:
            reason = str(errors.exceptions[0])
        finally:
            self.end(reason)
            self._due.close()
            self._stuck.close()
            await self._connection.close()
        return reason

    def _put(self, lane: Lane, message: Message) -> None:
        self._answers.setdefault(lane, deque(maxlen=_MAX_ANSWERS)).append(message)
        self._wake.set()

    def _is_expected(self, uid: str) -> None:
        """A checkpoint is durable: send what waited for it, in the order in which it was offered."""
        self._expected.add(uid)
        while self._expecting and (first := next(iter(self._expecting))) in self._expected:
            self._expected.discard(first)
            self._deliver(self._expecting.pop(first))

    def _deliver(self, item: Item) -> None:
        if self._delivery.offer(item):
            self._wake.set()

    # ---- in --------------------------------------------------------------------------------------------------------

    async def _reader(self) -> None:
        while True:
            before = self._connection.received
            data = await self._connection.receive()
            try:
                message = codec.decode(data)
            except MessageError as error:
                raise _Over(f"node {self.node} sent what is no message: {error}") from error
            self._usage.count(Direction.UP, message, self._connection.received - before)
            log.debug("< %s %s %s", self.node, message.route.operation, message.route.resource)
            self._take(message)

    def _take(self, message: Message) -> None:
        if routes.is_transport(message):
            self._answer_transport(message)
            return
        if routes.is_farewell(message):
            return
        try:
            payload = routes.classify(Direction.UP, message)
            confirmed = routes.acknowledged(message) if isinstance(payload, Ack) else []
        except (RouteError, MessageError) as error:
            log.warning("dropped a message of node %s: %s", self.node, error)
            return
        if isinstance(payload, Keepalive):
            self._live(message)
        elif isinstance(payload, Ack):
            for message_id in confirmed:
                self._confirm(message_id)
            if self._delivery.ready or self._answers:  # for which there may be room now
                self._wake.set()
        elif isinstance(payload, Nack):
            self._refused(message, payload.body[:300].decode(errors="replace"))
        else:
            self._asked[message.header.msg_id] = routes.row_of(payload)
            if len(self._asked) > _MAX_QUESTIONS:
                del self._asked[next(iter(self._asked))]
            self._receive(self.node, message, payload)

    def _confirm(self, message_id: str) -> None:
        item = self._delivery.acknowledge(message_id, self._loop.time())
        if item is not None:
            self._checkpoints.reached(self.node, item, self.store)
            if self._bases is not None:
                self._bases.confirmed(item)

    def _refused(self, message: Message, reason: str) -> None:
        """A delta whose base the node does not hold goes whole at once; anything else is tried again later."""
        now = self._loop.time()
        if self._bases is not None and self._delivery.refuse(message.header.parent_msg_id, now):
            log.info("node %s wants the whole of %s: %s", self.node, message.route.resource, reason)
            self._wake.set()
        else:
            log.warning("node %s could not store %s: %s", self.node, message.route.resource, reason)

    def _live(self, heartbeat: Message) -> None:
        self._heard.set()
        if handshake.BEATS in self._agreed:
            reply = routes.answer(heartbeat, b"OK", message_id="", timestamp=0)
            self._put(Lane.LIVENESS, reply)
        if handshake.LEASES in self._agreed and self._beat is not None:
            self._beat(self.node)

    def _answer_transport(self, message: Message) -> None:
        reply = routes.answer_transport(message, message_id=_new_id(), timestamp=self._milliseconds())
        if reply is not None:
            self.answer(reply)

    # ---- out -------------------------------------------------------------------------------------------------------

    async def _writer(self) -> None:
        while True:
            self._wake.clear()
            while (message := self._next(self._loop.time())) is not None:
                await self._send(message)
            for item in self._delivery.expired:
                log.warning("node %s has not acknowledged %s; it is compared again later", self.node, item.key)
            self._delivery.expired.clear()
            due = self._delivery.next_due()
            if due is not None:
                self._due.set(due)
            await self._wake.wait()

    def _next(self, now: float) -> Message | None:
        """What goes out now: looked up anew for each message, since something more urgent may have come meanwhile."""
        urgent = self._next_answer(now, Lane.CONTROL)
        if urgent is not None:
            return urgent
        sendings = self._delivery.due(now, 1)
        return self._message(sendings[0]) if sendings else self._next_answer(now, Lane.BULK)

    def _next_answer(self, now: float, least: Lane) -> Message | None:
        """The most urgent answer, down to the lane `least`; a Go edge gets it when its buffer has room."""
        if not self._answers or (not self.store and self._delivery.room <= 0):
            return None
        lane = min(self._answers)
        if lane > least:
            return None
        message = self._answers[lane].popleft()
        if not self._answers[lane]:
            del self._answers[lane]
        if not self.store:  # an edge of ours acknowledges no answers, and lets them wait in the socket
            self._delivery.occupy(message.header.msg_id, now)
        return message

    async def _send(self, message: Message) -> None:
        log.debug("> %s %s %s", self.node, message.route.operation, message.route.resource)
        before = self._connection.sent
        self._stuck.set(self._loop.time() + self._write_seconds)
        await self._connection.send(codec.encode(message))
        self._stuck.off()
        self._usage.count(Direction.DOWN, message, self._connection.sent - before)

    def _takes_nothing(self) -> None:
        self.end(f"node {self.node} took no data for {self._write_seconds:.0f} s")

    def _message(self, sending: Sending) -> Message:
        payload = sending.item.payload
        delta = None if sending.refused else self._delta(sending.item)
        if delta is not None:
            payload = ObjectDelta(resource=payload.resource, body=delta, version=payload.version)
        return routes.compose(payload, message_id=sending.message_id, timestamp=self._milliseconds())

    def _delta(self, item: Item) -> bytes | None:
        """What is new in it, where that is agreed, the node's version is known, and it saves something."""
        if self._bases is None or item.deletes:
            return None
        version = self._checkpoints.version(self.node, item.uid)
        return self._bases.delta(item, version) if version else None

    async def _watchdog(self) -> None:
        while True:
            self._heard.clear()
            try:
                async with asyncio.timeout(self._keepalive_seconds):
                    await self._heard.wait()
            except TimeoutError:
                raise _Over(f"no keepalive for {self._keepalive_seconds:.0f} s") from None

    def _milliseconds(self) -> int:
        return int(self._clock.now() * 1000)


def _new_id() -> str:
    return str(uuid.uuid4())


def _ids() -> Callable[[], str]:
    """Ids for a session's messages: one random UUID, whose last twelve digits are counted on."""
    first, count = _new_id(), itertools.count(1)
    return lambda: f"{first[:-12]}{next(count):012x}"


def _numbers() -> Callable[[], str]:
    """Ids of a session's messages that can be acknowledged together."""
    count = itertools.count(1)
    return lambda: str(next(count))
