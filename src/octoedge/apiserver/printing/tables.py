"""Tables: objects as the rows and columns that kubectl prints, for lists, single objects and watches."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.kinds import Kind
from octoedge.apiserver.printing.cells import Column
from octoedge.apiserver.printing.columns import columns_of
from octoedge.kube.read import Item, Page, Renderer
from octoedge.runtime.clock import Clock

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class TableRenderer:
    """Renders objects of one kind as Tables of one version (`v1`, `v1beta1`)."""

    kind: Kind
    version: str
    include: str
    """What each row carries of its object: Metadata (usual), Object, None."""
    clock: Clock

    @property
    def form(self) -> str:
        """The form's name among rendered frames."""
        return f"table {self.version} {self.include}"

    def one(self, item: Item) -> bytes:
        """A Table with one row."""
        return self._table([item], {"resourceVersion": str(item.version)})

    def page(self, part: Page) -> bytes:
        """A Table of a page of a list."""
        metadata: Json = {"resourceVersion": str(part.version)}
        if part.continue_token:
            metadata |= {"continue": part.continue_token, "remainingItemCount": part.remaining}
        return self._table(part.items, metadata)

    @property
    def _columns(self) -> tuple[Column, ...]:
        return self.kind.custom.columns if self.kind.custom else columns_of(self.kind.resource)

    def _table(self, items: Iterable[Item], metadata: Json) -> bytes:
        now = self.clock.now()
        columns = self._columns
        table = {
            "kind": "Table",
            "apiVersion": f"meta.k8s.io/{self.version}",
            "metadata": metadata,
            "columnDefinitions": [
                {
                    "name": column.name,
                    "type": column.type,
                    "format": column.format,
                    "description": column.name,
                    "priority": column.priority,
                }
                for column in columns
            ],
            "rows": [self._row(item, now) for item in items],
        }
        return msgspec.json.encode(table) + b"\n"

    def _row(self, item: Item, now: float) -> Json:
        obj = msgspec.json.decode(item.data)
        row: Json = {"cells": [column.cell(obj, now) for column in self._columns]}
        if self.include == "Object":
            row["object"] = msgspec.Raw(item.data)
        elif self.include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": f"meta.k8s.io/{self.version}",
                "metadata": obj["metadata"],
            }
        return row


@dataclass(frozen=True, slots=True)
class ConvertingRenderer:
    """Renders objects of a kind with several versions in the one that was asked for."""

    kind: Kind
    inner: Renderer

    @property
    def form(self) -> str:
        """The form's name among rendered frames: they differ from version to version and from schema to schema."""
        return f"{self.inner.form} of {self.kind.version} by {id(self.kind.custom)}"

    def one(self, item: Item) -> bytes:
        """The body for one object."""
        return self.inner.one(self.kind.shown(item))


@dataclass(frozen=True, slots=True)
class PartialRenderer:
    """Renders only kind, apiVersion and metadata: what metadata clients ask for."""

    version: str

    @property
    def form(self) -> str:
        """The form's name among rendered frames."""
        return f"partial {self.version}"

    def one(self, item: Item) -> bytes:
        """A PartialObjectMetadata."""
        return msgspec.json.encode(self._partial(item))

    def page(self, part: Page) -> bytes:
        """A PartialObjectMetadataList of a page of a list."""
        metadata: Json = {"resourceVersion": str(part.version)}
        if part.continue_token:
            metadata |= {"continue": part.continue_token, "remainingItemCount": part.remaining}
        items = [self._partial(item) for item in part.items]
        head = {"kind": "PartialObjectMetadataList", "apiVersion": f"meta.k8s.io/{self.version}"}
        return msgspec.json.encode({**head, "metadata": metadata, "items": items}) + b"\n"

    def _partial(self, item: Item) -> Json:
        metadata = msgspec.json.decode(item.data)["metadata"]
        return {"kind": "PartialObjectMetadata", "apiVersion": f"meta.k8s.io/{self.version}", "metadata": metadata}
