"""Patches over decoded JSON: merge patches (RFC 7396) and JSON patches (RFC 6902) are applied.

Everything here is pure: arguments are left as they are, results share what did not change. Strategic patches need the
schema of kinds: `apiserver.strategic` applies them.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from octoedge.errors import ApiError, bad_request

MAX_OPERATIONS = 10_000
"""Operations of one JSON patch at most, as in Kubernetes."""
MAX_COPIED = 3 * 1024 * 1024
"""Bytes that the copy operations of one patch may add together; doubling a value in each step would fill the memory."""


def apply_merge(target: Any, patch: Any) -> Any:
    """`target` after the merge patch: null removes, objects merge, everything else replaces."""
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = apply_merge(result.get(key), value)
    return result


def apply_json(document: Any, operations: Any) -> Any:
    """`document` after the JSON patch; an operation that cannot be done is a 422 and changes nothing."""
    if not isinstance(operations, list) or not all(isinstance(operation, dict) for operation in operations):
        raise bad_request("a JSON patch is a list of operations")
    if len(operations) > MAX_OPERATIONS:
        raise ApiError(
            413, "RequestEntityTooLarge", f"The allowed maximum operations in a JSON patch is {MAX_OPERATIONS}"
        )
    copied = 0
    for number, operation in enumerate(operations):
        name = operation.get("op")
        apply = _OPERATIONS.get(name) if isinstance(name, str) else None
        if apply is None:
            raise bad_request(f"operation {number} of the JSON patch: unknown op {name!r}")
        try:
            document = apply(document, operation)
            copied += _size_copied(document, operation)
        except _CannotApply as error:
            text = f"the server rejected our request due to an error in our request: JSON patch operation {number}"
            raise ApiError(422, "Invalid", f"{text} ({name} {operation.get('path')}): {error}") from error
        if copied > MAX_COPIED:
            raise ApiError(413, "RequestEntityTooLarge", f"the copies of the JSON patch exceed {MAX_COPIED} bytes")
    return document


class _CannotApply(Exception):
    """One operation does not fit the document."""


def _size_copied(document: Any, operation: Mapping[str, Any]) -> int:
    if operation["op"] != "copy":
        return 0
    return len(msgspec.json.encode(_lookup(document, _tokens(operation.get("from")))))


def _tokens(path: Any) -> list[str]:
    if path == "":
        return []
    if not isinstance(path, str) or not path.startswith("/"):
        raise _CannotApply(f"{path!r} is not a JSON pointer")
    return [token.replace("~1", "/").replace("~0", "~") for token in path[1:].split("/")]


def _index(items: list[Any], step: str, *, end: bool) -> int:
    if end and step == "-":
        return len(items)
    if not re.fullmatch(r"0|[1-9][0-9]{0,8}", step):
        raise _CannotApply(f"{step!r} is not an index")
    index = int(step)
    if index > len(items) - (0 if end else 1):
        raise _CannotApply(f"index {index} is out of bounds")
    return index


def _lookup(document: Any, tokens: list[str]) -> Any:
    for token in tokens:
        if isinstance(document, dict):
            if token not in document:
                raise _CannotApply(f"there is no {token!r}")
            document = document[token]
        elif isinstance(document, list):
            document = document[_index(document, token, end=False)]
        else:
            raise _CannotApply(f"{token!r} is looked for in a value that is neither an object nor a list")
    return document


def _changed(document: Any, tokens: list[str], change: Callable[[Any, str], None]) -> Any:
    """A copy of the document in which `change(parent, last token)` was done; only the way there is copied."""
    if not tokens:
        raise _CannotApply("the whole document cannot be removed")
    root = copy = _shallow(document)
    for token in tokens[:-1]:
        child = _shallow(_lookup(copy, [token]))
        copy[_index(copy, token, end=False) if isinstance(copy, list) else token] = child
        copy = child
    change(copy, tokens[-1])
    return root


def _shallow(value: Any) -> Any:
    if isinstance(value, dict | list):
        return value.copy()
    raise _CannotApply("the path leads through a value that is neither an object nor a list")


def _value(operation: Mapping[str, Any]) -> Any:
    if "value" not in operation:
        raise _CannotApply("the operation has no value")
    return operation["value"]


def _insert(document: Any, tokens: list[str], value: Any) -> Any:
    def change(parent: Any, token: str) -> None:
        if isinstance(parent, list):
            parent.insert(_index(parent, token, end=True), value)
        else:
            parent[token] = value

    return _changed(document, tokens, change) if tokens else value


def _drop(document: Any, tokens: list[str]) -> Any:
    def change(parent: Any, token: str) -> None:
        _lookup(parent, [token])
        del parent[_index(parent, token, end=False) if isinstance(parent, list) else token]

    return _changed(document, tokens, change)


def _add(document: Any, operation: Mapping[str, Any]) -> Any:
    return _insert(document, _tokens(operation.get("path")), _value(operation))


def _remove(document: Any, operation: Mapping[str, Any]) -> Any:
    return _drop(document, _tokens(operation.get("path")))


def _replace(document: Any, operation: Mapping[str, Any]) -> Any:
    tokens, value = _tokens(operation.get("path")), _value(operation)

    def change(parent: Any, token: str) -> None:
        _lookup(parent, [token])
        parent[_index(parent, token, end=False) if isinstance(parent, list) else token] = value

    return _changed(document, tokens, change) if tokens else value


def _move(document: Any, operation: Mapping[str, Any]) -> Any:
    source, target = _tokens(operation.get("from")), _tokens(operation.get("path"))
    if source == target[: len(source)] and len(source) < len(target):
        raise _CannotApply("a value cannot be moved into itself")
    value = _lookup(document, source)
    return document if source == target else _insert(_drop(document, source), target, value)


def _copy(document: Any, operation: Mapping[str, Any]) -> Any:
    return _insert(document, _tokens(operation.get("path")), _lookup(document, _tokens(operation.get("from"))))


def _test(document: Any, operation: Mapping[str, Any]) -> Any:
    found = _lookup(document, _tokens(operation.get("path")))
    if not _same(found, _value(operation)):
        raise _CannotApply("the value is another one")
    return document


def _same(one: Any, other: Any) -> bool:
    """JSON equality: 1 and true are different, 1 and 1.0 are not."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other)


_OPERATIONS: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "move": _move,
    "copy": _copy,
    "test": _test,
}
