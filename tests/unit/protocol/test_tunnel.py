"""The tunnel's messages, from every direction; golden bytes are in tests/wire."""

from __future__ import annotations

from urllib.parse import quote

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import MessageError
from octoedge.protocol.tunnel import (
    MAX_MESSAGE,
    Answer,
    Connector,
    Frame,
    Kind,
    decode,
    decode_answer,
    decode_connector,
    encode,
    encode_answer,
    encode_connector,
    read_uvarint,
    uvarint,
)

NUMBERS = st.integers(min_value=0, max_value=2**64 - 1)
SEGMENT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20).filter(lambda s: s.strip("/") == s)


def test_the_example_of_the_specification() -> None:
    assert encode(300, Kind.DATA, b"hi\n") == bytes.fromhex("AC 02 03 68 69 0A")
    assert decode(bytes.fromhex("AC 02 03 68 69 0A")) == Frame(300, Kind.DATA, b"hi\n")


@given(NUMBERS, st.sampled_from(Kind), st.binary(max_size=300))
def test_encoding_and_decoding_are_inverses(stream: int, kind: Kind, data: bytes) -> None:
    assert decode(encode(stream, kind, data)) == Frame(stream, kind, data)


@given(NUMBERS, st.binary(max_size=5))
def test_numbers_are_read_where_they_end(number: int, rest: bytes) -> None:
    encoded = uvarint(number)
    assert len(encoded) <= 10
    assert read_uvarint(b"x" + encoded + rest, 1) == (number, 1 + len(encoded))


@pytest.mark.parametrize("number", [-1, 2**64])
def test_numbers_beyond_64_bits_are_refused(number: int) -> None:
    with pytest.raises(ValueError, match="64 bits"):
        uvarint(number)


@given(st.binary(max_size=40))
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    try:
        frame = decode(data)
    except MessageError:
        return
    # Go accepts longer forms of the same number; what is read must at least come back the same.
    assert decode(encode(frame.stream, frame.kind, frame.data)) == frame


@pytest.mark.parametrize(
    "data", [b"", b"\x01", b"\x80", b"\xff" * 9 + b"\x02\x03", b"\xff" * 12, b"\x01\x0a", b"\x01\xff\xff\x03"]
)
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode(data)


def test_a_message_above_the_limit_is_refused() -> None:
    with pytest.raises(MessageError, match="larger than the limit"):
        decode(b"\x01\x03" + bytes(MAX_MESSAGE))


@given(st.lists(SEGMENT, min_size=1, max_size=5), st.text("abc=&%20", max_size=20))
def test_a_connector_comes_back_as_it_was(segments: list[str], query: str) -> None:
    path = "/" + "/".join(quote(segment, safe="") for segment in segments)
    connector = Connector(path, query, "POST", {"X-A": ("1", "2")})
    read = decode_connector(encode_connector(7, connector))
    assert (read.segments, read.query) == (tuple(segments), query)
    assert (read.method, read.headers) == ("POST", {"X-A": ("1", "2")})


def test_keys_are_read_in_any_case_and_unknown_ones_left_alone() -> None:
    data = b'{"messid":1,"URL":{"path":"/a b/c","rawquery":"x=1","New":[1]},"Header":{"A":null},"extra":{}}'
    assert decode_connector(data) == Connector("/a b/c", "x=1", "", {"A": ()})


def test_a_path_without_its_raw_form_is_already_decoded() -> None:
    assert decode_connector(b'{"url":{"Path":"/a%2Fb/c?d"}}').segments == ("a%2Fb", "c?d")
    assert decode_connector(b'{"url":{"Path":"/a/b/c","RawPath":"/a%2Fb/c"}}').segments == ("a/b", "c")


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"[]", b"null", b'"x"', b'{"url":[]}', b"{}", b'{"url":{}}', b'{"url":{"Path":"relative"}}',
        b'{"url":{"Path":1}}', b'{"url":{"Path":"/x"},"header":{"A":"b"}}', b'{"url":{"Path":"/x","RawPath":"/%ff"}}',
        b"\xff", b'{"url":' * 5000,
    ],
)  # fmt: skip
def test_a_connector_that_cannot_be_read_is_an_error(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_connector(data)


def _objects(inner: st.SearchStrategy[object]) -> st.SearchStrategy[object]:
    return st.dictionaries(st.sampled_from(["url", "Path", "RawPath", "header", "a"]), inner, max_size=4)


@given(st.binary(max_size=60) | st.recursive(st.none() | st.text(max_size=5), _objects).map(msgspec.json.encode))
def test_any_bytes_are_a_connector_or_an_error(data: bytes) -> None:
    try:
        connector = decode_connector(data)
    except MessageError:
        return
    assert connector.path.startswith("/")


@given(st.integers(100, 599), st.dictionaries(st.text("abc-", max_size=5), st.text("xyz ", max_size=5), max_size=3))
def test_answers_come_back_as_they_were(status: int, headers: dict[str, str]) -> None:
    assert decode_answer(encode_answer(Answer(status, headers))) == Answer(status, headers)


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b'{"status":99}', b'{"status":600}', b'{"status":"200"}', b'{"status":200,"headers":{"a":"b\\r\\nc"}}',
     b'{"status":200,"headers":{"a\\n":"b"}}', b'{"status":200,"headers":{"a":["b"]}}', b"\xff"],
)  # fmt: skip
def test_an_answer_that_could_do_harm_is_an_error(data: bytes) -> None:
    with pytest.raises(MessageError):
        decode_answer(data)
