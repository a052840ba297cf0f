"""Who may do what by stored roles and bindings; default roles, aggregation, escalation, impersonation."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from multidict import CIMultiDict

from octoedge.apiserver.access.authorization import Attributes, Rule, refusal
from octoedge.apiserver.access.impersonation import impersonated
from octoedge.apiserver.access.rbac import defaults
from octoedge.apiserver.access.rbac.policy import CLUSTERROLES, GROUP
from octoedge.apiserver.controllers.bootstrap import Bootstrap
from octoedge.apiserver.serving.requests import AUTHENTICATED, CLOUDCORE, KUBELET_CLIENT, MASTERS, User
from octoedge.errors import ApiError
from octoedge.testing.accessworld import ADMIN, BOB, BOT, World, asked, binding, in_world, role, rule

Json = dict[str, Any]


def test_a_role_counts_from_the_moment_it_is_stored_and_no_longer_than_it_is(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        assert not w.may(BOB, "list", "pods")
        await w.write(
            ADMIN, role("r", rule("pods", "get", "list"), rule("pods/log", "get"), rule("secrets", "get", names="mine"))
        )
        await w.write(ADMIN, binding("b", "Role/r"))
        assert w.may(BOB, "list", "pods")
        assert not w.may(BOB, "create", "pods")
        assert not w.may(BOB, "create", "pods/exec")
        assert w.may(BOB, "get", "pods/log")
        assert not w.may(BOB, "list", "pods", "kube-system")
        assert not w.may(BOB, "list", "pods", "")
        assert w.may(BOB, "get", "secrets", name="mine")
        assert not w.may(BOB, "get", "secrets", name="other")
        assert not w.may(BOB, "list", "secrets")
        await w.write(ADMIN, role("r", rule("pods", "get")))
        assert not w.may(BOB, "list", "pods")
        await w.at.delete("rolebindings.rbac.authorization.k8s.io", "b")
        assert not w.may(BOB, "get", "pods")

    in_world(tmp_path, test)


def test_groups_service_accounts_and_cluster_roles(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.write(ADMIN, binding("team", "ClusterRole/view", "Group/team"))
        await w.write(ADMIN, binding("bot", "ClusterRole/edit", "ServiceAccount/bot", "ClusterRoleBinding"))
        assert w.may(BOB, "watch", "deployments.apps")
        assert not w.may(BOB, "watch", "deployments.apps", "kube-system")
        assert not w.may(BOB, "get", "secrets")
        assert w.may(BOT, "create", "pods/exec", "kube-system")
        assert w.may(BOT, "update", "deployments.apps/scale")
        assert not w.may(BOT, "create", "roles.rbac.authorization.k8s.io")
        gone = w.authorizer.decide(BOB, asked("list", "nodes", ""))
        assert not gone.allowed
        await w.write(ADMIN, role("away", rule("nodes", "list"), kind="ClusterRole"))
        await w.write(ADMIN, binding("away", "ClusterRole/away", kind="ClusterRoleBinding"))
        await w.at.delete(CLUSTERROLES, "away")
        refused = refusal(BOB, asked("list", "nodes", ""), w.authorizer.decide(BOB, asked("list", "nodes", "")).reason)
        assert refused.message == (
            'nodes is forbidden: User "bob" cannot list resource "nodes" in API group "" at the cluster scope: '
            'RBAC: clusterrole.rbac.authorization.k8s.io "away" not found'
        )

    in_world(tmp_path, test)


def test_what_everybody_has(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        def sees(user: User, path: str) -> bool:
            return w.authorizer.decide(user, Attributes("get", path)).allowed

        nobody = User("system:anonymous", ("system:unauthenticated",))
        assert sees(nobody, "/readyz")
        assert sees(nobody, "/version")
        assert not sees(nobody, "/apis")
        assert sees(BOT, "/apis/apps/v1")
        assert sees(BOT, "/openapi/v3/api/v1")
        assert not sees(BOT, "/metrics")
        assert w.may(BOB, "create", "selfsubjectaccessreviews.authorization.k8s.io", "")
        assert not w.may(BOB, "create", "subjectaccessreviews.authorization.k8s.io", "")
        everything = {(rule.verbs, rule.resources) for rule in w.authorizer.rules(BOT, "default") if rule.resources}
        assert {verbs for verbs, _ in everything} == {("create",)}

    in_world(tmp_path, test)


def test_roles_that_are_put_together_follow_their_parts(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        view, edit, admin = (
            {str(one) for one in w.at.get(CLUSTERROLES, name)["rules"]} for name in ("view", "edit", "admin")
        )
        assert view < edit < admin
        labels = {"labels": {f"{defaults.AGGREGATE}view": "true"}}
        extra = role("gadgets", rule("gadgets", "get", groups="example.com"), kind="ClusterRole")
        await w.write(ADMIN, {**extra, "metadata": {"name": "gadgets", **labels}})
        await w.write(ADMIN, binding("a", "ClusterRole/admin"))
        await w.at.until(lambda: w.may(BOB, "get", "gadgets.example.com"))
        await w.at.delete(CLUSTERROLES, "gadgets")
        await w.at.until(lambda: not w.may(BOB, "get", "gadgets.example.com"))

    in_world(tmp_path, test)


def test_nobody_grants_what_he_does_not_hold(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.write(ADMIN, binding("b", "ClusterRole/admin"))
        assert w.may(BOB, "create", "roles.rbac.authorization.k8s.io")
        await w.write(BOB, role("fine", rule("pods", "get", "create"), rule("pods/exec", "create")))
        await w.write(BOB, binding("fine", "Role/fine", "User/eve"))
        await w.write(BOB, binding("edit", "ClusterRole/edit", "User/eve"))
        with pytest.raises(ApiError, match="attempting to grant RBAC permissions not currently held") as refused:
            await w.write(BOB, role("nodes", rule("pods nodes", "list")))
        assert '{APIGroups:[""], Resources:["nodes"], Verbs:["list"]}' in refused.value.message
        assert "pods" not in refused.value.message
        for greedy in (rule("*", "get", groups="*"), rule("pods", "*"), rule("pods", "impersonate")):
            with pytest.raises(ApiError, match="not currently held"):
                await w.write(BOB, role("greedy", greedy))
        with pytest.raises(ApiError, match="not currently held"):
            await w.write(BOB, binding("root", "ClusterRole/cluster-admin"))
        with pytest.raises(ApiError, match="not found"):
            await w.write(BOB, binding("later", "ClusterRole/not-yet"))
        # Who may touch a binding may change its labels, but not hand on what is in it.
        await w.write(ADMIN, binding("given", "ClusterRole/cluster-admin", "User/root"))
        same = binding("given", "ClusterRole/cluster-admin", "User/root")
        await w.write(BOB, {**same, "metadata": {"name": "given", "labels": {"a": "b"}}})
        with pytest.raises(ApiError, match="not currently held"):
            await w.write(BOB, binding("given", "ClusterRole/cluster-admin", "User/bob"))

    in_world(tmp_path, test)


def test_who_may_bind_or_escalate_may(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        rules = (rule("rolebindings roles", "create", groups=GROUP),)
        await w.write(ADMIN, role("r", *rules, rule("clusterroles", "bind", groups=GROUP, names="view")))
        await w.write(ADMIN, binding("b", "Role/r"))
        await w.write(BOB, binding("ok", "ClusterRole/view", "User/eve"))
        with pytest.raises(ApiError, match="not currently held"):
            await w.write(BOB, binding("no", "ClusterRole/edit", "User/eve"))
        with pytest.raises(ApiError, match="not currently held"):
            await w.write(BOB, role("no", rule("pods", "get")))
        await w.write(ADMIN, role("r", *rules, rule("roles", "escalate", groups=GROUP)))
        await w.write(BOB, role("ok", rule("*", "*", groups="*")))

    in_world(tmp_path, test)


def test_a_rule_that_nobody_can_check_is_refused_soon(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        many = " ".join(f"thing{number}" for number in range(1000))
        await w.write(ADMIN, binding("b", "ClusterRole/admin"))
        with pytest.raises(ApiError, match="write several smaller ones"):
            await w.write(BOB, role("bomb", rule(many, *many.split(), groups=many)))

    in_world(tmp_path, test)


@pytest.mark.parametrize(
    ("obj", "text"),
    [
        (role("x", {"verbs": ["get"]}), "resource rules must supply at least one api group"),
        (role("x", {"verbs": [], "apiGroups": [""], "resources": ["pods"]}), "verbs"),
        (
            role("x", {"verbs": ["get"], "nonResourceURLs": ["/x"]}),
            "namespaced rules cannot apply to non-resource URLs",
        ),
        (role("a/b", rule("pods", "get")), "may not contain '/'"),
        (binding("x", "Gadget/r"), "roleRef.kind: Unsupported value"),
        (binding("x", "Role/r", kind="ClusterRoleBinding"), "roleRef.kind: Unsupported value"),
        (binding("x", "Role/r", "Robot/bob"), "subjects\\[0\\].kind: Unsupported value"),
        (role("x", kind="ClusterRole", aggregationRule={}), "at least one clusterRoleSelector required"),
    ],
)
def test_what_is_no_role_and_no_binding_is_refused(tmp_path: Path, obj: Json, text: str) -> None:
    async def test(w: World) -> None:
        with pytest.raises(ApiError, match=text) as refused:
            await w.write(ADMIN, obj)
        assert refused.value.code == 422

    in_world(tmp_path, test)


def test_a_binding_keeps_its_role(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        await w.write(ADMIN, binding("b", "Role/r"))
        with pytest.raises(ApiError, match="cannot change roleRef"):
            await w.write(ADMIN, binding("b", "Role/other"))

    in_world(tmp_path, test)


def test_octoedges_own_users_have_what_they_need_and_no_more(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        cloudcore, client = User(CLOUDCORE, (AUTHENTICATED,)), User(KUBELET_CLIENT, (AUTHENTICATED,))
        needed = {
            "nodes": ("list", "create", "patch"),
            "nodes/status": ("patch", "update"),
            "pods": ("watch", "create", "delete"),
            "pods/status": ("patch", "update"),
            "events": ("create", "patch", "update"),
            "serviceaccounts/token": ("create",),
            "leases.coordination.k8s.io": ("get", "create", "update"),
            "certificatesigningrequests.certificates.k8s.io": ("create",),
            "subjectaccessreviews.authorization.k8s.io": ("create",),
            "objectsyncs.reliablesyncs.kubeedge.io": ("create", "patch", "delete"),
            "objectsyncs.reliablesyncs.kubeedge.io/status": ("patch",),
            "devices.devices.kubeedge.io/status": ("patch",),
        }
        for resource, verbs in needed.items():
            assert all(w.may(cloudcore, verb, resource) for verb in verbs), resource
        assert w.may(cloudcore, "patch", "secrets", "kubeedge")
        assert w.may(cloudcore, "create", "namespaces", "kubeedge")
        assert not w.may(cloudcore, "patch", "secrets", "default")
        assert not w.may(cloudcore, "create", "pods/exec")
        assert not w.may(cloudcore, "create", "clusterrolebindings.rbac.authorization.k8s.io", "")
        assert not w.may(cloudcore, "delete", "nodes", "")
        assert not w.may(cloudcore, "impersonate", "groups", "", MASTERS)
        assert w.may(client, "get", "nodes/proxy", "", "edge-1")
        assert not w.may(client, "list", "pods")

    in_world(tmp_path, test)


def test_default_roles_are_completed_at_the_start_and_left_alone_where_asked(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        def lessen(obj: Json) -> None:
            obj["rules"] = [rule("gadgets", "get")]

        def forget(obj: Json) -> None:
            obj["subjects"] = []
            obj["metadata"]["annotations"][defaults.AUTOUPDATE] = "false"

        await w.at.edit(CLUSTERROLES, "system:kubelet-api-admin", lessen)
        await w.at.edit("clusterrolebindings.rbac.authorization.k8s.io", "system:discovery", forget)
        await w.at.delete(CLUSTERROLES, "view")
        version = w.at.backend.version
        await w.at.restart()
        again = World(w.at)
        assert again.may(User(KUBELET_CLIENT), "get", "nodes/proxy", "")
        assert again.may(User(KUBELET_CLIENT), "get", "gadgets", "")
        assert not again.authorizer.decide(BOB, Attributes("get", "/apis")).allowed
        assert w.at.get(CLUSTERROLES, "view")["rules"]
        assert w.at.backend.version > version
        await asyncio.sleep(60)  # of virtual time: the roles that are put together of it follow
        version = w.at.backend.version
        await w.at.restart()
        assert w.at.backend.version == version

    in_world(tmp_path, test)


def test_bootstrap_is_what_the_server_waits_for() -> None:
    from octoedge.apiserver.serving.server import Server

    assert Bootstrap.name in Server.needs


def test_who_may_impersonate_is_whom_he_says(tmp_path: Path) -> None:
    async def test(w: World) -> None:
        headers = CIMultiDict({"Impersonate-User": "eve", "Impersonate-Group": "a"})
        headers.add("impersonate-group", "b")
        headers["Impersonate-Extra-scopes%2Fx"] = "view"
        eve = impersonated(ADMIN, headers, w.authorizer)
        assert (eve.name, eve.groups, eve.behind) == ("eve", ("a", "b", AUTHENTICATED), ADMIN)
        assert eve.extra == {"scopes/x": ["view"]}
        bot = impersonated(ADMIN, {"Impersonate-User": BOT.name}, w.authorizer)
        assert bot.groups == ("system:serviceaccounts", "system:serviceaccounts:default", AUTHENTICATED)
        with pytest.raises(ApiError, match='"bob" cannot impersonate resource "users" in API group ""'):
            impersonated(BOB, headers, w.authorizer)
        with pytest.raises(ApiError, match="cannot be taken on without Impersonate-User"):
            impersonated(BOB, {"Impersonate-Group": MASTERS}, w.authorizer)
        with pytest.raises(ApiError, match="is not the name of a service account"):
            impersonated(ADMIN, {"Impersonate-User": "system:serviceaccount:default"}, w.authorizer)
        await w.write(ADMIN, role("r", rule("users", "impersonate", names="eve"), kind="ClusterRole"))
        await w.write(ADMIN, binding("b", "ClusterRole/r", kind="ClusterRoleBinding"))
        assert impersonated(BOB, {"Impersonate-User": "eve"}, w.authorizer).name == "eve"
        with pytest.raises(ApiError, match='cannot impersonate resource "groups"'):
            impersonated(BOB, {"Impersonate-User": "eve", "Impersonate-Group": MASTERS}, w.authorizer)
        with pytest.raises(ApiError, match="cannot impersonate"):
            impersonated(BOB, {"Impersonate-User": "root"}, w.authorizer)
        await w.write(ADMIN, binding("e", "ClusterRole/edit"))
        assert impersonated(BOB, {"Impersonate-User": BOT.name}, w.authorizer).name == BOT.name
        assert impersonated(BOB, {}, w.authorizer) is BOB

    in_world(tmp_path, test)


def test_a_rule_names_subresources_of_everything() -> None:
    scaler = Rule(("patch",), ("*",), ("*/scale",))
    assert scaler.covers(asked("patch", "deployments.apps/scale"))
    assert not scaler.covers(asked("patch", "deployments.apps"))
