"""Label and field selectors: text → a predicate over two flat maps.

    labels:  app=web,tier!=db,env in (a,b),zone notin (c),gpu,!old
    fields:  spec.nodeName=edge-1,status.phase!=Failed

`parse_labels` and `parse_fields` read what a client sends; `from_label_selector` reads the object form (matchLabels,
matchExpressions). An empty selector matches everything. Texts that cannot be read are a `bad_request`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from octoedge.errors import bad_request

MAX_TEXT = 64 * 1024
"""Longest selector text that is read."""

_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_TERM = re.compile(
    r"""\s*(?:
        !\s*(?P<absent>[^\s,=!()<>]+)
      | (?P<set_key>[^\s,=!()<>]+)\s+(?P<set_op>in|notin)\s*\((?P<set>[^()]*)\)
      | (?P<key>[^\s,=!()<>]+)\s*(?P<op>==|=|!=|>|<)\s*(?P<value>[^\s,=!()<>]*)
      | (?P<present>[^\s,=!()<>]+)
    )\s*(?:,|$)""",
    re.VERBOSE,
)


@dataclass(frozen=True, slots=True)
class Requirement:
    """One term of a selector: `operator` is one of in, notin, exists, absent, gt, lt."""

    key: str
    operator: str
    values: frozenset[str] = frozenset()

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether the map fulfils this term."""
        return _OPERATORS[self.operator](values.get(self.key), self.values)


@dataclass(frozen=True, slots=True)
class Selector:
    """Terms that must all hold."""

    requirements: tuple[Requirement, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.requirements)

    def matches(self, values: Mapping[str, str]) -> bool:
        """Whether the map fulfils every term."""
        return all(requirement.matches(values) for requirement in self.requirements)

    def exactly(self, key: str) -> str | None:
        """The only value that `key` may have; None when several may."""
        for requirement in self.requirements:
            if requirement.key == key and requirement.operator == "in" and len(requirement.values) == 1:
                return next(iter(requirement.values))
        return None

    def keys(self) -> tuple[str, ...]:
        """The keys that are looked at."""
        return tuple(requirement.key for requirement in self.requirements)

    def __str__(self) -> str:
        return ",".join(_FORMATS[part.operator](part.key, sorted(part.values)) for part in self.requirements)


EVERYTHING = Selector()


def parse_labels(text: str) -> Selector:
    """The label selector that `text` says."""
    _check_length(text)
    requirements = []
    position = 0
    while position < len(text) and (position or text.strip()):
        found = _TERM.match(text, position)
        if not found or (found.end() == len(text) and text.rstrip().endswith(",")):
            raise bad_request(f"unable to parse requirement: {text[position:]!r} of label selector {text!r}")
        requirements.append(_requirement(found))
        position = found.end()
    return Selector(tuple(requirements))


def parse_fields(text: str) -> Selector:
    """The field selector that `text` says; only =, == and != exist there."""
    _check_length(text)
    requirements = []
    for term in _split_unescaped(text):
        found = re.fullmatch(r"([^=!]+?)(==|!=|=)(.*)", term, re.DOTALL)
        if not found:
            raise bad_request(f"invalid selector: {text!r}; can't understand {term!r}")
        key, sign, value = found.groups()
        operator = "notin" if sign == "!=" else "in"
        requirements.append(Requirement(key.strip(), operator, frozenset({_unescaped(value)})))
    return Selector(tuple(requirements))


def from_label_selector(selector: Mapping[str, Any] | None) -> Selector:
    """The selector of an object (`spec.selector`); None and `{}` give EVERYTHING.

    Where an absent one chooses nothing (a Service, a PodDisruptionBudget's null), the caller looks first.
    """
    if not selector:
        return EVERYTHING
    labels = selector.get("matchLabels") or {}
    requirements = [Requirement(key, "in", frozenset({value})) for key, value in labels.items()]
    for expression in selector.get("matchExpressions") or []:
        operator = _OBJECT_OPERATORS.get(expression.get("operator"))
        if operator is None:
            raise bad_request(f"{expression.get('operator')!r} is not a valid label selector operator")
        requirements.append(Requirement(expression["key"], operator, frozenset(expression.get("values") or ())))
    return Selector(tuple(requirements))


