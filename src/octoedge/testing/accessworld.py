"""A control plane with its authorizer, in virtual time: users write objects, and it is asked who may do what."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from octoedge.apiserver.access.authorization import Attributes, FirstYes, Masters
from octoedge.apiserver.access.rbac.guards import Guards
from octoedge.apiserver.access.rbac.nodes import NodeAuthorizer
from octoedge.apiserver.access.rbac.policy import GROUP, Policy
from octoedge.apiserver.serving.requests import AUTHENTICATED, MASTERS, User
from octoedge.apiserver.writing.rest import Place
from octoedge.kube.read import Target
from octoedge.testing.controlplane import ControlPlane, simulate

Json = dict[str, Any]

ADMIN = User("kubernetes-admin", (MASTERS, AUTHENTICATED))
BOB = User("bob", ("team", AUTHENTICATED))
BOT = User("system:serviceaccount:default:bot", ("system:serviceaccounts", AUTHENTICATED))


class World:
    """A control plane with its authorizer."""

    def __init__(self, at: ControlPlane) -> None:
        self.at = at
        self.policy = Policy(at.backend)
        self.authorizer = FirstYes((Masters(), NodeAuthorizer(at.backend), self.policy))
        self.guards = Guards(self.policy, self.authorizer)

    def may(self, user: User, verb: str, resource: str, namespace: str = "default", name: str = "") -> bool:
        """Whether a user may; `resource` as `pods/log` or `deployments.apps/scale`."""
        return self.authorizer.decide(user, asked(verb, resource, namespace, name)).allowed

    async def write(self, user: User, obj: Json) -> None:
        """Create or replace an object as a user."""
        kind = self.at.kind_of(obj)
        namespace = obj["metadata"].get("namespace") or ("default" if kind.namespaced else "")
        name = obj["metadata"]["name"]
        guard = self.guards(user, Target(kind.group, kind.version, kind.plural, namespace, name))
        stored = self.at.backend.get(kind.resource, namespace, name)
        if stored is None:
            await self.at.rest.create(Place(kind, namespace, guard=guard), obj, {})
        else:
            await self.at.rest.update(Place(kind, namespace, name, guard=guard), obj, {})


def asked(verb: str, resource: str, namespace: str = "default", name: str = "") -> Attributes:
    """What is asked for; `resource` as `deployments.apps/scale`."""
    whole, _, subresource = resource.partition("/")
    plural, _, group = whole.partition(".")
    return Attributes(verb, "", group, plural, subresource, namespace, name)


def role(name: str, *rules: Json, kind: str = "Role", **more: Any) -> Json:
    """A role."""
    body: Json = {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": {"name": name}, "rules": list(rules), **more}
    return body


def rule(resources: str, *verbs: str, groups: str = "", names: str = "") -> Json:
    """A rule; several resources, groups or names are separated by blanks."""
    named = {"resourceNames": names.split()} if names else {}
    return {"apiGroups": groups.split() or [""], "resources": resources.split(), "verbs": list(verbs), **named}


def binding(name: str, to: str, subject: str = "User/bob", kind: str = "RoleBinding") -> Json:
    """A binding; what it refers to as `ClusterRole/view` and `User/bob`."""
    role_kind, _, role_name = to.partition("/")
    who, _, whom = subject.partition("/")
    one: Json = {"kind": who, "name": whom}
    if who == "ServiceAccount":
        one["namespace"] = "default"
    reference = {"apiGroup": GROUP, "kind": role_kind, "name": role_name}
    head = {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": {"name": name}}
    return {**head, "roleRef": reference, "subjects": [one]}


def in_world(path: Path, test: Callable[[World], Awaitable[None]]) -> None:
    """Run a test in such a world."""

    async def story(at: ControlPlane) -> None:
        await test(World(at))

    simulate(path, story)
