"""Usage: by cause, the largest first, bounded."""

from __future__ import annotations

from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction
from octoedge.protocol.usage import Usage, cause, framed


def _message(payload: p.Payload) -> Message:
    return routes.compose(payload, message_id="m", timestamp=1)


def test_bytes_are_counted_by_what_they_are_for() -> None:
    usage = Usage(0.0)
    beat = _message(p.Keepalive())
    report = _message(p.PodStatusPatch(resource=Resource("default", "podpatch", "web"), body=b"{}"))
    for _ in range(3):
        usage.count(Direction.UP, beat, 20)
    usage.count(Direction.UP, report, 900)
    usage.count(Direction.DOWN, routes.answer(report, b"OK", message_id="a", timestamp=1), 30)
    assert usage.rows() == [
        {"direction": "up", "cause": "patch podpatch", "messages": 1, "bytes": 900},
        {"direction": "up", "cause": "heartbeat", "messages": 3, "bytes": 60},
        {"direction": "down", "cause": "answer podpatch", "messages": 1, "bytes": 30},
    ]
    assert (usage.total(Direction.UP).messages, usage.total(Direction.UP).size) == (4, 960)


def test_an_acknowledgement_is_no_answer() -> None:
    object_ = _message(p.ObjectUpdate(resource=Resource("default", "pod", "web")))
    assert cause(Direction.UP, routes.acknowledge(object_, message_id="a", timestamp=1)) == "acknowledgement pod"
    assert cause(Direction.DOWN, object_) == "update pod"


def test_made_up_kinds_do_not_fill_the_memory() -> None:
    usage = Usage(0.0)
    for number in range(1000):
        usage.count(Direction.UP, Message(Header("m"), Route(operation=f"op-{number}", resource="a/b/c")), 1)
    assert len(usage.rows()) < 70
    assert usage.total(Direction.UP).messages == 1000


def test_frames_as_rfc_6455_has_them() -> None:
    assert framed(10, Direction.DOWN) == 12
    assert framed(10, Direction.UP) == 16
    assert framed(126, Direction.DOWN) == 130
    assert framed(70000, Direction.UP) == 70014
