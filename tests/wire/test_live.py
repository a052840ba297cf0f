"""What a live Go EdgeCore v1.23.1 was seen to send to our CloudCore, beyond what the first capture holds: events, a
mirror pod, and how it ends. `make test-peers` is how such messages come about; these are kept byte for byte.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from octoedge.cloud.cloudhub.bases import Bases
from octoedge.cloud.cloudhub.session import Session
from octoedge.errors import ConnectionClosed
from octoedge.protocol import payloads as p
from octoedge.protocol.codec import decode, encode
from octoedge.protocol.delivery import Item
from octoedge.protocol.message import Message
from octoedge.protocol.routes import Direction, answer, classify, compose
from octoedge.testing.clock import VirtualClock, run
from octoedge.transport.connection import Peer
from octoedge.transport.memory import pair


class Captured(msgspec.Struct, frozen=True):
    """One line of the file."""

    scene: str
    dir: str
    message: msgspec.Raw


LINES = (Path(__file__).parent / "data" / "live.jsonl").read_bytes().splitlines()
EVENT, COUNTED, LEASE, MIRROR, END = (bytes(msgspec.json.decode(line, type=Captured).message) for line in LINES)


@pytest.mark.parametrize(
    ("raw", "kind"),
    [
        (EVENT, p.EventInsert),
        (COUNTED, p.EventPatch),
        (LEASE, p.LeaseInsert),
        (MIRROR, p.PodInsert),
        (END, p.PodDelete),
    ],
)
def test_it_is_understood_and_written_as_go_writes_it(raw: bytes, kind: type[p.Payload]) -> None:
    message = decode(raw)
    payload = classify(Direction.UP, message)
    assert type(payload) is kind
    header = message.header
    again = compose(payload, message_id=header.msg_id, timestamp=header.timestamp)
    assert msgspec.json.decode(encode(again)) == msgspec.json.decode(raw)


def test_a_mirror_pod_names_its_node_and_ends_without_its_uid() -> None:
    mirror = msgspec.json.decode(classify(Direction.UP, decode(MIRROR)).body)
    assert mirror["metadata"]["annotations"]["kubernetes.io/config.mirror"]
    assert mirror["spec"]["nodeName"] == "peer"
    ending = msgspec.json.decode(classify(Direction.UP, decode(END)).body)
    assert ending == {"gracePeriodSeconds": 0, "preconditions": {}}, "the kubelet knows no uid for it"


@dataclass
class Answering:
    """A controller that answers everything at once; checkpoints that keep nothing."""

    session: Session | None = None
    asked: list[str] = field(default_factory=list)

    def receive(self, node: str, message: Message, payload: p.Payload) -> None:
        assert self.session is not None
        self.asked.append(message.header.msg_id)
        self.session.answer(answer(message, b"{}", message_id=f"to {message.header.msg_id}", timestamp=0))

    def version(self, node: str, uid: str) -> int | None:
        return None

    def expect(self, node: str, item: Item, then: object) -> None: ...

    def opened(self, node: str, store: str) -> None: ...

    def reached(self, node: str, item: Item, store: str) -> None: ...


def test_events_are_taken_and_not_answered_which_go_would_not_acknowledge() -> None:
    async def main() -> None:
        edge, cloud = pair(Peer("peer", "system:node:peer"))
        answering = Answering()
        session = Session(cloud, answering.receive, answering, VirtualClock(), keepalive_seconds=30.0, bases=Bases())
        answering.session = session
        task = asyncio.create_task(session.run())
        for raw in (EVENT, COUNTED, MIRROR):
            await edge.send(raw)
        assert decode(await edge.receive()).header.parent_msg_id == decode(MIRROR).header.msg_id
        await asyncio.sleep(1.0)
        assert answering.asked == [decode(raw).header.msg_id for raw in (EVENT, COUNTED, MIRROR)]
        session.end("the test is over")
        await task
        with pytest.raises(ConnectionClosed):
            await edge.receive()

    run(main())
