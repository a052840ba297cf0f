"""Messages of DNS: what is read, what is refused, what is written."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.wire import Code, Query, Record
from octoedge.errors import MessageError

LABEL = st.text(st.characters(min_codepoint=33, max_codepoint=255), min_size=1, max_size=63).map(
    lambda text: text.encode("latin-1").lower().decode("latin-1")
)
NAME = st.lists(LABEL, max_size=3).map(tuple)
WEB = ("web", "shop", "svc", "cluster", "local")


def asked(name: wire.Name = WEB, kind: int = wire.A, most: int = 0) -> bytes:
    message = wire.ask(7, name, kind)
    if not most:
        return message
    return message[:11] + b"\1" + message[12:] + b"\0" + struct.pack(">HHIH", wire.OPT, most, 0, 0)


def read(data: bytes) -> Query:
    query = wire.read_query(data)
    assert query is not None
    return query


@given(NAME)
def test_a_name_is_read_as_it_was_written(name: wire.Name) -> None:
    written = wire.write_name(name)
    assert wire.read_name(b"xx" + written, 2) == (name, 2 + len(written))


@given(NAME, st.integers(0, 65535), st.integers(0, 65535))
def test_a_query_is_read_as_it_was_asked(name: wire.Name, number: int, kind: int) -> None:
    query = read(wire.ask(number, name, kind))
    assert (query.id, query.name, query.type, query.kind, query.wrong) == (number, name, kind, wire.IN, Code.OK)


@given(st.binary(max_size=600))
def test_no_bytes_break_it(data: bytes) -> None:
    query = wire.read_query(data)
    if query is not None:
        assert len(wire.failed(query)) <= wire.LEAST
    try:
        list(wire.places(data))
        wire.read_answers(data)
    except MessageError:
        pass


@given(st.binary(max_size=80), st.integers(0, 79))
def test_a_mutilated_query_is_answered_or_passed_over(noise: bytes, place: int) -> None:
    data = asked(most=1232)
    query = wire.read_query(data[:place] + noise + data[place + len(noise) :])
    if query is not None and query.wrong is Code.OK:
        assert sum(len(label) + 1 for label in query.name) < 255


def test_pointers_that_go_in_circles_come_to_an_end() -> None:
    for tail in (b"\xc0\x02", b"\1a\xc0\x02", b"\1a\xc0", b"\xc0\x7f", b"\x80a", b"\x3fa", b""):
        with pytest.raises(MessageError):
            wire.read_name(b"\0\0" + tail, 2)
    with pytest.raises(MessageError):
        wire.read_name(wire.write_name(("a",)) + b"\xc0\x00", 3, pointers=False)
    long = b"".join(b"\x3f" + b"a" * 63 for _ in range(4)) + b"\0"
    with pytest.raises(MessageError, match="255"):
        wire.read_name(long, 0)


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\0\1\x28\0\0\1\0\0\0\0\0\0" + asked()[12:], Code.NOT_IMPLEMENTED),
        (asked()[:5] + b"\2" + asked()[6:], Code.FORMAT),
        (asked()[:7] + b"\1" + asked()[8:], Code.FORMAT),
        (asked()[:-1], Code.FORMAT),
        (asked()[:11] + b"\1" + asked()[12:], Code.FORMAT),
        (asked(most=512), Code.OK),
        (asked(most=512)[:-6] + b"\0\1\0\0\0\0", Code.BAD_VERSION),
    ],
)
def test_what_is_wrong_with_a_query_is_said(data: bytes, code: Code) -> None:
    assert read(data).wrong is code


@pytest.mark.parametrize("data", [b"", b"\0" * 11, b"\0\0\x80\0" + b"\0" * 20, b"\0" * 5000])
def test_what_is_no_query_is_passed_over(data: bytes) -> None:
    assert wire.read_query(data) is None


def test_sizes_that_an_asker_takes() -> None:
    assert read(asked()).most == 512
    assert read(asked(most=100)).most == 512
    assert read(asked(most=1000)).most == 1000
    assert read(asked(most=65535)).most == wire.MOST_UDP


@given(st.integers(0, 200), st.sampled_from((512, 1232, 65535)))
def test_an_answer_fits_and_says_when_it_is_not_whole(count: int, most: int) -> None:
    query = read(asked(most=4096))
    records = [Record(WEB, wire.A, 5, struct.pack(">I", number)) for number in range(count)]
    message = wire.answer(query, answers=records, most=most)
    assert len(message) <= most
    assert wire.answers_to(message, asked())
    found = wire.read_answers(message)
    assert found == records[: len(found)]
    assert wire.is_truncated(message) == (len(found) < count)
    assert [place.type for section, place in wire.places(message) if section == 2] == [wire.OPT]


def test_extra_records_that_do_not_fit_are_left_out_silently() -> None:
    query = read(asked(kind=wire.SRV))
    extra = [Record((f"p{number}", *WEB), wire.A, 5, b"abcd") for number in range(100)]
    message = wire.answer(query, answers=[Record(WEB, wire.SRV, 5, b"x")], extra=extra, most=512)
    assert len(message) <= 512
    assert not wire.is_truncated(message)


def test_letters_of_a_question_come_back_as_they_were() -> None:
    data = wire.ask(1, (), wire.A)[:12] + b"\3WeB\0\0\1\0\1"
    query = read(data)
    assert query.name == ("web",)
    message = wire.answer(query, answers=[Record(("web",), wire.A, 5, b"abcd")])
    assert b"\3WeB\0" in message
    assert wire.answers_to(message, data)
    assert not wire.answers_to(b"\0\0" + message[2:], data)
    assert not wire.answers_to(message, wire.ask(1, ("other",), wire.A))
