"""EdgeController, up: what nodes ask and report → the API → the answer (spec: metadata, section 2).

    receive(node, message) → queue of its object → may it? → `Requests` → Downlink.answer

Requests about one object are carried out in the order in which they came, different objects at once. While the API
server is away a request waits for it a little; then it is answered with 503, and the edge keeps it in its outbox.
"""

from __future__ import annotations

import asyncio
import enum
import logging
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass

from octoedge.cloud.edgecontroller.authorize import Belongings, refusal
from octoedge.cloud.edgecontroller.requests import Reply, Requests, failure
from octoedge.cloud.ports import Downlink
from octoedge.errors import ApiError, MessageError, TransportError, bad_request, forbidden
from octoedge.protocol import routes
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Payload
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock, rfc3339_micro
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_WORKERS = 128
_PER_OBJECT = 64
_PER_NODE = 1024
_PATIENCE_SECONDS = 15.0
"""How long a request waits for an API server that is away."""

Key = tuple[str, str, str, str]
"""(node, namespace, type, name)"""


class Enforcement(enum.Enum):
    """What happens when a node may not do what it asks."""

    OFF = "off"
    LOG = "log"
    ENFORCE = "enforce"


@dataclass(frozen=True, slots=True)
class _Request:
    message: Message
    payload: Payload


_FIRST_STATUS = 12.0
"""Seconds of a session in which a node that lives has said how it is."""


class Upstream:
    """Module: carries out the requests of nodes."""

    name = "edgeController upstream"
    needs: tuple[str, ...] = ("edgeController",)

    def __init__(
        self, requests: Requests, belongings: Belongings, downlink: Downlink, clock: Clock, *, enforcement: Enforcement
    ) -> None:
        self._requests = requests
        self._belongings = belongings
        self._downlink = downlink
        self._clock = clock
        self._enforcement = enforcement
        self._pending: dict[Key, deque[_Request]] = {}
        self._of_node: Counter[str] = Counter()
        self._queue: KeyedQueue[Key] = KeyedQueue(self._work, workers=_WORKERS, name="request about")
        self._marks: KeyedQueue[str] = KeyedQueue(self._mark, workers=4, name="mark of")
        self._sessions: dict[str, float] = {}
        """When each node's latest session began, in the loop's seconds."""
        self._beats: KeyedQueue[str] = KeyedQueue(self._renew, workers=_WORKERS, name="lease of")
        self._said = SaidOnce(log)

    def receive(self, node: str, message: Message, payload: Payload) -> None:
        """Take one request; too many are answered with 429."""
        resource = routes.subject(payload.resource)
        key = (node, resource.namespace, resource.type, resource.name)
        waiting = self._pending.setdefault(key, deque())
        if len(waiting) >= _PER_OBJECT or self._of_node[node] >= _PER_NODE:
            error = ApiError(429, "TooManyRequests", f"node {node} has too many requests waiting; send slower")
            self._answer(node, message, Reply(failure(payload, error)))
            return
        waiting.append(_Request(message, payload))
        self._of_node[node] += 1
        self._queue.add(key)

    def connected(self, node: str) -> None:
        """A session began: write into the Node which CloudCore serves it."""
        self._sessions[node] = asyncio.get_running_loop().time()
        self._marks.add(node)

    def beat(self, node: str) -> None:
        """A heartbeat of a node whose lease is renewed here."""
        self._beats.add(node)

    async def run(self, ready: Callable[[], None]) -> None:
        """Carry out requests until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="requests of nodes")
            group.create_task(self._marks.run(), name="marks of nodes")
            group.create_task(self._beats.run(), name="leases of nodes")
            ready()

    async def _work(self, key: Key) -> None:
        waiting = self._pending[key]
        request = waiting.popleft()
        self._of_node[key[0]] -= 1
        try:
            reply = await self._carry_out(key[0], request.payload)
        except ApiError as error:
            level = logging.DEBUG if error.code == 404 else logging.INFO
            what = type(request.payload).__name__
            log.log(level, "node %s, %s %s: %s", key[0], what, request.payload.resource, error)
            reply = Reply(failure(request.payload, error))
        finally:
            if waiting:
                self._queue.add(key)
            else:
                del self._pending[key]
            if not self._of_node[key[0]]:
                del self._of_node[key[0]]
        self._answer(key[0], request.message, reply)

    async def _carry_out(self, node: str, payload: Payload) -> Reply:
        try:
            self._authorize(node, payload)
            return await self._with_patience(node, payload)
        except MessageError as error:
            raise bad_request(str(error)) from error
        except ApiError:
            raise
        except Exception as error:
            log.exception("a request of node %s failed: %s %s", node, type(payload).__name__, payload.resource)
            raise ApiError(500, "InternalError", f"CloudCore failed on this request: {error}") from error

    def _authorize(self, node: str, payload: Payload) -> None:
        if self._enforcement is Enforcement.OFF:
            return
        why = refusal(node, payload, self._belongings)
        if not why:
            return
        log.warning("%s%s", why, "" if self._enforcement is Enforcement.ENFORCE else " (not enforced)")
        if self._enforcement is Enforcement.ENFORCE:
            raise forbidden(why)

    async def _with_patience(self, node: str, payload: Payload) -> Reply:
        backoff = Backoff(first=0.2, limit=3.0)
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_SECONDS
        while True:
            try:
                return await self._requests.answer(node, payload)
            except TransportError as error:
                if loop.time() >= until:
                    text = f"CloudCore cannot reach the API server: {error}"
                    raise ApiError(503, "ServiceUnavailable", text) from error
            await asyncio.sleep(backoff.next())

    def _answer(self, node: str, message: Message, reply: Reply) -> None:
        answer = routes.answer(
            message,
            reply.body,
            message_id=str(uuid.uuid4()),
            timestamp=int(self._clock.now() * 1000),
            version=reply.version,
        )
        self._downlink.answer(node, answer)

    async def _renew(self, node: str) -> None:
        try:
            await self._requests.renew(node, rfc3339_micro(self._clock.now()))
        except (ApiError, TransportError) as error:
            self._said.trouble("leases of nodes", f"{error}; trying again")
            if node in self._downlink.connected:
                self._beats.add_later(node, 3.0)
        else:
            self._said.over("leases of nodes", "are renewed again")
            self._hear_again(node)

    def _hear_again(self, node: str) -> None:
        """A silence that the session outlived made the node Unknown: in a new session it says how it is."""
        since = self._sessions.get(node)
        if (
            since is not None
            and asyncio.get_running_loop().time() - since > _FIRST_STATUS
            and self._requests.given_up(node)
        ):
            self._downlink.end(node, "it was given up during a silence, and is asked anew how it is")

    async def _mark(self, node: str) -> None:
        try:
            await self._requests.mark(node)
        except (ApiError, TransportError) as error:
            log.debug("annotation cloudcore of node %s: %s", node, error)
            if node in self._downlink.connected:
                self._marks.add_later(node, 10.0)
