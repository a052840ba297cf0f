"""The next version of an object as what is new in it, for who holds the last one (between two Octoedges). No I/O.

    make(base, whole) → delta, or nothing where it would not be much smaller     cloud
    apply(base, delta) → whole                                                    edge

    {"base": digest, "whole": digest, "parts": [[offset, length], "new bytes", …]}

Bytes are compared, not fields: what comes out is what went in to the last byte, unknown fields and all. The digests say
which bytes are meant on both ends; whoever holds others refuses, and gets the whole. Packing (`packing`) does not do
this: its window of 4 KiB down holds no large object, and one of 32 KiB (8 times the memory for each node) would not
hold one of 200 kB either.
"""

from __future__ import annotations

import hashlib

import msgspec

from octoedge.errors import MessageError
from octoedge.protocol.codec import MAX_BYTES

LEAST_BYTES = 1024
"""Smaller objects go whole: packed they cost little more than the two digests."""
_ANCHOR = 24
"""So many bytes must be alike for two places to count as the same."""
_SCANNED = 48 * 1024 * 1024
"""Bytes of the base that are searched for places at most: some 30 ms."""
_MOST_SEARCHES, _LEAST_SEARCHES = 400, 24
_WORTH = 2
"""A delta must be so many times smaller than the whole."""


class Delta(msgspec.Struct, frozen=True):
    """What is sent."""

    base: str
    whole: str
    parts: list[tuple[int, int] | str]
    """Taken from the base (offset and length, bytes), or new (each character is a byte)."""


def digest(data: bytes) -> str:
    """Says which bytes are meant."""
    return hashlib.blake2b(data, digest_size=12).hexdigest()


def make(base: bytes, whole: bytes) -> bytes | None:
    """`whole` by way of `base`; None when that is not worth it."""
    parts = _parts(base, whole)
    new = sum(len(part) if isinstance(part, str) else 12 for part in parts)
    if len(whole) < LEAST_BYTES or new * _WORTH > len(whole):
        return None
    return msgspec.json.encode(Delta(digest(base), digest(whole), parts))


def apply(base: bytes, delta: bytes) -> bytes:
    """The whole; `MessageError` when `base` is not the one that was meant, or nothing whole comes out."""
    try:
        found = _decoder.decode(delta)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"a delta cannot be read: {error}") from error
    before = digest(base)
    if before == found.whole:
        return base
    if before != found.base:
        raise MessageError("a delta is against another version than the one that is stored")
    if sum(len(part) if isinstance(part, str) else part[1] for part in found.parts) > MAX_BYTES:
        raise MessageError(f"a delta makes an object of more than {MAX_BYTES} bytes")
    try:
        whole = b"".join(_taken(base, part) for part in found.parts)
    except UnicodeEncodeError as error:
        raise MessageError(f"a delta has a character that is no byte: {error}") from error
    if digest(whole) != found.whole:
        raise MessageError("a delta makes another object than it should")
    return whole


def _taken(base: bytes, part: tuple[int, int] | str) -> bytes:
    if isinstance(part, str):
        return part.encode("latin-1")
    offset, length = part
    if not (offset >= 0 and length >= 0 and offset + length <= len(base)):
        raise MessageError(f"a delta takes {length} bytes at {offset} of {len(base)}")
    return base[offset : offset + length]


def _parts(base: bytes, whole: bytes) -> list[tuple[int, int] | str]:
    """Runs that both have, and what lies between them."""
    parts: list[tuple[int, int] | str] = []
    at = near = 0
    left = min(_MOST_SEARCHES, max(_LEAST_SEARCHES, _SCANNED // (len(base) + 1)))
    while at < len(whole):
        length = _alike(base, near, whole, at)
        if length >= _ANCHOR or (length and at + length == len(whole)):
            parts.append((near, length))
            at, near = at + length, near + length
            continue
        place, left = _next_place(base, near, whole, at, left)
        if place is None:
            parts.append(whole[at:].decode("latin-1"))
            break
        near, follows = place
        if follows > at:
            parts.append(whole[at:follows].decode("latin-1"))
        at = follows
    return parts


def _next_place(base: bytes, near: int, whole: bytes, at: int, left: int) -> tuple[tuple[int, int] | None, int]:
    """Where both are alike again: (in `base`, in `whole`); looked for ever more coarsely, `left` times at most."""
    look = at
    while look + _ANCHOR <= len(whole) and left > 0:
        left -= 1
        anchor = whole[look : look + _ANCHOR]
        found = base.find(anchor, near)
        if found < 0:
            found = base.find(anchor, 0, near + _ANCHOR)
        if found >= 0:
            while look > at and found > 0 and base[found - 1] == whole[look - 1]:
                look, found = look - 1, found - 1
            return (found, look), left
        look += 1 + (look - at) // 4
    return None, left


def _alike(base: bytes, near: int, whole: bytes, at: int) -> int:
    """How many bytes are the same from here on, by comparing ever larger pieces."""
    most = min(len(base) - near, len(whole) - at)
    same, step = 0, 64
    while same < most:
        size = min(step, most - same)
        if base[near + same : near + same + size] == whole[at + same : at + same + size]:
            same += size
            step *= 2
        else:
            most, step = same + size - 1, max(1, size // 2)
    return same


_decoder = msgspec.json.Decoder(Delta)
