"""Every field of every message of DMI, both ways: bytes that Go's protobuf wrote of KubeEdge v1.23.1's own definition.

`data/dmi.jsonl` has a line for each method: its request and its reply with every field set, also those that nobody
sets, as bytes and as a tree of field numbers.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.dmi import messages as m
from octoedge.dmi.messages import CODEC, MESSAGES
from octoedge.dmi.services import MANAGER, MAPPER
from octoedge.protocol.protobuf import Message

LINES = [msgspec.json.decode(line) for line in (Path(__file__).parent / "data" / "dmi.jsonl").read_bytes().splitlines()]
METHODS = {method.path: method for method in (*MANAGER.values(), *MAPPER.values())}
GOLDEN = [
    pytest.param(getattr(METHODS[line["method"]], side), line[side], id=f"{line['method']} {side}")
    for line in LINES
    for side in ("request", "reply")
]


def test_the_methods_are_those_of_kubeedge() -> None:
    assert {line["method"] for line in LINES} == set(METHODS)


@pytest.mark.parametrize(("kind", "golden"), GOLDEN)
def test_every_field_is_read_and_written_as_go_does(kind: type[Message], golden: dict[str, Any]) -> None:
    data = bytes.fromhex(golden["bytes"])
    message = CODEC.decode(data, kind)
    assert numbered(message) == golden["fields"]
    assert CODEC.encode(message, kind) == data


def test_no_message_of_ours_is_left_out() -> None:
    met = {type(inner) for kind, golden in (one.values for one in GOLDEN) for inner in _inside(kind, golden)}
    assert met == set(MESSAGES.values())


def _inside(kind: Any, golden: Any) -> Iterator[Message]:
    """A message and all that are in it."""
    waiting: list[Any] = [CODEC.decode(bytes.fromhex(golden["bytes"]), kind)]
    while waiting:
        one = waiting.pop()
        if isinstance(one, tuple):
            waiting.extend(one)
        elif isinstance(one, Message):
            yield one
            waiting.extend(getattr(one, name) for name in one.__struct_fields__)


def numbered(message: Message) -> dict[str, Any]:
    """The message as a tree of field numbers; maps by their keys, bytes in hex."""
    return {str(field.number): _plain(getattr(message, field.name)) for field in CODEC.fields(type(message))}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and value and isinstance(value[0], m.Setting):
        return {one.key: numbered(one.value) for one in value}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    return numbered(value) if isinstance(value, Message) else value
