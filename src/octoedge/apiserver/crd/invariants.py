"""The rules of `x-kubernetes-validations`: which values they see, when they are evaluated, what their failure says.

    value at the rule's place ──as CEL sees it──► self
    the value before, if it can be found          ──► oldSelf     (rules about oldSelf are for updates only)
    false, or an error                            ──► a cause of a 422 in Kubernetes' words

Every evaluation takes its time from the request's budget. What cannot be evaluated here (see `unsupported`) is left
out, and whoever writes the definition is told.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from octoedge.apiserver.crd.budget import Budget, TooCostly
from octoedge.apiserver.crd.expressions import Failed, NotAvailable, OutOfBudget, Uncompilable, Unsupported, compiled
from octoedge.apiserver.crd.structural import Rule, Structural
from octoedge.apiserver.crd.validation import type_name
from octoedge.apiserver.writing.metadata import Cause, wrong

Json = dict[str, Any]

_OLD = re.compile(r"\boldSelf\b")
_WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_KEYWORDS = frozenset(
    (
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if"),
        *("import", "let", "loop", "package", "namespace", "return", "var", "void", "while"),
    )
)
_ESCAPES = (("__", "__underscores__"), (".", "__dot__"), ("-", "__dash__"), ("/", "__slash__"))
_NOTHING: Any = object()
"""There was no value before."""


@dataclass(frozen=True, slots=True)
class _Place:
    """A value with rules, and what it was before."""

    schema: Structural
    value: Any
    old: Any
    path: str


def check(root: Structural, obj: Json, old: Json | None, budget: Budget) -> Iterator[Cause]:
    """What the rules say against an object; `old` is what it was before an update."""
    if not root.has_rules:
        return
    try:
        for place in _places(root, obj, _NOTHING if old is None else old, ""):
            for rule in place.schema.rules:
                budget.spend()
                yield from _apply(rule, place, budget)
    except (OutOfBudget, TooCostly):
        text = "validation failed due to running out of cost budget, no further validation rules will be run"
        yield ("FieldValueInvalid", "<nil>", f'Invalid value: "object": {text}')


def unsupported(root: Structural) -> list[str]:
    """Why some rules of a schema will not be evaluated."""
    found = [(path, _obstacle(node, rule)) for path, node, rule in _rules(root, "")]
    found += [(path, f"rules inside {word} are not supported") for path, word in _nested_rules(root, "")]
    return [f"x-kubernetes-validations at {path or 'the root'}: not evaluated: {why}" for path, why in found if why]


def check_rules(root: Structural, path: str, budget: Budget) -> Iterator[Cause]:
    """What is wrong with the rules of a schema themselves."""
    for where, _, rule in _rules(root, ""):
        begun = time.perf_counter()
        try:
            compiled(rule.text)
        except Uncompilable as error:
            shown = "".join(f".properties[{name}]" if name != "[]" else ".items" for name in where.split(".") if name)
            text = f"compilation failed: {error}"
            yield wrong(f"{path}{shown}.x-kubernetes-validations[{rule.index}].rule", rule.text[:200], text)
        except (NotAvailable, Unsupported):
            pass
        budget.spend(int((time.perf_counter() - begun) * 1e6))


def _obstacle(node: Structural, rule: Rule) -> str:
    """Why a rule is not evaluated; empty when it is."""
    if rule.optional_old:
        return "optionalOldSelf is not supported"
    if node.has_times:
        return "times and durations are not supported in rules"
    try:
        compiled(rule.text)
    except NotAvailable as error:
        return f"CEL is not installed ({error})"
    except Unsupported as error:
        return f"{error} is not supported"
    except Uncompilable as error:
        return str(error)
    return ""


def _rules(node: Structural, path: str) -> Iterator[tuple[str, Structural, Rule]]:
    for rule in node.rules:
        yield path, node, rule
    for here, inner in _below(node, path):
        yield from _rules(inner, here)


def _nested_rules(node: Structural, path: str, inside: str = "") -> Iterator[tuple[str, str]]:
    """Where rules stand inside allOf, anyOf, oneOf and not, and the outermost word that they are inside of."""
    if inside and node.rules:
        yield path, inside
    for here, inner in _below(node, path):
        yield from _nested_rules(inner, here, inside)
    negated = () if node.negated is None else (node.negated,)
    for word, parts in (("allOf", node.all_of), ("anyOf", node.any_of), ("oneOf", node.one_of), ("not", negated)):
        for part in parts:
            yield from _nested_rules(part, path, inside or word)


def _below(node: Structural, path: str) -> Iterator[tuple[str, Structural]]:
    """Fields and items of a node with their paths."""
    for name, inner in node.properties.items():
        yield (f"{path}.{name}" if path else name), inner
    for part in (node.items, node.additional):
        if part is not None:
            yield (f"{path}.[]" if path else "[]"), part


def _places(schema: Structural, value: Any, old: Any, path: str) -> Iterator[_Place]:
    if value is None or not schema.has_rules:
        return
    if schema.rules:
        yield _Place(schema, value, old, path)
    if isinstance(value, dict):
        for name, item in value.items():
            inner = schema.properties.get(name) or schema.additional
            if inner is not None:
                here = f"{path}.{name}" if path else name
                before = old.get(name, _NOTHING) if isinstance(old, dict) and not schema.atomic else _NOTHING
                yield from _places(inner, item, before, here)
    elif isinstance(value, list) and schema.items is not None:
        for index, item in enumerate(value):
            yield from _places(schema.items, item, _before(schema, item, old), f"{path}[{index}]")


def _before(schema: Structural, item: Any, old: Any) -> Any:
    """The item that this one was; only lists with keys tell."""
    if schema.list_type != "map" or not isinstance(item, dict) or not isinstance(old, list):
        return _NOTHING
    keys = {key: item.get(key) for key in schema.map_keys}
    same = (one for one in old if isinstance(one, dict) and {key: one.get(key) for key in schema.map_keys} == keys)
    return next(same, _NOTHING)


def _apply(rule: Rule, place: _Place, budget: Budget) -> Iterator[Cause]:
    about_change = bool(_OLD.search(rule.text))
    if (about_change and place.old in (_NOTHING, None)) or _obstacle(place.schema, rule):
        return
    begun = time.perf_counter()
    values = {"self": _seen(place.schema, place.value, place.path == "")}
    if about_change:
        values["oldSelf"] = _seen(place.schema, place.old, place.path == "")
    try:
        holds = compiled(rule.text).evaluate(values)
        problem = "" if holds is True else _message(rule, values)
    except OutOfBudget:
        raise
    except Unsupported:
        return
    except Failed as error:
        problem = f"rule evaluation error: {error} evaluating rule: {rule.message or rule.text.strip()}"
    budget.spend(int((time.perf_counter() - begun) * 1e6))
    if problem:
        where = (place.path + rule.field_path).lstrip(".") or "<nil>"
        yield (rule.reason, where, _WORDS[rule.reason].format(type_name(place.value)) + f": {problem}")


def _message(rule: Rule, values: Json) -> str:
    if rule.message_expression:
        try:
            said = compiled(rule.message_expression).evaluate(values)
            if isinstance(said, str) and said.strip() and "\n" not in said and len(said) <= 5120:
                return said
        except (Failed, Uncompilable, Unsupported):
            pass  # as in Kubernetes, the plain message stands in for it
    return rule.message or f"failed rule: {rule.text.strip()}"


def _seen(schema: Structural, value: Any, root: bool = False) -> Any:
    """A value as rules see it: declared fields under names that CEL can say, numbers of the declared type."""
    if isinstance(value, dict) and not schema.int_or_string:
        result = {}
        for name, item in value.items():
            inner = schema.properties.get(name)
            if inner is not None:
                result[_escaped(name)] = _seen(inner, item)
            elif schema.additional is not None:
                result[name] = _seen(schema.additional, item)
            elif (root or schema.embedded) and name in ("apiVersion", "kind", "metadata"):
                result[name] = _names(item) if name == "metadata" else item
        return result
    if isinstance(value, list):
        return [_seen(schema.items or Structural(), item) for item in value]
    if schema.type == "number" and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if schema.type == "integer" and isinstance(value, float):
        return int(value)
    return value


def _names(metadata: Any) -> Json:
    """Of the metadata only the names are seen."""
    about = metadata if isinstance(metadata, dict) else {}
    return {key: about[key] for key in ("name", "generateName") if key in about}


def _escaped(name: str) -> str:
    if name in _KEYWORDS:
        return f"__{name}__"
    if _WORD.fullmatch(name) and "__" not in name:
        return name
    for plain, escape in _ESCAPES:
        name = name.replace(plain, escape)
    return name


_WORDS = {
    "FieldValueInvalid": 'Invalid value: "{}"',
    "FieldValueDuplicate": 'Duplicate value: "{}"',
    "FieldValueRequired": "Required value",
    "FieldValueForbidden": "Forbidden",
}
