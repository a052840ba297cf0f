"""Who may do what: an `Authorizer` is asked once for every request. Here it is a table; RBAC fits the same seam."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from octoedge.apiserver.authentication import AUTHENTICATED, MASTERS
from octoedge.apiserver.requests import User
from octoedge.errors import ApiError, forbidden

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


@dataclass(frozen=True, slots=True)
class Decision:
    """Yes or no, and why."""

    allowed: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Rule:
    """One line of a table: who, which verbs, on what. `*` is everything; a path may end in `*`."""

    subjects: tuple[str, ...]
    verbs: tuple[str, ...]
    groups: tuple[str, ...] = ()
    resources: tuple[str, ...] = ()
    paths: tuple[str, ...] = ()

    def covers(self, user: User, asked: Attributes) -> bool:
        """Whether the rule lets the user do it."""
        if not (user.name in self.subjects or any(group in self.subjects for group in user.groups)):
            return False
        if not _in(self.verbs, asked.verb):
            return False
        if not asked.resource:
            return any(_path(pattern, asked.path) for pattern in self.paths)
        whole = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
        return _in(self.groups, asked.group) and _in(self.resources, whole)


class Authorizer(Protocol):
    """Decides."""

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether the user may do it."""
        ...

    def rules(self, user: User) -> Sequence[Rule]:
        """Everything that the user may do."""
        ...


READY = ("/healthz", "/livez", "/readyz", "/healthz/*", "/livez/*", "/readyz/*", "/version", "/version/")
DISCOVERY = ("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*", *READY)
SELF = ("selfsubjectaccessreviews", "selfsubjectrulesreviews")

RULES = (
    Rule((MASTERS,), ("*",), ("*",), ("*",), ("*",)),
    Rule((AUTHENTICATED,), ("get",), paths=DISCOVERY),
    Rule((AUTHENTICATED,), ("create",), ("authorization.k8s.io",), SELF),
    Rule((AUTHENTICATED,), ("create",), ("authentication.k8s.io",), ("selfsubjectreviews",)),
    Rule((AUTHENTICATED, "system:unauthenticated"), ("get",), paths=READY),
    Rule(("system:serviceaccounts",), ("get",), paths=("/.well-known/openid-configuration", "/openid/v1/jwks")),
)


class TableAuthorizer:
    """Allows what one of its rules covers."""

    def __init__(self, rules: Sequence[Rule] = RULES) -> None:
        self._rules = rules

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether some rule covers it."""
        for rule in self._rules:
            if rule.covers(user, asked):
                return Decision(True, f"rule for {', '.join(rule.subjects)}")
        return Decision(False, "")

    def rules(self, user: User) -> Sequence[Rule]:
        """The rules of the user."""
        names = {user.name, *user.groups}
        return [rule for rule in self._rules if names.intersection(rule.subjects)]


def refusal(user: User, asked: Attributes) -> ApiError:
    """403 in Kubernetes' words."""
    if not asked.resource:
        return forbidden(f'forbidden: User "{user.name}" cannot {asked.verb} path "{asked.path}"')
    what = f"{asked.resource}/{asked.subresource}" if asked.subresource else asked.resource
    scope = f'in the namespace "{asked.namespace}"' if asked.namespace else "at the cluster scope"
    qualified = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
    named = f' "{asked.name}"' if asked.name else ""
    details = {"kind": asked.resource, **({"name": asked.name} if asked.name else {})}
    details |= {"group": asked.group} if asked.group else {}
    text = f'User "{user.name}" cannot {asked.verb} resource "{what}" in API group "{asked.group}" {scope}'
    return forbidden(f"{qualified}{named} is forbidden: {text}", details)


def _in(allowed: tuple[str, ...], value: str) -> bool:
    return "*" in allowed or value in allowed


def _path(pattern: str, path: str) -> bool:
    return path.startswith(pattern[:-1]) if pattern.endswith("*") else path == pattern
