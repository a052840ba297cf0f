"""The table-driven protobuf codec: bytes as protobuf writes them, and no input that breaks it."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.edge.edged.cri import fields as f
from octoedge.errors import MessageError
from octoedge.protocol.protobuf import Codec, Message

codec = Codec(f.MESSAGES)

GOLDEN = [
    (f.VersionResponse("0.1.0", "containerd"), "0a05302e312e30120a636f6e7461696e657264"),
    (f.StopContainerRequest("c1", 30), "0a02633110" + "1e"),
    (f.Int64Value(-1), "08ffffffffffffffffff01"),
    (f.Int64Value(0), ""),
    (f.ContainerSecurityContext(run_as_user=f.Int64Value(0)), "2a00"),
    (f.ContainerSecurityContext(supplemental_groups=(1, 300)), "420301ac02"),
    (f.SandboxFilter(label_selector={"a": "b"}), "1a060a0161120162"),
    (f.PortForwardRequest("s", (80,)), "0a0173120150"),
    (f.ListContainersResponse((f.Container("x"),)), "0a070a01781a002200"),
]


@pytest.mark.parametrize(("message", "expected"), GOLDEN, ids=lambda value: str(value)[:40])
def test_the_bytes_are_protobufs_own(message: Message, expected: str) -> None:
    assert codec.encode(message, type(message)).hex() == expected
    assert codec.decode(bytes.fromhex(expected), type(message)) == message


def test_every_table_names_exactly_the_fields_of_its_type() -> None:
    for message_type in f.MESSAGES.values():
        fields = codec.fields(message_type)
        assert {field.name for field in fields} == set(message_type.__struct_fields__)
        assert len({field.number for field in fields}) == len(fields)


TEXT = st.text(max_size=20)
SCALARS: dict[str, st.SearchStrategy[Any]] = {
    "s": TEXT,
    "y": st.binary(max_size=20),
    "i": st.integers(-(2**63), 2**63 - 1),
    "u": st.integers(0, 2**64 - 1),
    "b": st.booleans(),
    "M": st.dictionaries(TEXT, TEXT, max_size=3),
}


def messages(message_type: type[Message]) -> st.SearchStrategy[Message]:
    default = message_type()
    values: dict[str, st.SearchStrategy[Any]] = {}
    for field in codec.fields(message_type):
        one: st.SearchStrategy[Any] = SCALARS[field.kind] if field.type is None else messages(field.type)
        if field.repeated:
            one = st.lists(one, max_size=3).map(tuple)
        elif field.type is not None:
            one = st.just(getattr(default, field.name)) | one
        values[field.name] = one
    return st.builds(message_type, **values)


@given(st.sampled_from(sorted(f.MESSAGES)).flatmap(lambda name: messages(f.MESSAGES[name])))
def test_what_is_encoded_is_decoded_again(message: Message) -> None:
    assert codec.decode(codec.encode(message, type(message)), type(message)) == message


@given(st.binary(max_size=200), st.sampled_from(sorted(f.MESSAGES)))
def test_any_bytes_give_a_message_or_a_message_error(data: bytes, name: str) -> None:
    try:
        message = codec.decode(data, f.MESSAGES[name])
    except MessageError:
        return
    assert isinstance(message, f.MESSAGES[name])


def test_unknown_fields_are_skipped() -> None:
    # 99 as varint, 98 as text, 97 as fixed64, 96 as fixed32, then the known one.
    unknown = "9806" + "01" + "9206" + "0178" + "8906" + "00" * 8 + "8506" + "00" * 4
    assert codec.decode(bytes.fromhex(unknown + "0a0178"), f.PodIP) == f.PodIP("x")


def test_repeated_numbers_are_read_packed_and_one_by_one() -> None:
    assert codec.decode(bytes.fromhex("10501051"), f.PortForwardRequest).port == (80, 81)


@pytest.mark.parametrize("data", ["0a", "0a05ab", "08", "0f", "0aff", "ff" * 11, "0801"])
def test_broken_bytes_are_an_error_of_ours(data: str) -> None:
    with pytest.raises(MessageError):
        codec.decode(bytes.fromhex(data), f.PodIP)


def test_a_secret_is_not_in_the_text_of_a_request() -> None:
    assert "hunter2" not in repr(f.PullImageRequest(auth=f.AuthConfig(password="hunter2")))


def test_only_the_type_that_is_asked_for_is_encoded() -> None:
    with pytest.raises(MessageError, match="PodIP"):
        codec.encode(f.PodIP("x"), f.ImageSpec)


def test_half_a_character_is_an_error_of_ours() -> None:
    with pytest.raises(MessageError, match="half a character"):
        codec.encode(f.PodIP("\ud800"), f.PodIP)
