"""The compact table of facts about Kubernetes objects (`schema.json`, made by `tools/schema/make_schema.py`), typed.

A definition is parsed when it is first asked for. What the words of the notation mean stands in the tool's docstring.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib.resources import files
from typing import Any

import msgspec

SCALARS = frozenset(
    ("string", "bytes", "boolean", "int32", "int64", "number", "time", "microtime", "quantity", "intstr")
)


@dataclass(frozen=True)
class Field:
    """One field of a definition."""

    name: str
    shape: str
    """`` for a single value, `[]` for a list, `{}` for a map; the outermost comes first in `[]{}`."""
    type: str
    """A scalar, `object`, `any`, or the name of a definition."""
    owner: str
    """The definition that it is a field of."""
    number: tuple[int, ...] = ()
    """The protobuf field number; two when the value lies in an embedded message."""
    required: bool = False
    strategy: tuple[str, ...] = ()
    merge_key: str = ""
    list_type: str = ""
    map_keys: tuple[str, ...] = ()
    atomic: bool = False
    enum: tuple[str, ...] = ()
    default: Any = None

    @cached_property
    def is_definition(self) -> bool:
        """Whether the values are objects with a definition of their own."""
        return self.type not in SCALARS and self.type not in ("object", "any")


@dataclass(frozen=True)
class Definition:
    """The fields of one type of object."""

    name: str
    fields: dict[str, Field] = field(default_factory=dict)

    @cached_property
    def defaults(self) -> tuple[Field, ...]:
        """The fields that have a default."""
        return tuple(item for item in self.fields.values() if item.default is not None)

    @cached_property
    def demanded(self) -> tuple[Field, ...]:
        """The fields that are required."""
        return tuple(item for item in self.fields.values() if item.required)

    @cached_property
    def checked(self) -> tuple[Field, ...]:
        """The fields about whose values, or what lies below them, there is a rule."""
        return tuple(item for item in self.fields.values() if item.required or item.enum or item.is_definition)


class Schema:
    """All definitions, and which kind has which."""

    def __init__(self, table: dict[str, Any]) -> None:
        self._rows: dict[str, dict[str, str]] = table["definitions"]
        self._kinds: dict[str, str] = table["kinds"]
        self._atomic = frozenset(table["atomic"])
        self._parsed: dict[str, Definition] = {}

    @classmethod
    def load(cls) -> Schema:
        """The table that comes with the package."""
        return cls(msgspec.json.decode(files("octoedge.apiserver.schema").joinpath("schema.json").read_bytes()))

    def __getitem__(self, name: str) -> Definition:
        found = self._parsed.get(name)
        if found is None:
            rows = self._rows[name]
            found = Definition(name, {field: self._field(name, field, text) for field, text in rows.items()})
            self._parsed[name] = found
        return found

    def of_kind(self, group: str, version: str, kind: str) -> Definition:
        """The definition of a kind."""
        return self[self._kinds[f"{group}/{version}/{kind}"]]

    def find(self, group: str, version: str, kind: str) -> Definition | None:
        """The definition of a kind, when there is one."""
        name = self._kinds.get(f"{group}/{version}/{kind}")
        return self[name] if name else None

    def inner(self, field: Field | None) -> Definition | None:
        """The definition of a field whose value is one object, not a list or a map of them."""
        return self[field.type] if field is not None and field.is_definition and not field.shape else None

    def kinds_of(self, name: str) -> Iterator[tuple[str, str, str]]:
        """(group, version, kind) of a definition; none when it is only a part of others."""
        for kind, definition in self._kinds.items():
            if definition == name:
                group, version, word = kind.split("/")
                yield group, version, word

    def add(self, kind: str, name: str, definitions: Mapping[str, Definition]) -> None:
        """Take in a kind (`group/version/Kind`) whose definition is `name`, with everything below it."""
        self._kinds[kind] = name
        self._parsed |= definitions

    def remove(self, kind: str, name: str) -> None:
        """Forget a kind that was added."""
        self._kinds.pop(kind, None)
        for one in [one for one in self._parsed if one == name or one.startswith(f"{name}.")]:
            del self._parsed[one]

    def _field(self, owner: str, name: str, text: str) -> Field:
        kind, *words = text.split(" ")
        element = kind.lstrip("[]{}")
        facts: dict[str, Any] = {}
        for word in words:
            key, _, value = word.partition("=")
            facts |= _WORDS[key](value)
        facts["atomic"] = facts.get("atomic", False) or element in self._atomic
        return Field(name, kind[: len(kind) - len(element)], element, owner, **facts)


_WORDS: dict[str, Any] = {
    "": lambda value: {"number": tuple(int(part) for part in value.split("."))},
    "required": lambda _: {"required": True},
    "strategy": lambda value: {"strategy": tuple(value.split(","))},
    "key": lambda value: {"merge_key": value},
    "list": lambda value: {"list_type": value},
    "keys": lambda value: {"map_keys": tuple(value.split(","))},
    "atomic": lambda _: {"atomic": True},
    "enum": lambda value: {"enum": tuple(value.split(","))},
    "default": lambda value: {"default": msgspec.json.decode(value)},
}
