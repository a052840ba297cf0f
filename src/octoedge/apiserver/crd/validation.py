"""Objects against structural schemas: the causes of a 422, in the sentences that kubectl users know.

Every look at a value is taken from the request's budget, so that no schema and no object holds up the server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from octoedge.apiserver.crd.budget import Budget
from octoedge.apiserver.crd.formats import fits
from octoedge.apiserver.crd.pruning import META
from octoedge.apiserver.crd.structural import Limits, Structural
from octoedge.apiserver.writing.metadata import Cause, required

Json = dict[str, Any]

MAX_CAUSES = 30


def validate(schema: Structural, obj: Json, budget: Budget) -> list[Cause]:
    """What is wrong with an object; its metadata is not the schema's matter except where it says so."""
    return list(_cut(_value(schema, obj, "", budget)))


def validate_part(schema: Structural, value: Any, path: str, budget: Budget) -> list[Cause]:
    """What is wrong with a value at a path."""
    return list(_cut(_value(schema, value, path, budget)))


def _cut(causes: Iterator[Cause]) -> Iterator[Cause]:
    for count, cause in enumerate(causes):
        if count == MAX_CAUSES:
            return
        yield cause


def _value(schema: Structural, value: Any, path: str, budget: Budget) -> Iterator[Cause]:
    budget.spend()
    if value is None and (schema.nullable or not (schema.type or schema.int_or_string)):
        return
    wanted = "integer,string" if schema.int_or_string else schema.type
    if wanted and type_name(value) not in wanted.split(",") and not (wanted == "number" and _is_number(value)):
        yield _wrong_type(path, wanted, type_name(value))
        return
    yield from _limits(schema.limits, value, path, budget)
    if isinstance(value, dict):
        yield from _object(schema, value, path, budget)
    elif isinstance(value, list):
        yield from _array(schema, value, path, budget)
    yield from _combined(schema, value, path, budget)


def _limits(limits: Limits, value: Any, path: str, budget: Budget) -> Iterator[Cause]:
    if limits.enum is not None:
        budget.spend(len(limits.enum))
        if not any(_same(value, one) for one in limits.enum):
            supported = ", ".join(_shown(one) for one in limits.enum)
            yield (
                "FieldValueNotSupported",
                _named(path),
                f"Unsupported value: {_shown(value)}: supported values: {supported}",
            )
    if limits.format and isinstance(value, str | int | float) and not fits(limits.format, value):
        yield _invalid(path, value, f"must be of type {limits.format}: {_shown(value)}", "FieldValueTypeInvalid")
    if isinstance(value, str):
        yield from _text(limits, value, path, budget)
    elif _is_number(value):
        yield from _number(limits, value, path)


def _text(limits: Limits, value: str, path: str, budget: Budget) -> Iterator[Cause]:
    if limits.min_length is not None and len(value) < limits.min_length:
        yield _invalid(path, value, f"should be at least {limits.min_length} chars long")
    if limits.max_length is not None and len(value) > limits.max_length:
        text = f"Too long: may not be more than {limits.max_length} bytes"
        yield ("FieldValueTooLong", _named(path), text)
        return
    if limits.pattern is not None and not limits.pattern.search(value, budget):
        yield _invalid(path, value, f"should match '{limits.pattern.text}'")


def _number(limits: Limits, value: float, path: str) -> Iterator[Cause]:
    low, high = limits.minimum, limits.maximum
    if low is not None and (value <= low if limits.above_minimum else value < low):
        words = "should be greater than" if limits.above_minimum else "should be greater than or equal to"
        yield _invalid(path, value, f"{words} {_shown(low)}")
    if high is not None and (value >= high if limits.below_maximum else value > high):
        words = "should be less than" if limits.below_maximum else "should be less than or equal to"
        yield _invalid(path, value, f"{words} {_shown(high)}")
    if limits.multiple_of and not _divides(limits.multiple_of, value):
        yield _invalid(path, value, f"should be a multiple of {_shown(limits.multiple_of)}")


