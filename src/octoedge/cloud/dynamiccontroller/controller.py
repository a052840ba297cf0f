"""DynamicController itself: nodes' Applications in, answers out.

    receive(node, message) → in whose name? → a request, or a shared watch → Downlink.answer

Requests of one node overlap, up to a limit; what a node waits for when its session ends is forgotten.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Callable, Mapping

import msgspec

from octoedge.cloud.dynamiccontroller.callers import Callers
from octoedge.cloud.dynamiccontroller.granted import is_granted
from octoedge.cloud.dynamiccontroller.listeners import Listener, Listeners
from octoedge.cloud.dynamiccontroller.requests import Requests
from octoedge.cloud.dynamiccontroller.shared import Watches, What
from octoedge.cloud.ports import Downlink
from octoedge.errors import ApiError, MessageError, TransportError, bad_request
from octoedge.kube import apiaddress
from octoedge.kube.client import Client, SpeakingAs
from octoedge.kube.selector import parse_fields, parse_labels
from octoedge.protocol import application as a
from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.protocol.message import Message
from octoedge.runtime.clock import Clock

log = logging.getLogger(__name__)

PAYLOADS = (p.ApplicationRequest, p.WatchSync)
_PER_NODE = 256
_METASERVER = ("127.0.0.1", 10550)
"""Where KubeEdge has it, whatever an edge's configuration says."""
_FOLLOW_SECONDS, _NODE_SECONDS = 240.0, 1800.0
"""The longest that a question for changes waits, an account's and a node's own; the edge asks again.

Rights are looked at with every question: those of accounts come and go."""


class _Following(msgspec.Struct, frozen=True, rename="camel"):
    """Options of `follow`."""

    resource_version: str = "0"
    label_selector: str = ""
    field_selector: str = ""
    timeout_seconds: float = _FOLLOW_SECONDS


