"""Every message that a Go CloudCore and a Go EdgeCore exchanged in the capture: read, understood, written again.

`data/hub.jsonl` holds the messages of all scenes (join, idle, pods, logs, ConfigMaps, devices, stop) as JSON values.
"""

from __future__ import annotations

import asyncio
import base64
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest
from websockets.frames import Frame, Opcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from octoedge.errors import ApiError, RouteError
from octoedge.protocol import payloads as p
from octoedge.protocol.codec import decode, encode
from octoedge.protocol.message import Message
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction, acknowledge, answer, classify, compose
from octoedge.testing.tls import make
from octoedge.transport.websocket import Endpoint, connect

DATA = Path(__file__).parent / "data"
DIRECTIONS = {"cloud->edge": Direction.DOWN, "edge->cloud": Direction.UP}


class Captured(msgspec.Struct, frozen=True):
    """One line of the file."""

    scene: str
    dir: str
    message: msgspec.Raw

    @property
    def decoded(self) -> Message:
        return decode(bytes(self.message))

    @property
    def direction(self) -> Direction:
        return DIRECTIONS[self.dir]

    @property
    def title(self) -> str:
        route = self.decoded.route
        return f"{self.scene} {self.dir} {route.source}/{route.group} {route.operation} {route.resource}"


ALL = [msgspec.json.decode(line, type=Captured) for line in (DATA / "hub.jsonl").read_bytes().splitlines()]

NOT_YET = {
    ("edge->cloud", "", ""): 1,
}
"""(direction, source, operation) of the messages that no row knows, and how many there are: the empty message that a Go
edge writes when it stops."""


def known(captured: Captured) -> bool:
    route = captured.decoded.route
    return (captured.dir, route.source, route.operation) not in NOT_YET


KNOWN = [captured for captured in ALL if known(captured)]


def value(message: Message) -> Any:
    return msgspec.json.decode(encode(message))


def test_the_capture_is_whole() -> None:
    assert len(ALL) == 118
    assert len(KNOWN) == len(ALL) - sum(NOT_YET.values())


@pytest.mark.parametrize("captured", ALL, ids=lambda c: c.title)
def test_what_is_read_is_written_as_the_same_value(captured: Captured) -> None:
    assert value(captured.decoded) == msgspec.json.decode(bytes(captured.message))


def test_rows_that_are_still_to_come_are_these_and_no_others() -> None:
    unknown: Counter[tuple[str, str, str]] = Counter()
    for captured in ALL:
        route = captured.decoded.route
        try:
            classify(captured.direction, captured.decoded)
        except RouteError:
            unknown[captured.dir, route.source, route.operation] += 1
    assert dict(unknown) == NOT_YET


EXPECTED: dict[tuple[str, str, str], type[p.Payload]] = {
    ("edge->cloud", "keepalive", "node"): p.Keepalive,
    ("edge->cloud", "query", "lease"): p.ObjectQuery,
    ("edge->cloud", "query", "configmap"): p.ObjectQuery,
    ("edge->cloud", "query", "secret"): p.ObjectQuery,
    ("edge->cloud", "query", "serviceaccounttoken"): p.TokenQuery,
    ("edge->cloud", "insert", "node"): p.NodeInsert,
    ("edge->cloud", "patch", "nodepatch"): p.NodeStatusPatch,
    ("edge->cloud", "insert", "lease"): p.LeaseInsert,
    ("edge->cloud", "update", "lease"): p.LeaseUpdate,
    ("edge->cloud", "patch", "podpatch"): p.PodStatusPatch,
    ("edge->cloud", "delete", "pod"): p.PodDelete,
    ("edge->cloud", "get", "detail"): p.DeviceDetailQuery,
    ("edge->cloud", "update", "default"): p.TwinReport,
    ("edge->cloud", "update", "device/default/counter1/state/update"): p.DeviceStateReport,
    ("edge->cloud", "upload", ""): p.UserUpload,
    ("edge->cloud", "response", ""): p.Ack,
    ("cloud->edge", "response", ""): p.Answer,
    ("cloud->edge", "update", "membership"): p.DeviceMembership,
    ("cloud->edge", "insert", ""): p.ObjectInsert,
    ("cloud->edge", "update", ""): p.ObjectUpdate,
    ("cloud->edge", "delete", ""): p.ObjectDelete,
}


