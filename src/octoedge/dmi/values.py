"""Single values in protobuf's Any, as settings of devices cross DMI.

KubeEdge's EdgeCore narrows every number to 32 bits. Towards a mapper that reads nothing wider a number keeps what 32
bits hold; integers travel whole (`Int64Value`, which every mapper reads), and our own mappers get `DoubleValue`.
Lists and objects, which KubeEdge refuses, travel as their JSON text.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import Any, ClassVar

import msgspec

from octoedge.dmi.messages import AnyValue, Setting, Settings
from octoedge.errors import MessageError
from octoedge.protocol.protobuf import Codec, Message

_PREFIX = "type.googleapis.com/google.protobuf."
_FLOAT32 = struct.Struct("<f")


class _Text(Message, frozen=True):
    value: str = ""
    WIRE: ClassVar[str] = "value:1:s"


class _Bytes(Message, frozen=True):
    value: bytes = b""
    WIRE: ClassVar[str] = "value:1:y"


class _Bool(Message, frozen=True):
    value: bool = False
    WIRE: ClassVar[str] = "value:1:b"


class _Signed(Message, frozen=True):
    value: int = 0
    WIRE: ClassVar[str] = "value:1:i"


class _Unsigned(Message, frozen=True):
    value: int = 0
    WIRE: ClassVar[str] = "value:1:u"


class _Float(Message, frozen=True):
    value: float = 0.0
    WIRE: ClassVar[str] = "value:1:f"


class _Double(Message, frozen=True):
    value: float = 0.0
    WIRE: ClassVar[str] = "value:1:d"


_READ: dict[str, type[Message]] = {
    "StringValue": _Text, "BytesValue": _Bytes, "BoolValue": _Bool, "Int32Value": _Signed, "Int64Value": _Signed,
    "UInt32Value": _Unsigned, "UInt64Value": _Unsigned, "FloatValue": _Float, "DoubleValue": _Double,
}  # fmt: skip
_CODEC = Codec({})


def pack(value: Any, *, wide: bool) -> AnyValue:
    """A JSON value in an Any; `wide`: the reader knows DoubleValue. None has no form: `MessageError`."""
    if isinstance(value, bool):
        return _any("BoolValue", _Bool(value))
    if isinstance(value, str):
        return _any("StringValue", _Text(value))
    if isinstance(value, int) and -(1 << 63) <= value < 1 << 63:
        return _any("Int64Value", _Signed(value))
    if isinstance(value, int | float):
        return _any("DoubleValue", _Double(float(value))) if wide else _any("FloatValue", _Float(_narrow(value)))
    if isinstance(value, list | dict):
        return _any("StringValue", _Text(msgspec.json.encode(value).decode()))
    raise MessageError(f"{value!r} has no form in DMI; leave the key out")


def unpack(value: AnyValue) -> Any:
    """The value in an Any; a float of 32 bits becomes the shortest decimal that it stands for."""
    kind = value.type_url.removeprefix(_PREFIX)
    known = _READ.get(kind)
    if known is None:
        raise MessageError(f"a setting is of type {value.type_url[:100]!r}, which has no single value")
    message: Any = _CODEC.decode(value.value, known)
    return _shortest(message.value) if kind == "FloatValue" else message.value


def pack_all(values: Mapping[str, Any], *, wide: bool) -> Settings:
    """Settings that a mapper reads; keys whose value is null are left out."""
    return Settings(tuple(Setting(key, pack(value, wide=wide)) for key, value in values.items() if value is not None))


def _any(kind: str, message: Message) -> AnyValue:
    return AnyValue(_PREFIX + kind, _CODEC.encode(message, type(message)))


def _narrow(value: float) -> float:
    try:
        return float(_FLOAT32.unpack(_FLOAT32.pack(value))[0])
    except OverflowError as error:
        raise MessageError(
            f"{value} is too large for the 32 bits that DMI has for numbers; write it as text"
        ) from error


def _shortest(value: float) -> float:
    for digits in range(6, 10):
        short = float(f"{value:.{digits}g}")
        if _FLOAT32.pack(short) == _FLOAT32.pack(value):
            return short
    return value
