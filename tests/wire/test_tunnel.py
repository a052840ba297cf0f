"""The tunnel's messages as Go wrote them (logs, logs -f, exec, metrics), and both of our ends fed with them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.cloud.cloudstream.tunnel import Tunnel as CloudTunnel
from octoedge.edge.edgestream.kubelet import requests
from octoedge.edge.edgestream.tunnel import Tunnel
from octoedge.edge.ports import LogRequest
from octoedge.errors import ConnectionClosed
from octoedge.protocol.tunnel import (
    OPENING,
    Connector,
    Kind,
    decode,
    decode_connector,
    encode,
    encode_connector,
)
from octoedge.testing.clock import run
from octoedge.testing.streaming import StreamsAt
from octoedge.transport.connection import Peer
from octoedge.transport.memory import pair

DATA = Path(__file__).parent / "data" / "tunnel.jsonl"


class Captured(msgspec.Struct, frozen=True):
    """One WebSocket message of the tunnel."""

    scene: str
    dir: str
    opcode: int
    raw: str
    stream: int = -1
    kind: int = -1
    size: int = -1
    json: dict[str, Any] | None = None
    control: str = ""

    @property
    def bytes(self) -> bytes:
        return base64.b64decode(self.raw)


ALL = [msgspec.json.decode(line, type=Captured) for line in DATA.read_bytes().splitlines()]
MESSAGES = [captured for captured in ALL if not captured.control]


def scene(name: str, direction: str = "") -> list[Captured]:
    return [c for c in MESSAGES if c.scene == name and direction in ("", c.dir)]


@pytest.mark.parametrize("captured", MESSAGES, ids=lambda c: f"{c.scene} {c.dir} {c.kind}")
def test_every_message_is_read_and_written_again_byte_for_byte(captured: Captured) -> None:
    frame = decode(captured.bytes)
    assert (frame.stream, frame.kind, len(frame.data)) == (captured.stream, captured.kind, captured.size)
    assert encode(frame.stream, frame.kind, frame.data) == captured.bytes


def test_go_writes_text_frames_and_an_empty_scene_is_not_tested() -> None:
    assert {captured.opcode for captured in MESSAGES} == {1}
    assert {captured.kind for captured in MESSAGES} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("captured", [c for c in MESSAGES if c.kind in OPENING], ids=lambda c: f"{c.scene} {c.stream}")
def test_connectors_are_read_and_written_as_go_writes_them(captured: Captured) -> None:
    assert captured.json is not None
    frame = decode(captured.bytes)
    connector = decode_connector(frame.data)
    assert connector.path == captured.json["url"]["Path"]
    assert connector.query == captured.json["url"]["RawQuery"]
    assert msgspec.json.decode(encode_connector(frame.stream, connector)) == captured.json


class Httpd(StreamsAt):
    """The container of the capture."""

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        assert (request.namespace, request.container, request.follow) == ("default", "web", False)
        return self._body()

    async def _body(self) -> AsyncIterator[bytes]:
        yield b"started\n[::ffff:127.0.0.1]:55656: response:200\n"


def test_our_edge_answers_a_go_cloud_byte_for_byte() -> None:
    async def main() -> list[bytes]:
        edge_end, cloud_end = pair(Peer(), Peer(address="cloudcore:10004"))
        for captured in scene("logs", "cloud->edge"):
            await cloud_end.send(captured.bytes)
        async with asyncio.TaskGroup() as group:
            group.create_task(_until_closed(Tunnel(edge_end, requests(Httpd())).run()))
            said = [await cloud_end.receive() for _ in range(2)]
            await cloud_end.close()
        return said

    assert run(main()) == [captured.bytes for captured in scene("logs", "edge->cloud")]


def test_our_cloud_asks_a_go_edge_and_reads_its_answer() -> None:
    asked, *said = scene("logs")

    async def main() -> bytes:
        edge_end, cloud_end = pair(Peer(node="edge-go"))
        tunnel = CloudTunnel("edge-go", cloud_end, itertools.count(1))
        async with asyncio.TaskGroup() as group:
            group.create_task(_until_closed(tunnel.run()))
            connector = decode_connector(decode(asked.bytes).data)
            stream = await tunnel.open(Kind.LOGS, connector)
            ours, gos = decode(await edge_end.receive()), decode(asked.bytes)
            assert (ours.stream, ours.kind) == (gos.stream, gos.kind)
            assert msgspec.json.decode(ours.data) == msgspec.json.decode(gos.data)
            for captured in said:
                await edge_end.send(captured.bytes)
            assert (await stream.answer(1)).status == 200
            text = b"".join([chunk async for chunk in stream.chunks()])
            await edge_end.close()
        return text

    assert run(main()) == b"started\n[::ffff:127.0.0.1]:55656: response:200\n"


def test_the_reader_of_logs_f_leaves_as_in_the_capture() -> None:
    asked, *rest = scene("logs-follow")

    async def main() -> bytes:
        edge_end, cloud_end = pair(Peer(node="edge-go"))
        tunnel = CloudTunnel("edge-go", cloud_end, itertools.count(asked.stream))
        async with asyncio.TaskGroup() as group:
            group.create_task(_until_closed(tunnel.run()))
            stream = await tunnel.open(Kind.LOGS, Connector("/containerLogs/default/httpd/web", "follow=true"))
            await edge_end.receive()
            async with contextlib.aclosing(stream.chunks()) as chunks:
                for captured in rest[:3]:
                    await edge_end.send(captured.bytes)
                    assert await anext(chunks) == decode(captured.bytes).data
            await tunnel.close(stream)
            left = await edge_end.receive()
            await edge_end.send(rest[4].bytes)
            await edge_end.close()
        return left

    assert rest[3].dir == "cloud->edge"
    assert run(main()) == rest[3].bytes


async def _until_closed(work: Any) -> None:
    with contextlib.suppress(ConnectionClosed):
        await work