def valid_label_key(key: str) -> bool:
    """Whether `key` is a qualified name: an optional DNS prefix, a slash, and 63 characters at most."""
    prefix, slash, name = key.rpartition("/")
    return (not slash or bool(_PREFIX.fullmatch(prefix))) and bool(_NAME.fullmatch(name))


def valid_label_value(value: str) -> bool:
    """Whether `value` may be the value of a label."""
    return not value or bool(_NAME.fullmatch(value))


def _requirement(found: re.Match[str]) -> Requirement:
    parts = found.groupdict()
    if parts["absent"]:
        return Requirement(_checked(parts["absent"]), "absent")
    if parts["present"]:
        return Requirement(_checked(parts["present"]), "exists")
    if parts["set_key"]:
        values = frozenset(value.strip() for value in parts["set"].split(","))
        return Requirement(_checked(parts["set_key"]), parts["set_op"], _checked_values(values))
    operator = {"=": "in", "==": "in", "!=": "notin", ">": "gt", "<": "lt"}[parts["op"]]
    if operator in ("gt", "lt") and not re.fullmatch(r"-?\d{1,18}", parts["value"]):
        raise bad_request(f"values[0]: Invalid value: {parts['value']!r}: for 'Gt', 'Lt' the value must be an integer")
    return Requirement(_checked(parts["key"]), operator, _checked_values(frozenset({parts["value"]})))


def _checked(key: str) -> str:
    if not valid_label_key(key):
        raise bad_request(f"{key!r} in the label selector is not a valid label key")
    return key


def _checked_values(values: frozenset[str]) -> frozenset[str]:
    for value in values:
        if not valid_label_value(value):
            raise bad_request(f"{value!r} in the label selector is not a valid label value")
    return values


def _check_length(text: str) -> None:
    if len(text) > MAX_TEXT:
        raise bad_request(f"the selector is {len(text)} characters long; {MAX_TEXT} are the limit")


def _split_unescaped(text: str) -> list[str]:
    return [term for term in re.split(r"(?<!\\),", text) if term]


def _unescaped(value: str) -> str:
    return re.sub(r"\\([\\,=])", r"\1", value)


def _compared(value: str | None, limit: frozenset[str], larger: bool) -> bool:
    if value is None or not re.fullmatch(r"-?\d{1,18}", value):
        return False
    number, bound = int(value), int(next(iter(limit)))
    return number > bound if larger else number < bound


_OPERATORS: dict[str, Callable[[str | None, frozenset[str]], bool]] = {
    "in": lambda value, wanted: value is not None and value in wanted,
    "notin": lambda value, wanted: value is None or value not in wanted,
    "exists": lambda value, _: value is not None,
    "absent": lambda value, _: value is None,
    "gt": lambda value, limit: _compared(value, limit, larger=True),
    "lt": lambda value, limit: _compared(value, limit, larger=False),
}
_OBJECT_OPERATORS = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "absent", "Gt": "gt", "Lt": "lt"}
_FORMATS: dict[str, Callable[[str, list[str]], str]] = {
    "in": lambda key, values: f"{key}={values[0]}" if len(values) == 1 else f"{key} in ({','.join(values)})",
    "notin": lambda key, values: f"{key}!={values[0]}" if len(values) == 1 else f"{key} notin ({','.join(values)})",
    "exists": lambda key, _: key,
    "absent": lambda key, _: f"!{key}",
    "gt": lambda key, values: f"{key}>{values[0]}",
    "lt": lambda key, values: f"{key}<{values[0]}",
}
