"""The file of a capture: written, read, cut off anywhere, and refused with a sentence where it is none."""

from __future__ import annotations

import msgspec
import pytest

from octoedge.errors import MessageError
from octoedge.protocol import capture
from octoedge.protocol.capture import Begin, Closed, Dropped, End, Held, Opened, Said, line, read
from octoedge.protocol.message import Header, Message, Route

BEGIN = Begin(role="cloud", program="Octoedge 1", node="", time=1_790_000_000.0)
SAID = Said(
    at=0.5, connection=1, way="up", size=100,
    message=Message(Header(msg_id="a"), Route(operation="keepalive", resource="node"), msgspec.Raw(b'"ping"')),
)  # fmt: skip
WHOLE: list[capture.Record] = [
    BEGIN,
    Opened(at=0, connection=1, node="edge-1", edge={"node_id": "edge-1"}, cloud={}, before=True),
    Held(node="edge-1", resource="null/node/edge-1", object=msgspec.Raw(b'{"kind":"Node"}')),
    SAID,
    Dropped(at=0.7, messages=3),
    Closed(at=0.9, connection=1),
    End(at=1.0, why="its time is over", messages=1, dropped=3),
]
LINES = [line(record) for record in WHOLE]


def test_what_is_written_is_read() -> None:
    found = read(LINES, "f")
    assert found.begin == BEGIN
    assert found.nodes() == ["edge-1"]
    assert found.of(1, capture.UP) == [SAID]
    assert found.of(1, capture.DOWN) == []
    assert [held.resource for held in found.held] == ["null/node/edge-1"]
    assert (found.dropped, found.ended, found.cut) == (3, "its time is over", "")


def test_a_file_that_was_cut_off_anywhere_is_good_up_to_there() -> None:
    text = b"".join(LINES)
    for kept in range(1, len(text)):
        lines = text[:kept].splitlines(keepends=True)
        if kept < len(LINES[0]) - 1:
            with pytest.raises(MessageError):
                read(lines, "f")
            continue
        found = read(lines, "f")
        assert bool(found.cut) is not bool(found.ended)
        assert not found.cut or "f has no end" in found.cut
        assert len(found.said) == (kept >= len(b"".join(LINES[:4])) - 1)


@pytest.mark.parametrize(
    ("lines", "why"),
    [
        ([], "is empty"),
        ([b"hello\n"], "line 1: not a record"),
        ([LINES[3]], "does not begin as a capture"),
        ([LINES[0].replace(b'"version":1', b'"version":2')], "version 2, and this program reads version 1"),
        ([LINES[0], b"{}\n", LINES[3]], "line 2: not a record"),
        ([LINES[0], LINES[0]], "begins twice"),
        ([LINES[0], LINES[3].replace(b'"up"', b'"sideways"')], "line 2: not a record"),
        ([LINES[0], LINES[3].replace(b'"at":0.5', b'"at":1e300')], "line 2: no capture goes as far as 1e[+]300 s"),
        ([LINES[0], LINES[3].replace(b'"at":0.5', b'"at":-1')], "line 2: no capture goes as far as -1 s"),
        ([LINES[0].replace(b"1790000000.0", b"1e300")], "does not begin as a capture"),
    ],
)
def test_what_is_no_capture_is_refused(lines: list[bytes], why: str) -> None:
    with pytest.raises(MessageError, match=why):
        read(lines, "f")


def test_how_a_capture_ended_is_told_by_its_first_and_last_line() -> None:
    assert capture.ending(LINES[0], LINES[-1], "f") == WHOLE[-1]
    assert capture.ending(LINES[0], LINES[-2], "f") is None
    assert capture.ending(LINES[0], LINES[-1][:20], "f") is None
    with pytest.raises(MessageError, match="does not begin as a capture"):
        capture.ending(b"4 captures are running here already\n", LINES[-1], "f")
