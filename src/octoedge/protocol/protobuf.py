"""Protobuf for messages that carry their own field table: objects in, bytes out, and back.

A message is a frozen `msgspec.Struct` with a class attribute `WIRE`, one word a field: `name:number:kind`. Kinds:

    s string · y bytes · i signed varint · u unsigned varint · b bool · f float · d double · Name a message
    M map of string to string

and `*` before a kind means repeated (integers are packed, and read in both forms; floats are never repeated). The
tables are compiled once, when a type is first used. Fields that a table does not name are skipped, so a newer peer is
understood.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any, ClassVar, TypeVar

import msgspec

from octoedge.errors import MessageError

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK64 = (1 << 64) - 1
_MAX_DEPTH = 32


class Message(msgspec.Struct, frozen=True):
    """A protobuf message; `WIRE` is its field table."""

    WIRE: ClassVar[str] = ""


T = TypeVar("T", bound=Message)


class _Field(msgspec.Struct, frozen=True):
    name: str
    number: int
    kind: str
    repeated: bool
    type: type[Message] | None


_KINDS = {
    "s": _BYTES, "y": _BYTES, "M": _BYTES, "i": _VARINT, "u": _VARINT, "b": _VARINT, "f": _FIXED32, "d": _FIXED64,
}  # fmt: skip
_FLOATS = {"f": struct.Struct("<f"), "d": struct.Struct("<d")}


class Codec:
    """Encodes and decodes the messages of one table."""

    def __init__(self, types: dict[str, type[Message]]) -> None:
        self._types = types
        self._compiled: dict[type[Message], tuple[_Field, ...]] = {}
        self._by_number: dict[type[Message], dict[int, _Field]] = {}

    def encode(self, message: Any, message_type: Any) -> bytes:
        """The protobuf form of `message`."""
        if type(message) is not message_type:
            raise MessageError(f"cannot encode {type(message).__name__} where {message_type.__name__} is asked for")
        try:
            return self._encode(message)
        except UnicodeEncodeError as error:
            raise MessageError(f"cannot encode {message_type.__name__}: a text in it holds half a character") from error

    def decode(self, data: bytes, message_type: type[T]) -> T:
        """The message of `message_type` that `data` says; `MessageError` when it says none."""
        return self._decode(data, message_type, 0)

    def fields(self, message_type: type[Message]) -> tuple[_Field, ...]:
        """The compiled table of a type, in the order of its field numbers."""
        fields = self._compiled.get(message_type)
        if fields is None:
            fields = tuple(sorted((self._parse(word) for word in message_type.WIRE.split()), key=lambda f: f.number))
            self._compiled[message_type] = fields
        return fields

    def _parse(self, word: str) -> _Field:
        name, number, kind = word.split(":")
        repeated = kind.startswith("*")
        kind = kind.removeprefix("*")
        return _Field(name, int(number), kind, repeated, None if kind in _KINDS else self._types[kind])

    def _encode(self, message: Message) -> bytes:
        out = bytearray()
        for field in self.fields(type(message)):
            value = getattr(message, field.name)
            if value is None or (field.type is None and not value):
                continue
            self._encode_field(out, field, value)
        return bytes(out)

    def _encode_field(self, out: bytearray, field: _Field, value: Any) -> None:
        if field.kind == "M":
            for key, text in value.items():
                _chunk(out, field.number, self._pair(key, text))
        elif not field.repeated:
            self._encode_value(out, field, value)
        elif _KINDS.get(field.kind, _BYTES) == _VARINT:
            _chunk(out, field.number, b"".join(_varint(int(item)) for item in value))
        else:
            for item in value:
                self._encode_value(out, field, item)

    def _encode_value(self, out: bytearray, field: _Field, value: Any) -> None:
        if field.type is not None:
            _chunk(out, field.number, self._encode(value))
        elif field.kind == "s":
            _chunk(out, field.number, value.encode())
        elif field.kind == "y":
            _chunk(out, field.number, value)
        elif field.kind in _FLOATS:
            out += _varint(field.number << 3 | _KINDS[field.kind])
            out += _FLOATS[field.kind].pack(value)
        else:
            out += _varint(field.number << 3 | _VARINT)
            out += _varint(int(value))

    @staticmethod
    def _pair(key: str, text: str) -> bytes:
        pair = bytearray()
        _chunk(pair, 1, key.encode())
        _chunk(pair, 2, text.encode())
        return bytes(pair)

    def _decode(self, data: bytes, message_type: type[T], depth: int) -> T:
        if depth > _MAX_DEPTH:
            raise MessageError(f"cannot decode {message_type.__name__}: nested deeper than {_MAX_DEPTH}")
        table = self._table(message_type)
        values: dict[str, Any] = {}
        for number, wire, raw in _parts(data, message_type.__name__):
            field = table.get(number)
            if field is not None:
                self._take(values, field, wire, raw, depth)
        for name, value in values.items():
            if type(value) is list:
                values[name] = tuple(value)
        return message_type(**values)

    def _table(self, message_type: type[Message]) -> dict[int, _Field]:
        table = self._by_number.get(message_type)
        if table is None:
            table = {field.number: field for field in self.fields(message_type)}
            self._by_number[message_type] = table
        return table

    def _take(self, values: dict[str, Any], field: _Field, wire: int, raw: Any, depth: int) -> None:
        expected = _KINDS.get(field.kind, _BYTES)
        if field.repeated and wire == _BYTES and expected == _VARINT:
            values.setdefault(field.name, []).extend(_scalar(field.kind, item) for item in _packed(raw))
            return
        if wire != expected:
            raise MessageError(f"field {field.name} ({field.number}) has wire type {wire}, expected {expected}")
        if field.kind == "M":
            key, text = _read_pair(raw)
            values.setdefault(field.name, {})[key] = text
            return
        value = _scalar(field.kind, raw) if field.type is None else self._decode(raw, field.type, depth + 1)
        if field.repeated:
            values.setdefault(field.name, []).append(value)
        else:
            values[field.name] = value


def _varint(value: int) -> bytes:
    if 0 <= value < 0x80:
        return bytes((value,))
    value &= _MASK64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _chunk(out: bytearray, number: int, data: bytes) -> None:
    out += _varint(number << 3 | _BYTES)
    out += _varint(len(data))
    out += data


def _read_varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & _MASK64, at
        shift += 7
        if shift > 63:
            raise MessageError("a varint is longer than ten bytes")


def _parts(data: bytes, what: str) -> list[tuple[int, int, Any]]:
    """All (field number, wire type, raw value) of a message."""
    parts: list[tuple[int, int, Any]] = []
    at, end = 0, len(data)
    try:
        while at < end:
            key, at = _read_varint(data, at)
            wire = key & 7
            raw: Any
            if wire == _VARINT:
                raw, at = _read_varint(data, at)
            elif wire == _BYTES:
                size, at = _read_varint(data, at)
                raw, at = data[at : at + size], at + size
            elif wire in (_FIXED64, _FIXED32):
                size = 8 if wire == _FIXED64 else 4
                raw, at = data[at : at + size], at + size
            else:
                raise MessageError(f"cannot decode {what}: wire type {wire} is unknown")
            parts.append((key >> 3, wire, raw))
    except IndexError:
        at = end + 1
    if at != end:
        raise MessageError(f"cannot decode {what}: the message ends in the middle of a field")
    return parts


def _packed(data: bytes) -> list[int]:
    items: list[int] = []
    at = 0
    try:
        while at < len(data):
            item, at = _read_varint(data, at)
            items.append(item)
    except IndexError:
        raise MessageError("a packed list ends in the middle of a number") from None
    return items


def _read_pair(data: bytes) -> tuple[str, str]:
    pair = {1: b"", 2: b""}
    for number, wire, raw in _parts(data, "map entry"):
        if wire != _BYTES:
            raise MessageError(f"a map entry has wire type {wire}, expected {_BYTES}")
        pair[number] = raw
    return _text(pair[1]), _text(pair[2])


def _text(raw: bytes) -> str:
    # A peer may report anything: what is not UTF-8 is shown with replacement signs, not refused.
    return raw.decode("utf-8", "replace")


def _signed(raw: int) -> int:
    return raw - (1 << 64) if raw >> 63 else raw


_SCALARS: dict[str, Callable[[Any], Any]] = {
    "s": _text, "y": bytes, "i": _signed, "u": int, "b": bool,
    "f": lambda raw: _FLOATS["f"].unpack(raw)[0], "d": lambda raw: _FLOATS["d"].unpack(raw)[0],
}  # fmt: skip


def _scalar(kind: str, raw: Any) -> Any:
    return _SCALARS[kind](raw)
