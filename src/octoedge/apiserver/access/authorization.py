"""Who may do what: an `Authorizer` is asked once for every request, before anything else is.

    Masters ──no opinion──► NodeAuthorizer ──no opinion──► Policy (RBAC) ──no──► 403

The first that says yes decides. RBAC and the rules of nodes are in `rbac/`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from octoedge.apiserver.serving.requests import MASTERS, User
from octoedge.errors import ApiError, forbidden

Json = dict[str, Any]

VERBS = {"GET": "get", "HEAD": "get", "POST": "create", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}


@dataclass(frozen=True, slots=True)
class Attributes:
    """What is asked for: a resource, or a path that is none."""

    verb: str
    path: str = ""
    group: str = ""
    resource: str = ""
    subresource: str = ""
    namespace: str = ""
    name: str = ""
    node: str = ""
    """The node that a list or a watch is limited to by `spec.nodeName`."""

    @property
    def whole(self) -> str:
        """`pods/exec`, as rules name it."""
        return f"{self.resource}/{self.subresource}" if self.subresource else self.resource


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, and why."""

    allowed: bool
    reason: str = ""


NO_OPINION = Decision(False)


@dataclass(frozen=True, slots=True)
class Rule:
    """A PolicyRule: which verbs, on what. `*` is everything; a path may end in `*`, a resource begin with `*/`."""

    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    """Only the objects of these names; all when it is empty."""
    paths: tuple[str, ...] = ()

    def covers(self, asked: Attributes) -> bool:
        """Whether the rule allows it."""
        if not _in(self.verbs, asked.verb):
            return False
        if not asked.resource:
            return any(_path(pattern, asked.path) for pattern in self.paths)
        if self.names and asked.name not in self.names:
            return False
        return _in(self.groups, asked.group) and self._names_resource(asked)

    def _names_resource(self, asked: Attributes) -> bool:
        if _in(self.resources, asked.whole):
            return True
        return bool(asked.subresource) and f"*/{asked.subresource}" in self.resources

    def shown(self) -> Json:
        """The rule as it stands in objects."""
        parts = {
            "apiGroups": self.groups,
            "resources": self.resources,
            "resourceNames": self.names,
            "nonResourceURLs": self.paths,
        }
        return {**{key: list(value) for key, value in parts.items() if value}, "verbs": list(self.verbs)}


EVERYTHING = (Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",)))


class Authorizer(Protocol):
    """Decides."""

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether the user may do it."""
        ...

    def rules(self, user: User, namespace: str = "") -> Sequence[Rule]:
        """Everything that the user may do in a namespace and in the cluster."""
        ...


class Masters:
    """Whoever is in the group of administrators may do everything."""

    def decide(self, user: User, _asked: Attributes) -> Decision:
        """Whether the user is one of them."""
        return Decision(True, f"group {MASTERS}") if MASTERS in user.groups else NO_OPINION

    def rules(self, user: User, _namespace: str = "") -> Sequence[Rule]:
        """Everything, or nothing."""
        return EVERYTHING if MASTERS in user.groups else ()


class FirstYes:
    """Several authorizers; the first that says yes decides."""

    def __init__(self, authorizers: Iterable[Authorizer]) -> None:
        self._authorizers = tuple(authorizers)

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether one of them says yes; the reasons of those who do not, otherwise."""
        reasons = []
        for one in self._authorizers:
            decision = one.decide(user, asked)
            if decision.allowed:
                return decision
            if decision.reason:
                reasons.append(decision.reason)
        return Decision(False, "; ".join(reasons))

    def rules(self, user: User, namespace: str = "") -> Sequence[Rule]:
        """The rules of all."""
        return [rule for one in self._authorizers for rule in one.rules(user, namespace)]


def refusal(user: User, asked: Attributes, reason: str = "") -> ApiError:
    """403 in Kubernetes' words."""
    because = f": {reason}" if reason else ""
    if not asked.resource:
        return forbidden(f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"{because}')
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f' "{asked.name}"' if asked.name else ""
    details = {"kind": asked.resource, **({"name": asked.name} if asked.name else {})}
    details |= {"group": asked.group} if asked.group else {}
    text = f'User "{user.name}" cannot {asked.verb} resource "{asked.whole}" in API group "{asked.group}" {scope}'
    return forbidden(f"{qualified}{named} is forbidden: {text}{because}", details)


def _in(allowed: tuple[str, ...], value: str) -> bool:
    return value in allowed or "*" in allowed


def _path(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
