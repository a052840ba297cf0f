"""What the bytes of a characteristic mean. Pure.

A visitor's `format` is int8 … int64, uint8 … uint64, float32, float64 (little-endian, as Bluetooth has it), boolean,
string or bytes; `scale` counts both ways. KubeEdge's `dataConverter` is understood too, for reading: `startIndex`,
`endIndex`, `shiftLeft`, `shiftRight`, `orderOfOperations`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.framework.settings import scale

_NUMBERS = {
    "int8": "<b", "int16": "<h", "int32": "<i", "int64": "<q", "uint8": "<B", "uint16": "<H", "uint32": "<I",
    "uint64": "<Q", "float32": "<f", "float64": "<d",
}  # fmt: skip
FORMATS = (*_NUMBERS, "boolean", "string", "bytes")
MAX_SHIFT = 64
MAX_BYTES = 64
"""Of a number; 512 may come."""
_BY_TYPE = {"STRING": "string", "BYTES": "bytes", "BOOLEAN": "boolean"}
_OPERATIONS: dict[str, Callable[[float, float], float]] = {
    "add": lambda value, by: value + by,
    "subtract": lambda value, by: value - by,
    "multiply": lambda value, by: value * by,
    "divide": lambda value, by: value / by,
}


class Operation(msgspec.Struct, rename="camel", frozen=True):
    """One step of a dataConverter."""

    operation_type: str
    operation_value: float


class Converter(msgspec.Struct, rename="camel", frozen=True):
    """KubeEdge's dataConverter; the decimal texts of the bytes are put one after the other, as its mapper does."""

    start_index: int = 0
    end_index: int = 0
    shift_left: int = 0
    shift_right: int = 0
    order_of_operations: tuple[Operation, ...] = ()

    def value(self, raw: bytes) -> float:
        """The value that bytes mean."""
        first, last = self.start_index, self.end_index
        if not (0 <= first < len(raw) and 0 <= last < len(raw)):
            raise DeviceError(f"the device sent {len(raw)} bytes; startIndex {first} to endIndex {last} are not there")
        chosen = raw[first : last + 1] if first <= last else raw[last : first + 1][::-1]
        if len(chosen) > MAX_BYTES:
            raise DeviceError(
                f"startIndex {first} to endIndex {last} are more than {MAX_BYTES} bytes, which are no number"
            )
        number = float((int("".join(str(byte) for byte in chosen)) << self.shift_left) >> self.shift_right)
        for step in self.order_of_operations:
            number = _OPERATIONS[step.operation_type.lower()](number, step.operation_value)
        return number


class Meaning(msgspec.Struct, frozen=True):
    """What one property's bytes mean."""

    kind: str
    scale: float = 1.0
    converter: Converter | None = None

    def decode(self, raw: bytes) -> Any:
        """The value; `DeviceError` for bytes that are none."""
        if self.converter is not None:
            return self.converter.value(raw)
        if self.kind == "string":
            return raw.rstrip(b"\0").decode("utf-8", "replace")
        if self.kind == "bytes":
            return raw
        if self.kind == "boolean":
            return any(raw)
        if len(raw) != struct.calcsize(_NUMBERS[self.kind]):
            raise DeviceError(f"the device sent {len(raw)} bytes, which are no {self.kind}")
        (value,) = struct.unpack(_NUMBERS[self.kind], raw)
        return value if self.scale == 1.0 else value * self.scale

    def encode(self, value: Any) -> bytes:
        """The bytes; `ValueRefused` for a value that has none."""
        if self.converter is not None:
            raise ValueRefused("a property with a dataConverter cannot be written; give its format")
        if self.kind == "string":
            return str(value).encode()
        if self.kind == "bytes":
            return bytes(value)
        if self.kind == "boolean":
            return bytes([bool(value)])
        number = value / self.scale if self.scale != 1.0 else value
        try:
            return struct.pack(_NUMBERS[self.kind], number if self.kind.startswith("float") else round(number))
        except (struct.error, OverflowError, TypeError) as error:
            raise ValueRefused(f"{value!r} does not fit into {self.kind}: {error}") from error


def meaning(visitor: Mapping[str, Any], model_type: str, where: str) -> Meaning:
    """What a visitor says; `ConfigError` names the field under `where` that makes no sense."""
    kind = str(visitor.get("format") or _BY_TYPE.get(model_type, "")).lower()
    converter = _converter(visitor, where)
    if converter is None and kind not in FORMATS:
        raise ConfigError(f"{where}.format: {kind[:40]!r} is none of {', '.join(FORMATS)}")
    return Meaning(kind, scale(visitor, where), converter)


def _converter(visitor: Mapping[str, Any], where: str) -> Converter | None:
    said = visitor.get("dataConverter")
    if not said:
        return None
    try:
        raw = said if isinstance(said, str) else msgspec.json.encode(said).decode()
        converter = msgspec.json.decode(raw, type=Converter)
    except msgspec.MsgspecError as error:
        raise ConfigError(f"{where}.dataConverter: {error}") from error
    for key, shift in (("shiftLeft", converter.shift_left), ("shiftRight", converter.shift_right)):
        if not 0 <= shift <= MAX_SHIFT:
            raise ConfigError(f"{where}.dataConverter.{key}: {shift} is no number of bits from 0 to {MAX_SHIFT}")
    for step in converter.order_of_operations:
        zero = step.operation_type.lower() == "divide" and not step.operation_value
        if step.operation_type.lower() not in _OPERATIONS or zero:
            raise ConfigError(
                f"{where}.dataConverter.orderOfOperations: {step.operation_type[:40]!r} {step.operation_value:g} is "
                f"none of {', '.join(_OPERATIONS)} by a number"
            )
    return converter
