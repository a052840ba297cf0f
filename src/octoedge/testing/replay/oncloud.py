"""A captured edge opposite a real CloudCore, in virtual time: what the edge said is said again, the answers compared.

    objects of the capture ─► MemoryApi ◄─► CloudCore ══ memory ══ the edge of the capture

Whatever happened at the API then is done again when the capture tells of it; an object that our CloudCore has already
brought into that state by itself is left alone. Acknowledgements go to the messages that ours sent about the object.
"""

from __future__ import annotations

import asyncio
import itertools
import tempfile
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import msgspec

from octoedge.api.config.load import parse_cloudcore
from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.writing.strategic import StrategicMerge
from octoedge.cloud.cloudcore import CloudCore
from octoedge.errors import ApiError, ConnectionClosed, conflict
from octoedge.kube import kinds
from octoedge.kube.kinds import Kind
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.capture import DOWN, UP, Opened, Said
from octoedge.protocol.message import Message
from octoedge.protocol.resource import CLUSTER, Resource, parse
from octoedge.protocol.routes import Direction
from octoedge.testing.clock import VirtualClock, until
from octoedge.testing.kube import MemoryApi, MemoryClient, split
from octoedge.testing.replay.differences import Difference, Heap, compare, plain
from octoedge.testing.replay.story import PUTS, Story, answered, content, features, meaning
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import pair

_KINDS = {kind.kind.lower(): kind for kind in vars(kinds).values() if isinstance(kind, Kind)}
_WARM_SECONDS = 10.0
"""Before the capture begins: what the node held then is sent to it and acknowledged."""
_AFTER_SECONDS = 10.0
_SOON, _LATE = 1.0, 10.0
"""Seconds by which our cloud may tell of an object sooner or later than the captured one."""


async def play(story: Story) -> list[Difference]:
    """Play the edge's part; what our cloud said otherwise."""
    with tempfile.TemporaryDirectory(prefix="octoedge-replay-") as folder:
        return await _played(story, folder)


async def _played(story: Story, folder: str) -> list[Difference]:
    async with asyncio.TaskGroup() as group:
        stage = _Stage(story, group, folder)
        task = group.create_task(stage.core.run(), name="cloudcore")
        await stage.core.ready()
        await stage.play()
        await stage.hang_up()
        stage.core.stop()
        await asyncio.wait([task])
    return compare(*stage.compared())


class _Patching(MemoryClient):
    """A client of an API that merges lists of conditions and containers as the embedded API server does."""

    def __init__(self, api: MemoryApi) -> None:
        super().__init__(api)
        self._schema = Schema.load()
        self._strategic = StrategicMerge(self._schema)

    async def _patch(self, where: str, body: bytes | None, query: Mapping[str, str]) -> dict[str, Any]:
        collection, name, _ = split(where)
        kind = next((kind for kind in _KINDS.values() if kind.plural == collection.rpartition("/")[2]), None)
        group, _, version = kind.api_version.rpartition("/") if kind is not None else ("", "", "")
        definition = self._schema.find(group, version, kind.kind) if kind is not None else None
        if definition is not None:
            patch = msgspec.json.decode(body or b"{}")
            known = self.api.find(collection, name)
            uid = (patch.get("metadata") or {}).get("uid", known["metadata"]["uid"])
            if uid != known["metadata"]["uid"]:
                raise conflict(collection.rpartition("/")[2], name, "the uid in the patch is not the object's")
            return await self.api.put(collection, self._strategic.apply(definition, known, patch), event="MODIFIED")
        return await super()._patch(where, body, query)


