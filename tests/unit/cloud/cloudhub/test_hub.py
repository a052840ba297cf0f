"""CloudHub over memory connections, in virtual time: admission, one session per node, keepalive, delivery, answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace

import msgspec
import pytest

from octoedge.cloud.cloudhub.bases import Bases
from octoedge.cloud.cloudhub.hub import CloudHub, Sessions
from octoedge.errors import ConnectionClosed
from octoedge.protocol import codec, deltas, handshake, routes
from octoedge.protocol.delivery import Item
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.payloads import EventInsert, Keepalive, ObjectDelete, ObjectQuery, ObjectUpdate, Payload
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction
from octoedge.testing.clock import VirtualClock, run
from octoedge.transport.connection import Peer
from octoedge.transport.memory import MemoryConnection, pair
from octoedge.transport.packed import PackedConnection

POD = Resource("default", "pod", "web")
OTHER = Resource("default", "pod", "other")


@dataclass
class Notebook:
    """A controller and a table of checkpoints that only note what they are told."""

    received: list[tuple[str, Payload]] = field(default_factory=list)
    versions: dict[tuple[str, str], int] = field(default_factory=dict)
    waiting: list[Callable[[], None]] = field(default_factory=list)
    slow: bool = False
    stores: list[str] = field(default_factory=list)

    def receive(self, node: str, message: Message, payload: Payload) -> None:
        self.received.append((node, payload))

    def version(self, node: str, uid: str) -> int | None:
        return self.versions.get((node, uid))

    def expect(self, node: str, item: Item, then: Callable[[], None]) -> None:
        self.versions[node, item.uid] = 0
        if self.slow:
            self.waiting.append(then)
        else:
            then()

    def opened(self, node: str, store: str) -> None:
        self.stores.append(store)

    def reached(self, node: str, item: Item, store: str) -> None:
        if item.deletes:
            self.versions.pop((node, item.uid), None)
        else:
            self.versions[node, item.uid] = item.version


@dataclass
class Hub:
    """A hub with its surroundings."""

    notebook: Notebook
    sessions: Sessions
    hub: CloudHub
    group: asyncio.TaskGroup
    beats: list[str]

    def connect(self, node: str = "edge-1", certificate: str = "", store: str = "") -> MemoryConnection:
        headers = {handshake.STORE: store} if store else {}
        name = certificate or f"system:node:{node}"
        peer = Peer(node=node, certificate_name=name, address="192.0.2.9:1", headers=headers)
        edge, cloud = pair(peer)
        self.group.create_task(self.hub.serve(cloud), name=f"serve {node}")
        return edge


@asynccontextmanager
async def _hub(*, limit: int = 10) -> AsyncIterator[Hub]:
    notebook, sessions, beats = Notebook(), Sessions(), list[str]()
    hub = CloudHub(
        sessions, notebook, notebook, VirtualClock(), node_limit=limit, keepalive_seconds=30.0, beat=beats.append
    )
    ready = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        task = group.create_task(hub.run(ready.set), name="hub")
        await ready.wait()
        yield Hub(notebook, sessions, hub, group, beats)
        await hub.drain()
        task.cancel()


def _item(version: int, uid: str = "u-1", *, deletes: bool = False) -> Item:
    body = msgspec.json.encode({"metadata": {"uid": uid}})
    kind = ObjectDelete if deletes else ObjectUpdate
    return Item(kind(resource=POD, body=body, version=str(version)), uid, version, deletes)


async def _next(edge: MemoryConnection) -> Message:
    return codec.decode(await edge.receive())


async def _say(edge: MemoryConnection, payload: Payload, message_id: str = "m-1") -> None:
    await edge.send(codec.encode(routes.compose(payload, message_id=message_id, timestamp=0)))


async def _acknowledge(edge: MemoryConnection, message: Message) -> None:
    await edge.send(codec.encode(routes.acknowledge(message, message_id="a", timestamp=0)))
    await asyncio.sleep(0.1)


async def _is_closed(edge: MemoryConnection) -> bool:
    try:
        async with asyncio.timeout(1.0):
            await edge.receive()
    except ConnectionClosed:
        return True
    except TimeoutError:
        return False
    return False


@pytest.mark.parametrize(
    ("node", "certificate"),
    [("edge-1", "system:node:edge-2"), ("edge-1", "nobody"), ("", "system:node:"), ("x" * 300, "")],
)
def test_a_wrong_identity_is_refused(node: str, certificate: str) -> None:
    async def main() -> None:
        async with _hub() as world:
            edge = world.connect(node, certificate)
            assert await _is_closed(edge)
            assert not world.sessions.connected

    run(main())


def test_a_node_that_lives_and_takes_no_data_is_let_go() -> None:
    async def main() -> None:
        async with _hub() as world:
            edge = world.connect(store="s")
            await asyncio.sleep(0.1)
            for number in range(400):
                world.sessions.answer("edge-1", Message(Header(f"a-{number}"), Route(operation="response")))
            for _ in range(5):
                assert list(world.sessions.connected) == ["edge-1"]
                await _say(edge, Keepalive(body=b'"ping"'))
                await asyncio.sleep(5.9)
            await _say(edge, Keepalive(body=b'"ping"'))
            await asyncio.sleep(1.0)
            assert not world.sessions.connected

    run(main())


def test_one_more_than_the_limit_is_refused_and_the_rest_stay() -> None:
    async def main() -> None:
        async with _hub(limit=1) as world:
            first = world.connect("edge-1")
            await asyncio.sleep(0.1)
            second = world.connect("edge-2")
            assert await _is_closed(second)
            assert list(world.sessions.connected) == ["edge-1"]
            assert not await _is_closed(first)

    run(main())


def test_the_newest_session_of_a_node_wins_and_the_old_one_ends_only_itself() -> None:
    async def main() -> None:
        async with _hub() as world:
            old = world.connect()
            await asyncio.sleep(0.1)
            new = world.connect()
            assert await _is_closed(old)
            await asyncio.sleep(1.0)
            world.sessions.offer("edge-1", _item(1))
            assert (await _next(new)).route.resource == "default/pod/web"

    run(main())


def test_a_silent_node_is_disconnected_and_a_talking_one_is_not() -> None:
    async def main() -> None:
        async with _hub() as world:
            silent, talking = world.connect("silent"), world.connect("talking")
            for _ in range(5):
                await asyncio.sleep(15.0)
                await _say(talking, Keepalive())
            assert list(world.sessions.connected) == ["talking"]
            assert await _is_closed(silent)

    run(main())


def test_other_traffic_is_no_keepalive() -> None:
    async def main() -> None:
        async with _hub() as world:
            edge = world.connect()
            for _ in range(2):
                await asyncio.sleep(14.0)
                await _say(edge, ObjectQuery(resource=Resource("default", "configmap", "c")))
            await asyncio.sleep(5.0)
            assert not world.sessions.connected
            assert len(world.notebook.received) == 2

    run(main())


def test_an_object_is_delivered_again_until_acknowledged() -> None:
    async def main() -> None:
        async with _hub() as world:
            edge = world.connect()
            await asyncio.sleep(0.1)
            world.sessions.offer("edge-1", _item(7))
            first = await _next(edge)
            again = await _next(edge)
            assert first.header == msgspec.structs.replace(again.header, timestamp=first.header.timestamp)
            assert first.header.resourceversion == "7"
            await _acknowledge(edge, again)
            assert world.notebook.versions == {("edge-1", "u-1"): 7}
            assert world.sessions.unconfirmed() == {"edge-1": 0}

    run(main())


def test_nothing_is_sent_before_its_checkpoint_is_durable() -> None:
    async def main() -> None:
        async with _hub() as world:
            world.notebook.slow = True
            edge = world.connect()
            await asyncio.sleep(0.1)
            world.sessions.offer("edge-1", _item(1))
            world.sessions.offer("edge-1", _item(3))
            world.sessions.offer("edge-1", _item(2))
            assert not await _is_closed(edge)
            assert world.sessions.unconfirmed() == {"edge-1": 1}
            [then] = world.notebook.waiting
            then()
            assert (await _next(edge)).header.resourceversion == "3"

    run(main())


def test_a_pod_does_not_overtake_the_configmap_whose_checkpoint_takes_longer() -> None:
    async def main() -> None:
        async with _hub() as world:
            world.notebook.slow = True
            edge = world.connect()
            await asyncio.sleep(0.1)
            world.sessions.offer("edge-1", _item(1, "config"))
            world.sessions.offer("edge-1", replace(_item(2, "pod"), payload=ObjectUpdate(resource=OTHER, version="2")))
            config, pod = world.notebook.waiting
            pod()
            assert not await _is_closed(edge)
            config()
            assert [(await _next(edge)).header.resourceversion for _ in range(2)] == ["1", "2"]

    run(main())


def test_a_delete_overtakes_what_waits_for_its_checkpoint() -> None:
    async def main() -> None:
        async with _hub() as world:
            world.notebook.slow = True
            edge = world.connect()
            await asyncio.sleep(0.1)
            world.sessions.offer("edge-1", _item(1))
            world.sessions.offer("edge-1", _item(2, deletes=True))
            world.sessions.offer("edge-1", _item(3))
            world.notebook.waiting[0]()
            message = await _next(edge)
            assert message.route.operation == "delete"
            await _acknowledge(edge, message)
            assert world.notebook.versions == {}

    run(main())


def test_transport_questions_are_answered_as_the_go_side_does() -> None:
    async def main() -> None:
        async with _hub() as world:
            edge = world.connect()
            route = Route(source="edged", group="meta", operation="ping", resource="r")
            await edge.send(codec.encode(Message(Header(msg_id="k3"), route)))
            answer = await _next(edge)
            assert answer.header.parent_msg_id == "k3"
            assert answer.route == Route(source="edged", group="meta", operation="response", resource="r")
            assert bytes(answer.content) == b'"ack"'

    run(main())


def test_an_answer_does_not_wait_for_objects() -> None:
    async def main() -> None:
        async with _hub() as world:
            edge = world.connect()
            await asyncio.sleep(0.1)
            for number in range(100):
                world.sessions.offer("edge-1", _item(1, f"u-{number}"))
            request = Message(Header(msg_id="q"), Route(operation="query", resource="default/configmap/c"))
            world.sessions.answer("edge-1", routes.answer(request, b"{}", message_id="r", timestamp=0))
            assert (await _next(edge)).header.parent_msg_id == "q"

    run(main())


@pytest.mark.parametrize(("store", "waits"), [("", True), ("s-1", False)])
def test_answers_hold_up_objects_for_a_go_edge_only(store: str, waits: bool) -> None:
    """It drops what its buffer does not hold; an edge of ours acknowledges no answers, so none of them would leave."""

    async def main() -> None:
        async with _hub() as world:
            edge = world.connect(store=store)
            await asyncio.sleep(0.1)
            request = Message(Header(msg_id="q"), Route(operation="query", resource="default/configmap/c"))
            for number in range(40):
                world.sessions.answer("edge-1", routes.answer(request, b"{}", message_id=f"r-{number}", timestamp=0))
            world.sessions.offer("edge-1", _item(1))
            began = asyncio.get_running_loop().time()
            while (await _next(edge)).header.resourceversion != "1":
                pass
            assert (asyncio.get_running_loop().time() - began > 1) is waits

    run(main())


@pytest.mark.parametrize(("store", "at_once"), [("", 32), ("s-1", 100)])
def test_a_go_edge_never_has_more_in_its_buffer_than_the_window(store: str, at_once: int) -> None:
    """Its buffer holds 100 messages and drops the oldest: answers count as objects do."""

    async def main() -> None:
        async with _hub() as world:
            edge = world.connect(store=store)
            await asyncio.sleep(0)
            for number in range(100):
                request = Message(Header(msg_id=f"q{number}"), Route(operation="query", resource="default/secret/c"))
                world.sessions.answer("edge-1", routes.answer(request, b"{}", message_id=f"r{number}", timestamp=0))
            await asyncio.sleep(0.5)
            got = 0
            with contextlib.suppress(TimeoutError):
                while True:
                    async with asyncio.timeout(0.1):
                        await edge.receive()
                    got += 1
            assert got == at_once
            await asyncio.sleep(10)  # what was not acknowledged leaves the window after two seconds
            async with asyncio.timeout(1):
                for _ in range(100 - got):
                    await edge.receive()

    run(main())


@pytest.mark.parametrize(("store", "is_answered"), [("", False), ("s-1", True)])
def test_a_go_edge_gets_no_answer_to_an_event(store: str, is_answered: bool) -> None:
    """It waits for none and acknowledges none, so that answers would fill the window."""

    async def main() -> None:
        async with _hub() as world:
            edge = world.connect(store=store)
            await _say(edge, EventInsert(resource=Resource("default", "event", "e"), body=b"{}"), "event")
            await asyncio.sleep(0.1)
            request = Message(Header(msg_id="event"), Route(operation="insert", resource="default/event/e"))
            world.sessions.answer("edge-1", routes.answer(request, b"{}", message_id="r", timestamp=0))
            request = Message(Header(msg_id="q"), Route(operation="query", resource="default/configmap/c"))
            world.sessions.answer("edge-1", routes.answer(request, b"{}", message_id="s", timestamp=0))
            wanted = ["q", "event"] if is_answered else ["q"]  # telemetry comes last
            assert [(await _next(edge)).header.parent_msg_id for _ in wanted] == wanted

    run(main())


@pytest.mark.parametrize("garbage", [b"", b"\x00\xff", b"{", b"[]", b'{"header":1}', b"null"])
def test_garbage_ends_its_own_connection_only(garbage: bytes) -> None:
    async def main() -> None:
        async with _hub() as world:
            good, bad = world.connect("good"), world.connect("bad")
            await asyncio.sleep(0.1)
            await bad.send(garbage)
            assert await _is_closed(bad)
            assert list(world.sessions.connected) == ["good"]
            assert not await _is_closed(good)

    run(main())


def test_what_no_row_knows_is_dropped_and_the_session_lives() -> None:
    async def main() -> None:
        async with _hub() as world:
            edge = world.connect()
            stop = Message(Header(msg_id=""), Route())
            odd = Message(Header(msg_id="1"), Route(source="edged", group="meta", operation="dance", resource="a/b/c"))
            forged = Message(
                Header(msg_id="2"), Route(source="edgecontroller", operation="insert", resource="null/node/edge-1")
            )
            for message in (stop, odd, forged):
                await edge.send(codec.encode(message))
            assert not await _is_closed(edge)
            assert world.notebook.received == []
            assert list(world.sessions.connected) == ["edge-1"]

    run(main())


def test_listeners_hear_of_every_beginning_and_of_the_last_end() -> None:
    async def main() -> None:
        heard: list[str] = []
        async with _hub() as world:
            world.sessions.listen(began=lambda node: heard.append(f"+{node}"))
            world.sessions.listen(ended=lambda node: heard.append(f"-{node}"))
            world.connect()
            await asyncio.sleep(0.1)
            edge = world.connect()
            await asyncio.sleep(0.1)
            await edge.close()
            await asyncio.sleep(0.1)
            assert heard == ["+edge-1", "+edge-1", "-edge-1"]

    run(main())


@pytest.mark.parametrize("speaks", [handshake.KNOWN, frozenset({handshake.BEATS}), frozenset()])
def test_what_an_edge_of_ours_can_is_agreed(speaks: frozenset[str]) -> None:
    async def main() -> None:
        async with _hub() as world:
            headers = {handshake.STORE: "s-1", handshake.FEATURES: handshake.speaks(speaks | {"magic"})}
            peer = Peer("edge-1", handshake.certificate_name("edge-1"), headers=headers)
            answered = world.hub.answer_headers(peer)
            assert handshake.features(answered) == speaks
            edge, cloud = pair(peer)
            world.group.create_task(world.hub.serve(cloud), name="serve")
            link = PackedConnection(edge, Direction.UP, packed=handshake.PACKED in speaks)
            await link.send(codec.encode(routes.compose(Keepalive(body=b'"ping"'), message_id="e1", timestamp=1)))
            if handshake.BEATS in speaks:
                assert codec.decode(await link.receive()).header.parent_msg_id == "e1"
            assert world.beats == (["edge-1"] if handshake.LEASES in speaks else [])

    run(main())


def test_many_objects_are_acknowledged_in_one_message() -> None:
    async def main() -> None:
        async with _hub() as world:
            headers = {handshake.STORE: "s-1", handshake.FEATURES: handshake.ACKS}
            edge, cloud = pair(Peer("edge-1", handshake.certificate_name("edge-1"), headers=headers))
            world.group.create_task(world.hub.serve(cloud), name="serve")
            await asyncio.sleep(0)
            for number in range(40):
                resource = Resource("default", "pod", f"p{number}")
                world.sessions.offer("edge-1", Item(ObjectUpdate(resource=resource, version="7"), f"u{number}", 7))
            got = [int((await _next(edge)).header.msg_id) for _ in range(40)]
            assert world.sessions.unconfirmed() == {"edge-1": 40}
            await edge.send(codec.encode(routes.acknowledge_many(got, message_id="a", timestamp=1)))
            await asyncio.sleep(0.1)
            assert world.sessions.unconfirmed() == {"edge-1": 0}
            assert world.notebook.versions["edge-1", "u39"] == 7
            [row] = [row for row in world.sessions.usage["edge-1"].rows() if row["direction"] == "down"]
            assert (row["cause"], row["messages"]) == ("update pod", 40)

    run(main())


def _large(version: int) -> Item:
    body = msgspec.json.encode({"metadata": {"uid": "u-1", "resourceVersion": str(version)}, "data": {"t": "x" * 5000}})
    return Item(ObjectUpdate(resource=POD, body=body, version=str(version)), "u-1", version)


@pytest.mark.parametrize("speaks", [handshake.DELTAS, ""])
def test_what_a_node_has_confirmed_is_not_sent_again_and_who_lacks_it_gets_the_whole(speaks: str) -> None:
    async def main() -> None:
        async with _hub() as world:
            headers = {handshake.STORE: "s-1", handshake.FEATURES: speaks}
            edge, cloud = pair(Peer("edge-1", handshake.certificate_name("edge-1"), headers=headers))
            world.group.create_task(world.hub.serve(cloud), name="serve")
            await asyncio.sleep(0)
            world.sessions.offer("edge-1", _large(7))
            first = await _next(edge)
            assert first.route.operation == "update"
            await _acknowledge(edge, first)

            world.sessions.offer("edge-1", _large(8))
            second = await _next(edge)
            if not speaks:
                assert second.data() == _large(8).payload.body
                return
            assert (second.route.operation, second.header.resourceversion) == ("delta", "8")
            assert deltas.apply(first.data(), second.data()) == _large(8).payload.body
            assert len(second.data()) < 200

            refusal = routes.acknowledge(second, message_id="n", timestamp=0, error="another version is stored")
            await edge.send(codec.encode(refusal))
            async with asyncio.timeout(1.0):
                again = await _next(edge)
            assert (again.route.operation, again.header.msg_id) == ("update", second.header.msg_id)
            assert again.data() == _large(8).payload.body
            await _acknowledge(edge, again)
            assert world.notebook.versions["edge-1", "u-1"] == 8

            await edge.close()
            await asyncio.sleep(0.1)
            anew, cloud = pair(Peer("edge-1", handshake.certificate_name("edge-1"), headers=headers))
            world.group.create_task(world.hub.serve(cloud), name="serve")
            await asyncio.sleep(0)
            world.sessions.offer("edge-1", _large(9))
            assert (await _next(anew)).route.operation == "delta", "a base outlives the session"

    run(main())


def test_bases_are_bounded_and_shared() -> None:
    bases = Bases(most=30_000)
    for version in range(1, 20):
        bases.confirmed(_large(version))
        bases.confirmed(_large(version))
    assert bases.size <= 30_000
    assert bases.delta(_large(20), 1) is None, "forgotten"
    made = bases.delta(_large(20), 19)
    assert made is not None
    assert bases.delta(_large(20), 19) is made
    bases.confirmed(_item(3))
    assert bases.delta(_item(4), 3) is None, "small ones go whole"


def test_remembered_deltas_are_bounded_by_their_bytes() -> None:
    bases = Bases(most_made=3 * 1024)
    bases.confirmed(_large(1))
    made = bases.delta(_large(2), 1)
    assert made is not None
    assert bases.delta(_large(2), 1) is made, "the next node gets the same"
    for version in range(3, 20):
        assert bases.delta(_large(version), 1) is not None
    anew = bases.delta(_large(2), 1)
    assert anew == made
    assert anew is not made, "it was forgotten, and made again"
    tiny = Bases(most_made=1)
    tiny.confirmed(_large(1))
    assert tiny.delta(_large(2), 1) == made, "one that is too large to be remembered is sent all the same"


def test_a_thousand_nodes_at_once_get_their_sessions_one_after_the_other() -> None:
    async def main() -> None:
        async with _hub(limit=1000) as world:
            edges = [world.connect(f"edge-{number}") for number in range(1000)]
            await asyncio.sleep(0.01)
            assert 200 <= len(world.sessions.connected) < 210
            await asyncio.sleep(1)
            assert 590 <= len(world.sessions.connected) < 620
            await asyncio.sleep(2)
            assert len(world.sessions.connected) == len(edges)

    run(main())
