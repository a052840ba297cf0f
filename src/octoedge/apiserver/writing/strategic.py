"""Strategic merge patches, applied: lists with a merge key are merged by it, with the directives that kubectl sends.

$patch: replace | delete | merge      in an object, or as an item of a list
$retainKeys: [...]                    of an object's fields keep only these
$deleteFromPrimitiveList/F: [...]     take values out of list F
$setElementOrder/F: [...]             how list F is ordered afterwards
"""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.errors import bad_request

Json = dict[str, Any]

_DIRECTIVES = ("$patch", "$retainKeys")
_DELETE = "$deleteFromPrimitiveList/"
_ORDER = "$setElementOrder/"


class StrategicMerge:
    """Applies strategic merge patches to objects of the schema."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema

    def apply(self, definition: Definition | None, target: Json, patch: Json) -> Json:
        """`target` after the patch. Without a definition lists are replaced, as in a merge patch."""
        directive = patch.get("$patch")
        if directive == "replace":
            return {key: value for key, value in patch.items() if not key.startswith("$")}
        if directive == "delete":
            return {}
        if directive not in (None, "merge"):
            raise bad_request(f"Unrecognized $patch directive: {directive!r}")
        result = _retained(dict(target), patch)
        for key, value in patch.items():
            if not key.startswith("$"):
                self._merge_field(definition, result, key, value)
        self._apply_list_directives(definition, result, patch)
        return result

    def _merge_field(self, definition: Definition | None, result: Json, key: str, value: Any) -> None:
        field = definition.fields.get(key) if definition else None
        before = result.get(key)
        if value is None:
            result.pop(key, None)
        elif isinstance(value, dict):
            result[key] = self._merge_object(field, before, value)
        elif isinstance(value, list) and field is not None and "merge" in field.strategy:
            result[key] = self._merge_list(field, before if isinstance(before, list) else [], value)
        else:
            result[key] = value

    def _merge_object(self, field: Field | None, before: Any, patch: Json) -> Json:
        target = before if isinstance(before, dict) else {}
        if field is not None and field.atomic and field.is_definition:
            # Kubernetes merges atomic structs field by field in strategic patches too.
            return self.apply(self._schema[field.type], target, patch)
        if field is not None and field.shape == "{}" and field.is_definition:
            inner = self._schema[field.type]
            return self._merge_map(inner, target, patch)
        return self.apply(self._schema.inner(field), target, patch)

    def _merge_map(self, inner: Definition, target: Json, patch: Json) -> Json:
        result = dict(target)
        for key, value in patch.items():
            if value is None:
                result.pop(key, None)
            elif isinstance(value, dict):
                result[key] = self.apply(inner, result.get(key) or {}, value)
            else:
                result[key] = value
        return result

    def _merge_list(self, field: Field, before: list[Any], patch: list[Any]) -> list[Any]:
        if not field.is_definition:
            return before + [value for value in patch if value not in before]
        replaced = [item for item in patch if isinstance(item, dict) and item.get("$patch") == "replace"]
        if replaced:
            return [item for item in patch if not (isinstance(item, dict) and item.get("$patch") == "replace")]
        inner, result = self._schema[field.type], list(before)
        for item in patch:
            if not isinstance(item, dict):
                raise bad_request(f"{field.name}: an item of the patch is not an object")
            self._merge_item(field, inner, result, item)
        return result

    def _merge_item(self, field: Field, inner: Definition, result: list[Any], item: Json) -> None:
        key = field.merge_key
        if key not in item:
            raise bad_request(f"map: {_shown(item)} does not contain declared merge key: {key}")
        places = [index for index, one in enumerate(result) if isinstance(one, dict) and one.get(key) == item[key]]
        if item.get("$patch") == "delete":
            for index in reversed(places):
                del result[index]
        elif places:
            result[places[0]] = self.apply(inner, result[places[0]], item)
        else:
            result.append(self.apply(inner, {}, item))

    def _apply_list_directives(self, definition: Definition | None, result: Json, patch: Json) -> None:
        for name, value in patch.items():
            if name.startswith(_DELETE):
                field = name.removeprefix(_DELETE)
                taken = _list(value, name)
                result[field] = [one for one in result.get(field) or [] if one not in taken]
            elif name.startswith(_ORDER):
                field = name.removeprefix(_ORDER)
                facts = definition.fields.get(field) if definition else None
                if isinstance(result.get(field), list):
                    result[field] = _ordered(result[field], _list(value, name), facts.merge_key if facts else "")
            elif name.startswith("$") and name not in _DIRECTIVES:
                raise bad_request(f"unknown directive {name!r} in the strategic merge patch")


def _retained(target: Json, patch: Json) -> Json:
    if "$retainKeys" not in patch:
        return target
    kept = set(_list(patch["$retainKeys"], "$retainKeys"))
    given = {key for key, value in patch.items() if not key.startswith("$") and value is not None}
    if not given <= kept:
        raise bad_request("$retainKeys list must contain every field that is present in the patch")
    return {key: value for key, value in target.items() if key in kept}


def _list(value: Any, name: str) -> list[Any]:
    if not isinstance(value, list) or not all(isinstance(item, str | int | dict) for item in value):
        raise bad_request(f"{name} must be a list")
    return value


def _ordered(items: list[Any], order: list[Any], key: str) -> list[Any]:
    """The items named in `order` in that order; the others stay behind the item they followed."""

    def identity(item: Any) -> Any:
        return repr(item.get(key)) if key and isinstance(item, dict) else repr(item)

    rank = {identity(item): place for place, item in enumerate(order)}
    listed = sorted((item for item in items if identity(item) in rank), key=lambda item: rank[identity(item)])
    waiting = iter(listed)
    return [next(waiting) if identity(item) in rank else item for item in items]


def _shown(item: Json) -> str:
    return str(dict(list(item.items())[:3]))