def _object(schema: Structural, value: Json, path: str, budget: Budget) -> Iterator[Cause]:
    limits = schema.limits
    yield from (required(_below(path, name)) for name in limits.required if name not in value)
    if limits.min_properties is not None and len(value) < limits.min_properties:
        yield _invalid(path, value, f"should have at least {limits.min_properties} properties")
    if limits.max_properties is not None and len(value) > limits.max_properties:
        yield _too_many(path, len(value), limits.max_properties)
    if schema.embedded:
        yield from _embedded(value, path)
    for name, item in value.items():
        known = schema.properties.get(name) or schema.additional
        if known is not None and not (schema.embedded and name in META):
            yield from _value(known, item, _below(path, name), budget)


def _embedded(value: Json, path: str) -> Iterator[Cause]:
    for name in ("apiVersion", "kind"):
        if not isinstance(value.get(name), str):
            yield required(_below(path, name), "must not be empty")
    if not isinstance(value.get("metadata", {}), dict):
        yield _wrong_type(_below(path, "metadata"), "object", type_name(value["metadata"]))


def _array(schema: Structural, value: list[Any], path: str, budget: Budget) -> Iterator[Cause]:
    limits = schema.limits
    if limits.min_items is not None and len(value) < limits.min_items:
        yield _invalid(path, value, f"should have at least {limits.min_items} items")
    if limits.max_items is not None and len(value) > limits.max_items:
        yield _too_many(path, len(value), limits.max_items)
    if schema.list_type in ("map", "set"):
        yield from _unique(schema, value, path)
    if schema.items is not None:
        for index, item in enumerate(value):
            yield from _value(schema.items, item, f"{path}[{index}]", budget)


def _unique(schema: Structural, value: list[Any], path: str) -> Iterator[Cause]:
    seen: set[str] = set()
    for index, item in enumerate(value):
        if schema.list_type == "map":
            if not isinstance(item, dict):
                continue
            item = {key: item.get(key) for key in schema.map_keys}
        text = json.dumps(item, sort_keys=True)
        if text in seen:
            yield ("FieldValueDuplicate", f"{path}[{index}]", f"Duplicate value: {_shown(item)}")
        seen.add(text)


def _combined(schema: Structural, value: Any, path: str, budget: Budget) -> Iterator[Cause]:
    failed = [cause for one in schema.all_of for cause in _value(one, value, path, budget)]
    if failed:
        yield from failed
        yield _invalid(path, value, "must validate all the schemas (allOf)")
    if schema.any_of and not any(_fits(one, value, path, budget) for one in schema.any_of):
        yield _invalid(path, value, "must validate at least one schema (anyOf)")
    if schema.one_of:
        count = sum(_fits(one, value, path, budget) for one in schema.one_of)
        if count != 1:
            found = "Found none valid" if not count else f"Found {count} valid alternatives"
            yield _invalid(path, value, f"must validate one and only one schema (oneOf). {found}")
    if schema.negated is not None and _fits(schema.negated, value, path, budget):
        yield _invalid(path, value, "must not validate the schema (not)")


def _fits(schema: Structural, value: Any, path: str, budget: Budget) -> bool:
    return next(_value(schema, value, path, budget), None) is None


def type_name(value: Any) -> str:
    """The JSON schema's name of a value's type."""
    if isinstance(value, float) and value.is_integer():
        return "integer"
    return _TYPES.get(type(value), "null")


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and isinstance(one, bool) == isinstance(other, bool)


def _divides(part: float, value: float) -> bool:
    try:
        quotient = value / part
    except OverflowError:
        return False
    return abs(quotient - round(quotient)) < 1e-9


def _below(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _named(path: str) -> str:
    return path or "<nil>"


def _invalid(path: str, value: Any, text: str, reason: str = "FieldValueInvalid") -> Cause:
    return (reason, _named(path), f"Invalid value: {_shown(value)}: {path} in body {text}")


def _wrong_type(path: str, wanted: str, found: str) -> Cause:
    return _invalid(path, found, f'must be of type {wanted}: "{found}"', "FieldValueTypeInvalid")


def _too_many(path: str, count: int, most: int) -> Cause:
    return ("FieldValueTooMany", _named(path), f"Too many: {count}: must have at most {most} items")


def _shown(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False)
    return text if len(text) <= 300 else f"{text[:300]}…"


_TYPES: dict[type, str] = {
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    list: "array",
    dict: "object",
}
