"""Registers: where a value lies, what its words mean, and which requests read many of them at once. Pure.

A visitor's keys are KubeEdge's: `register` (CoilRegister, DiscreteInputRegister, HoldingRegister, InputRegister),
`offset` (zero-based), `limit` (how many), `scale`, `isSwap` (bytes in each word), `isRegisterSwap` (order of words),
`dataType`. `scale` counts both ways here; KubeEdge's mapper writes without it, and takes a missing one for 0.
"""

from __future__ import annotations

import enum
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from octoedge.errors import ConfigError, ValueRefused
from octoedge.mappers.framework.settings import flag, scale, whole

MAX_WORDS = 120
"""Registers in one request; the protocol allows 125."""
MAX_BITS = 1900
GAP = 8
"""Registers that nobody asked for and that are read along rather than begin another request."""


class Table(enum.Enum):
    """The four tables of a Modbus device."""

    COILS = "CoilRegister"
    DISCRETE = "DiscreteInputRegister"
    HOLDING = "HoldingRegister"
    INPUT = "InputRegister"

    @property
    def bits(self) -> bool:
        """Whether it holds bits, not words."""
        return self in (Table.COILS, Table.DISCRETE)

    @property
    def writable(self) -> bool:
        """Whether masters may write it."""
        return self in (Table.COILS, Table.HOLDING)


_FORMATS = {
    "uint16": ">H", "uint32": ">I", "uint64": ">Q", "int16": ">h", "int32": ">i", "int64": ">q",
    "float32": ">f", "float64": ">d",
}  # fmt: skip
_BY_LENGTH = {
    "int": {1: "uint16", 2: "uint32", 4: "uint64"},  # as KubeEdge's mapper: unsigned
    "float": {1: "int16", 2: "float32", 4: "float64"},
    "double": {1: "int16", 2: "float32", 4: "float64"},
}
_NAMES = ("boolean", "string", "bytes", *_BY_LENGTH, *_FORMATS)


@dataclass(frozen=True, slots=True)
class Register:
    """Where one value lies and what it means."""

    table: Table
    address: int
    count: int = 1
    kind: str = "uint16"
    """One of the formats, `boolean`, `string` or `bytes`."""
    scale: float = 1.0
    swap_bytes: bool = False
    swap_words: bool = False

    def decode(self, data: Sequence[int]) -> Any:
        """The value that words (or bits) say."""
        if self.table.bits:
            return bool(data[0])
        raw = self._ordered(struct.pack(f">{len(data)}H", *data))
        if self.kind == "boolean":
            return any(raw)
        if self.kind == "bytes":
            return raw
        if self.kind == "string":
            return raw.rstrip(b"\0").decode("utf-8", "replace")
        (value,) = struct.unpack(_FORMATS[self.kind], raw)
        return value if self.scale == 1.0 else value * self.scale

    def encode(self, value: Any) -> list[int]:
        """The words (or the bit) that say a value; `ValueRefused` when they cannot."""
        if not self.table.writable:
            raise ValueRefused(f"a {self.table.value} cannot be written")
        if self.table.bits:
            return [int(bool(value))]
        raw = self._ordered(self._bytes(value), writing=True)
        return list(struct.unpack(f">{len(raw) // 2}H", raw))

    def _bytes(self, value: Any) -> bytes:
        size = self.count * 2
        if self.kind == "boolean":
            return int(bool(value)).to_bytes(size, "big")
        if self.kind == "bytes":
            if len(value) != size:
                raise ValueRefused(f"{len(value)} bytes are not the {size} of {self.count} registers")
            return bytes(value)
        if self.kind == "string":
            raw = str(value).encode()
            if len(raw) > size:
                raise ValueRefused(f"a text of {len(raw)} bytes does not fit into {self.count} registers")
            return raw.ljust(size, b"\0")
        number = value / self.scale if self.scale != 1.0 else value
        try:
            return struct.pack(_FORMATS[self.kind], number if self.kind.startswith("float") else round(number))
        except (struct.error, OverflowError, TypeError) as error:
            raise ValueRefused(f"{value!r} does not fit into a register of type {self.kind}: {error}") from error

    def _ordered(self, raw: bytes, *, writing: bool = False) -> bytes:
        words = [raw[i : i + 2] for i in range(0, len(raw), 2)]
        steps = [self._words_swapped, self._bytes_swapped]
        for step in reversed(steps) if writing else steps:
            words = step(words)
        return b"".join(words)

    def _words_swapped(self, words: list[bytes]) -> list[bytes]:
        return words[::-1] if self.swap_words else words

    def _bytes_swapped(self, words: list[bytes]) -> list[bytes]:
        return [word[::-1] for word in words] if self.swap_bytes else words


def register(visitor: Mapping[str, Any], model_type: str, where: str) -> Register:
    """The register that a visitor names; `ConfigError` names the field under `where` that makes no sense."""
    table = _table(visitor, where)
    address = whole(visitor, "offset", 0, 0, 65535, where)
    kind = str(visitor.get("dataType") or model_type or "int").lower()
    if kind not in _NAMES:
        raise ConfigError(f"{where}.dataType: {kind[:40]!r} is none of {', '.join(_NAMES)}")
    least = struct.calcsize(_FORMATS[kind]) // 2 if kind in _FORMATS else 1
    count = 1 if table.bits else whole(visitor, "limit", least, 1, MAX_WORDS, where)
    if kind in _BY_LENGTH and not table.bits:
        if count not in _BY_LENGTH[kind]:
            raise ConfigError(f"{where}.limit: a value of type {kind} lies in 1, 2 or 4 registers, not {count}")
        kind = _BY_LENGTH[kind][count]
    elif kind in _FORMATS and count != least:
        raise ConfigError(f"{where}.limit: a value of type {kind} lies in {least} registers, not {count}")
    if address + count > 65536:
        raise ConfigError(f"{where}.offset: {address} and {count} registers go past 65535")
    return Register(
        table, address, count, kind, scale(visitor, where), flag(visitor, "isSwap"), flag(visitor, "isRegisterSwap")
    )


@dataclass(frozen=True, slots=True)
class Block:
    """One request, and which properties it answers."""

    table: Table
    address: int
    count: int
    members: tuple[tuple[str, Register], ...]

    def values(self, data: Sequence[int]) -> dict[str, Any]:
        """The value of each member out of the request's answer."""
        found = {}
        for name, one in self.members:
            begin = one.address - self.address
            found[name] = one.decode(data[begin : begin + one.count])
        return found


def blocks(wanted: Iterable[tuple[str, Register]]) -> list[Block]:
    """The fewest requests: neighbours, and neighbours with a small gap, go together."""
    made: list[Block] = []
    for name, one in sorted(wanted, key=lambda pair: (pair[1].table.value, pair[1].address, pair[0])):
        last = made[-1] if made else None
        if last is not None and last.table is one.table and one.address <= last.address + last.count + GAP:
            count = max(last.count, one.address + one.count - last.address)
            if count <= (MAX_BITS if one.table.bits else MAX_WORDS):
                made[-1] = Block(last.table, last.address, count, (*last.members, (name, one)))
                continue
        made.append(Block(one.table, one.address, one.count, ((name, one),)))
    return made


def _table(visitor: Mapping[str, Any], where: str) -> Table:
    said = str(visitor.get("register", ""))
    for table in Table:
        if said.lower() in (table.value.lower(), table.value.lower().removesuffix("register")):
            return table
    names = ", ".join(table.value for table in Table)
    raise ConfigError(f"{where}.register: {said[:40]!r} is none of {names}")
