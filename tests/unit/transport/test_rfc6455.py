"""Our half of WebSocket, judged by the `websockets` library's server half, and fed with anything."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from websockets.frames import Frame
from websockets.frames import Opcode as JudgesOpcode
from websockets.http11 import Request
from websockets.server import ServerProtocol

from octoedge.errors import ProtocolError
from octoedge.transport.rfc6455 import (
    TOO_BIG,
    Close,
    Event,
    FrameError,
    FrameReader,
    Message,
    Opcode,
    Ping,
    Pong,
    Upgraded,
    encode,
    encode_close,
    masked,
    new_key,
    upgrade_request,
)

PAYLOADS = st.binary(max_size=300) | st.integers(0, 70_000).map(lambda size: b"x" * size)


def judge() -> tuple[ServerProtocol, str, bytes]:
    """An open server half, our key, and its answer to our upgrade request."""
    server = ServerProtocol(max_size=None)
    key = new_key()
    server.receive_data(upgrade_request("cloud:10000", "/e632/edge-1/events", {"node_id": "edge-1"}, key))
    (request,) = server.events_received()
    assert isinstance(request, Request)
    server.send_response(server.accept(request))
    return server, key, b"".join(server.data_to_send())


def test_the_judge_agrees_to_our_request_and_we_to_its_answer() -> None:
    _, key, answer = judge()
    upgraded = Upgraded.parse(answer)
    assert upgraded.status == 101
    upgraded.check(key)
    with pytest.raises(ProtocolError, match="Accept"):
        upgraded.check(new_key())


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("upgrade", "h2c", "something else"),
        ("sec-websocket-extensions", "permessage-deflate", "not offered"),
        ("sec-websocket-protocol", "chat", "not offered"),
    ],
)
def test_an_answer_that_differs_from_what_was_asked_is_refused(name: str, value: str, says: str) -> None:
    _, key, answer = judge()
    upgraded = Upgraded.parse(answer)
    with pytest.raises(ProtocolError, match=says):
        Upgraded(101, {**upgraded.headers, name: value}).check(key)


@pytest.mark.parametrize("head", [b"", b"SSH-2.0-x\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\xff\xfe"])
def test_what_is_no_http_is_said_so(head: bytes) -> None:
    with pytest.raises(ProtocolError, match="no HTTP"):
        Upgraded.parse(head)


def test_a_line_break_in_a_header_is_refused() -> None:
    with pytest.raises(ValueError, match="line break"):
        upgrade_request("cloud", "/", {"node_id": "a\r\nX: y"}, new_key())


@given(st.lists(PAYLOADS, max_size=5))
def test_the_judge_reads_what_we_write(payloads: list[bytes]) -> None:
    server, _, _ = judge()
    server.receive_data(b"".join(encode(Opcode.TEXT, payload) for payload in payloads))
    assert [event.data for event in server.events_received() if isinstance(event, Frame)] == payloads


@settings(deadline=None)  # a piece of one byte at a time takes its time
@given(st.lists(st.tuples(PAYLOADS, st.integers(1, 5)), max_size=4), st.integers(1, 5000))
def test_we_read_what_the_judge_writes_in_whatever_pieces_it_comes(
    messages: list[tuple[bytes, int]], piece: int
) -> None:
    server, _, _ = judge()
    for payload, parts in messages:
        step = max(1, len(payload) // parts)
        chunks = [payload[at : at + step] for at in range(0, len(payload), step)] or [b""]
        server.send_binary(chunks[0], fin=len(chunks) == 1)
        for number, chunk in enumerate(chunks[1:], 2):
            server.send_ping(b"between")
            server.send_continuation(chunk, fin=number == len(chunks))
    stream = b"".join(server.data_to_send())
    reader = FrameReader(100_000)
    events: list[Event] = []
    for at in range(0, len(stream), piece):
        events += reader.feed(stream[at : at + piece])
    assert [event.data for event in events if isinstance(event, Message)] == [payload for payload, _ in messages]
    assert all(event == Ping(b"between") for event in events if isinstance(event, Ping))


@given(st.lists(st.binary(max_size=40), max_size=20))
def test_anything_gives_events_or_a_frame_error(chunks: list[bytes]) -> None:
    reader = FrameReader(1000)
    with contextlib.suppress(FrameError):
        for chunk in chunks:
            assert all(isinstance(event, Message | Ping | Pong | Close) for event in reader.feed(chunk))


@pytest.mark.parametrize(
    "stream",
    [
        b"\x91\x00",  # reserved bit
        b"\x81\x80\x00\x00\x00\x00",  # masked
        b"\x83\x00",  # unknown opcode
        b"\x80\x00",  # continues nothing
        b"\x01\x00\x81\x00",  # begins before the last one ended
        b"\x09\x00",  # ping in pieces
        b"\x89\x7e\x00\x7e",  # ping too long
        b"\x88\x01\x03",  # half a code
    ],
)
def test_each_breach_is_a_frame_error(stream: bytes) -> None:
    with pytest.raises(FrameError):
        list(FrameReader(1000).feed(stream))


def test_a_message_too_large_is_refused_from_its_head_alone() -> None:
    with pytest.raises(FrameError, match="larger than the limit of 1000") as caught:
        list(FrameReader(1000).feed(b"\x82\x7f" + (1 << 40).to_bytes(8, "big")))
    assert caught.value.code == TOO_BIG
    reader = FrameReader(1000)
    assert list(reader.feed(b"\x02\x7e" + (900).to_bytes(2, "big") + b"x" * 900)) == []
    with pytest.raises(FrameError, match="1001"):
        list(reader.feed(b"\x80\x65"))


def test_the_end_is_told_with_code_and_reason() -> None:
    server, _, _ = judge()
    server.send_close(1001, "cloud stops")
    assert list(FrameReader(10).feed(b"".join(server.data_to_send()))) == [Close(1001, "cloud stops")]
    server, _, _ = judge()
    server.receive_data(encode_close(1000, "edge stops"))
    frames = [event for event in server.events_received() if isinstance(event, Frame)]
    assert frames[0].opcode is JudgesOpcode.CLOSE


@given(st.binary(max_size=200), st.binary(min_size=4, max_size=4))
def test_masking_twice_gives_the_same(data: bytes, key: bytes) -> None:
    assert masked(masked(data, key), key) == data
    assert masked(data, key) == bytes(byte ^ key[at % 4] for at, byte in enumerate(data))
    assert masked(data, bytes(4)) == data, "so a mask of zeros needs no work"