@pytest.mark.parametrize("captured", KNOWN, ids=lambda c: c.title)
def test_every_message_is_understood(captured: Captured) -> None:
    route = captured.decoded.route
    kind = route.resource.split("/")[1] if "/" in route.resource else route.resource
    keys = ((captured.dir, route.operation, key) for key in (route.resource, kind, ""))
    expected = next(EXPECTED[key] for key in keys if key in EXPECTED)
    payload = classify(captured.direction, captured.decoded)
    assert type(payload) is expected
    assert payload.version == captured.decoded.header.resourceversion
    parts = route.resource.split("/")
    if route.group == "user":
        assert payload.resource == Resource("", "topic", route.resource)
    elif parts[0] == "device":
        assert payload.resource == Resource(parts[1], "device", parts[2])
    elif len(parts) == 3:
        assert payload.resource == Resource(*parts)


@pytest.mark.parametrize(
    "captured",
    [c for c in KNOWN if c.decoded.route.operation != "response"],
    ids=lambda c: c.title,
)
def test_what_we_send_is_what_go_sends(captured: Captured) -> None:
    message = captured.decoded
    payload = classify(captured.direction, message)
    written = compose(payload, message_id=message.header.msg_id, timestamp=message.header.timestamp)
    assert value(written) == msgspec.json.decode(bytes(captured.message))


def by_id() -> dict[str, Captured]:
    return {captured.decoded.header.msg_id: captured for captured in ALL}


def answers(direction: str) -> list[tuple[Captured, Captured]]:
    """(what was asked or sent, what answered it) for all answers in one direction."""
    asked = by_id()
    replies = [c for c in ALL if c.dir == direction and c.decoded.header.parent_msg_id]
    return [(asked[c.decoded.header.parent_msg_id], c) for c in replies]


@pytest.mark.parametrize(
    ("received", "said"),
    [pair for pair in answers("edge->cloud") if pair[0].decoded.route.source == "edgecontroller"],
    ids=lambda c: c.title,
)
def test_our_acknowledgements_are_gos(received: Captured, said: Captured) -> None:
    header = said.decoded.header
    ours = acknowledge(received.decoded, message_id=header.msg_id, timestamp=header.timestamp)
    assert value(ours) == msgspec.json.decode(bytes(said.message))


@pytest.mark.parametrize(
    ("asked", "said"),
    answers("cloud->edge"),
    ids=lambda c: c.title,
)
def test_our_answers_are_gos(asked: Captured, said: Captured) -> None:
    message = said.decoded
    ours = answer(
        asked.decoded, message.data(), message_id=message.header.msg_id, timestamp=message.header.timestamp,
        version=message.header.resourceversion,
    )  # fmt: skip
    assert value(ours) == msgspec.json.decode(bytes(said.message))


def test_there_are_acknowledgements_and_answers_to_compare_with() -> None:
    assert len(answers("edge->cloud")) > 20
    assert len(answers("cloud->edge")) > 20


def test_errors_among_the_answers_are_found_and_nothing_else_is_one() -> None:
    failures: list[tuple[str, int, str]] = []
    for _, said in answers("cloud->edge"):
        try:
            p.outcome(said.decoded.data())
        except ApiError as error:
            failures.append((said.scene, error.code, error.message))
    missing = 'lease.coordination.k8s.io "edge-go" not found'
    assert failures == [("join", 404, missing), ("idle-60s", 404, missing)]


class Fragments(msgspec.Struct):
    """The frames of one fragmented message."""

    message_id: str
    frames: list[dict[str, Any]]


@pytest.mark.parametrize("line", (DATA / "fragments.jsonl").read_bytes().splitlines())
def test_fragmented_messages_come_together_in_our_client(line: bytes, tmp_path: Path) -> None:
    captured = msgspec.json.decode(line, type=Fragments)
    frames = [Frame(Opcode(f["opcode"]), base64.b64decode(f["raw"]), fin=bool(f["fin"])) for f in captured.frames]
    assert len(frames) > 1
    world = make(tmp_path)

    async def cloud(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        protocol = ServerProtocol()
        protocol.receive_data(await reader.readuntil(b"\r\n\r\n"))
        (request,) = protocol.events_received()
        assert isinstance(request, Request)
        protocol.send_response(protocol.accept(request))
        for data in protocol.data_to_send():
            writer.write(data)
        for frame in frames:
            writer.write(frame.serialize(mask=False))
            await writer.drain()
        await reader.read()
        writer.close()

    async def main() -> bytes:
        async with await asyncio.start_server(cloud, "127.0.0.1", 0, ssl=world.server()) as server:
            port = server.sockets[0].getsockname()[1]
            connection = await connect(
                Endpoint(f"wss://127.0.0.1:{port}/", world.ca_file, world.certificate_file, world.key_file)
            )
            received = await connection.receive()
            await connection.close()
        return received

    assert decode(asyncio.run(main())).header.msg_id == captured.message_id
