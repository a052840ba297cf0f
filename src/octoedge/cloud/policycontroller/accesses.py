"""Which bindings reach a service account, as the spec of its ServiceAccountAccess. Pure.

Only what a node judges by is taken over, so that nothing is sent for a change of anything else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from octoedge.api.policy import AccessSpec, Account, Binding, Everywhere, InNamespace, Named, RoleRef, Rule, Subject

Place = tuple[str, str]
"""(namespace, name); the namespace of a ClusterRole is empty."""
_EVERYBODY = frozenset(("system:authenticated", "system:serviceaccounts"))


@dataclass(frozen=True, slots=True)
class Cluster:
    """What RBAC consists of."""

    roles: Mapping[Place, list[Rule] | None]
    role_bindings: Iterable[Binding]
    cluster_role_bindings: Iterable[Binding]


def spec(account: Named, cluster: Cluster) -> AccessSpec:
    """All that binds the account; bindings to roles that do not exist bind it to nothing."""
    here = [
        InNamespace(role_binding=_kept(one), rules=rules)
        for one in sorted(cluster.role_bindings, key=_place)
        if _reaches(one, account) and (rules := _rules(one, cluster)) is not None
    ]
    everywhere = [
        Everywhere(cluster_role_binding=_kept(one), rules=rules)
        for one in sorted(cluster.cluster_role_bindings, key=_place)
        if _reaches(one, account) and (rules := _rules(one, cluster)) is not None
    ]
    return AccessSpec(
        service_account=Account(metadata=account),
        service_account_uid=account.uid,
        access_role_binding=here or None,
        access_cluster_role_binding=everywhere or None,
    )


def _reaches(binding: Binding, account: Named) -> bool:
    return any(_is(subject, account, binding.metadata.namespace) for subject in binding.subjects or ())


def _is(subject: Subject, account: Named, namespace: str) -> bool:
    if subject.kind == "ServiceAccount":
        return subject.name == account.name and (subject.namespace or namespace) == account.namespace
    if subject.kind == "Group":
        return subject.name in _EVERYBODY or subject.name == f"system:serviceaccounts:{account.namespace}"
    return subject.kind == "User" and subject.name == f"system:serviceaccount:{account.namespace}:{account.name}"


def _rules(binding: Binding, cluster: Cluster) -> list[Rule] | None:
    namespace = binding.metadata.namespace if binding.role_ref.kind == "Role" else ""
    return cluster.roles.get((namespace, binding.role_ref.name))


def _kept(binding: Binding) -> Binding:
    metadata = Named(name=binding.metadata.name, namespace=binding.metadata.namespace)
    reference = binding.role_ref
    return Binding(metadata, binding.subjects, RoleRef(reference.api_group, reference.kind, reference.name))


def _place(binding: Binding) -> Place:
    return binding.metadata.namespace, binding.metadata.name
