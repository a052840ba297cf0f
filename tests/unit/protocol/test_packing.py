"""Packed messages: whatever goes in comes out, in order; repeated ones cost little; garbage and bombs end it."""

from __future__ import annotations

import contextlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import MessageError
from octoedge.protocol import codec, packing, routes
from octoedge.protocol import payloads as p
from octoedge.protocol.packing import Packer, Unpacker
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction


@pytest.mark.parametrize("direction", list(Direction))
@given(messages=st.lists(st.binary(max_size=2000) | st.text(max_size=300).map(str.encode), max_size=20))
def test_all_come_out_as_they_went_in(direction: Direction, messages: list[bytes]) -> None:
    packer, unpacker = Packer(direction), Unpacker(direction)
    assert [unpacker.unpack(packer.pack(message)) for message in messages] == messages


def test_a_heartbeat_costs_a_few_bytes() -> None:
    packer = Packer(Direction.UP)
    sizes = []
    for number in range(20):
        payload = p.Keepalive(body=b'"ping"')
        message = routes.compose(payload, message_id=f"e{number}", timestamp=1790000000123 + 15017 * number)
        sizes.append(len(packer.pack(codec.encode(message))))
    assert sizes[0] < 60
    assert max(sizes[1:]) < 24


def test_a_small_change_of_a_large_object_is_small() -> None:
    packer = Packer(Direction.DOWN)
    data = {"data": {f"key-{number}": f"value {number * 7919}" for number in range(100)}}
    resource = Resource("default", "configmap", "c")
    first, second = (
        codec.encode(
            routes.compose(
                p.ObjectUpdate(resource=resource, body=msgspec.json.encode({**data, "x": n})),
                message_id=str(n),
                timestamp=n,
            )
        )
        for n in (1, 2)
    )
    assert len(packer.pack(first)) > 400
    assert len(packer.pack(second)) < 80


@given(st.binary(min_size=1, max_size=200))
def test_garbage_is_an_error_or_a_message_and_nothing_else(data: bytes) -> None:
    with contextlib.suppress(MessageError):
        Unpacker(Direction.UP).unpack(data)


def test_a_bomb_is_not_unpacked() -> None:
    bomb = Packer(Direction.UP).pack(bytes(codec.MAX_BYTES + 1000))
    assert len(bomb) < 100_000
    with pytest.raises(MessageError, match="larger than"):
        Unpacker(Direction.UP).unpack(bomb)


def test_the_dictionary_is_part_of_the_protocol() -> None:
    """Whoever changes it breaks the talk with those who have the old one: give the feature another name then."""
    import zlib

    assert zlib.crc32(packing._DICTIONARY) == 431064160
