"""Fields that a schema does not know go out, its defaults come in. Objects are made new, not changed.

`prune` keeps apiVersion, kind and metadata at the root and in embedded resources: they are not the schema's matter.
"""

from __future__ import annotations

import copy
from typing import Any

from octoedge.apiserver.crd.structural import MISSING, Structural

META = ("apiVersion", "kind", "metadata")


def prune(schema: Structural, value: Any, unknown: list[str] | None = None) -> Any:
    """The value of a whole object without unknown fields; their paths are added to `unknown`."""
    return _prune(schema, value, "", [] if unknown is None else unknown, root=True)


def default(schema: Structural, value: Any) -> Any:
    """The value with the schema's defaults filled in."""
    if isinstance(value, dict):
        return _default_fields(schema, value)
    if isinstance(value, list) and schema.items is not None:
        return [_default_one(schema.items, item) for item in value]
    return value


def _prune(schema: Structural, value: Any, path: str, unknown: list[str], *, root: bool = False) -> Any:
    if isinstance(value, list):
        if schema.items is None:
            return value
        inner = schema.items
        return [_prune(inner, item, f"{path}[{index}]", unknown) for index, item in enumerate(value)]
    if not isinstance(value, dict):
        return value
    result = {}
    for key, item in value.items():
        here = f"{path}.{key}" if path else key
        known = schema.properties.get(key) or schema.additional
        if (root or schema.embedded) and key in META:
            result[key] = item
        elif known is not None:
            result[key] = _prune(known, item, here, unknown)
        elif schema.preserve or schema.open or not _is_object(schema):
            result[key] = item
        else:
            unknown.append(here)
    return result


def _is_object(schema: Structural) -> bool:
    """Otherwise validation refuses the value as a whole; to prune it first would hide why."""
    return schema.type in ("object", "") and not schema.int_or_string


def _default_fields(schema: Structural, value: dict[str, Any]) -> dict[str, Any]:
    result = {}
    for key, item in value.items():
        known = schema.properties.get(key) or schema.additional
        result[key] = item if known is None else _default_one(known, item)
    for key, inner in schema.properties.items():
        if key not in result and inner.default is not MISSING:
            result[key] = default(inner, copy.deepcopy(inner.default))
    return result


def _default_one(schema: Structural, value: Any) -> Any:
    """null stands for absence where it is not a value of its own."""
    if value is None and not schema.nullable and schema.default is not MISSING:
        value = copy.deepcopy(schema.default)
    return default(schema, value)
