"""Server-side apply: whoever applies owns the fields he applied, and what he leaves out later goes away.

    live object + applied configuration ──merge by the schema──► new object
    fields that this manager applied before, not now, and nobody else owns  ──► removed
    fields that another manager applied with another value  ──► 409, or taken over with force

Ownership is kept in metadata.managedFields (FieldsV1) for managers that apply; plain updates own nothing here.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.errors import ApiError, invalid

Json = dict[str, Any]
Fields = dict[str, Any]
"""FieldsV1: `f:name` a field, `k:{…}` an item by its keys, `v:…` an item by its value; `{}` is a leaf."""

_NEVER_OWNED = ("apiVersion", "kind", "status")
_EMPTY: Fields = {".": {}}
"""Of an empty object or list only itself is owned, nothing that others put into it."""
_METADATA = ("name", "namespace", "uid", "resourceVersion", "managedFields", "creationTimestamp", "generation")


class Applier:
    """Applies configurations to objects of the schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def apply(self, definition: Definition, live: Json, applied: Json, manager: str, *, force: bool, now: str) -> Json:
        """The object after `manager` applied his configuration; 409 names the fields that others own."""
        if not manager:
            cause = ("FieldValueRequired", "fieldManager", "Required value: is required for apply patch")
            raise invalid("PatchOptions", "", [cause], "meta.k8s.io")
        entries = list(live.get("metadata", {}).get("managedFields") or [])
        mine = next((one for one in entries if _is_of(one, manager)), None)
        others = [one for one in entries if one is not mine]
        wanted = self._fields_of(definition, _own_part(applied))
        if not force:
            self._refuse_conflicts(live, applied, wanted, others)
        result: Json = self._merge(definition, live, _own_part(applied))
        owned_by_others = [one.get("fieldsV1") or {} for one in others if one.get("operation") == "Apply"]
        if mine is not None:
            _remove_absent(result, mine.get("fieldsV1") or {}, wanted, owned_by_others)
        if force:
            others = [_without(one, wanted, applied, live) for one in others]
        entry = {"manager": manager, "operation": "Apply", "apiVersion": applied.get("apiVersion"), "time": now}
        entry |= {"fieldsType": "FieldsV1", "fieldsV1": wanted}
        if mine is not None and mine.get("fieldsV1") == wanted:
            entry["time"] = mine.get("time")
        kept = [one for one in others if one.get("fieldsV1")]
        result["metadata"] = {**result.get("metadata", {}), "managedFields": [*kept, entry]}
        return result

    def _fields_of(self, definition: Definition | None, obj: Json) -> Fields:
        fields: Fields = {}
        for name, value in obj.items():
            field = definition.fields.get(name) if definition else None
            fields[f"f:{name}"] = self._value_fields(field, value)
        return fields

    def _value_fields(self, field: Field | None, value: Any) -> Fields:
        if isinstance(value, dict) and not (field and field.atomic):
            return self._fields_of(self._schema.inner(field), value) or _EMPTY
        if isinstance(value, list) and field is not None and field.list_type in ("map", "set"):
            return {key: {".": {}, **self._item_fields(field, item)} for key, item in _keyed(field, value)} or _EMPTY
        return {}

    def _item_fields(self, field: Field, item: Any) -> Fields:
        if field.list_type == "set" or not isinstance(item, dict):
            return {}
        return self._fields_of(self._schema[field.type] if field.is_definition else None, item)

    def _merge(self, definition: Definition | None, live: Any, applied: Json) -> Json:
        result = dict(live) if isinstance(live, dict) else {}
        for name, value in applied.items():
            field = definition.fields.get(name) if definition else None
            before = result.get(name)
            if isinstance(value, dict) and not (field and field.atomic):
                result[name] = self._merge(self._schema.inner(field), before, value)
            elif isinstance(value, list) and field is not None and field.list_type in ("map", "set"):
                result[name] = self._merge_list(field, before if isinstance(before, list) else [], value)
            else:
                result[name] = copy.deepcopy(value)
        return result

    def _merge_list(self, field: Field, before: list[Any], applied: list[Any]) -> list[Any]:
        result = dict(_keyed(field, before))
        inner = self._schema[field.type] if field.is_definition else None
        for key, item in _keyed(field, applied):
            if field.list_type == "map":
                result[key] = self._merge(inner, result.get(key), item)
            else:
                result[key] = item
        return list(result.values())

    def _refuse_conflicts(self, live: Json, applied: Json, wanted: Fields, others: list[Json]) -> None:
        causes = []
        for other in others:
            for path in _shared_leaves(wanted, other.get("fieldsV1") or {}):
                if other.get("operation") == "Apply" and _at(live, path) != _at(applied, path):
                    text = f'conflict with "{other.get("manager")}"'
                    causes.append({"reason": "FieldManagerConflict", "message": text, "field": _shown(path)})
        if causes:
            said = "\n".join(f"- {cause['message']}: {cause['field']}" for cause in causes)
            plural = "" if len(causes) == 1 else "s"
            text = f"Apply failed with {len(causes)} conflict{plural}: {said.lstrip('- ')}"
            raise ApiError(409, "Conflict", text, {"causes": causes})


