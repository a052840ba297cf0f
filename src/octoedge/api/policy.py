"""policy.kubeedge.io/v1alpha1: what a service account may do, as nodes are told; and the part of RBAC that it repeats.

`allows` is the judgement that a node makes from it while the cloud cannot be asked. Pure.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from octoedge.errors import MessageError

API_VERSION, KIND = "policy.kubeedge.io/v1alpha1", "ServiceAccountAccess"
ACCESS = "serviceaccountaccess"
"""The resource type on the wire."""


def _wire_name(name: str) -> str:
    first, *rest = name.split("_")
    return "nonResourceURLs" if name == "non_resource_urls" else first + "".join(word.capitalize() for word in rest)


class _Part(msgspec.Struct, frozen=True, rename=_wire_name, omit_defaults=True):
    pass


class Named(_Part, frozen=True):
    """metadata, as far as it matters here."""

    name: str = ""
    namespace: str = ""
    uid: str = ""


class Rule(_Part, frozen=True):
    """One PolicyRule."""

    verbs: list[str] | None = None
    api_groups: list[str] | None = None
    resources: list[str] | None = None
    resource_names: list[str] | None = None
    non_resource_urls: list[str] | None = None


class Subject(_Part, frozen=True):
    """Who is bound."""

    kind: str = ""
    name: str = ""
    namespace: str = ""
    api_group: str = ""


class RoleRef(_Part, frozen=True):
    """To which role."""

    api_group: str = ""
    kind: str = ""
    name: str = ""


class Binding(_Part, frozen=True):
    """A RoleBinding or ClusterRoleBinding."""

    metadata: Named = Named()
    subjects: list[Subject] | None = None
    role_ref: RoleRef = RoleRef()


class Role(_Part, frozen=True):
    """A Role or ClusterRole."""

    metadata: Named = Named()
    rules: list[Rule] | None = None


class InNamespace(_Part, frozen=True):
    """A RoleBinding with the rules of its role: they hold in its namespace."""

    role_binding: Binding = Binding()
    rules: list[Rule] | None = None


class Everywhere(_Part, frozen=True):
    """A ClusterRoleBinding with the rules of its role."""

    cluster_role_binding: Binding = Binding()
    rules: list[Rule] | None = None


class Account(_Part, frozen=True):
    """The service account itself."""

    metadata: Named = Named()


class AccessSpec(_Part, frozen=True):
    """All that binds one service account."""

    service_account: Account = Account()
    service_account_uid: str = ""
    access_role_binding: list[InNamespace] | None = None
    access_cluster_role_binding: list[Everywhere] | None = None


class AccessStatus(_Part, frozen=True):
    """Where it is needed."""

    node_list: list[str] | None = None


class Access(_Part, frozen=True):
    """A ServiceAccountAccess."""

    metadata: Named = Named()
    spec: AccessSpec = AccessSpec()
    status: AccessStatus = AccessStatus()


@dataclass(frozen=True, slots=True)
class Question:
    """What somebody wants to do; `resource` with its subresource, as in `pods/log`."""

    verb: str
    group: str
    resource: str
    namespace: str = ""
    name: str = ""


def read(obj: bytes) -> Access:
    """A ServiceAccountAccess. Raises `MessageError`."""
    try:
        return msgspec.json.decode(obj, type=Access)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"not a ServiceAccountAccess: {error}") from error


def allows(access: Access, asked: Question) -> bool:
    """Whether a rule allows it; a binding in a namespace holds there only."""
    spec = access.spec
    if any(_any(one.rules, asked) for one in spec.access_cluster_role_binding or ()):
        return True
    return bool(asked.namespace) and any(
        one.role_binding.metadata.namespace == asked.namespace and _any(one.rules, asked)
        for one in spec.access_role_binding or ()
    )


def _any(rules: list[Rule] | None, asked: Question) -> bool:
    return any(_covers(rule, asked) for rule in rules or ())


def _covers(rule: Rule, asked: Question) -> bool:
    resources = rule.resources or ()
    _, slash, sub = asked.resource.partition("/")
    wanted = {"*", asked.resource, *((f"*/{sub}",) if slash else ())}
    return (
        bool(wanted & set(resources))
        and bool({"*", asked.verb} & set(rule.verbs or ()))
        and bool({"*", asked.group} & set(rule.api_groups or ()))
        and (not rule.resource_names or asked.name in rule.resource_names)
    )
