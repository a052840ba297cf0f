"""Answers that are kept for a while."""

from __future__ import annotations

import struct

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.cache import Cache
from octoedge.edge.edgedns.wire import Code, Query, Record

NAME = ("www", "example", "com")


def question(number: int = 1, name: wire.Name = NAME) -> tuple[bytes, Query]:
    asked = wire.ask(number, name, wire.A)
    query = wire.read_query(asked)
    assert query is not None
    return asked, query


def test_an_answer_is_kept_as_long_as_its_shortest_record() -> None:
    cache = Cache()
    asked, query = question()
    records = [Record(NAME, wire.A, 300, b"abcd"), Record(NAME, wire.A, 20, b"efgh")]
    cache.put(asked, wire.answer(query, answers=records), 100.0)
    again = cache.get(question(9)[0], 115.0)
    assert again is not None
    assert again[:2] == b"\0\x09"
    assert [(record.ttl, record.data) for record in wire.read_answers(again)] == [(285, b"abcd"), (5, b"efgh")]
    assert cache.get(asked, 120.0) is None
    assert len(cache) == 0


def test_letters_do_not_count_and_come_back_as_asked() -> None:
    cache = Cache()
    asked, query = question()
    cache.put(asked, wire.answer(query, answers=[Record(NAME, wire.A, 20, b"abcd")]), 0.0)
    shouted = asked[:12] + asked[12:].replace(b"www", b"WWW")
    again = cache.get(shouted, 1.0)
    assert again is not None
    assert b"WWW" in again
    assert wire.answers_to(again, shouted)


def test_that_a_name_does_not_exist_is_kept_too_and_trouble_is_not() -> None:
    cache = Cache()
    asked, query = question()
    soa = Record(("com",), wire.SOA, 900, b"\0\0" + struct.pack(">IIIII", 1, 2, 3, 4, 5))
    for code, authority, kept in ((Code.FAILED, [soa], 0), (Code.OK, [], 0), (Code.NO_NAME, [soa], 1)):
        cache.put(asked, wire.answer(query, code, authority=authority), 0.0)
        assert len(cache) == kept
    assert cache.get(asked, 29.0) is not None
    assert cache.get(asked, 30.0) is None


def test_what_is_not_whole_or_cannot_be_read_is_not_kept() -> None:
    cache = Cache()
    asked, query = question()
    whole = wire.answer(query, answers=[Record(NAME, wire.A, 20, b"abcd")])
    cache.put(asked, wire.truncated(whole, query), 0.0)
    cache.put(asked, whole[:-1], 0.0)
    many = [Record(NAME, wire.A, 20, struct.pack(">I", number)) for number in range(200)]
    cache.put(asked, wire.answer(query, answers=many), 0.0)
    assert len(cache) == 0


def test_it_is_bounded() -> None:
    cache = Cache()
    for number in range(1000):
        name = (f"n{number}", "com")
        asked, query = question(1, name)
        cache.put(asked, wire.answer(query, answers=[Record(name, wire.A, 20, b"abcd")]), 0.0)
    assert len(cache) == 256
    assert cache.get(question(1, ("n999", "com"))[0], 1.0) is not None
    assert cache.get(question(1, ("n0", "com"))[0], 1.0) is None
