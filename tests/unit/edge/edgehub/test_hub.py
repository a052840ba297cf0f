"""The hub in virtual time, against a cloud in memory: connect, lose, return, stop."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

import msgspec
import pytest

from octoedge.edge.edgehub.enrolment import Enrolment, Files
from octoedge.edge.edgehub.hub import EdgeHub, Settings, State
from octoedge.edge.edgehub.uplink import Uplink
from octoedge.errors import (
    ConnectError,
    ConnectionClosed,
    ConnectionRefusedByPeer,
    DeadlineError,
    OfflineError,
    StoreCorrupt,
    TokenError,
)
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.payloads import EventInsert, Keepalive, ObjectQuery, ObjectUpdate, Payload
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction
from octoedge.runtime.supervisor import Supervisor
from octoedge.runtime.throttle import Throttle
from octoedge.testing.clock import VirtualClock, run
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import MemoryConnection, pair
from octoedge.transport.packed import PackedConnection

POD = Resource("default", "pod", "web")


@dataclass
class MemoryCloud:
    """The other end: hands out connections, keeps what it heard."""

    headers: dict[str, str] = field(default_factory=dict)
    refuse: list[Exception] = field(default_factory=list)
    """Errors for the next dials; the last one stays."""
    ends: list[MemoryConnection] = field(default_factory=list)
    dials: list[float] = field(default_factory=list)
    came: asyncio.Event = field(default_factory=asyncio.Event)

    async def dial(self) -> Connection:
        self.dials.append(asyncio.get_running_loop().time())
        if self.refuse:
            raise self.refuse[0] if len(self.refuse) == 1 else self.refuse.pop(0)
        edge, cloud = pair(Peer(node="edge-1"), Peer(address="memory", headers=self.headers))
        self.ends.append(cloud)
        self.came.set()
        return edge

    async def hear(self) -> Message:
        """The next message that is no keepalive."""
        while True:
            message = codec.decode(await self.ends[-1].receive())
            if message.route.operation != "keepalive":
                return message

    async def say(self, message: Message) -> None:
        await self.ends[-1].send(codec.encode(message))

    async def connected(self) -> None:
        await self.came.wait()
        self.came.clear()


class World:
    """A hub under a supervisor, and what it handed in."""

    def __init__(self, cloud: MemoryCloud, *, settings: Settings = Settings(), seed: int = 1) -> None:  # noqa: B008
        self.cloud = cloud
        self.uplink = Uplink(VirtualClock())
        self.inbound: list[tuple[Message, Payload]] = []
        self.handed = asyncio.Event()
        self.hub = EdgeHub(cloud.dial, self.uplink, self.take, None, settings, random.Random(seed))
        self.hub.needs = ()
        self.supervisor = Supervisor([self.hub])

    async def take(self, message: Message, payload: Payload) -> None:
        self.inbound.append((message, payload))
        self.handed.set()

    async def during(self, test: Callable[[World], Awaitable[None]]) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.supervisor.run())
            try:
                await test(self)
            finally:
                self.supervisor.stop()


def world(test: Callable[[World], Awaitable[None]], **cloud: object) -> World:
    made: list[World] = []

    async def main() -> None:
        made.append(World(MemoryCloud(**cloud)))  # type: ignore[arg-type]
        await made[0].during(test)

    run(main())
    return made[0]


def push(resource: str = "default/pod/web", message_id: str = "m1", content: bytes = b"{}") -> Message:
    return Message(
        Header(msg_id=message_id),
        Route(source="edgecontroller", group="resource", operation="update", resource=resource),
        msgspec.Raw(content),
    )


def test_a_keepalive_at_once_and_every_fifteen_seconds() -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()
        times = []
        for _ in range(4):
            message = codec.decode(await world.cloud.ends[0].receive())
            assert (message.route.source, message.route.operation, message.route.resource) == (
                "websocket",
                "keepalive",
                "node",
            )
            assert message.content == msgspec.Raw(b'"ping"')
            times.append(asyncio.get_running_loop().time())
        assert times == [0.0, 15.0, 30.0, 45.0]

    world(test)


def test_a_push_is_handed_in_and_an_answer_finds_its_question() -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()
        await world.cloud.say(push())
        await world.handed.wait()
        asking = asyncio.create_task(world.uplink.request(ObjectQuery(resource=Resource("a", "configmap", "b")), 60))
        question = await world.cloud.hear()
        assert question.route.operation == "query"
        await world.cloud.say(routes.answer(question, b'{"x":1}', message_id="a1", timestamp=0))
        reply = await asking
        assert reply.body == b'{"x":1}'
        await world.uplink.acknowledge(reply.message)
        acknowledgement = await world.cloud.hear()
        assert acknowledgement.header.parent_msg_id == "a1"
        assert acknowledgement.route.operation == "response"

    (handed,) = world(test).inbound
    assert handed[1] == ObjectUpdate(resource=POD, body=b"{}")


def test_an_answer_that_nobody_waits_for_is_handed_in() -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()
        with pytest.raises(DeadlineError, match="no answer in 5 s"):
            await world.uplink.request(ObjectQuery(resource=Resource("a", "configmap", "b")), 5)
        question = await world.cloud.hear()
        await world.cloud.say(routes.answer(question, b"{}", message_id="a1", timestamp=0))
        await world.handed.wait()

    assert len(world(test).inbound) == 1


def test_broken_and_unknown_messages_are_said_once_and_the_connection_lives(caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()
        for _ in range(3):
            await world.cloud.ends[0].send(b'{"broken')
            for odd in ("", "/", "a/b/c/d/e", "x" * 2000):
                await world.cloud.say(push(resource=odd))
            await world.cloud.say(msgspec.structs.replace(push(), route=Route("x", "", "user", "publish", "t")))
        await world.cloud.say(push())
        await world.handed.wait()

    with caplog.at_level(logging.WARNING):
        assert len(world(test).inbound) == 1
    complaints = [record.message for record in caplog.records]
    assert len(complaints) == len(set(complaints))
    assert len(complaints) < 8


def test_messages_about_one_object_keep_their_order_and_others_overtake() -> None:
    order: list[str] = []
    gate = asyncio.Event()

    async def take(message: Message, _: Payload) -> None:
        if message.header.msg_id == "slow":
            await gate.wait()
        order.append(message.header.msg_id)
        if message.header.msg_id == "other":
            gate.set()

    async def test(world: World) -> None:
        world.hub._inbound = take
        await world.cloud.connected()
        await world.cloud.say(push(message_id="slow"))
        await world.cloud.say(push(message_id="next"))
        await world.cloud.say(push(message_id="other", resource="default/pod/another"))
        await gate.wait()
        await asyncio.sleep(1)

    async def main() -> None:
        made = World(MemoryCloud())
        await made.during(test)

    run(main())
    assert order == ["other", "slow", "next"]


def test_a_failing_handler_costs_one_message_only(caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()
        take = world.take

        async def fail_first(message: Message, payload: Payload) -> None:
            await take(message, payload)
            if len(world.inbound) == 1:
                raise ValueError("a defect")

        world.cloud.ends[0]  # the session below is the second one, with the failing handler
        world.hub._inbound = fail_first
        await world.cloud.ends[0].close()
        await world.cloud.connected()
        await world.cloud.say(push(message_id="1"))
        await world.cloud.say(push(message_id="2", resource="default/pod/b"))
        await asyncio.sleep(1)
        assert world.uplink.connected

    with caplog.at_level(logging.ERROR):
        assert len(world(test).inbound) == 2
    assert "could not be handled" in caplog.text


def test_whoever_waits_when_the_link_breaks_hears_of_it_at_once() -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()
        asking = asyncio.create_task(world.uplink.request(ObjectQuery(resource=Resource("a", "configmap", "b")), 60))
        await world.cloud.hear()
        await world.cloud.ends[0].close()
        with pytest.raises(OfflineError, match="lost before the answer"):
            await asking
        with pytest.raises(OfflineError, match="not connected"):
            await world.uplink.send(EventInsert(resource=Resource("a", "event", "b")))
        assert asyncio.get_running_loop().time() < 1

    world(test)


def test_a_restarted_cloud_has_its_node_back_within_two_seconds() -> None:
    """The cloud is away for 1.5 to 10 seconds; the node is back within a second and a half of its return."""
    for seed in range(20):
        away = 1.5 + 8.5 * seed / 20

        async def main(away: float = away, seed: int = seed) -> None:
            cloud = MemoryCloud()
            made = World(cloud, seed=seed)

            async def test(world: World) -> None:
                await cloud.connected()
                await asyncio.sleep(60)
                cloud.refuse = [ConnectError("refused")]
                await cloud.ends[0].close()
                await asyncio.sleep(away)
                cloud.refuse = []
                back = asyncio.get_running_loop().time()
                await cloud.connected()
                assert asyncio.get_running_loop().time() - back <= 1.5

            await made.during(test)

        run(main())


def test_a_cloud_that_stays_away_is_tried_ever_more_rarely_and_told_of_once(caplog: pytest.LogCaptureFixture) -> None:
    async def test(world: World) -> None:
        await asyncio.sleep(3600)
        assert world.hub.state in (State.WAITING, State.CONNECTING)
        assert world.hub.trouble == "nobody there"
        world.cloud.refuse = []
        await world.cloud.connected()
        await asyncio.sleep(0)
        assert world.hub.trouble == ""

    with caplog.at_level(logging.INFO):
        dials = world(test, refuse=[ConnectError("nobody there")]).cloud.dials
    assert len([at for at in dials if at < 30]) >= 25
    assert len([at for at in dials if at > 60]) <= 3540 / 7
    assert caplog.text.count("nobody there") == 1
    assert caplog.text.count("is up again") == 1


def test_a_refusal_is_not_knocked_at_every_second() -> None:
    async def test(world: World) -> None:
        await asyncio.sleep(120)

    dials = world(test, refuse=[ConnectionRefusedByPeer("HTTP 403 node limit reached")]).cloud.dials
    assert len(dials) < 25


def test_two_nodes_that_fight_for_a_name_do_it_slowly() -> None:
    """Each connection is closed by the cloud at once, because the other node came."""

    async def test(world: World) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(590):
                while True:
                    await world.cloud.connected()
                    await world.cloud.ends[-1].close()

    assert len(world(test).cloud.dials) < 110


def test_a_stop_closes_the_connection_and_none_is_opened() -> None:
    async def main() -> None:
        cloud = MemoryCloud()
        made = World(cloud)

        async def test(world: World) -> None:
            await cloud.connected()

        await made.during(test)
        assert made.hub.state is State.STOPPED
        assert len(cloud.dials) == 1
        assert not made.uplink.connected

    run(main())


def test_a_write_that_nobody_takes_ends_the_connection() -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()

        async def fill() -> None:  # the cloud does not read
            while True:
                await world.uplink.send(ObjectQuery(resource=Resource("a", "configmap", "b")))

        with pytest.raises(OfflineError, match="took nothing for 15 s"):
            await fill()
        await world.cloud.connected()

    assert len(world(test).cloud.dials) == 2


def test_only_a_cloud_of_ours_answers_events() -> None:
    async def test(world: World) -> None:
        await world.cloud.connected()
        await asyncio.sleep(0)
        event = EventInsert(resource=Resource("a", "event", "b"))
        assert world.uplink.answers(event) is ("octoedge-version" in world.cloud.headers)
        assert world.uplink.answers(ObjectQuery(resource=POD))

    world(test)
    world(test, headers={"octoedge-version": "0.1"})


class Silent:
    """A connection whose other end has vanished: nothing comes, pings are not answered."""

    def __init__(self, answers_pings: bool, headers: dict[str, str] | None = None) -> None:
        self.answers_pings = answers_pings
        self.peer = Peer(address="half open", headers=headers or {})
        self._closed = asyncio.Event()

    async def send(self, data: bytes) -> None:
        del data

    async def receive(self) -> bytes:
        from octoedge.errors import ConnectionClosed

        await self._closed.wait()
        raise ConnectionClosed("closed")

    async def ping(self, timeout: float) -> None:
        from octoedge.errors import ConnectionClosed

        if not self.answers_pings:
            await asyncio.sleep(timeout)
            raise ConnectionClosed("no pong")

    async def close(self) -> None:
        self._closed.set()


@pytest.mark.parametrize("answers", [True, False])
def test_a_half_open_link_is_noticed_within_three_heartbeats(answers: bool) -> None:
    async def main() -> None:
        dials: list[float] = []

        async def dial() -> Connection:
            dials.append(asyncio.get_running_loop().time())
            return Silent(answers)

        hub = EdgeHub(dial, Uplink(VirtualClock()), None, None)  # type: ignore[arg-type]
        hub.needs = ()
        supervisor = Supervisor([hub])
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.run())
            await asyncio.sleep(46)
            assert len(dials) == (1 if answers else 2)
            supervisor.stop()

    run(main())


def test_a_cloud_that_answers_keepalives_is_pinged_only_when_it_does_not() -> None:
    ours = {handshake.FEATURES.lower(): handshake.BEATS}

    class Answering(Silent):
        def __init__(self, until: float) -> None:
            super().__init__(answers_pings=False, headers=ours)
            self._until = until
            self._answers: asyncio.Queue[bytes] = asyncio.Queue()
            self.pings: list[float] = []

        async def send(self, data: bytes) -> None:
            now = asyncio.get_running_loop().time()
            if now < self._until:
                answer = routes.answer(codec.decode(data), b"OK", message_id="", timestamp=0)
                asyncio.get_running_loop().call_later(0.001, self._answers.put_nowait, codec.encode(answer))

        async def receive(self) -> bytes:
            return await self._answers.get()

        async def ping(self, timeout: float) -> None:
            self.pings.append(asyncio.get_running_loop().time())
            await super().ping(timeout)

    async def main() -> None:
        made: list[Answering] = []

        async def dial() -> Connection:
            made.append(Answering(until=1000))
            return made[-1]

        hub = EdgeHub(dial, Uplink(VirtualClock()), None, None)  # type: ignore[arg-type]
        hub.needs = ()
        supervisor = Supervisor([hub])
        async with asyncio.TaskGroup() as group:
            group.create_task(supervisor.run())
            await asyncio.sleep(1000)
            assert made[0].pings == []
            await asyncio.sleep(45)
            assert len(made[0].pings) == 1
            assert len(made) > 1, "within three heartbeats"
            supervisor.stop()

    run(main())


def test_without_a_token_a_new_node_gives_up_and_one_with_pods_does_not(tmp_path: object) -> None:
    from pathlib import Path

    directory = Path(str(tmp_path))
    files = Files(directory / "ca", directory / "crt", directory / "key")

    async def main(may_give_up: bool) -> None:
        enrolment = Enrolment("edge-1", "https://127.0.0.1:1", files, VirtualClock(), bootstrap_file=directory / "b")
        cloud = MemoryCloud()
        hub = EdgeHub(
            cloud.dial,
            Uplink(VirtualClock()),
            None,  # type: ignore[arg-type]
            enrolment,
            Settings(may_give_up=may_give_up),
        )
        async with asyncio.timeout(300):
            await hub.run(lambda: None)

    with pytest.raises(TokenError, match="no join token"):
        run(main(True))
    with pytest.raises(TimeoutError):
        run(main(False))


def test_a_corrupt_store_ends_the_module_with_its_own_words() -> None:
    """The next start sets the file aside; going on would receive and forget."""

    async def main() -> None:
        cloud = MemoryCloud()
        made = World(cloud)

        async def fail(_: Message, __: Payload) -> None:
            raise StoreCorrupt("edgecore.db is damaged")

        made.hub._inbound = fail
        async with asyncio.TaskGroup() as group:
            running = group.create_task(made.hub.run(lambda: None))
            await cloud.connected()
            await cloud.say(push())
            with pytest.raises(StoreCorrupt, match="damaged"):
                await running

    with pytest.raises(ExceptionGroup):
        run(main())


@pytest.mark.parametrize(("headers", "seconds"), [({}, 2.0), ({"octoedge-version": "0.1"}, 0.0)])
def test_only_a_go_cloud_is_spoken_to_slowly(headers: dict[str, str], seconds: float) -> None:
    async def main() -> None:
        cloud = MemoryCloud(headers)
        uplink = Uplink(VirtualClock(), throttle=Throttle(10, 5))
        uplink.attach(PackedConnection(await cloud.dial(), Direction.UP, packed=False))
        for _ in range(25):
            await uplink.send(EventInsert(resource=Resource("a", "event", "b")))
        assert asyncio.get_running_loop().time() == pytest.approx(seconds)
        await uplink.send(Keepalive())
        assert asyncio.get_running_loop().time() == pytest.approx(seconds)

    run(main())


def test_another_address_of_this_machine_means_another_connection() -> None:
    """A connection from an address that is gone is dead, and nobody says so: Ready again within ten seconds."""

    class Rooted(MemoryConnection):
        told = ""
        lives = True

        def moved(self) -> str:
            return self.told

        async def ping(self, timeout: float) -> None:
            if not self.lives:
                await asyncio.sleep(timeout)
                raise ConnectionClosed("no answer")

    async def main() -> None:
        cloud = MemoryCloud()
        here = World(cloud)
        made: list[Rooted] = []

        async def dial() -> Connection:
            edge = await cloud.dial()
            assert isinstance(edge, MemoryConnection)
            made.append(Rooted(edge.peer, edge._sender, edge._receiver))
            return made[-1]

        here.hub._dial = dial

        async def test(world: World) -> None:
            await cloud.connected()
            await asyncio.sleep(60)
            assert len(cloud.dials) == 1
            made[0].told = "the address is 192.0.2.8, no longer 192.0.2.7"
            await asyncio.sleep(60)
            assert len(cloud.dials) == 1, "the old way still works"
            began = asyncio.get_running_loop().time()
            made[0].told, made[0].lives = "the address is 192.0.2.9, no longer 192.0.2.7", False
            await cloud.connected()
            assert asyncio.get_running_loop().time() - began < 8

        await here.during(test)

    run(main())
