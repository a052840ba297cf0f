"""MQTT packets: bytes as the standard has them, and no input that breaks the reader."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ProtocolError
from octoedge.transport.mqtt_packets import (
    MAX_PAYLOAD,
    Acknowledged,
    Connected,
    Decoder,
    Packet,
    Pong,
    Published,
    TooLarge,
    acknowledge,
    connect,
    publish,
    subscribe,
    unsubscribe,
)


@pytest.mark.parametrize(
    ("written", "expected"),
    [
        (connect("c", keepalive=30, clean=True), "100d" "00044d515454" "04" "02" "001e" "000163"),
        (
            connect("c", keepalive=30, clean=False, username="u", password="p"),
            "1013" "00044d515454" "04" "c0" "001e" "000163" "000175" "000170",
        ),
        (connect("c", keepalive=30, clean=True, password="p"), "100d" "00044d515454" "04" "02" "001e" "000163"),
        (subscribe(7, [("a/+", 1)]), "8208" "0007" "0003612f2b" "01"),
        (unsubscribe(8, ["a"]), "a205" "0008" "000161"),
        (publish("a", b"hi"), "3005" "000161" "6869"),
        (publish("a", b"hi", identifier=9, retain=True), "3307" "000161" "0009" "6869"),
        (acknowledge(258), "40020102"),
    ],
)  # fmt: skip
def test_the_bytes_are_the_standards(written: bytes, expected: str) -> None:
    assert written.hex() == expected


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ("20020100", Connected(True, 0)),
        ("20020005", Connected(False, 5)),
        ("90030007" "80", Acknowledged(7, b"\x80")),
        ("40020102", Acknowledged(258)),
        ("b0020008", Acknowledged(8)),
        ("d000", Pong()),
        ("3005" "000161" "6869", Published("a", b"hi")),
        ("3307" "000161" "0009" "6869", Published("a", b"hi", 9, True)),
    ],
)  # fmt: skip
def test_packets_are_read(data: str, expected: Packet) -> None:
    assert list(Decoder().feed(bytes.fromhex(data))) == [expected]


MESSAGES = st.builds(
    Published,
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=20),
    st.binary(max_size=300),
    st.integers(0, 65535),
)


@given(st.lists(MESSAGES, max_size=5), st.integers(1, 50))
def test_messages_come_out_of_any_pieces(messages: list[Published], size: int) -> None:
    data = b"".join(publish(x.topic, x.payload, identifier=x.identifier) for x in messages)
    decoder = Decoder()
    read = [packet for at in range(0, len(data), size) for packet in decoder.feed(data[at : at + size])]
    assert read == messages


@pytest.mark.parametrize("extra", [1, 200_000])
def test_a_message_that_is_too_large_is_read_past(extra: int) -> None:
    payload = b"x" * (MAX_PAYLOAD + extra)
    data = publish("a", payload, identifier=7) + publish("a", b"next")
    decoder = Decoder()
    read = [packet for at in range(0, len(data), 65_536) for packet in decoder.feed(data[at : at + 65_536])]
    large, following = read
    assert isinstance(large, TooLarge)
    assert (large.topic, large.identifier) == ("a", 7)
    assert following == Published("a", b"next")


@given(st.lists(st.binary(max_size=40), max_size=6))
def test_any_bytes_give_packets_or_a_protocol_error(pieces: list[bytes]) -> None:
    decoder = Decoder()
    with contextlib.suppress(ProtocolError):
        for piece in pieces:
            list(decoder.feed(piece))
