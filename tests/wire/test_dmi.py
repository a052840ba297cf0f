"""Every field of every message of DMI, both ways: bytes that Go's protobuf wrote of KubeEdge v1.23.1's own definition.

`data/dmi.jsonl` has a line for each method: its request and its reply with every field set, also those that nobody
sets, as bytes and as a tree of field numbers. `data/dmi-live.jsonl` is what a mapper of KubeEdge's framework and a Go
EdgeCore said to each other, with the objects that they spoke of.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from octoedge.api import devices as api
from octoedge.dmi import convert
from octoedge.dmi import messages as m
from octoedge.dmi.messages import CODEC, MESSAGES
from octoedge.dmi.services import MANAGER, MAPPER
from octoedge.dmi.values import unpack
from octoedge.protocol.protobuf import Message

DATA = Path(__file__).parent / "data"


def read(name: str) -> list[dict[str, Any]]:
    return [msgspec.json.decode(line) for line in (DATA / name).read_bytes().splitlines()]


LINES, LIVE = read("dmi.jsonl"), read("dmi-live.jsonl")
OURS = 100
"""The first number of fields that KubeEdge does not have; its peers skip them."""
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


@pytest.mark.parametrize("line", LIVE, ids=lambda line: line["method"])
def test_what_go_programs_say_is_read_and_said_again_to_the_byte(line: dict[str, Any]) -> None:
    method = METHODS[line["method"]]
    for kind, data in ((method.request, bytes.fromhex(line["request"])), (method.reply, bytes.fromhex(line["reply"]))):
        assert CODEC.encode(CODEC.decode(data, kind), kind) == data


@pytest.mark.parametrize("line", [line for line in LIVE if "objects" in line], ids=lambda line: line["method"])
def test_our_edgecore_tells_a_go_mapper_of_an_object_what_a_go_edgecore_tells_it(line: dict[str, Any]) -> None:
    method = METHODS[line["method"]]
    side, kind = ("reply", method.reply) if line["method"].endswith("MapperRegister") else ("request", method.request)
    told = CODEC.decode(bytes.fromhex(line[side]), kind)
    *devices, model = (msgspec.json.encode(one) for one in line["objects"])
    of = api.read(model, api.DeviceModel)
    ours = [convert.device(api.read(one, api.Device), of, wide=False) for one in devices]
    models, theirs = _told(told)
    assert [_free(one) for one in ours] == [_free(one) for one in theirs]
    assert not models or models == [convert.device_model(of)]


def _told(message: Any) -> tuple[list[m.DeviceModel], list[m.Device]]:
    if isinstance(message, m.MapperRegisterResponse):
        return list(message.models), list(message.devices)
    return ([message.model], []) if isinstance(message, m.ModelRequest) else ([], [message.device])


def _free(value: Any) -> Any:
    """Free of what may differ: the order of settings, and which of its number types protobuf has for a number."""
    if isinstance(value, m.Settings):
        return {one.key: unpack(one.value) for one in value.data}
    if isinstance(value, Message):
        return {name: _free(getattr(value, name)) for name in value.__struct_fields__}
    return [_free(one) for one in value] if isinstance(value, tuple) else value


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
    """The message as a tree of field numbers; maps by their keys, bytes in hex. Of KubeEdge's fields, not of ours."""
    theirs = [field for field in CODEC.fields(type(message)) if field.number < OURS]
    return {str(field.number): _plain(getattr(message, field.name)) for field in theirs}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple) and value and isinstance(value[0], m.Setting):
        return {one.key: numbered(one.value) for one in value}
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    if isinstance(value, bytes):
        return value.hex()
    return numbered(value) if isinstance(value, Message) else value
