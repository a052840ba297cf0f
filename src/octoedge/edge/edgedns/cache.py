"""Answers of other servers, for the short while in which pods ask the same again. Pure: time is an argument."""

from __future__ import annotations

import struct
from collections import OrderedDict

import msgspec

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.wire import Code
from octoedge.errors import MessageError

_MOST, _LONGEST = 256, 30.0
"""Answers, and seconds for which one is kept at most."""
_KEPT = (Code.OK, Code.NO_NAME)


class _Entry(msgspec.Struct, frozen=True):
    message: bytes
    since: float
    until: float
    ttls: tuple[tuple[int, int], ...]
    """(place, seconds) of each record's time to live."""


class Cache:
    """Bounded; what was asked for the longest ago makes room."""

    def __init__(self) -> None:
        self._entries: OrderedDict[bytes, _Entry] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, asked: bytes, now: float) -> bytes | None:
        """The answer to a query, its times to live as they are now; None when there is none."""
        key = _key(asked)
        entry = self._entries.get(key)
        if entry is None:
            return None
        if not entry.since <= now < entry.until:
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        message = bytearray(entry.message)
        for place, ttl in entry.ttls:
            struct.pack_into(">I", message, place, max(ttl - int(now - entry.since), 0))
        question = _question(asked)
        return asked[:2] + message[2:12] + question + message[12 + len(question) :]

    def put(self, asked: bytes, message: bytes, now: float) -> None:
        """Keep an answer, if it is whole, short, and may be kept."""
        if len(message) > wire.MOST_UDP or wire.code_of(message) not in _KEPT or wire.is_truncated(message):
            return
        try:
            ttls = [(place.ttl_at, place.ttl) for _, place in wire.places(message) if place.type != wire.OPT]
        except MessageError:
            return
        seconds = min((min(ttl, _LONGEST) for _, ttl in ttls), default=0)
        if seconds <= 0:
            return
        self._entries[_key(asked)] = _Entry(message, now, now + seconds, tuple(ttls))
        while len(self._entries) > _MOST:
            self._entries.popitem(last=False)


def _question(asked: bytes) -> bytes:
    return asked[12 : wire.read_name(asked, 12, pointers=False)[1] + 4]


def _key(asked: bytes) -> bytes:
    """Everything but the number, letters' sizes left out of the question."""
    question = _question(asked)
    return asked[2:12] + question.lower() + asked[12 + len(question) :]
