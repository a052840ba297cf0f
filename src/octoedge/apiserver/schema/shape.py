"""The form of a kind's objects: how they are read, filled in and checked. Built-in kinds have theirs from the schema
table, custom ones (`crd/shape.py`) from their CustomResourceDefinition; the verbs do not see the difference.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

from octoedge.apiserver.schema import defaults
from octoedge.apiserver.schema.decoding import Decoder
from octoedge.apiserver.schema.schema import Definition, Schema
from octoedge.apiserver.writing import rules
from octoedge.apiserver.writing.metadata import Cause

Json = dict[str, Any]


class Shape(Protocol):
    """What the write verbs ask of a kind."""

    @property
    def definition(self) -> Definition:
        """Its fields, for patches and server-side apply."""
        ...

    def decode(self, value: Json) -> tuple[Json, list[str]]:
        """The object, and its unknown fields; `WrongType` when a value is of the wrong type."""
        ...

    def fill(self, obj: Json) -> None:
        """Fill in defaults, in place."""
        ...

    def check(self, obj: Json) -> list[Cause]:
        """What is wrong with an object."""
        ...

    def check_update(self, new: Json, old: Json, subresource: str) -> list[Cause]:
        """What is wrong with an object after a change."""
        ...


@dataclass(frozen=True, slots=True)
class BuiltInShape:
    """The form of a kind of the schema table."""

    schema: Schema
    definition: Definition
    parts: tuple[str, ...] = ()
    """What always is there, if only empty: clients rely on it."""

    def decode(self, value: Json) -> tuple[Json, list[str]]:
        """The object with the table's types, and its unknown fields."""
        decoder = Decoder(self.schema)
        return decoder.decode(self.definition, value), decoder.unknown

    def fill(self, obj: Json) -> None:
        """Fill in the table's defaults."""
        for part in self.parts:
            if part in self.definition.fields:
                obj.setdefault(part, {})
        defaults.fill(self.schema, self.definition, obj)

    def check(self, obj: Json) -> list[Cause]:
        """Required values and enumerations."""
        return rules.structure(self.schema, self.definition, obj)

    def check_update(self, new: Json, _: Json, subresource: str) -> list[Cause]:
        """As `check`; the status is the server's own."""
        return [] if subresource else self.check(new)
