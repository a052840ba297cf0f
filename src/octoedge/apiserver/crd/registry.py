"""From stored CustomResourceDefinitions to rows in the table of kinds, at the moment when they are stored.

    committed change of a definition ──► Structural, Definitions, Columns ──► `Kinds.replace`, `Schema.add`

Runs in the store's own turn, so that whoever was answered "created" finds the kinds served; at the start all stored
definitions are registered before anybody is served.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from octoedge.apiserver.crd.columns import columns
from octoedge.apiserver.crd.definitions import definitions
from octoedge.apiserver.crd.names import is_established
from octoedge.apiserver.crd.rules import RESOURCE
from octoedge.apiserver.crd.shape import Custom, CustomShape
from octoedge.apiserver.crd.structural import SchemaReader
from octoedge.apiserver.kinds import Kind, Kinds, ScalePaths, Subresource
from octoedge.apiserver.schema.schema import Schema
from octoedge.apiserver.store.backend import Backend
from octoedge.kube.read import Item

log = logging.getLogger(__name__)

Json = dict[str, Any]


class Registry:
    """Keeps the table of kinds in step with the stored definitions."""

    def __init__(self, kinds: Kinds, schema: Schema, backend: Backend) -> None:
        self._kinds = kinds
        self._schema = schema
        self._backend = backend
        self._served: dict[str, list[tuple[str, str]]] = {}
        """By definition: the kinds in the schema table, and what all their definitions there are named after."""
        for item in backend.items(RESOURCE):
            self._seen(item, False)
        backend.listen(RESOURCE, self._seen)

    def _seen(self, item: Item, removed: bool) -> None:
        obj: Json = msgspec.json.decode(item.data)
        try:
            rows = [] if removed or not is_established(obj) else list(self._rows(obj))
        except Exception:
            # Other kinds and the store must go on; what was accepted and cannot be served is a fault of ours.
            log.exception("CustomResourceDefinition %s cannot be served", item.name)
            return
        self._register(item.name, obj, rows)

    def _register(self, name: str, obj: Json, rows: list[Kind]) -> None:
        served = [row["name"] for row in obj["spec"]["versions"] if row.get("served")]
        stored = next((kind for kind in rows if kind.custom and kind.custom.shape is kind.custom.stored), None)
        fresh = stored is not None and name not in self._served
        for key, prefix in self._served.pop(name, []):
            self._schema.remove(key, prefix)
        for kind in rows:
            assert kind.custom is not None
            shape = kind.custom.shape
            key = f"{kind.group}/{kind.version}/{kind.kind}"
            self._schema.add(key, shape.name, shape.definitions)
            self._served.setdefault(name, []).append((key, shape.name))
        self._kinds.replace(name, [kind for kind in rows if kind.version in served], stored)
        if fresh and stored is not None and stored.fields:
            self._backend.reindex(name)

    def _rows(self, obj: Json) -> Iterator[Kind]:
        spec, names = obj["spec"], obj["status"]["acceptedNames"]
        shapes = {row["name"]: self._shape(spec["group"], names["kind"], row) for row in spec["versions"]}
        stored = next(shapes[row["name"]] for row in spec["versions"] if row.get("storage"))
        for row in spec["versions"]:
            api_version = f"{spec['group']}/{row['name']}"
            warning = row.get("deprecationWarning") or f"{api_version} {names['kind']} is deprecated"
            custom = Custom(
                shapes[row["name"]],
                stored,
                columns(row.get("additionalPrinterColumns") or []),
                row["schema"]["openAPIV3Schema"],
                closing=bool(obj["metadata"].get("deletionTimestamp")),
                warning=warning if row.get("deprecated") else "",
            )
            yield _row(spec, names, row, custom)

    def _shape(self, group: str, kind: str, row: Json) -> CustomShape:
        structural = SchemaReader().read(row["schema"]["openAPIV3Schema"], "")
        name = f"custom:{group}/{row['name']}/{kind}"
        return CustomShape(self._schema, name, definitions(structural, name), structural, f"{group}/{row['name']}")


def _row(spec: Json, names: Json, row: Json, custom: Custom) -> Kind:
    kind = Kind(
        spec["group"],
        row["name"],
        names["plural"],
        names["kind"],
        tuple(names.get("shortNames") or ()),
        spec["scope"] == "Namespaced",
        tuple(_subresources(names["kind"], row.get("subresources") or {})),
        tuple(one["jsonPath"].lstrip(".") for one in row.get("selectableFields") or ()),
        tuple(names.get("categories") or ()),
        strategic=False,
        custom=custom,
    )
    kind = replace(kind, singular_name=names.get("singular") or "", list_name=names.get("listKind") or "")
    scale = (row.get("subresources") or {}).get("scale")
    return replace(kind, scale_paths=_scale_paths(scale)) if scale else kind


def _subresources(kind: str, said: Json) -> Iterator[Subresource]:
    verbs = ("get", "patch", "update")
    if said.get("status") is not None:
        yield Subresource("status", kind, verbs)
    if said.get("scale") is not None:
        yield Subresource("scale", "Scale", verbs, "autoscaling", "v1")


def _scale_paths(scale: Json) -> ScalePaths:
    spec, status = scale["specReplicasPath"].lstrip("."), scale["statusReplicasPath"].lstrip(".")
    return ScalePaths(spec, status, (scale.get("labelSelectorPath") or "").lstrip("."))
