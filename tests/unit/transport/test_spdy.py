"""SPDY/3.1 frames: as Go wrote them, cut anywhere, and nonsense."""

from __future__ import annotations

import contextlib
import itertools
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ProtocolError
from octoedge.transport.spdy import DICTIONARY, Data, Event, Framer, Goaway, Opened, Ping, Replied, Reset

# What kubectl and containerd said on 2026-11-21 for `exec -- sh -c 'echo out; …'`.
CLIENT = "80030001 0000002a 00000001 00000000 0000 78f9e3c6a7c262606060 04a7b392a2d4c45c6851c29a5a5494 5f04000000ffff"
SERVER = "80030002 00000014 00000001 78f9e3c6a7c262606060000000 00ffff"


def taken(framer: Framer, data: bytes) -> list[Event]:
    return list(framer.feed(data))


def joined(events: list[Event]) -> list[Event]:
    """Pieces of data put together again."""
    out: list[Event] = []
    for event in events:
        last = out[-1] if out else None
        if isinstance(event, Data) and isinstance(last, Data) and last.stream == event.stream and not last.fin:
            out[-1] = Data(event.stream, last.data + event.data, event.fin)
        else:
            out.append(event)
    return out


def test_the_dictionary_is_the_one_that_all_use() -> None:
    # Each compressed stream names it by this number: 78 f9 e3c6a7c2.
    assert (len(DICTIONARY), zlib.adler32(DICTIONARY)) == (1423, 0xE3C6A7C2)


def test_what_go_wrote_is_read() -> None:
    assert taken(Framer(), bytes.fromhex(CLIENT)) == [Opened(1, {"streamtype": "error"})]
    assert taken(Framer(), bytes.fromhex(SERVER)) == [Replied(1, {})]


def test_frames_have_the_layout_of_the_standard() -> None:
    assert Framer.data(5, b"hi", fin=True).hex() == "00000005010000026869"
    assert Framer.rst_stream(1, 5).hex() == "80030003000000080000000100000005"
    assert Framer.ping(7).hex() == "800300060000000400000007"
    assert Framer.goaway(5).hex() == "80030007000000080000000500000000"
    assert Framer().syn_stream(1, {}, fin=True)[:5].hex() == "8003000101"


ids = st.integers(1, 2**31 - 1)
texts = st.text(st.characters(min_codepoint=0x20, max_codepoint=0xFF), max_size=40)
headers = st.dictionaries(texts.map(str.lower).filter(str.isascii), texts, max_size=5)
events = st.one_of(
    st.builds(Opened, ids, headers, st.booleans()),
    st.builds(Replied, ids, headers, st.booleans()),
    st.builds(Data, ids, st.binary(max_size=300), st.booleans()),
    st.builds(Reset, ids, st.integers(0, 2**32 - 1)),
    st.builds(Ping, st.integers(0, 2**32 - 1)),
    st.builds(Goaway, ids, st.integers(0, 2**32 - 1)),
)


def written(framer: Framer, event: Event) -> bytes:
    match event:
        case Opened(stream, head, fin):
            return framer.syn_stream(stream, head, fin=fin)
        case Replied(stream, head, fin):
            return framer.syn_reply(stream, head, fin=fin)
        case Data(stream, data, fin):
            return framer.data(stream, data, fin=fin)
        case Reset(stream, status):
            return framer.rst_stream(stream, status)
        case Ping(number):
            return framer.ping(number)
        case Goaway(last, status):
            return framer.goaway(last, status)


@given(st.lists(events, max_size=12), st.lists(st.integers(0, 4000), max_size=12))
def test_what_is_written_is_read_wherever_it_is_cut(said: list[Event], cuts: list[int]) -> None:
    writer, reader = Framer(), Framer()
    wire = b"".join(written(writer, event) for event in said)
    edges = sorted({0, len(wire), *(min(cut, len(wire)) for cut in cuts)})
    heard = [e for begin, end in itertools.pairwise(edges) for e in taken(reader, wire[begin:end])]
    assert joined(heard) == joined(said)


@given(st.lists(st.binary(max_size=200), max_size=5))
def test_nonsense_is_refused_and_nothing_worse(pieces: list[bytes]) -> None:
    framer = Framer()
    try:
        for piece in pieces:
            taken(framer, piece)
    except ProtocolError:
        pass


@given(st.sampled_from([1, 2, 3, 6, 7, 8]), st.binary(max_size=60))
def test_control_frames_of_any_content_are_refused_or_read(kind: int, body: bytes) -> None:
    frame = b"\x80\x03" + kind.to_bytes(2, "big") + b"\0" + len(body).to_bytes(3, "big") + body
    with contextlib.suppress(ProtocolError):
        taken(Framer(), frame)


@pytest.mark.parametrize(
    ("frame", "why"),
    [
        ("80020001 00000000", "version 2"),
        ("80030001 00010001", "larger than the limit"),
        ("00000000 00000001 00", "names no stream"),
        ("80030003 00000004 00000001", "too short"),
        ("80030002 00000008 00000001 deadbeef", "cannot be unpacked"),
    ],
)
def test_what_is_wrong_is_said(frame: str, why: str) -> None:
    with pytest.raises(ProtocolError, match=why):
        taken(Framer(), bytes.fromhex(frame))


def test_a_header_block_that_unpacks_to_too_much_is_refused() -> None:
    packer = zlib.compressobj(zdict=DICTIONARY)
    bomb = packer.compress(b"\0\0\0\1" + bytes(50_000_000)) + packer.flush(zlib.Z_SYNC_FLUSH)
    frame = b"\x80\x03\x00\x02\x00" + (len(bomb) + 4).to_bytes(3, "big") + b"\0\0\0\1" + bomb
    assert len(bomb) < 60_000
    with pytest.raises(ProtocolError, match="larger than the limit"):
        taken(Framer(), frame)


def test_unknown_control_frames_are_passed_over() -> None:
    settings, window = "80030004 00000004 00000000", "80030009 00000008 00000001 00001000"
    assert taken(Framer(), bytes.fromhex(settings + window) + Framer.ping(2)) == [Ping(2)]
