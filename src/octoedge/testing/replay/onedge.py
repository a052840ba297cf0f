"""A captured cloud opposite a real edge, in virtual time: the cloud's words are said again, the edge's compared.

    the cloud of the capture ══ memory ══ EdgeHub ── MetaManager (SQLite) ── Edged ── MemoryRuntime

What the edge asks is answered as in the capture, or from the objects that the capture tells of. What programs on the
captured node said (MQTT clients, mappers, callers of its MetaServer) cannot be brought about, and is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

import msgspec

from octoedge.errors import ApiError, ConnectError, ConnectionClosed, not_found
from octoedge.protocol import codec, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.capture import DOWN, UP, Opened, Said
from octoedge.protocol.message import Message
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction
from octoedge.testing.clock import VirtualClock, until
from octoedge.testing.cluster import IMAGE, Cable, Cluster, EdgeNode
from octoedge.testing.cri import MemoryRuntime
from octoedge.testing.replay.differences import LEFT_OUT, Difference, Heap, compare
from octoedge.testing.replay.story import PUTS, Story, answered, content, features, meaning
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import pair

_WARM_SECONDS = 30.0
"""Before the capture begins: the edge gets what the captured one held."""
_AFTER_SECONDS = 10.0
_END_SECONDS = 60.0
_OTHERS = (
    p.TwinReport, p.DeviceStateReport, p.UserUpload, p.ApplicationRequest, p.WatchSync, p.DeviceDetailQuery,
    p.SigningRequestInsert, p.CaQuery,
)  # fmt: skip
_OWN = (p.Keepalive, p.LeaseInsert, p.LeaseUpdate)
"""Signs of life: how they are given depends on what both can."""


async def play(story: Story, directory: Path) -> list[Difference]:
    """Play the cloud's part; what our edge said otherwise."""
    async with asyncio.TaskGroup() as group:
        cluster = Cluster(directory, group)
        cluster.clock = VirtualClock(story.epoch)
        node = EdgeNode(story.node, cluster, seed=1)
        node.runtime = MemoryRuntime(cluster.clock, images=_images(story))
        node.cable = cloud = CapturedCloud(story, cluster)
        await cloud.play(node)
        await node.kill()
        await cluster.close()
    return cloud.compared()