def _own_part(applied: Json) -> Json:
    """What of the configuration can be owned."""
    part = {key: value for key, value in applied.items() if key not in _NEVER_OWNED}
    metadata = {key: value for key, value in (part.get("metadata") or {}).items() if key not in _METADATA}
    part.pop("metadata", None)
    return {**part, **({"metadata": metadata} if metadata else {})}


def _is_of(entry: Json, manager: str) -> bool:
    return bool(entry.get("manager") == manager and entry.get("operation") == "Apply")


def _keyed(field: Field, items: list[Any]) -> Iterator[tuple[str, Any]]:
    """The items with their FieldsV1 keys. Keys that an item leaves out have their defaults (protocol: TCP)."""
    for item in items:
        if field.list_type == "set" or not isinstance(item, dict):
            yield "v:" + json.dumps(item, separators=(",", ":"), sort_keys=True), item
            continue
        keys = {name: _key_value(item, name) for name in sorted(field.map_keys)}
        yield "k:" + json.dumps(keys, separators=(",", ":")), item


def _key_value(item: Json, name: str) -> Any:
    return item.get(name, "TCP" if name == "protocol" else None)


def _shared_leaves(one: Fields, other: Fields, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, inner in one.items():
        if key == "." or key not in other:
            continue
        if not inner or not other[key]:
            yield (*path, key)
        else:
            yield from _shared_leaves(inner, other[key], (*path, key))


def _at(obj: Any, path: tuple[str, ...]) -> Any:
    """The value at a FieldsV1 path; None when there is none."""
    for key in path:
        obj = _step(obj, key)
    return obj


def _step(obj: Any, key: str) -> Any:
    if key.startswith("f:"):
        return obj.get(key[2:]) if isinstance(obj, dict) else None
    index = _index(obj, key)
    return obj[index] if index is not None else None


def _index(items: Any, key: str) -> int | None:
    """Where the item with a `k:` or `v:` key stands in a list."""
    wanted = json.loads(key[2:])
    for index, item in enumerate(items if isinstance(items, list) else []):
        if key.startswith("v:"):
            if item == wanted:
                return index
        elif isinstance(item, dict) and all(_key_value(item, name) == value for name, value in wanted.items()):
            return index
    return None


def _remove_absent(obj: Any, before: Fields, now: Fields, others: list[Fields]) -> None:
    """Take away what was applied before and is not now, unless somebody else owns it too."""
    for key, inner in before.items():
        if key == ".":
            continue
        theirs = [other[key] for other in others if key in other]
        if key in now:
            _remove_absent(_step(obj, key), inner, now[key], theirs)
        elif theirs:
            _remove_absent(_step(obj, key), inner, {}, theirs)
        else:
            _remove(obj, key)


def _remove(obj: Any, key: str) -> None:
    if key.startswith("f:"):
        if isinstance(obj, dict):
            obj.pop(key[2:], None)
        return
    index = _index(obj, key)
    if index is not None:
        del obj[index]


def _without(entry: Json, wanted: Fields, applied: Json, live: Json) -> Json:
    """Another manager's entry without the fields that were taken from him by force."""
    if entry.get("operation") != "Apply":
        return entry
    fields = copy.deepcopy(entry.get("fieldsV1") or {})
    for path in list(_shared_leaves(wanted, fields)):
        if _at(live, path) != _at(applied, path):
            _disown(fields, path)
    return {**entry, "fieldsV1": fields}


def _disown(fields: Fields, path: tuple[str, ...]) -> None:
    """Take one path out, and what is empty without it: an empty field would be a leaf that owns everything below."""
    key, *rest = path
    if rest:
        _disown(fields[key], tuple(rest))
        if fields[key].keys() - {"."}:
            return
    fields.pop(key, None)


def _shown(path: tuple[str, ...]) -> str:
    """`.spec.containers[name="web"].image`."""
    parts = []
    for key in path:
        if key.startswith("f:"):
            parts.append(f".{key[2:]}")
        elif key.startswith("k:"):
            inner = ",".join(f"{name}={json.dumps(value)}" for name, value in json.loads(key[2:]).items())
            parts.append(f"[{inner}]")
        else:
            parts.append(f"[={key[2:]}]")
    return "".join(parts)