class DynamicController:
    """A module; implements `ports.Upstream`."""

    name = "dynamicController"
    needs: tuple[str, ...] = ("edgeController",)

    def __init__(
        self, client: Client, downlink: Downlink, clock: Clock, runs_as: Callable[[str, str, str], bool]
    ) -> None:
        self._downlink = downlink
        self._clock = clock
        self._requests = Requests(client)
        self.watches = Watches(client)
        self._callers = Callers(client, runs_as, lambda: asyncio.get_running_loop().time())
        self._listeners = Listeners()
        self._group: asyncio.TaskGroup | None = None
        self._tasks: dict[str, set[asyncio.Task[None]]] = {}

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            self._group = group
            group.create_task(self.watches.run(), name="shared watches")
            await asyncio.sleep(0)
            ready()

    def receive(self, node: str, message: Message, payload: p.Payload) -> None:
        """Take one request; too many at once are answered with 429."""
        tasks = self._tasks.setdefault(node, set())
        try:
            asked = a.decode(payload.body) if isinstance(payload, p.ApplicationRequest) else None
        except MessageError as error:
            log.warning("dropped an Application of node %s: %s", node, error)
            return
        if asked is None:
            self._synchronize(node, message, payload)
            return
        if len(tasks) >= _PER_NODE or self._group is None:
            refusal = ApiError(429, "TooManyRequests", f"node {node} asks {_PER_NODE} things at once; ask less")
            self._answer(node, message, a.encode(a.rejected(asked, refusal)))
            return
        task = self._group.create_task(self._serve(node, message, asked), name=f"{node} {asked.verb} {asked.key[:80]}")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    def disconnected(self, node: str) -> None:
        """A session ended: nobody waits for its answers, and it watches nothing."""
        self._listeners.keep_only(node, ())
        for task in self._tasks.pop(node, ()):
            task.cancel()

    async def _serve(self, node: str, message: Message, asked: a.Application) -> None:
        try:
            body = await self._body(node, asked)
            answer = a.approved(asked, body)
        except ApiError as error:
            level = logging.INFO if error.code == 403 else logging.DEBUG
            log.log(
                level, "node %s, %s %.200s as %.200s: %s", node, asked.verb, asked.key, asked.account or node, error
            )
            answer = a.rejected(asked, error)
        except MessageError as error:
            answer = a.rejected(asked, bad_request(str(error)))
        except TransportError as error:
            text = f"CloudCore cannot reach the API server: {error}"
            answer = a.rejected(asked, ApiError(503, "ServiceUnavailable", text))
        except Exception as error:
            log.exception("an Application of node %s failed: %s %s", node, asked.verb, asked.key[:200])
            answer = a.rejected(asked, ApiError(500, "InternalError", f"CloudCore failed on this request: {error}"))
        self._answer(node, message, a.encode(answer))

    async def _body(self, node: str, asked: a.Application) -> bytes | None:
        account = asked.account if isinstance(asked.account, str) else ""
        caller = None if is_granted(asked) else self._callers.caller(node, account)
        if asked.verb == a.FOLLOW:
            return await self._follow(caller, asked)
        if asked.verb == "watch" and caller is not None:
            await self._listen(node, caller, asked)
            return None
        return self._as_there(node, asked.key, await self._requests.carry_out(asked, caller))

    def _as_there(self, node: str, key: str, body: bytes | None) -> bytes | None:
        """An edge of KubeEdge is told that the API is its MetaServer; ours know better where that is."""
        if not body or a.is_discovery(key) or self._downlink.ours(node):
            return body
        about = a.parse_key(key)
        return apiaddress.shown_at(body, about.group, about.plural, _METASERVER)

    async def _follow(self, caller: SpeakingAs | None, asked: a.Application) -> bytes:
        options = a.option_as(asked, _Following)
        key = a.parse_key(asked.key)
        labels, fields = str(parse_labels(options.label_selector)), options.field_selector
        parse_fields(fields)
        if not options.resource_version.isdecimal():
            raise bad_request(f"resourceVersion {options.resource_version[:40]!r} is no version")
        if caller is not None:
            await self._callers.check_watch(caller, key, fields)
        longest = _FOLLOW_SECONDS if asked.account else _NODE_SECONDS
        seconds = min(max(options.timeout_seconds, 0.1), longest)
        batch = await self.watches.follow(What(key, labels, fields), int(options.resource_version), seconds)
        return msgspec.json.encode(batch)

    async def _listen(self, node: str, caller: SpeakingAs, asked: a.Application) -> None:
        """Begin a watch whose changes are pushed, as edges of KubeEdge have it."""
        options = a.option_as(asked, _Following)
        key = a.parse_key(asked.key)
        what = What(key, str(parse_labels(options.label_selector)), options.field_selector)
        parse_fields(what.fields)
        await self._callers.check_watch(caller, key, what.fields)

        async def list_all(key: a.Key, labels: str, fields: str) -> bytes:
            option = msgspec.json.encode({"labelSelector": labels, "fieldSelector": fields})
            listed = await self._requests.carry_out(a.make(node, str(key), "list", option=option), caller)
            return self._as_there(node, str(key), listed) or b""

        assert self._group is not None

        def push(payload: p.Payload) -> None:
            body = self._as_there(node, str(key), payload.body) or b""
            self._push(node, msgspec.structs.replace(payload, body=body))

        listener = Listener(what, self.watches, list_all, push)
        self._listeners.add(self._group, node, asked.id, listener)

    def _synchronize(self, node: str, message: Message, payload: p.Payload) -> None:
        """All watches that an edge has: end the others, begin those that are missing; the answer names what failed."""
        try:
            wanted = msgspec.json.decode(payload.body, type=dict[str, a.Application])
        except msgspec.DecodeError as error:
            log.warning("dropped the watches of node %s: %s", node, error)
            return
        self._listeners.keep_only(node, wanted)
        tasks = self._tasks.setdefault(node, set())
        if self._group is None or len(tasks) >= _PER_NODE:
            return
        task = self._group.create_task(self._begin_missing(node, message, wanted), name=f"{node} watches")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async def _begin_missing(self, node: str, message: Message, wanted: Mapping[str, a.Application]) -> None:
        failed: dict[str, a.Application] = {}
        for watch_id, asked in wanted.items():
            try:
                account = asked.account if isinstance(asked.account, str) else ""
                await self._listen(node, self._callers.caller(node, account), asked)
            except (ApiError, MessageError, TransportError) as error:
                refusal = error if isinstance(error, ApiError) else bad_request(str(error))
                failed[watch_id] = a.rejected(asked, refusal)
        self._answer(node, message, msgspec.json.encode(failed))

    def _push(self, node: str, payload: p.Payload) -> None:
        stamp = int(self._clock.now() * 1000)
        self._downlink.answer(node, routes.compose(payload, message_id=str(uuid.uuid4()), timestamp=stamp))

    def _answer(self, node: str, message: Message, body: bytes) -> None:
        stamp = int(self._clock.now() * 1000)
        self._downlink.answer(node, routes.answer(message, body, message_id=str(uuid.uuid4()), timestamp=stamp))
