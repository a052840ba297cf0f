"""A capture as a story: who said what to whom when, which answer belongs to which question, which objects it tells of.

Files of `octoedge capture` are read, and those that a relay between KubeEdge's own cloud and edge has written: lines of
`{"scene": …, "dir": "edge->cloud", "message": {…}}`, whose times are those in the messages.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import msgspec

from octoedge.errors import InstallError, MessageError, RouteError
from octoedge.protocol import handshake, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.capture import DOWN, UP, Begin, Capture, Opened, Said, read
from octoedge.protocol.message import Message
from octoedge.protocol.routes import Direction

_WAYS: dict[str, Literal["up", "down"]] = {"edge->cloud": UP, "cloud->edge": DOWN}
_DIRECTIONS = {UP: Direction.UP, DOWN: Direction.DOWN}
_UNPLAYED = frozenset({handshake.PACKED, handshake.DELTAS})
"""Features that say how messages are written, which a capture does not keep."""
PUTS = (p.ObjectInsert, p.ObjectUpdate)


class _Relayed(msgspec.Struct, frozen=True):
    """One line of a relay's file."""

    dir: str
    message: Message
    scene: str = ""


def load(path: Path) -> Capture:
    """The capture in a file; `InstallError` when there is none, `MessageError` when it cannot be read."""
    try:
        with path.open("rb") as file:
            first = file.readline()
            lines = itertools.chain([first] if first else [], file)
            return _relayed(lines, str(path)) if b'"scene"' in first[:200] else read(lines, str(path))
    except OSError as error:
        raise InstallError(f"{path} cannot be read: {error.strerror}") from error


def meaning(said: Said) -> p.Payload | None:
    """What a message means; None when no row of the route table knows it."""
    try:
        return routes.classify(_DIRECTIONS[said.way], said.message)
    except (RouteError, MessageError):
        return None


def content(message: Message) -> Any:
    """What a message carries."""
    return msgspec.json.decode(bytes(message.content))


def features(headers: dict[str, str]) -> dict[str, str]:
    """Headers of a handshake without what a capture does not keep."""
    if handshake.FEATURES not in headers:
        return headers
    kept = handshake.features(headers) - _UNPLAYED
    return {**headers, handshake.FEATURES: handshake.speaks(kept)}


class Story:
    """What concerns one node."""

    def __init__(self, capture: Capture, node: str) -> None:
        self.node = node
        self.epoch = capture.begin.time
        self.opened = [opened for opened in capture.opened.values() if opened.node == node]
        numbers = {opened.connection for opened in self.opened}
        self.said = [said for said in capture.said if said.connection in numbers and not said.left_out]
        self.left_out = sum(said.connection in numbers and said.left_out > 0 for said in capture.said)
        self.closed = {closed.connection: closed.at for closed in capture.closed if closed.connection in numbers}
        self.held = [held for held in capture.held if held.node == node and held.resource.count("/") == 2]
        self.end = max((said.at for said in self.said), default=0.0)
        self.answers = {
            said.message.header.parent_msg_id: said
            for said in self.said
            if said.way == DOWN and said.message.header.parent_msg_id
        }
        """What answered each question of the edge, by its id."""

        self.questions = {said.message.header.msg_id: said.message for said in self.said if said.way == UP}
        """What the edge said, by id."""

    @property
    def ours(self) -> bool:
        """Whether the captured cloud was one of ours."""
        return any(handshake.VERSION in opened.cloud for opened in self.opened)

    def acknowledged(self) -> dict[str, Said]:
        """The cloud's messages that the edge acknowledged, or refused, by id; an answer's counts too."""
        by_id = {said.message.header.msg_id: said for said in self.said if said.way == DOWN}
        found = {}
        for said in self.said:
            if said.way == UP and isinstance(meaning(said), p.Ack | p.Nack):
                for message_id in routes.acknowledged(said.message):
                    if message_id in by_id:
                        found[message_id] = by_id[message_id]
        return found

    def objects(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(resource, object) of everything that is told of in it."""
        for held in self.held:
            yield held.resource, msgspec.json.decode(bytes(held.object))
        for said in self.said:
            payload = meaning(said)
            if isinstance(payload, PUTS) and isinstance(body := payload.json(), dict):
                yield str(payload.resource), body


def answered(said: Said) -> dict[str, Any] | None:
    """The object that an answer gives; None when it gives none. `ApiError` when it tells of an error."""
    body = p.outcome(said.message.data())
    value = msgspec.json.decode(body) if body[:1] == b"{" else None
    return value if isinstance(value, dict) and "metadata" in value else None


def _relayed(lines: Iterator[bytes], name: str) -> Capture:
    capture = Capture(Begin(role="relay", program="KubeEdge", node="", time=0.0), ended="the relay was stopped")
    began = at = 0.0
    for number, line in enumerate(lines, 1):
        try:
            found = msgspec.json.decode(line, type=_Relayed)
            way = _WAYS[found.dir]
        except (msgspec.DecodeError, KeyError) as error:
            raise MessageError(f"{name}, line {number}: not a message of a relay: {error}") from error
        time = found.message.header.timestamp / 1000
        began = began or time
        at = max(at, time - began)
        capture.said.append(Said(at=round(at, 3), connection=1, way=way, size=len(line), message=found.message))
    nodes = (said.message.route.resource for said in capture.said if said.message.route.operation == "insert")
    node = next((text.rpartition("/")[2] for text in nodes if text.startswith("null/node/")), "")
    if not node:
        raise MessageError(f"{name} tells of no node: no Node is inserted in it")
    capture.begin = msgspec.structs.replace(capture.begin, time=began)
    capture.opened[1] = Opened(at=0.0, connection=1, node=node, edge={handshake.NODE: node}, cloud={})
    return capture
