"""The authorizer of RBAC: an index of roles and bindings, kept up by the store at the moment when they are stored.

committed change of a role or a binding ──► index by subject ──► decide: no read, no decoding, no wait
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec

from octoedge.apiserver.access.authorization import Attributes, Decision, Rule
from octoedge.apiserver.serving.requests import User
from octoedge.apiserver.store.backend import Backend
from octoedge.kube.read import Item

GROUP = "rbac.authorization.k8s.io"
ROLES = f"roles.{GROUP}"
CLUSTERROLES = f"clusterroles.{GROUP}"
ROLEBINDINGS = f"rolebindings.{GROUP}"
CLUSTERROLEBINDINGS = f"clusterrolebindings.{GROUP}"

Key = tuple[str, str]
"""(namespace, name)"""


class Subject(NamedTuple):
    """To whom something is granted; a service account is the user of its name."""

    kind: str
    name: str


@dataclass(frozen=True, slots=True)
class Binding:
    """What is granted: a role, in one namespace or, when it names none, in the cluster."""

    namespace: str
    name: str
    role_kind: str
    role: Key

    def says(self, subject: Subject) -> str:
        """Why something is allowed."""
        shown = f'{self.namespace}/{self.name}"' if self.namespace else f'{self.name}"'
        kind = "RoleBinding" if self.namespace else "ClusterRoleBinding"
        return (
            f'RBAC: allowed by {kind} "{shown} of {self.role_kind} "{self.role[1]}" to {subject.kind} "{subject.name}"'
        )


class Policy:
    """Who may do what by the roles and bindings that are stored."""

    def __init__(self, backend: Backend) -> None:
        self._roles: dict[Key, tuple[Rule, ...]] = {}
        """Cluster roles have no namespace."""
        self._subjects: dict[Key, tuple[Subject, ...]] = {}
        """By binding."""
        self._bindings: dict[Subject, dict[Key, Binding]] = {}
        seen = {
            ROLES: self._role_seen,
            CLUSTERROLES: self._role_seen,
            ROLEBINDINGS: self._binding_seen,
            CLUSTERROLEBINDINGS: self._binding_seen,
        }
        for resource, listener in seen.items():
            for item in backend.items(resource):
                listener(item, False)
            backend.listen(resource, listener)

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether a rule of a role that is bound to the user, or to one of his groups, covers it."""
        absent = []
        for subject, binding in self._granted(user, asked.namespace):
            rules = self._roles.get(binding.role)
            if rules is None:
                absent.append(f'{binding.role_kind.lower()}.{GROUP} "{binding.role[1]}" not found')
            elif any(rule.covers(asked) for rule in rules):
                return Decision(True, binding.says(subject))
        return Decision(False, f"RBAC: {', '.join(absent)}" if absent else "")

    def rules(self, user: User, namespace: str = "") -> Sequence[Rule]:
        """The rules of the user in a namespace and in the cluster."""
        found = {
            rule: None for _, binding in self._granted(user, namespace) for rule in self._roles.get(binding.role, ())
        }
        return list(found)

    def role(self, kind: str, namespace: str, name: str) -> tuple[Rule, ...] | None:
        """The rules of a role; None when there is none."""
        return self._roles.get((namespace if kind == "Role" else "", name))

    def _granted(self, user: User, namespace: str) -> Iterator[tuple[Subject, Binding]]:
        for subject in (Subject("User", user.name), *(Subject("Group", group) for group in user.groups)):
            for binding in self._bindings.get(subject, {}).values():
                if not binding.namespace or binding.namespace == namespace:
                    yield subject, binding

    def _role_seen(self, item: Item, removed: bool) -> None:
        if removed:
            self._roles.pop(item.key, None)
        else:
            self._roles[item.key] = rules_of(_roles.decode(item.data).rules)

    def _binding_seen(self, item: Item, removed: bool) -> None:
        for subject in self._subjects.pop(item.key, ()):
            held = self._bindings.get(subject, {})
            held.pop(item.key, None)
            if not held:
                self._bindings.pop(subject, None)
        if removed:
            return
        stored = _bindings.decode(item.data)
        kind, name = stored.roleRef.kind, stored.roleRef.name
        binding = Binding(item.namespace, item.name, kind, (item.namespace if kind == "Role" else "", name))
        subjects = tuple(dict.fromkeys(_subject(one) for one in stored.subjects or ()))
        self._subjects[item.key] = subjects
        for subject in subjects:
            self._bindings.setdefault(subject, {})[item.key] = binding


class PolicyRule(msgspec.Struct, frozen=True):
    """A rule as it is stored."""

    verbs: list[str] | None = None
    apiGroups: list[str] | None = None  # noqa: N815
    resources: list[str] | None = None
    resourceNames: list[str] | None = None  # noqa: N815
    nonResourceURLs: list[str] | None = None  # noqa: N815


def rules_of(stored: Sequence[PolicyRule] | None) -> tuple[Rule, ...]:
    """Rules as they are decided by."""
    return tuple(
        Rule(
            tuple(one.verbs or ()),
            tuple(one.apiGroups or ()),
            tuple(one.resources or ()),
            tuple(one.resourceNames or ()),
            tuple(one.nonResourceURLs or ()),
        )
        for one in stored or ()
    )


class _Role(msgspec.Struct, frozen=True):
    rules: list[PolicyRule] | None = None


class _RoleRef(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""


class _Subject(msgspec.Struct, frozen=True):
    kind: str = ""
    name: str = ""
    namespace: str = ""


class _Binding(msgspec.Struct, frozen=True):
    roleRef: _RoleRef = _RoleRef()  # noqa: N815
    subjects: list[_Subject] | None = None


_roles = msgspec.json.Decoder(_Role)
_bindings = msgspec.json.Decoder(_Binding)


def _subject(stored: _Subject) -> Subject:
    if stored.kind == "ServiceAccount":
        return Subject("User", f"system:serviceaccount:{stored.namespace}:{stored.name}")
    return Subject(stored.kind, stored.name)
