"""A capture of connections that carry messages: what is in it, what is not, and what it may not cost."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.protocol import capture, codec, deltas, handshake
from octoedge.protocol.capture import Capture
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.routes import Direction
from octoedge.runtime.clock import SystemClock
from octoedge.testing.eventually import comes_true
from octoedge.transport.capturing import CaptureSocket
from octoedge.transport.connection import Peer
from octoedge.transport.memory import pair
from octoedge.transport.packed import PackedConnection
from octoedge.transport.tap import Tap

SECRET = b'{"kind":"Secret","data":{"a":"c3dvcmRmaXNoNDI="}}'


def message(number: int, resource: str = "default/pod/web", content: bytes = b"{}") -> bytes:
    route = Route(source="edgecontroller", group="resource", operation="update", resource=resource)
    return codec.encode(Message(Header(msg_id=str(number)), route, msgspec.Raw(content)))


class Daemon:
    """A cloud with a capture socket."""

    def __init__(self, folder: Path) -> None:
        self.tap = Tap(lambda _: {handshake.VERSION: "1"})
        self.status = folder / "cloudcore.sock"
        self.path = folder / "cloudcore.capture.sock"
        self.objects = [("edge-1", "default/secret/db", SECRET), ("edge-1", "null/node/edge-1", b'{"kind":"Node"}')]
        known = {"edge-1", "edge-2"}.__contains__
        self.module = CaptureSocket(self.status, "cloud", self.tap, SystemClock(), self._held, self._now, known)

    async def _held(self, node: str) -> AsyncGenerator[tuple[str, str, bytes], None]:
        for owner, resource, body in self.objects:
            if node in ("", owner):
                yield owner, resource, body

    async def _now(self, node: str, resource: str) -> bytes | None:
        return next((body for owner, name, body in self.objects if (owner, name) == (node, resource)), None)

    def connect(self, node: str) -> tuple[PackedConnection, PackedConnection]:
        """(the cloud's end, the edge's end) of a packed connection."""
        peer = Peer(node, headers={handshake.NODE: node, "authorization": "Bearer swordfish42"})
        edge, cloud = pair(peer, capacity=100_000)
        return (
            PackedConnection(cloud, Direction.DOWN, packed=True, tap=self.tap),
            PackedConnection(edge, Direction.UP, packed=True),
        )

    async def until(self, listeners: int) -> None:
        """Until so many captures run."""
        await comes_true(lambda: len(self.tap.listeners) == listeners)


def during(folder: Path, test: Callable[[Daemon], Awaitable[None]]) -> None:
    async def main() -> None:
        daemon = Daemon(folder)
        async with asyncio.TaskGroup() as group:
            running = group.create_task(daemon.module.run(lambda: None))
            await comes_true(daemon.path.exists)
            await test(daemon)
            running.cancel()

    asyncio.run(main())


async def ask(daemon: Daemon, **question: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    reader, writer = await asyncio.open_unix_connection(daemon.path, limit=64 << 20)
    writer.write(json.dumps(question).encode() + b"\n")
    return reader, writer


def whole(text: bytes) -> Capture:
    return capture.read(text.splitlines(keepends=True), "f")


async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write_eof()
    async with asyncio.timeout(20):
        text = await reader.read()
    writer.close()
    return text


def test_both_directions_of_a_packed_connection_that_was_open_before(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        assert daemon.path.stat().st_mode & 0o777 == 0o600
        cloud, edge = daemon.connect("edge-1")
        await cloud.send(message(1))
        await edge.receive()
        reader, writer = await ask(daemon)
        await daemon.until(1)
        await cloud.send(message(2, "default/secret/db", SECRET))
        await edge.send(message(3))
        await cloud.receive()
        await cloud.close()
        text = await hang_up(reader, writer)
        await daemon.until(0)
        found = whole(text)
        assert found.ended == "whoever asked has ended it"
        assert [(said.way, said.message.header.msg_id) for said in found.said] == [("down", "2"), ("up", "3")]
        (opened,) = found.opened.values()
        assert opened.before
        assert opened.node == "edge-1"
        assert opened.cloud == {handshake.VERSION: "1"}
        assert [held.resource for held in found.held] == ["default/secret/db", "null/node/edge-1"]
        assert [closed.connection for closed in found.closed] == [opened.connection]
        assert b"c3dvcmRmaXNo" not in text
        assert b"swordfish" not in text
        assert 0 < found.said[0].size < len(message(2, "default/secret/db", SECRET)), "the size is that on the wire"

    during(tmp_path, test)


def test_of_one_node_only(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        reader, writer = await ask(daemon, node="edge-2")
        await daemon.until(1)
        for number, node in enumerate(("edge-1", "edge-2")):
            cloud, _ = daemon.connect(node)
            await cloud.send(message(number))
        found = whole(text := await hang_up(reader, writer))
        assert found.nodes() == ["edge-2"]
        assert [said.message.header.msg_id for said in found.said] == ["1"]
        assert found.held == []
        assert b'"nodes":["edge-2"]' in text.splitlines()[-1]

    during(tmp_path, test)


def test_it_ends_when_its_time_is_over_or_it_is_long_enough(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        reader, writer = await ask(daemon, seconds=0.05)
        assert whole(await reader.read()).ended == "its time is over"
        writer.close()
        reader, writer = await ask(daemon, bytes=3000)
        await daemon.until(1)
        cloud, _ = daemon.connect("edge-1")
        for number in range(100):
            await cloud.send(message(number))
        text = await reader.read()
        writer.close()
        found = whole(text)
        assert found.ended == "it has as many bytes as were asked for"
        assert 5 < len(found.said) <= 100
        await daemon.until(0)

    during(tmp_path, test)


def test_a_reader_that_does_not_read_costs_a_bounded_queue_and_the_capture_says_what_is_missing(
    tmp_path: Path,
) -> None:
    async def test(daemon: Daemon) -> None:
        reader, writer = await ask(daemon)
        await daemon.until(1)
        cloud, _ = daemon.connect("edge-1")
        body = msgspec.json.encode({"text": "x" * 12_000})
        for number in range(2000):
            await cloud.send(message(number, content=body))
        found = whole(await hang_up(reader, writer))
        assert found.dropped > 1000
        assert found.dropped + len(found.said) == 2000
        assert found.said[0].message.header.msg_id == "0"

    during(tmp_path, test)


def test_a_huge_message_is_there_without_its_content(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        reader, writer = await ask(daemon)
        await daemon.until(1)
        cloud, _ = daemon.connect("edge-1")
        await cloud.send(message(1, content=msgspec.json.encode("x" * (5 << 20))))
        await cloud.send(message(2))
        async with asyncio.timeout(20):
            lines = [await reader.readline() for _ in range(6)]
        found = whole(b"".join(lines) + await hang_up(reader, writer))
        assert found.said[0].left_out > 5 << 20
        assert found.said[0].message.route.resource == "default/pod/web"
        assert [said.left_out for said in found.said[1:]] in ([0], [])

    during(tmp_path, test)


@pytest.mark.parametrize("stored", ["before", "after", "another"])
def test_a_delta_is_written_as_the_whole_object_and_without_its_secrets(tmp_path: Path, stored: str) -> None:
    old = msgspec.json.encode({"kind": "Secret", "data": {"a": "c3dvcmRmaXNoNDI=", "b": "x" * 2000}})
    new = old.replace(b"c3dvcmRmaXNoNDI=", b"dHVuYWZpc2gtbmV3")
    delta = deltas.make(old, new)
    assert delta is not None
    assert b"dHVuYWZpc2gtbmV3" in delta

    async def test(daemon: Daemon) -> None:
        body = {"before": old, "after": new, "another": b"{}"}[stored]
        daemon.objects = [("edge-1", "default/secret/db", body)]
        reader, writer = await ask(daemon)
        await daemon.until(1)
        cloud, _ = daemon.connect("edge-1")
        route = Route(source="edgecontroller", group="resource", operation="delta", resource="default/secret/db")
        await cloud.send(codec.encode(Message(Header(msg_id="1"), route, msgspec.Raw(delta))))
        text = await hang_up(reader, writer)
        (said,) = whole(text).said
        assert b"dHVuYWZpc2" not in text
        assert b"c3dvcmRm" not in text
        if stored == "another":
            assert said.left_out == len(codec.encode(Message(Header(msg_id="1"), route, msgspec.Raw(delta))))
        else:
            assert said.message.route.operation == "update"
            assert set(msgspec.json.decode(said.message.data())["data"]) == {"a", "b"}

    during(tmp_path, test)


def test_what_is_asked_wrongly_is_told(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        for question, why in (
            ({"nodes": "x"}, b"cannot be read"),
            ({"seconds": -1}, b"more than nothing"),
            ({"bytes": 10**12}, b"at most"),
            ({"node": "edge-3"}, b"there is no node edge-3 here"),
        ):
            reader, writer = await ask(daemon, **question)
            assert why in await reader.read()
            writer.close()

    during(tmp_path, test)


def test_a_question_without_an_end_is_told_too(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        reader, writer = await asyncio.open_unix_connection(daemon.path)
        writer.write(b"x" * 100_000)
        assert (await reader.readline()).startswith(b"the question cannot be read")
        writer.close()

    during(tmp_path, test)


def test_whoever_is_killed_while_it_reads_leaves_nothing_behind(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        _, writer = await ask(daemon)
        await daemon.until(1)
        cloud, _ = daemon.connect("edge-1")
        writer.transport.abort()
        for number in range(10):
            await cloud.send(message(number))
        await daemon.until(0)

    during(tmp_path, test)


def test_a_message_that_is_none_is_told_as_such(tmp_path: Path) -> None:
    async def test(daemon: Daemon) -> None:
        reader, writer = await ask(daemon)
        await daemon.until(1)
        cloud, edge = daemon.connect("edge-1")
        await edge.send(b"what is this?")
        await cloud.receive()
        found = whole(await hang_up(reader, writer))
        assert [said.message.route.operation for said in found.said] == ["(not a message)"]

    during(tmp_path, test)