class CapturedCloud(Cable):
    """The cloud of a capture, as the way that an edge dials."""

    def __init__(self, story: Story, cluster: Cluster) -> None:
        super().__init__(story.node, cluster)
        self._story = story
        self._world = cluster
        self._open: Opened | None = None
        self._far: Connection | None = None
        self._up = asyncio.Event()
        self._now = Heap()
        self._confirmed: set[str] = set()
        self._warm = True
        self._ids = itertools.count(1)
        self._objects: dict[str, dict[str, Any]] = {}
        self._replies: dict[tuple[str, str], deque[Said]] = defaultdict(deque)
        self._ended: dict[str, asyncio.Event] = defaultdict(asyncio.Event)
        self._ended_then = {
            said.message.route.resource
            for said in story.said
            if said.way == UP and said.message.route.operation == "delete"
        }
        """Pods that the captured edge has said to have ended."""
        for said in story.said:
            answer = story.answers.get(said.message.header.msg_id)
            if said.way == UP and answer is not None:
                self._replies[_asked(said.message)].append(answer)

    # ---- the way ---------------------------------------------------------------------------------------------------

    async def dial(self, headers: dict[str, str]) -> Connection:
        """The edge connects, when the captured one was connected."""
        if self._open is None or self._far is not None:
            raise ConnectError("the cloud of the capture was not there at this time")
        own = features(self._open.cloud)
        edge, self._far = pair(Peer(self._story.node, headers=headers), Peer(address="the capture", headers=own))
        self._world.spawn(self._hear(self._far), "ears of the captured cloud")
        self._up.set()
        return edge

    async def drop(self) -> None:
        """End the connection."""
        far, self._far = self._far, None
        self._up.clear()
        if far is not None:
            await far.close()

    # ---- the cloud's part ------------------------------------------------------------------------------------------

    async def play(self, node: EdgeNode) -> None:
        """All of it."""
        loop = asyncio.get_running_loop()
        opening = deque(self._story.opened)
        first = opening[0]
        if first.before or self._story.held:
            self._open = first
            await node.start()
            await self._give_what_was_held()
            if first.before:
                opening.popleft()
            else:
                self._open = None
                await self.drop()
        else:
            self._open = opening.popleft()
            await node.start()
        self._warm = False
        began = loop.time()
        for said in self._story.said:
            while opening and opening[0].connection <= said.connection:
                await until(began + opening[0].at)
                self._open = opening.popleft()
                await self.drop()
            await until(began + said.at)
            if said.way == DOWN and not said.message.header.parent_msg_id:
                await self._let_end(said)
                await self._say(said.message)
        await asyncio.sleep(_AFTER_SECONDS)

    async def _let_end(self, said: Said) -> None:
        """A cloud deletes a pod once its edge has said that it ended; ours may take longer to end it."""
        about = said.message.route.resource
        if said.message.route.operation == "delete" and about in self._ended_then:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_END_SECONDS):
                    await self._ended[about].wait()

    async def _give_what_was_held(self) -> None:
        await self._up.wait()
        for held in self._story.held:
            body = bytes(held.object)
            resource = Resource(*held.resource.split("/")[:3])
            version = str(msgspec.json.decode(body).get("metadata", {}).get("resourceVersion", ""))
            self._objects[held.resource] = msgspec.json.decode(body)
            update = p.ObjectUpdate(resource=resource, body=body, version=version)
            await self._say(routes.compose(update, message_id=self._id(), timestamp=0))
        await asyncio.sleep(_WARM_SECONDS)

    async def _say(self, message: Message) -> None:
        payload = routes.classify(Direction.DOWN, message) if _known(message) else None
        if isinstance(payload, PUTS) and isinstance(body := payload.json(), dict):
            self._objects[str(payload.resource)] = body
        elif isinstance(payload, p.ObjectDelete):
            self._objects.pop(str(payload.resource), None)
        await self._up.wait()
        if self._far is not None:
            await self._send(self._far, message)

    async def _send(self, far: Connection, message: Message) -> None:
        try:
            await far.send(codec.encode(message))
        except ConnectionClosed:
            if self._far is far:
                await self.drop()

    async def _hear(self, far: Connection) -> None:
        while True:
            try:
                message = codec.decode(await far.receive())
            except ConnectionClosed:
                break
            payload = routes.classify(Direction.UP, message)
            if isinstance(payload, p.Ack):
                self._confirmed.update(routes.acknowledged(message))
                continue
            if isinstance(payload, p.PodDelete):
                self._ended[message.route.resource].set()
            if not self._warm:
                self._note(self._now, payload, message)
            reply = self._reply(message, payload)
            if reply is not None:
                await self._send(far, reply)
        if self._far is far:
            await self.drop()

    def _reply(self, message: Message, payload: p.Payload) -> Message | None:
        """As in the capture; else what the objects that it tells of give."""
        replies = self._replies.get(_asked(message))
        if replies:
            said = replies.popleft() if len(replies) > 1 else replies[0]
            header = msgspec.structs.replace(
                said.message.header, msg_id=self._id(), parent_msg_id=message.header.msg_id
            )
            return msgspec.structs.replace(said.message, header=header)
        row = routes.row_of(payload)
        if (row.confirm if self._story.ours else row.confirm_go) is not routes.Confirm.REPLY:
            return None
        return routes.answer(message, self._made_up(payload), message_id=self._id(), timestamp=0)

    def _made_up(self, payload: p.Payload) -> bytes:
        about = routes.subject(payload.resource)
        known = self._objects.get(str(about)) or self._answered(about)
        if isinstance(payload, p.ObjectQuery):
            if known is None:
                error = not_found(about.type + "s", about.name)
                return p.failed(error) if about.type == "lease" else msgspec.json.encode(p.error_value(error))
            body = msgspec.json.encode(known)
            return p.succeeded(body) if about.type == "lease" else body
        if known is not None:
            return p.succeeded(msgspec.json.encode(known))
        return p.succeeded(payload.body) if payload.body[:1] == b"{" else b"OK"

    def _answered(self, about: Resource) -> dict[str, Any] | None:
        """The object as any answer of the capture gives it."""
        for question_id, answer in self._story.answers.items():
            question = self._story.questions.get(question_id)
            if question is None or not question.route.resource.endswith(f"/{about.name}"):
                continue
            try:
                found = answered(answer)
            except ApiError:
                continue
            if found is not None and found.get("kind", "").lower() in ("", about.type):
                return found
        return None

    def _id(self) -> str:
        return f"{900_000_000 + next(self._ids)}"

    # ---- what is compared ------------------------------------------------------------------------------------------

    def compared(self) -> list[Difference]:
        """What the captured edge said, and ours."""
        captured, now, others = Heap(), self._now, []
        for said in self._story.said:
            payload = meaning(said)
            if said.way == DOWN or payload is None or isinstance(payload, p.Ack | p.Nack):
                continue
            if isinstance(payload, _OTHERS):
                others.append(f"{said.message.route.operation} {said.message.route.resource}")
            else:
                self._note(captured, payload, said.message)
        for message_id, said in self._story.acknowledged().items():
            if said.message.header.parent_msg_id:
                continue  # ours acknowledges no answers
            what = f"acknowledgement of {said.message.route.operation} {said.message.route.resource}"
            captured.add(what, None)
            if message_id in self._confirmed:
                now.add(what, None)
        found = compare(captured, now, others)
        return [*found, *([Difference(LEFT_OUT, "messages without content", self._story.left_out, 0)]
                          if self._story.left_out else [])]  # fmt: skip

    def _note(self, heap: Heap, payload: p.Payload, message: Message) -> None:
        if not isinstance(payload, (*_OWN, *_OTHERS)):
            value = None if isinstance(payload, p.PodDelete) else content(message)
            about = message.route.resource
            if payload.resource.type == "event":
                about, value = about.rpartition(".")[0], None  # each has a name of its own
            heap.add(f"{message.route.operation} {about}", value)


def _images(story: Story) -> tuple[str, ...]:
    found = {IMAGE}
    for resource, obj in story.objects():
        if "/pod/" in resource:
            spec = obj.get("spec") or {}
            containers = [*(spec.get("containers") or ()), *(spec.get("initContainers") or ())]
            found.update(container.get("image", "") for container in containers)
    return tuple(sorted(found - {""}))


def _asked(message: Message) -> tuple[str, str]:
    return message.route.operation, message.route.resource


def _known(message: Message) -> bool:
    return meaning(Said(at=0, connection=0, way=DOWN, size=0, message=message)) is not None
