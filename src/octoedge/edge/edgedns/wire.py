"""Messages of DNS (RFC 1035, 2782, 6891), bytes in and bytes out: what a query asks, and how an answer is written.

A name is a tuple of labels in small letters. Whatever comes from the network is read with limits: a name has at most
255 bytes, a pointer leads backwards only, and a record counts only when all of it is there.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterator, Sequence

import msgspec

from octoedge.errors import MessageError

Name = tuple[str, ...]

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV, OPT, ANY = 1, 2, 5, 6, 12, 16, 28, 33, 41, 255
IN = 1
LEAST, MOST_UDP = 512, 1232
"""Bytes of an answer by UDP: what every client takes, and what no network breaks up."""
MOST_QUERY = 4096
_HEADER = struct.Struct(">HHHHHH")
_FIXED = struct.Struct(">HHIH")
_RESPONSE, _AUTHORITATIVE, _TRUNCATED, _RECURSION = 0x8000, 0x0400, 0x0200, 0x0080
_KEPT = 0x7910
"""What an answer takes over from its query: opcode, RD, CD."""
_OPCODE = 0x7800
_MOST_RECORDS = 512


class Code(enum.IntEnum):
    """How an answer went."""

    OK = 0
    FORMAT = 1
    FAILED = 2
    NO_NAME = 3
    NOT_IMPLEMENTED = 4
    REFUSED = 5
    BAD_VERSION = 16


class Query(msgspec.Struct, frozen=True):
    """What was asked."""

    id: int
    flags: int
    name: Name
    type: int
    kind: int
    question: bytes
    """As it was asked, letters too: an answer repeats it."""
    edns: bool = False
    most: int = LEAST
    """Bytes that the asker takes by UDP."""
    wrong: Code = Code.OK
    """What is to be answered, when this is no question that can be looked up."""


class Record(msgspec.Struct, frozen=True):
    """One record of an answer."""

    name: Name
    type: int
    ttl: int
    data: bytes


def read_query(data: bytes) -> Query | None:
    """The query in a message; None when it deserves no answer (it is none, or has no header)."""
    if len(data) < _HEADER.size or len(data) > MOST_QUERY:
        return None
    number, flags, questions, answers, authorities, extra = _HEADER.unpack_from(data)
    if flags & _RESPONSE:
        return None
    bare = Query(number, flags, (), 0, 0, b"", wrong=Code.FORMAT)
    if flags & _OPCODE:
        return _wrong(bare, Code.NOT_IMPLEMENTED)
    if questions != 1 or answers or authorities or extra > 8:
        return bare
    try:
        name, end = read_name(data, _HEADER.size, pointers=False)
        kind, of = struct.unpack_from(">HH", data, end)
        asked = Query(number, flags, name, kind, of, data[_HEADER.size : end + 4])
        return _extended(asked, data, end + 4, extra)
    except (MessageError, struct.error):
        return bare


def _wrong(query: Query, code: Code) -> Query:
    return Query(query.id, query.flags, query.name, query.type, query.kind, query.question, query.edns, wrong=code)


def _extended(query: Query, data: bytes, place: int, extra: int) -> Query:
    """With what EDNS says of the asker."""
    for _ in range(extra):
        _, place = read_name(data, place)
        kind, size, extended, length = _FIXED.unpack_from(data, place)
        place += _FIXED.size + length
        if place > len(data):
            raise MessageError("a record ends behind its message")
        if kind == OPT:
            wrong = Code.BAD_VERSION if extended >> 16 & 0xFF else Code.OK
            most = min(max(size, LEAST), MOST_UDP)
            query = Query(query.id, query.flags, query.name, query.type, query.kind, query.question, True, most, wrong)
    return query


def read_name(data: bytes, place: int, *, pointers: bool = True) -> tuple[Name, int]:
    """The name at a place, and where what follows begins. Raises `MessageError`."""
    labels: list[str] = []
    size, end = 1, -1
    while True:
        if place >= len(data):
            raise MessageError("a name ends behind its message")
        length = data[place]
        if length >= 0xC0:
            target = int.from_bytes(data[place : place + 2], "big") & 0x3FFF
            if not pointers or place + 2 > len(data) or target >= place:
                raise MessageError("a pointer in a name leads nowhere")
            end = place + 2 if end < 0 else end
            place = target
            size += 1  # so that even backward steps that add no label come to an end soon
        elif length > 63:
            raise MessageError("a label of a name is of no known kind")
        else:
            place += 1
            if not length:
                return tuple(labels), place if end < 0 else end
            if place + length > len(data):
                raise MessageError("a name ends behind its message")
            labels.append(data[place : place + length].lower().decode("latin-1"))
            place += length
            size += length + 1
        if size > 255:
            raise MessageError("a name has more than 255 bytes")


def write_name(name: Name) -> bytes:
    """A name as bytes, without pointers. Raises `MessageError` for one that cannot be written."""
    parts = [label.encode("latin-1", "replace") for label in name]
    if any(not 0 < len(part) < 64 for part in parts) or sum(len(part) + 1 for part in parts) > 254:
        raise MessageError(f"{'.'.join(name)[:80]} is too long for a name")
    return b"".join(bytes((len(part),)) + part for part in parts) + b"\0"


def text_name(text: str) -> Name:
    """`a.b.` or `a.b` as a name."""
    return tuple(label for label in text.lower().split(".") if label)


def answer(
    query: Query,
    code: Code = Code.OK,
    answers: Sequence[Record] = (),
    authority: Sequence[Record] = (),
    extra: Sequence[Record] = (),
    *,
    authoritative: bool = True,
    most: int = 65535,
) -> bytes:
    """The message that answers; of records that do not fit into `most` bytes those are left out that come last.

    Left-out answers are said to be missing (TC): the asker comes again by TCP. Extra ones are a courtesy.
    """
    flags = _RESPONSE | query.flags & _KEPT | _RECURSION | code & 0xF | (_AUTHORITATIVE if authoritative else 0)
    options = _options(query, code)
    room = most - len(options)
    body = bytearray(_HEADER.pack(query.id, 0, 0, 0, 0, 0) + query.question)
    known = {query.name: _HEADER.size} if query.question else {}
    counts = [0, 0, 0]
    for section, records in enumerate((answers, authority, extra)):
        for record in records:
            written = _written(record, known)
            if len(body) + len(written) > room:
                flags |= _TRUNCATED if section == 0 else 0
                break
            body += written
            counts[section] += 1
        if flags & _TRUNCATED:
            break
    asked = 1 if query.question else 0
    _HEADER.pack_into(body, 0, query.id, flags, asked, counts[0], counts[1], counts[2] + bool(options))
    return bytes(body) + options


def failed(query: Query, code: Code = Code.FAILED) -> bytes:
    """The answer that there is none."""
    return answer(query, code, authoritative=False)


def truncated(message: bytes, query: Query) -> bytes:
    """An answer by its header and question alone, with the word that it is not whole."""
    flags = int.from_bytes(message[2:4], "big") | _TRUNCATED
    options = _options(query, Code.OK)
    counts = (1 if query.question else 0, 0, 0, 1 if options else 0)
    return _HEADER.pack(query.id, flags, *counts) + query.question + options


def is_truncated(message: bytes) -> bool:
    """Whether an answer says that it is not whole."""
    return bool(int.from_bytes(message[2:4], "big") & _TRUNCATED)


def code_of(message: bytes) -> int:
    """How an answer went."""
    return message[3] & 0xF


def answers_to(message: bytes, asked: bytes) -> bool:
    """Whether a message is the answer to a query with one question, by its number and its question."""
    if len(message) < _HEADER.size or message[:2] != asked[:2] or not message[2] & 0x80:
        return False
    try:
        end = read_name(asked, _HEADER.size, pointers=False)[1] + 4
    except MessageError:
        return False
    repeated = message[_HEADER.size : end]
    return message[4:6] == b"\0\1" and repeated.lower() == asked[_HEADER.size : end].lower()


def ask(number: int, name: Name, kind: int) -> bytes:
    """A query of our own."""
    return _HEADER.pack(number, 0x0100, 1, 0, 0, 0) + write_name(name) + struct.pack(">HH", kind, IN)


class Place(msgspec.Struct, frozen=True):
    """Where a record lies in a message."""

    name: Name
    type: int
    ttl: int
    ttl_at: int
    data_at: int
    end: int


def places(message: bytes) -> Iterator[tuple[int, Place]]:
    """Section (0 answers, 1 authority, 2 extra) and place of each record. Raises `MessageError`."""
    try:
        _, _, questions, *counts = _HEADER.unpack_from(message)
        if questions != 1 or sum(counts) > _MOST_RECORDS:
            raise MessageError("a message has more than one question, or too many records")
        place = read_name(message, _HEADER.size)[1] + 4
        for section, count in enumerate(counts):
            for _ in range(count):
                name, place = read_name(message, place)
                kind, _, ttl, length = _FIXED.unpack_from(message, place)
                data_at, end = place + _FIXED.size, place + _FIXED.size + length
                if end > len(message):
                    raise MessageError("a record ends behind its message")
                yield section, Place(name, kind, ttl, place + 4, data_at, end)
                place = end
    except struct.error as error:
        raise MessageError("a message ends too soon") from error


def read_answers(message: bytes) -> list[Record]:
    """Addresses and other names in an answer. Raises `MessageError`."""
    found = []
    for section, place in places(message):
        if section == 0 and place.type in (A, AAAA):
            found.append(Record(place.name, place.type, place.ttl, message[place.data_at : place.end]))
        elif section == 0 and place.type == CNAME:
            found.append(Record(place.name, CNAME, place.ttl, write_name(read_name(message, place.data_at)[0])))
    return found


def _options(query: Query, code: int) -> bytes:
    if not query.edns:
        return b""
    return b"\0" + _FIXED.pack(OPT, MOST_UDP, code >> 4 << 24, 0)


def _written(record: Record, known: dict[Name, int]) -> bytes:
    """A record; its name is a pointer where it equals the question's."""
    at = known.get(record.name)
    name = (0xC000 | at).to_bytes(2, "big") if at is not None else write_name(record.name)
    return name + _FIXED.pack(record.type, IN, record.ttl, len(record.data)) + record.data
