"""The form of a custom kind's objects in one version, and the rest of what its CustomResourceDefinition says of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

import msgspec

from octoedge.apiserver.crd import devices, invariants
from octoedge.apiserver.crd.budget import Budget, TooCostly
from octoedge.apiserver.crd.pruning import META, default, prune
from octoedge.apiserver.crd.structural import Structural
from octoedge.apiserver.crd.validation import MAX_CAUSES, type_name, validate
from octoedge.apiserver.printing.cells import Column
from octoedge.apiserver.schema.decoding import Decoder
from octoedge.apiserver.schema.schema import Definition, Schema
from octoedge.apiserver.writing.metadata import Cause
from octoedge.kube.read import Item

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class CustomShape:
    """The form of one version."""

    schema: Schema
    name: str
    definitions: Mapping[str, Definition]
    """The kind's own, `name`, and those of its parts."""
    structural: Structural
    api_version: str

    @property
    def definition(self) -> Definition:
        """The kind's own."""
        return self.definitions[self.name]

    def decode(self, value: Json) -> tuple[Json, list[str]]:
        """The object with typed metadata and pruned, and its unknown fields."""
        decoder = Decoder(self.schema)
        unknown: list[str] = []
        pruned = prune(self.structural, value, unknown)
        if pruned.get("metadata") is not None:
            pruned["metadata"] = decoder.decode(self.schema["meta.v1.ObjectMeta"], pruned["metadata"], "metadata")
        else:
            pruned.pop("metadata", None)
        return pruned, [*unknown, *decoder.unknown]

    def fill(self, obj: Json) -> None:
        """Fill in the schema's defaults."""
        obj |= default(self.structural, {key: value for key, value in obj.items() if key not in META})

    def check(self, obj: Json) -> list[Cause]:
        """The schema's rules."""
        return self._checked(obj, None)

    def _checked(self, obj: Json, old: Json | None) -> list[Cause]:
        budget = Budget()
        try:
            causes = validate(self.structural, obj, budget)
        except TooCostly as error:
            return [("FieldValueInvalid", "<nil>", f'Invalid value: "{type_name(obj)}": {error}')]
        if not self.structural.has_rules:
            return causes
        if causes:
            text = "the object was invalid; correct the existing errors to complete validation"
            said = f"some validation rules were not checked because {text}"
            return [*causes, ("FieldValueInvalid", "<nil>", f'Invalid value: "null": {said}')]
        return list(islice(invariants.check(self.structural, obj, old, budget), MAX_CAUSES))

    def check_update(self, new: Json, old: Json, _: str) -> list[Cause]:
        """As `check`, but what was wrong before and has not changed is let through: schemas become stricter."""
        causes = self._checked(new, old)
        before = self.check(old) if causes else []
        return [cause for cause in causes if cause not in before]

    def converted(self, obj: Json) -> Json:
        """An object of another version in this one: what this schema does not know is left out (strategy None)."""
        if obj["apiVersion"] == self.api_version:
            return obj
        obj = devices.converted(obj, self.api_version)
        result: Json = {**prune(self.structural, obj), "apiVersion": self.api_version}
        self.fill(result)
        return result


@dataclass(frozen=True, slots=True, eq=False)
class Custom:
    """What a row of the table of kinds has when it comes from a CustomResourceDefinition."""

    shape: CustomShape
    stored: CustomShape
    """The form in which objects are kept."""
    columns: tuple[Column, ...]
    openapi: Mapping[str, Any]
    """The schema as its author wrote it."""
    closing: bool = False
    """Whether the definition is being deleted: nothing new is made."""
    warning: str = ""
    """What clients are told about a deprecated version."""

    def converted(self, item: Item) -> Item:
        """A stored object in this version."""
        if item.data.startswith(self._head):
            return item
        obj = msgspec.json.decode(item.data)
        return replace(item, data=msgspec.json.encode(self.shape.converted(obj)))

    @property
    def _head(self) -> bytes:
        """How objects of this version begin: the store puts kind and apiVersion first."""
        kind = self.shape.name.rpartition("/")[2]
        return f'{{"kind":"{kind}","apiVersion":"{self.shape.api_version}",'.encode()
