"""Objects as selectors and lists see them, and what a list or a watch is about. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.api.meta import ObjectMeta, splice, view
from octoedge.kube.read import Item
from octoedge.kube.selector import Selector, parse_fields, parse_labels
from octoedge.protocol.application import Key


@dataclass(frozen=True, slots=True)
class What:
    """A list or a watch: of a kind, in a namespace or all, with selectors."""

    key: Key
    labels: str = ""
    fields: str = ""

    def __str__(self) -> str:
        return f"{self.key}?{self.labels}&{self.fields}"

    @property
    def whole(self) -> Key:
        """The same without selectors."""
        return self.key


class Chosen:
    """Whether objects belong to a `What`."""

    def __init__(self, what: What) -> None:
        self._namespace = what.key.namespace
        self._labels: Selector = parse_labels(what.labels)
        self._fields: Selector = parse_fields(what.fields)

    def __call__(self, data: bytes) -> bool:
        meta = view(data).metadata
        if self._namespace and meta.namespace != self._namespace:
            return False
        return self._labels.matches(meta.labels or {}) and (not self._fields or self._fields.matches(Fields(data)))


class Fields(Mapping[str, str]):
    """What field selectors may ask for: any scalar of the object by its path, decoded when asked for."""

    __slots__ = ("_data", "_found")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._found: dict[str, str] | None = None

    def __getitem__(self, key: str) -> str:
        return self._all()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._all())

    def __len__(self) -> int:
        return len(self._all())

    def _all(self) -> dict[str, str]:
        if self._found is None:
            decoded = msgspec.json.decode(self._data)
            self._found = {
                "metadata.namespace": "",
                "spec.nodeName": "",
                "status.phase": "",
                **dict(_scalars(decoded, "")),
            }
        return self._found


def _scalars(value: Any, path: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _scalars(inner, f"{path}.{key}" if path else key)
    elif isinstance(value, bool):
        yield path, str(value).lower()
    elif isinstance(value, str | int | float):
        yield path, str(value)


def item(data: bytes, meta: ObjectMeta | None = None, version: int = 0) -> Item:
    """An object as `kube.read` takes it; `version` where it is another than the object's own."""
    meta = meta or view(data).metadata
    return Item(meta.namespace, meta.name, version or meta.version, data, meta.labels or {}, Fields(data))


def bare(data: bytes) -> bytes:
    """An object without what only servers need."""
    return splice(data, None, {"managedFields": None}) if b'"managedFields"' in data else data
