"""Kubernetes' protobuf request bodies → the JSON form, by the field numbers in the schema's table.

A body is the magic `k8s\\0` and a message Unknown: {1: TypeMeta {1: apiVersion, 2: kind}, 2: raw}. Only what a client
sends is read; answers are always JSON, which every client accepts. Unknown fields are skipped, broken bytes are a
`bad_request`.
"""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable, Iterator
from typing import Any

import msgspec

from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.errors import ApiError, bad_request
from octoedge.runtime.clock import rfc3339, rfc3339_micro

MAGIC = b"k8s\x00"
MEDIA_TYPE = "application/vnd.kubernetes.protobuf"
MAX_DEPTH = 64

Json = dict[str, Any]
Wire = int | bytes
Routes = dict[int, "Field | Routes"]


class ProtobufReader:
    """Reads request bodies."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self._routes: dict[str, Routes] = {}

    def read(self, body: bytes) -> Json:
        """The object in the body, with kind and apiVersion."""
        if not body.startswith(MAGIC):
            raise bad_request("the body is not Kubernetes protobuf: it does not begin with k8s\\0")
        try:
            return self._envelope(body[len(MAGIC) :])
        except (ValueError, IndexError, struct.error, OverflowError, OSError) as error:
            raise bad_request(f"the protobuf body is broken: {error}") from error

    def _envelope(self, body: bytes) -> Json:
        parts = {number: value for number, value in _fields(body) if isinstance(value, bytes)}
        names = {number: _text(value) for number, value in _fields(parts.get(1, b"")) if isinstance(value, bytes)}
        api_version, kind = names.get(1, ""), names.get(2, "")
        group, _, version = api_version.rpartition("/")
        # Kinds of every group (DeleteOptions) stand in the table once, under v1.
        definition = self._schema.find(group, version, kind) or self._schema.find("", "v1", kind)
        if definition is None:
            text = f"kind {kind!r} of {api_version!r} is not understood as protobuf; send JSON"
            raise ApiError(415, "UnsupportedMediaType", text)
        return {"kind": kind, "apiVersion": api_version, **self._message(definition, parts.get(2, b""), 0)}

    def _message(self, definition: Definition, data: bytes, depth: int) -> Json:
        result: Json = {}
        self._into(result, self._routes_of(definition), data, depth)
        return result

    def _into(self, result: Json, routes: Routes, data: bytes, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ValueError(f"it is nested more than {MAX_DEPTH} levels deep")
        for number, value in _fields(data):
            route = routes.get(number)
            if isinstance(route, dict):
                if not isinstance(value, bytes):
                    raise ValueError(f"field {number} is not a message")
                self._into(result, route, value, depth + 1)
            elif route is not None:
                self._put(result, route, value, depth)

    def _put(self, result: Json, field: Field, value: Wire, depth: int) -> None:
        if field.shape == "[]":
            result.setdefault(field.name, []).append(self._value(field, value, depth))
        elif field.shape:
            key, inner = self._entry(field, value, depth)
            result.setdefault(field.name, {})[key] = inner
        else:
            found = self._value(field, value, depth)
            if not _is_zero(field, found):
                result[field.name] = found

    def _entry(self, field: Field, value: Wire, depth: int) -> tuple[str, Any]:
        """One entry of a map: {1: key, 2: value}; a list as value is a message with the items in field 1."""
        parts = dict(_fields(_bytes(value)))
        key = _text(_bytes(parts.get(1, b"")))
        if field.shape == "{}[]":
            return key, [_text(_bytes(item)) for number, item in _fields(_bytes(parts.get(2, b""))) if number == 1]
        return key, self._value(field, parts.get(2, 0 if field.type in _NUMBERS else b""), depth)

    def _value(self, field: Field, value: Wire, depth: int) -> Any:
        if field.is_definition:
            return self._message(self._schema[field.type], _bytes(value), depth + 1)
        return _SCALARS[field.type](value)

    def _routes_of(self, definition: Definition) -> Routes:
        routes = self._routes.get(definition.name)
        if routes is None:
            routes = self._routes[definition.name] = {}
            for field in definition.fields.values():
                place = routes
                for number in field.number[:-1]:
                    inner = place.setdefault(number, {})
                    assert isinstance(inner, dict)
                    place = inner
                if field.number:
                    place[field.number[-1]] = field
        return routes


def _fields(data: bytes) -> Iterator[tuple[int, Wire]]:
    """The fields of a message in the order they come: (number, varint or bytes)."""
    at, end = 0, len(data)
    while at < end:
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if kind == 2:
            size, at = _varint(data, at)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"field {number} has wire type {kind}")
        if number == 0 or at + size > end:
            raise ValueError(f"field {number} is cut off")
        yield number, data[at : at + size]
        at += size


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        if at >= len(data) or shift > 63:
            raise ValueError("a number is cut off")
        byte = data[at]
        at += 1
        result |= (byte & 0x7F) << shift
        if byte < 0x80:
            return result & 0xFFFFFFFFFFFFFFFF, at
        shift += 7


def _bytes(value: Wire) -> bytes:
    if not isinstance(value, bytes):
        raise ValueError("a number stands where bytes belong")
    return value


def _text(value: Wire) -> str:
    return _bytes(value).decode("utf-8")


def _signed(value: Wire) -> int:
    if isinstance(value, bytes):
        raise ValueError("bytes stand where a number belongs")
    return value - (1 << 64) if value >> 63 else value


def _double(value: Wire) -> float:
    return float(struct.unpack("<d", _bytes(value))[0])


def _seconds(value: Wire) -> float:
    parts = {number: _signed(part) for number, part in _fields(_bytes(value)) if isinstance(part, int)}
    return parts.get(1, 0) + parts.get(2, 0) / 1e9


def _time(value: Wire) -> str | None:
    return rfc3339(_seconds(value)) if value else None


def _micro_time(value: Wire) -> str | None:
    return rfc3339_micro(_seconds(value)) if value else None


def _quantity(value: Wire) -> str:
    return next((_text(part) for number, part in _fields(_bytes(value)) if number == 1), "0")


def _int_or_string(value: Wire) -> int | str:
    parts = dict(_fields(_bytes(value)))
    if parts.get(1, 0) == 1:
        return _text(parts.get(3, b""))
    return _signed(parts.get(2, 0))


def _raw(value: Wire) -> Any:
    """RawExtension and FieldsV1: JSON text in field 1."""
    raw = next((_bytes(part) for number, part in _fields(_bytes(value)) if number == 1), b"{}")
    try:
        return msgspec.json.decode(raw)
    except msgspec.DecodeError as error:
        raise ValueError(f"embedded JSON: {error}") from error


_NUMBERS = ("boolean", "int32", "int64")
_SCALARS: dict[str, Callable[[Wire], Any]] = {
    "string": _text,
    "bytes": lambda value: base64.b64encode(_bytes(value)).decode(),
    "boolean": lambda value: bool(_signed(value)),
    "int32": _signed,
    "int64": _signed,
    "number": _double,
    "time": _time,
    "microtime": _micro_time,
    "quantity": _quantity,
    "intstr": _int_or_string,
    "object": _raw,
    "any": _raw,
}


def _is_zero(field: Field, value: Any) -> bool:
    """Go writes empty strings and zeros of optional fields too; absent is what they mean in JSON."""
    if value is None or (value == "" and not field.required):
        return True
    if value == {} and field.is_definition and field.name in ("status", "spec", "strategy"):
        return True
    return field.name in _ZERO_IS_ABSENT and value in (0, False)


_ZERO_IS_ABSENT = frozenset(
    (
        *("generation", "hostPort", "nodePort", "targetPort", "count", "hostNetwork", "hostPID", "hostIPC", "stdin"),
        *("stdinOnce", "tty", "readOnly", "initialDelaySeconds", "timeoutSeconds", "periodSeconds", "successThreshold"),
        *("failureThreshold", "publishNotReadyAddresses", "healthCheckNodePort"),
    )
)
"""Fields without a pointer in Go, which it writes even when they are zero."""
