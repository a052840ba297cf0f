"""From decoded JSON to an object of a definition: types checked, unknown fields found and left out, zeros filled in.

It does what decoding into Kubernetes' own types does: null is absence, a required value that is missing is its zero
(clients rely on `restartCount: 0` being there), times and quantities get their usual text. A value of the wrong type is
`WrongType` with the sentence that kubectl users know; unknown fields are collected, the caller judges them.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable
from typing import Any

from octoedge.apiserver.schema.quantity import canonical
from octoedge.apiserver.schema.schema import Definition, Field, Schema
from octoedge.runtime.clock import parse_rfc3339, rfc3339, rfc3339_micro

MAX_DEPTH = 64
"""Levels of nesting that an object may have (only JSON schemas of CRDs come near)."""

_INDEX = re.compile(r"\[\d+\]")
_SECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")
_MICROSECONDS = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z")


class WrongType(Exception):
    """A value that its field cannot hold."""


class Decoder:
    """Decodes one object; collects the paths of unknown fields in `unknown`."""

    def __init__(self, schema: Schema) -> None:
        self._schema = schema
        self.unknown: list[str] = []

    def decode(self, definition: Definition, value: Any, path: str = "", depth: int = 0) -> dict[str, Any]:
        """`value` as an object of the definition, in a new dict."""
        if depth > MAX_DEPTH:
            raise WrongType(f"{path or 'the object'} is nested more than {MAX_DEPTH} levels deep")
        if not isinstance(value, dict):
            raise WrongType(_cannot(value, definition.name, path, _go_name(definition.name)))
        result: dict[str, Any] = {}
        for key, inner in value.items():
            field = definition.fields.get(key)
            here = f"{path}.{key}" if path else key
            if field is None:
                self.unknown.append(here)
            elif inner is not None:
                result[key] = self._shaped(field, field.shape, inner, here, depth)
        for field in definition.demanded:
            if field.name not in result and not field.shape:
                self._fill_zero(result, field, f"{path}.{field.name}" if path else field.name, depth)
        return result

    def _fill_zero(self, result: dict[str, Any], field: Field, path: str, depth: int) -> None:
        if field.is_definition:
            result[field.name] = self.decode(self._schema[field.type], {}, path, depth + 1)
        elif field.type in _ZEROS:
            result[field.name] = _ZEROS[field.type]

    def _shaped(self, field: Field, shape: str, value: Any, path: str, depth: int) -> Any:
        if not shape:
            return self._single(field, value, path, depth)
        container, rest = shape[:2], shape[2:]
        if container == "[]":
            if not isinstance(value, list):
                raise WrongType(_cannot(value, field.owner, path, f"[]{_go_name(field.type)}"))
            return [self._element(field, rest, item, f"{path}[{i}]", depth) for i, item in enumerate(value)]
        if not isinstance(value, dict):
            raise WrongType(_cannot(value, field.owner, path, f"map[string]{_go_name(field.type)}"))
        return {key: self._element(field, rest, item, f"{path}.{key}", depth) for key, item in value.items()}

    def _element(self, field: Field, shape: str, value: Any, path: str, depth: int) -> Any:
        """Inside lists and maps null is the zero value, not absence."""
        if value is None and not field.is_definition and field.type in _ZEROS:
            return _ZEROS[field.type]
        return self._shaped(field, shape, {} if value is None and field.is_definition else value, path, depth)

    def _single(self, field: Field, value: Any, path: str, depth: int) -> Any:
        if field.is_definition:
            if not isinstance(value, dict):
                raise WrongType(_cannot(value, field.owner, path, _go_name(field.type)))
            return self.decode(self._schema[field.type], value, path, depth + 1)
        try:
            return _SCALARS[field.type](value)
        except _Unfit as error:
            why = str(error) or _cannot(value, field.owner, path, _go_name(field.type))
            raise WrongType(why) from error


class _Unfit(Exception):
    """The value is not of this type; the text says why when the type alone does not."""


def _cannot(value: Any, owner: str, path: str, wanted: str) -> str:
    place = f" Go struct field {owner.rsplit('.', 1)[-1]}.{_INDEX.sub('', path)}" if path else " Go value"
    return f"json: cannot unmarshal {_json_name(value)} into{place} of type {wanted}"


def _json_name(value: Any) -> str:
    return _JSON_NAMES.get(type(value), "null")


def _go_name(name: str) -> str:
    known = {"boolean": "bool", "number": "float64", "time": "Time", "quantity": "Quantity", "intstr": "IntOrString"}
    return known.get(name) or ".".join(name.split(".")[-2:] if name.count(".") > 1 else [name])


def _string(value: Any) -> str:
    if not isinstance(value, str):
        raise _Unfit
    return value


def _bytes(value: Any) -> str:
    try:
        base64.b64decode(_string(value).replace("\n", ""), validate=True)
    except (binascii.Error, ValueError) as error:
        raise _Unfit(f"illegal base64 data: {error}") from error
    return str(value).replace("\n", "")


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise _Unfit
    return value


def _integer(bits: int) -> Callable[[Any], int]:
    limit = 1 << (bits - 1)

    def check(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not -limit <= value < limit:
            raise _Unfit
        return value

    return check


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Unfit
    return value


def _time(value: Any) -> str:
    if _SECONDS.fullmatch(_string(value)):
        return str(value)
    return rfc3339(_seconds(value))


def _microtime(value: Any) -> str:
    if _MICROSECONDS.fullmatch(_string(value)):
        return str(value)
    return rfc3339_micro(_seconds(value))


def _seconds(text: str) -> float:
    try:
        if not re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$", text):
            raise ValueError
        return parse_rfc3339(re.sub(r"(\.\d{6})\d+", r"\1", text))
    except (ValueError, OverflowError, OSError) as error:
        raise _Unfit(f'parsing time "{text}" as "2006-01-02T15:04:05Z07:00": it is not such a time') from error


def _quantity(value: Any) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise _Unfit
    try:
        return canonical(str(value))
    except ValueError as error:
        raise _Unfit(
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        ) from error


def _int_or_string(value: Any) -> int | str:
    return value if isinstance(value, str) else _integer(32)(value)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _Unfit
    return value


_JSON_NAMES: dict[type, str] = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}
_SCALARS: dict[str, Callable[[Any], Any]] = {
    "string": _string,
    "bytes": _bytes,
    "boolean": _boolean,
    "int32": _integer(32),
    "int64": _integer(64),
    "number": _number,
    "time": _time,
    "microtime": _microtime,
    "quantity": _quantity,
    "intstr": _int_or_string,
    "object": _object,
    "any": lambda value: value,
}
_ZEROS: dict[str, Any] = {
    "string": "",
    "bytes": "",
    "boolean": False,
    "int32": 0,
    "int64": 0,
    "number": 0,
    "quantity": "0",
    "intstr": 0,
}
