"""Header blocks, judged by the `hpack` library, and fed with anything."""

from __future__ import annotations

import contextlib

import pytest
from hpack import Decoder as JudgesDecoder
from hpack import Encoder as JudgesEncoder
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ProtocolError
from octoedge.transport.hpack import TABLE, Decoder, encode

NAMES = st.sampled_from([":status", "content-type", "grpc-status", "grpc-message", "x-own"]) | st.from_regex(
    r"[a-z][a-z0-9-]{0,40}", fullmatch=True
)
FIELDS = st.lists(st.tuples(NAMES, st.text(max_size=300)), max_size=10)


@given(FIELDS)
def test_the_judge_reads_what_we_write(fields: list[tuple[str, str]]) -> None:
    read = JudgesDecoder().decode(encode(fields), raw=True)
    assert [(bytes(name).decode(), bytes(value).decode()) for name, value in read] == fields


@given(st.lists(FIELDS, max_size=4), st.booleans())
def test_we_read_what_the_judge_writes(blocks: list[list[tuple[str, str]]], huffman: bool) -> None:
    judge, decoder = JudgesEncoder(), Decoder()
    judge.header_table_size = 0
    for fields in blocks:
        assert list(decoder.decode(judge.encode(fields, huffman=huffman))) == fields


@given(st.lists(FIELDS, max_size=6), st.lists(st.sampled_from([0, 100, 1000, 4096]), max_size=3))
def test_the_table_of_a_server_is_the_judges(blocks: list[list[tuple[str, str]]], sizes: list[int]) -> None:
    judge, decoder = JudgesEncoder(), Decoder(TABLE)
    for number, fields in enumerate(blocks):
        if number < len(sizes):
            judge.header_table_size = sizes[number]
        assert list(decoder.decode(judge.encode(fields))) == fields


@given(st.binary(max_size=60))
def test_anything_gives_fields_or_a_protocol_error(block: bytes) -> None:
    with contextlib.suppress(ProtocolError):
        Decoder().decode(block)


@pytest.mark.parametrize(
    "block",
    [
        b"\x80",  # index 0
        b"\xff\x00",  # index 127: no dynamic table was agreed
        b"\x3f\xe1\x1f",  # a table of 4096 bytes
        b"\x00\x81\xfe\x00",  # wrongly padded Huffman text
        b"\x00\x05ab",  # ends within a text
        b"\x7f\xff\xff\xff\xff\xff\x0f",  # a number too large
    ],
)
def test_each_breach_is_a_protocol_error(block: bytes) -> None:
    with pytest.raises(ProtocolError):
        Decoder().decode(block)