class _Stage:
    def __init__(self, story: Story, group: asyncio.TaskGroup, folder: str) -> None:
        self._story = story
        self._group = group
        self._api = MemoryApi()
        self._connections: dict[int, Connection] = {}
        self._unconfirmed: list[Message] = []
        self._answers: dict[str, Message] = {}
        """What our cloud answered, by question."""
        self._owed: Counter[str] = Counter()
        """Acknowledgements of the capture whose message ours has not sent yet: by object, or by question."""
        self._now = Heap()
        self._ids = itertools.count(1)
        self._warm = True
        self._began = 0.0
        self._told: dict[str, list[float]] = defaultdict(list)
        """When the captured cloud told of each object: what ours says at other times has no acknowledgement there."""
        for said in story.said:
            if said.way == DOWN and not said.message.header.parent_msg_id:
                self._told[said.message.route.resource].append(said.at)
        self._by_id = {said.message.header.msg_id: said for said in story.said if said.way == DOWN}
        config = parse_cloudcore(f"octoedge: {{telemetry: {{directory: '{folder}'}}}}".encode(), "replay")
        self.core = CloudCore(config, _Patching(self._api), VirtualClock(story.epoch), listen=False)

    async def play(self) -> None:
        await self._warm_up()
        loop = asyncio.get_running_loop()
        began = self._began = loop.time()
        opening = [opened for opened in self._story.opened if opened.connection not in self._connections]
        for said in self._story.said:
            while opening and opening[0].connection <= said.connection:
                await until(began + opening[0].at)
                await self._connect(opening.pop(0))
            await until(began + said.at)
            await (self._edge_said(said) if said.way == UP else self._cloud_said(said))
        await asyncio.sleep(_AFTER_SECONDS)

    async def hang_up(self) -> None:
        for connection in self._connections.values():
            await connection.close()

    def compared(self) -> tuple[Heap, Heap]:
        """(what the captured cloud said, what ours said)"""
        captured = Heap()
        for said in self._story.said:
            if said.way == DOWN:
                self._note(captured, said.message)
        return captured, self._now

    # ---- the edge's part -------------------------------------------------------------------------------------------

    async def _warm_up(self) -> None:
        for held in self._story.held:
            await self._make(parse(held.resource), msgspec.json.decode(bytes(held.object)))
        for opened in self._story.opened[:1]:
            if opened.before or self._story.held:
                await self._connect(opened)
                await asyncio.sleep(_WARM_SECONDS)
                beat = routes.compose(p.Keepalive(body=b'"ping"'), message_id="warm", timestamp=0)
                await self._connections[opened.connection].send(codec.encode(beat))
                if not opened.before:
                    await self._connections.pop(opened.connection).close()
                    await asyncio.sleep(1)
        self._warm = False

    async def _connect(self, opened: Opened) -> None:
        headers = features(opened.edge)
        name = handshake.certificate_name(self._story.node)
        peer = Peer(self._story.node, name, "the capture", headers=headers)
        edge, cloud = pair(peer, Peer(address="cloud"))
        self._connections[opened.connection] = edge
        self._unconfirmed.clear()
        self._group.create_task(self.core.hub.serve(cloud), name="session")
        self._group.create_task(self._hear(edge), name="ears of the captured edge")
        await asyncio.sleep(0)

    async def _hear(self, edge: Connection) -> None:
        while True:
            try:
                message = codec.decode(await edge.receive())
            except ConnectionClosed:
                return
            if message.header.parent_msg_id:
                self._answers[message.header.parent_msg_id] = message
            else:
                self._unconfirmed.append(message)
            about = message.header.parent_msg_id or message.route.resource
            owed = self._owed[about] > 0
            if owed:
                self._owed[about] -= 1
            if self._warm or owed or not (message.header.parent_msg_id or self._is_told(about)):
                await self._acknowledge(edge, message)
            if not self._warm:
                self._note(self._now, message)

    def _is_told(self, resource: str) -> bool:
        now = asyncio.get_running_loop().time() - self._began
        return any(at - _SOON <= now <= at + _LATE for at in self._told[resource])

    async def _edge_said(self, said: Said) -> None:
        edge = self._connections.get(said.connection)
        payload = meaning(said)
        if edge is None or payload is None:
            return
        try:
            if isinstance(payload, p.Ack | p.Nack):
                await self._acknowledge_as(edge, said)
                return
            await self._prepare(said, payload)
            await edge.send(codec.encode(self._current(said.message, payload)))
        except ConnectionClosed:
            self._connections.pop(said.connection, None)

    async def _acknowledge_as(self, edge: Connection, said: Said) -> None:
        """Our cloud's messages have other ids: those about the same object are meant."""
        for message_id in routes.acknowledged(said.message):
            meant = self._by_id.get(message_id)
            if meant is None:
                continue
            question, about = meant.message.header.parent_msg_id, meant.message.route.resource
            if question:
                ours = [self._answers[question]] if question in self._answers else []
            else:
                ours = [message for message in self._unconfirmed if message.route.resource == about]
            for message in ours:
                await self._acknowledge(edge, message)
            if not ours:  # it comes in a moment
                self._owed[question or about] += 1

    async def _acknowledge(self, edge: Connection, message: Message) -> None:
        self._unconfirmed = [one for one in self._unconfirmed if one is not message]
        await edge.send(codec.encode(routes.acknowledge(message, message_id=f"ack {next(self._ids)}", timestamp=0)))

    def _current(self, message: Message, payload: p.Payload) -> Message:
        """An update names the version that it changes: here the one that our API has."""
        body = payload.json() if isinstance(payload, p.LeaseUpdate) else None
        known = self._find(payload.resource)
        if body is None or known is None:
            return message
        body["metadata"]["resourceVersion"] = known["metadata"]["resourceVersion"]
        body["metadata"]["uid"] = known["metadata"]["uid"]
        return msgspec.structs.replace(message, content=msgspec.Raw(msgspec.json.encode(body)))

    # ---- what happened at the API ----------------------------------------------------------------------------------

    async def _cloud_said(self, said: Said) -> None:
        payload = meaning(said)
        if isinstance(payload, PUTS) and isinstance(body := payload.json(), dict):
            await self._make(payload.resource, body)
        elif isinstance(payload, p.ObjectDelete):
            await self._remove(payload.resource)

    async def _prepare(self, question: Said, payload: p.Payload) -> None:
        """What the cloud answered then was there when it was asked."""
        answer = self._story.answers.get(question.message.header.msg_id)
        about = routes.subject(payload.resource)
        if answer is None or question.message.route.operation == "insert":
            return
        try:
            found = answered(answer)
        except ApiError as error:
            if error.code == 404:
                await self._remove(about)
            return
        if found is not None and self._find(about) is None:
            await self._make(about, found)

    def _place(self, resource: Resource) -> str:
        kind = _KINDS.get(resource.type)
        if kind is None or not resource.name:
            return ""
        within = "" if resource.namespace == CLUSTER else f"/namespaces/{resource.namespace}"
        return f"{kind.root}{within}/{kind.plural}"

    def _find(self, resource: Resource) -> dict[str, Any] | None:
        return self._api.objects.get((self._place(resource), resource.name))

    async def _make(self, resource: Resource, obj: dict[str, Any]) -> None:
        """Bring the object into the state that the capture tells of, unless it is in it."""
        place, known = self._place(resource), self._find(resource)
        if not place or "metadata" not in obj:
            return
        if known is None:
            await self._api.put(place, obj, event="ADDED")
            return
        gone = "deletionTimestamp" in obj["metadata"], "deletionTimestamp" in known["metadata"]
        if plain(known) != plain(obj) or (gone[0] and not gone[1]):
            uid = known["metadata"]["uid"] if resource.type in ("node", "lease") else obj["metadata"].get("uid")
            await self._api.put(place, {**obj, "metadata": {**obj["metadata"], "uid": uid}}, event="MODIFIED")

    async def _remove(self, resource: Resource) -> None:
        known = self._find(resource)
        if known is not None:
            await self._api.put(self._place(resource), known, event="DELETED")

    # ---- what is compared ------------------------------------------------------------------------------------------

    def _note(self, heap: Heap, message: Message) -> None:
        route = message.route
        if message.header.parent_msg_id:
            question = self._story.questions.get(message.header.parent_msg_id)
            if question is not None and question.route.operation != "keepalive":
                asked = question.route
                value = None if "/serviceaccounttoken/" in asked.resource else content(message)
                heap.add(f"answer to {asked.operation} {asked.resource}", value)
            return
        payload = routes.classify(Direction.DOWN, message)
        verb = {p.ObjectInsert: "object", p.ObjectUpdate: "object", p.ObjectDelete: "delete"}
        what = verb.get(type(payload), route.operation)
        value = None if what == "delete" else content(message)
        if isinstance(value, dict) and payload.resource.type in ("pod", "node"):
            value.pop("status", None)  # KubeEdge sends back what the edge has just said; ours does not
        heap.add(f"{what} {route.resource}", value)
