"""The messages of DMI: the bytes that protobuf writes, and tables that name every field."""

from __future__ import annotations

import pytest

from octoedge.dmi import messages as m
from octoedge.dmi.messages import CODEC, MESSAGES
from octoedge.protocol.protobuf import Message

GOLDEN = [
    (m.TwinProperty("40", {"type": "int"}), "0a0234301 20b0a04747970651203696e74"),
    (m.MapperInfo("m", address=b"/a.sock"), "0a016d2a072f612e736f636b"),
    (m.Named("d", "ns"), "0a016412026e73"),
    (m.Twin("t"), "0a01741200" + "1a00"),
    (m.PushMethod(otel=m.PushOtel("u")), "22030a0175"),
    (m.ReportDeviceStatesRequest("d", "ns", "ok"), "0a016412026e731a026f6b"),
    (m.ReportDeviceStatesRequest("d", "ns", "ok", "why"), "0a016412026e731a026f6b" + "a20603776879"),
]


@pytest.mark.parametrize(("message", "expected"), GOLDEN, ids=lambda value: str(value)[:40])
def test_the_bytes_are_protobufs_own(message: Message, expected: str) -> None:
    data = bytes.fromhex(expected.replace(" ", ""))
    assert CODEC.encode(message, type(message)) == data
    assert CODEC.decode(data, type(message)) == message


def test_every_table_names_exactly_the_fields_of_its_type() -> None:
    assert len(MESSAGES) > 30
    for message_type in MESSAGES.values():
        fields = CODEC.fields(message_type)
        assert {field.name for field in fields} == set(message_type.__struct_fields__)
        assert len({field.number for field in fields}) == len(fields)


def test_what_go_mappers_read_without_looking_is_always_there() -> None:
    written = CODEC.encode(m.Device("d", m.DeviceSpec(properties=(m.DeviceProperty("p"),))), m.Device)
    assert written.hex() == "0a0164" + "120f" + "1202" + "1200" + "1a09" + "0a0170" + "1200" + "1a02" + "1200" + "1a00"
