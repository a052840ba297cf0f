"""Bytes become messages or a MessageError; nothing else, whatever comes."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import MessageError, ProtocolError
from octoedge.protocol.codec import MAX_BYTES, decode, encode
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.routes import Direction, classify

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=10,
)
HEADERS = st.builds(
    Header, msg_id=TEXT, parent_msg_id=TEXT, timestamp=st.integers(0, 2**53), sync=st.booleans(), type=TEXT,
    resourceversion=st.just("") | st.integers(0, 2**64 - 1).map(str),
)  # fmt: skip
ROUTES = st.builds(Route, source=TEXT, destination=TEXT, group=TEXT, operation=TEXT, resource=TEXT)


def wire(content: bytes, **header: Any) -> bytes:
    head = msgspec.json.encode({"msg_id": "i", "timestamp": 1, **header})
    return b'{"header":%s,"route":{"source":"edged","operation":"patch","resource":"a/podpatch/b"},"content":%s}' % (
        head, content,
    )  # fmt: skip


@given(HEADERS, ROUTES, JSON)
def test_decoding_is_the_inverse_of_encoding(header: Header, route: Route, content: Any) -> None:
    message = Message(header, route, msgspec.Raw(msgspec.json.encode(content)))
    data = encode(message)
    assert data.endswith(b"\n")
    again = decode(data)
    assert (again.header, again.route, bytes(again.content)) == (header, route, bytes(message.content))


@given(st.binary(max_size=200))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    try:
        message = decode(data)
    except MessageError:
        return
    assert decode(encode(message)) == message


@given(st.binary(max_size=30) | JSON.map(msgspec.json.encode) | st.binary(max_size=10).map(lambda b: b'"' + b + b'"'))
def test_any_content_can_be_looked_at_by_who_is_asked_to(content: bytes) -> None:
    """What passes the codec must not surprise anyone behind it."""
    try:
        classify(Direction.UP, decode(wire(content))).json()
    except ProtocolError:
        return


@given(st.data())
def test_a_damaged_message_is_never_a_surprise(data: st.DataObject) -> None:
    whole = bytearray(wire(b'{"metadata":{"name":"\xc3\xa9"},"n":[1,2.5,true]}'))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    try:
        classify(Direction.UP, decode(bytes(whole))).json()
    except ProtocolError:
        return


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "truncated"),
        (b"[]", "Expected `object`"),
        (b'{"header":{},"route":{}}', "msg_id"),
        (b'{"header":{"msg_id":1},"route":{}}', "Expected `str`"),
        (b'{"header":{"msg_id":"i","timestamp":"x"},"route":{}}', "timestamp"),
        (wire(b"1", resourceversion=7), "resourceversion"),
        (wire(b"1", resourceversion="x"), "is not a decimal number"),
        (wire(b"1", resourceversion="-1"), "is not a decimal number"),
        (wire(b"1", resourceversion="1" * 21), "is not a decimal number"),
        (wire(b"1") + b"{}", "malformed"),
        (wire(b'"\xff"'), "not UTF-8"),
        (wire(b"[" * 100_000), "recursion"),
    ],
)
def test_what_is_wrong_is_said(data: bytes, why: str) -> None:
    with pytest.raises(MessageError, match=why):
        decode(data)


def test_a_message_above_the_limit_is_not_even_looked_at() -> None:
    with pytest.raises(MessageError, match="larger than the limit"):
        decode(b" " * (MAX_BYTES + 1))


def test_unknown_fields_and_white_space_are_left_alone() -> None:
    data = b' {"new":[1],"header":{"msg_id":"i","more":{}},"route":{"x":1},"content":{"b": 1,  "a":2}}\r\n\n'
    assert bytes(decode(data).content) == b'{"b": 1,  "a":2}'


def test_content_that_is_missing_is_null() -> None:
    assert bytes(decode(b'{"header":{"msg_id":"i"},"route":{}}').content) == b"null"
