"""Nobody grants what he does not hold: looked at when a role or a binding is about to be stored.

Who may `escalate` roles may write any; who may `bind` a role may bind it to anybody. Without that, every rule of what
is granted must be covered by rules of the one who grants it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product
from typing import Any

import msgspec

from octoedge.apiserver.access.authorization import Attributes, Authorizer, Rule
from octoedge.apiserver.access.rbac.policy import GROUP, Policy, PolicyRule, rules_of
from octoedge.apiserver.serving.requests import MASTERS, User
from octoedge.errors import ApiError, forbidden

Json = dict[str, Any]
Guard = Callable[[Json, Json | None], None]
"""Given (the object about to be stored, the one before); raises 403 when the asker may not do that."""

MAX_PARTS = 100_000
"""A rule is looked at verb by resource by name; one that has more of these than any person would write is refused."""
_SHOWN = 10


class Escalation:
    """Makes the guard of a request."""

    def __init__(self, policy: Policy, authorizer: Authorizer) -> None:
        self._policy = policy
        self._authorizer = authorizer
        self._guards: dict[str, Callable[[User, str, str, Json, Json | None], None]] = {
            "roles": self._role,
            "clusterroles": self._role,
            "rolebindings": self._binding,
            "clusterrolebindings": self._binding,
        }

    def guard(self, user: User, group: str, plural: str, namespace: str) -> Guard | None:
        """The guard of a write of a user; None where there is nothing to guard."""
        check = self._guards.get(plural) if group == GROUP else None
        if check is None or MASTERS in user.groups:
            return None
        return lambda new, old: check(user, plural, namespace, new, old)

    def _role(self, user: User, plural: str, namespace: str, new: Json, old: Json | None) -> None:
        name = new["metadata"].get("name") or ""
        same = old is not None and all(old.get(key) == new.get(key) for key in ("rules", "aggregationRule"))
        if same or self._may(user, "escalate", plural, namespace, name):
            return
        if new.get("aggregationRule"):
            self._check_whole(user, plural, name)
        rules = rules_of(msgspec.convert(new.get("rules") or [], list[PolicyRule]))
        self._check(user, plural, namespace, name, rules)

    def _check_whole(self, user: User, plural: str, name: str) -> None:
        """What is aggregated cannot be foreseen: only who holds everything may begin it."""
        everything = (Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",)))
        self._check(user, plural, "", name, everything)

    def _binding(self, user: User, plural: str, namespace: str, new: Json, old: Json | None) -> None:
        name, reference = new["metadata"].get("name") or "", new.get("roleRef") or {}
        same = old is not None and all(old.get(key) == new.get(key) for key in ("roleRef", "subjects"))
        roles = "roles" if reference.get("kind") == "Role" else "clusterroles"
        if same or self._may(user, "bind", roles, namespace, reference.get("name") or ""):
            return
        rules = self._policy.role(reference.get("kind") or "", namespace, reference.get("name") or "")
        if rules is None:
            missing = f'{roles}.{GROUP} "{reference.get("name")}" not found'
            raise ApiError(404, "NotFound", missing, {"name": reference.get("name"), "kind": roles, "group": GROUP})
        self._check(user, plural, namespace, name, rules)

    def _may(self, user: User, verb: str, plural: str, namespace: str, name: str) -> bool:
        asked = Attributes(verb, group=GROUP, resource=plural, namespace=namespace, name=name)
        return self._authorizer.decide(user, asked).allowed

    def _check(self, user: User, plural: str, namespace: str, name: str, wanted: Sequence[Rule]) -> None:
        held = self._authorizer.rules(user, namespace)
        lacking = list(islice(uncovered(held, wanted), _SHOWN))
        if not lacking:
            return
        groups = f" (groups=[{' '.join(_quoted(one) for one in user.groups)}])" if user.groups else ""
        raise forbidden(
            f'{plural}.{GROUP} "{name}" is forbidden: user {_quoted(user.name)}{groups} is attempting to grant RBAC '
            f"permissions not currently held:\n{chr(10).join(_shown(rule) for rule in lacking)}",
            {"name": name, "kind": plural, "group": GROUP},
        )


def uncovered(held: Sequence[Rule], wanted: Sequence[Rule]) -> Iterator[Rule]:
    """The parts of the wanted rules that none of those held covers, each with one verb and one thing."""
    for rule in wanted:
        if any(_contains(one, rule) for one in held):
            continue
        _check_size(rule)
        yield from (part for part in _parts(rule) if not any(_contains(one, part) for one in held))


def _parts(rule: Rule) -> Iterator[Rule]:
    for verb, path in product(rule.verbs, rule.paths):
        yield Rule((verb,), paths=(path,))
    for verb, group, resource in product(rule.verbs, rule.groups, rule.resources):
        for name in rule.names or ("",):
            yield Rule((verb,), (group,), (resource,), (name,) if name else ())


def _check_size(rule: Rule) -> None:
    size = len(rule.verbs) * (len(rule.paths) + len(rule.groups) * len(rule.resources) * max(1, len(rule.names)))
    if size > MAX_PARTS:
        raise forbidden(f"a rule that means {size} single permissions cannot be checked; write several smaller ones")


def _contains(held: Rule, wanted: Rule) -> bool:
    """Whether one rule allows everything that the other does."""
    if not _all_in(wanted.verbs, held.verbs):
        return False
    if wanted.paths and not all(any(_path_in(path, one) for one in held.paths) for path in wanted.paths):
        return False
    if not wanted.resources:
        return bool(wanted.paths)
    if held.names and not (wanted.names and set(wanted.names) <= set(held.names)):
        return False
    return _all_in(wanted.groups, held.groups) and all(_resource_in(one, held.resources) for one in wanted.resources)


def _all_in(wanted: tuple[str, ...], held: tuple[str, ...]) -> bool:
    return "*" in held or set(wanted) <= set(held)


def _resource_in(wanted: str, held: tuple[str, ...]) -> bool:
    if "*" in held or wanted in held:
        return True
    _, sign, below = wanted.partition("/")
    return bool(sign) and f"*/{below}" in held


def _path_in(wanted: str, held: str) -> bool:
    return wanted == held or (held.endswith("*") and wanted.startswith(held[:-1]))


def _shown(rule: Rule) -> str:
    parts = (
        ("APIGroups", rule.groups),
        ("Resources", rule.resources),
        ("ResourceNames", rule.names),
        ("NonResourceURLs", rule.paths),
        ("Verbs", rule.verbs),
    )
    shown = (f"{name}:[{' '.join(_quoted(one) for one in values)}]" for name, values in parts if values)
    return "{" + ", ".join(shown) + "}"


def _quoted(text: str) -> str:
    return f'"{text}"'
