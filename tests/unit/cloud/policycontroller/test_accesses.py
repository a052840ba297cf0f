"""Which bindings reach a service account, and what they allow."""

from __future__ import annotations

import msgspec
import pytest

from octoedge.api.policy import Access, Binding, Named, Question, RoleRef, Rule, Subject, allows, read
from octoedge.cloud.policycontroller.accesses import Cluster, spec

ACCOUNT = Named(name="reader", namespace="shop", uid="u1")
READ_MAPS = Rule(verbs=["get", "list"], api_groups=[""], resources=["configmaps"])
LOGS = Rule(verbs=["get"], api_groups=[""], resources=["*/log"])
ONE_SECRET = Rule(verbs=["*"], api_groups=["*"], resources=["secrets"], resource_names=["mine"])


def bound(
    kind: str, name: str, to: str, namespace: str = "", *, of: str = "shop", role: str = "ClusterRole"
) -> Binding:
    return Binding(
        Named(name=f"{to}-{name}".replace(":", "-"), namespace=namespace),
        [Subject(kind=kind, name=name, namespace=of if kind == "ServiceAccount" else "")],
        RoleRef("rbac.authorization.k8s.io", role, to),
    )


def access(*, here: list[Binding] = [], everywhere: list[Binding] = []) -> Access:  # noqa: B006 - never changed
    roles = {("", "maps"): [READ_MAPS], ("", "logs"): [LOGS], ("shop", "secret"): [ONE_SECRET]}
    return Access(metadata=ACCOUNT, spec=spec(ACCOUNT, Cluster(roles, here, everywhere)))


@pytest.mark.parametrize(
    "binding",
    [
        bound("ServiceAccount", "reader", "maps"),
        bound("User", "system:serviceaccount:shop:reader", "maps"),
        bound("Group", "system:serviceaccounts:shop", "maps"),
        bound("Group", "system:serviceaccounts", "maps"),
        bound("Group", "system:authenticated", "maps"),
    ],
)
def test_whoever_the_account_is_called_it_is_bound(binding: Binding) -> None:
    found = access(everywhere=[binding])
    assert allows(found, Question("list", "", "configmaps"))
    assert allows(found, Question("get", "", "configmaps", "other", "a"))
    assert not allows(found, Question("delete", "", "configmaps", "shop", "a"))
    assert not allows(found, Question("list", "apps", "configmaps"))


@pytest.mark.parametrize(
    "binding",
    [
        bound("ServiceAccount", "reader", "maps", of="other"),
        bound("ServiceAccount", "other", "maps"),
        bound("Group", "system:serviceaccounts:other", "maps"),
        bound("Group", "system:masters", "maps"),
        bound("User", "reader", "maps"),
        bound("ServiceAccount", "reader", "none"),
    ],
)
def test_others_are_not(binding: Binding) -> None:
    assert not allows(access(everywhere=[binding]), Question("list", "", "configmaps", "shop"))


def test_a_binding_in_a_namespace_holds_there_only() -> None:
    found = access(here=[bound("ServiceAccount", "reader", "maps", "lager")])
    assert allows(found, Question("list", "", "configmaps", "lager"))
    assert not allows(found, Question("list", "", "configmaps", "shop"))
    assert not allows(found, Question("list", "", "configmaps"))


def test_subresources_and_names() -> None:
    found = access(
        here=[
            bound("ServiceAccount", "reader", "logs", "shop"),
            bound("ServiceAccount", "reader", "secret", "shop", role="Role"),
        ]
    )
    assert allows(found, Question("get", "", "pods/log", "shop", "a"))
    assert not allows(found, Question("get", "", "pods", "shop", "a"))
    assert allows(found, Question("delete", "", "secrets", "shop", "mine"))
    assert not allows(found, Question("delete", "", "secrets", "shop", "other"))
    assert not allows(found, Question("list", "", "secrets", "shop"))


def test_it_is_written_as_kubeedge_writes_it_and_read_again() -> None:
    found = access(
        here=[bound("ServiceAccount", "reader", "maps", "lager")],
        everywhere=[bound("ServiceAccount", "reader", "maps")],
    )
    written = msgspec.json.encode(found)
    assert read(written) == found
    tree = msgspec.json.decode(written)["spec"]
    assert tree["serviceAccount"] == {"metadata": {"name": "reader", "namespace": "shop", "uid": "u1"}}
    assert tree["serviceAccountUid"] == "u1"
    rule = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]}
    assert tree["accessRoleBinding"][0]["rules"] == tree["accessClusterRoleBinding"][0]["rules"] == [rule]
    assert tree["accessRoleBinding"][0]["roleBinding"]["metadata"] == {"name": "maps-reader", "namespace": "lager"}
