"""The roles and bindings that every cluster has, under the names that users of Kubernetes know.

A table, and `reconciled`: at every start what is missing is added, nothing is taken away, and what carries the
annotation `rbac.authorization.kubernetes.io/autoupdate: "false"` is left alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from octoedge.apiserver.access.authorization import Rule
from octoedge.apiserver.access.rbac.escalation import uncovered
from octoedge.apiserver.access.rbac.policy import GROUP, PolicyRule, rules_of
from octoedge.apiserver.serving.requests import (
    ALL_ACCOUNTS,
    AUTHENTICATED,
    CLOUDCORE,
    KUBELET_CLIENT,
    MASTERS,
    UNAUTHENTICATED,
)

Json = dict[str, Any]

AUTOUPDATE = "rbac.authorization.kubernetes.io/autoupdate"
AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
BOOTSTRAPPING = {"kubernetes.io/bootstrapping": "rbac-defaults"}
KUBEEDGE_GROUPS = tuple(
    f"{name}.kubeedge.io" for name in ("apps", "devices", "edge", "operations", "policy", "reliablesyncs", "rules")
)

READ = ("get", "list", "watch")
WRITE = ("create", "delete", "deletecollection", "patch", "update")
_HEALTH = ("/healthz", "/livez", "/readyz", "/version", "/version/")
_WORKLOADS = ("daemonsets", "deployments", "deployments/scale", "replicasets", "replicasets/scale", "statefulsets",
              "statefulsets/scale")  # fmt: skip
_STATUSES = ("daemonsets/status", "deployments/status", "replicasets/status", "statefulsets/status",
             "controllerrevisions")  # fmt: skip


def _on(groups: str | tuple[str, ...], resources: str, *verbs: str, names: tuple[str, ...] = ()) -> Rule:
    return Rule(verbs, (groups,) if isinstance(groups, str) else groups, tuple(resources.split()), names)


_VIEW = (
    _on("", "configmaps endpoints persistentvolumeclaims persistentvolumeclaims/status pods serviceaccounts services "
            "services/status replicationcontrollers replicationcontrollers/scale", *READ),
    _on("", "bindings events limitranges namespaces/status pods/log pods/status resourcequotas resourcequotas/status "
            "replicationcontrollers/status namespaces", *READ),
    _on("discovery.k8s.io", "endpointslices", *READ),
    _on("events.k8s.io", "events", *READ),
    Rule(READ, ("apps",), (*_WORKLOADS, *_STATUSES)),
    _on("autoscaling", "horizontalpodautoscalers horizontalpodautoscalers/status", *READ),
    _on("batch", "cronjobs cronjobs/status jobs jobs/status", *READ),
    _on("policy", "poddisruptionbudgets poddisruptionbudgets/status", *READ),
    _on("networking.k8s.io", "ingresses ingresses/status networkpolicies", *READ),
)  # fmt: skip
_EDIT = (
    _on("", "pods/attach pods/exec pods/portforward pods/proxy secrets services/proxy", *READ),
    _on("", "serviceaccounts", "impersonate"),
    _on("", "pods pods/attach pods/exec pods/portforward pods/proxy", *WRITE),
    _on("", "pods/eviction", "create"),
    _on("", "configmaps events persistentvolumeclaims secrets serviceaccounts services services/proxy "
            "replicationcontrollers replicationcontrollers/scale", *WRITE),
    _on("", "serviceaccounts/token", "create"),
    Rule(WRITE, ("apps",), _WORKLOADS),
    _on("apps", "deployments/rollback", *WRITE),
    _on("autoscaling", "horizontalpodautoscalers", *WRITE),
    _on("batch", "cronjobs jobs", *WRITE),
    _on("policy", "poddisruptionbudgets", *WRITE),
    _on("networking.k8s.io", "ingresses networkpolicies", *WRITE),
    _on("coordination.k8s.io", "leases", *READ, *WRITE),
)  # fmt: skip
_ADMIN = (
    _on("authorization.k8s.io", "localsubjectaccessreviews", "create"),
    _on(GROUP, "rolebindings roles", *READ, *WRITE),
)
_KUBEEDGE_VIEWED = ("apps.kubeedge.io", "devices.kubeedge.io", "operations.kubeedge.io", "policy.kubeedge.io",
                    "rules.kubeedge.io")  # fmt: skip
_NODE = (
    _on("authentication.k8s.io", "tokenreviews", "create"),
    _on("authorization.k8s.io", "localsubjectaccessreviews subjectaccessreviews", "create"),
    _on("", "services", *READ),
    _on("", "nodes", "create", "get", "list", "patch", "update", "watch"),
    _on("", "nodes/status", "patch", "update"),
    _on(("", "events.k8s.io"), "events", "create", "patch", "update"),
    _on("", "pods", "create", "delete", "get", "list", "watch"),
    _on("", "pods/status", "patch", "update"),
    _on("", "pods/eviction serviceaccounts/token", "create"),
    _on("", "configmaps secrets", *READ),
    _on("", "persistentvolumeclaims persistentvolumes", "get"),
    _on("", "persistentvolumeclaims/status", "get", "patch", "update"),
    _on("certificates.k8s.io", "certificatesigningrequests", "create", *READ),
    _on("coordination.k8s.io", "leases", "create", "delete", "get", "patch", "update"),
    _on("storage.k8s.io", "volumeattachments", "get"),
    _on("storage.k8s.io", "csidrivers", *READ),
    _on("storage.k8s.io", "csinodes", "create", "delete", "get", "patch", "update"),
    _on("node.k8s.io", "runtimeclasses", *READ),
)
_CLOUDCORE = (
    # It hands nodes what their pods and applications ask for, of any kind, by rules of its own: it reads everything.
    _on("*", "*", *READ),
    _on("", "nodes nodes/status pods pods/status", "create", "patch", "update"),
    _on("", "pods", "delete"),
    _on("", "events", "create", "patch", "update"),
    _on("", "namespaces serviceaccounts/token", "create"),
    _on("", "persistentvolumeclaims/status", "patch", "update"),
    _on("apps", "deployments deployments/scale deployments/status", *WRITE),
    _on("batch", "jobs", *WRITE),
    _on("coordination.k8s.io", "leases", "create", "patch", "update", "delete"),
    _on("certificates.k8s.io", "certificatesigningrequests certificatesigningrequests/approval", "create", "update"),
    _on("certificates.k8s.io", "signers", "approve", names=("kubernetes.io/kubelet-serving",)),
    _on("authentication.k8s.io", "tokenreviews", "create"),
    _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    _on("storage.k8s.io", "volumeattachments csinodes csidrivers", "create", "patch", "update", "delete"),
    # Requests of pods and nodes that come up through the MetaServer are made in their names.
    _on("", "serviceaccounts users", "impersonate"),
    _on("", "groups", "impersonate", names=("system:nodes", AUTHENTICATED, ALL_ACCOUNTS)),
    Rule(("*",), KUBEEDGE_GROUPS, ("*",)),
)

ROLES: dict[tuple[str, str], tuple[Rule, ...]] = {
    # Its certificates, tokens and settings.
    ("kubeedge", CLOUDCORE): (_on("", "configmaps secrets", "create", "delete", "patch", "update"),),
    ("kube-system", "extension-apiserver-authentication-reader"): (
        _on("", "configmaps", *READ, names=("extension-apiserver-authentication",)),
    ),
}
"""Roles of one namespace."""

CLUSTER_ROLES: dict[str, tuple[Rule, ...]] = {
    "cluster-admin": (Rule(("*",), ("*",), ("*",)), Rule(("*",), paths=("*",))),
    "system:discovery": (Rule(("get",), paths=("/api", "/api/*", "/apis", "/apis/*", "/openapi", "/openapi/*",
                                               *_HEALTH)),),
    "system:public-info-viewer": (Rule(("get",), paths=_HEALTH),),
    "system:monitoring": (Rule(("get",), paths=("/healthz", "/healthz/*", "/livez", "/livez/*", "/metrics",
                                                "/metrics/slis", "/readyz", "/readyz/*")),),
    "system:basic-user": (
        _on("authorization.k8s.io", "selfsubjectaccessreviews selfsubjectrulesreviews", "create"),
        _on("authentication.k8s.io", "selfsubjectreviews", "create"),
    ),
    "system:service-account-issuer-discovery": (
        Rule(("get",), paths=("/.well-known/openid-configuration", "/.well-known/openid-configuration/",
                              "/openid/v1/jwks", "/openid/v1/jwks/")),
    ),
    "system:auth-delegator": (
        _on("authentication.k8s.io", "tokenreviews", "create"),
        _on("authorization.k8s.io", "subjectaccessreviews", "create"),
    ),
    "system:kubelet-api-admin": (
        _on("", "nodes", *READ),
        _on("", "nodes", "proxy"),
        _on("", "nodes/log nodes/metrics nodes/proxy nodes/stats", "*"),
    ),
    "system:node": _NODE,
    "system:node-problem-detector": (
        _on("", "nodes", "get"),
        _on("", "nodes/status", "patch"),
        _on("", "events", "create", "patch", "update"),
    ),
    "system:persistent-volume-provisioner": (
        _on("", "persistentvolumes", "create", "delete", *READ),
        _on("", "persistentvolumeclaims", *READ, "update"),
        _on("storage.k8s.io", "storageclasses", *READ),
        _on("", "events", "watch", "create", "update", "patch"),
    ),
    CLOUDCORE: _CLOUDCORE,
}  # fmt: skip

AGGREGATING: dict[str, tuple[str, ...]] = {"view": ("edit",), "edit": ("admin",), "admin": ()}
"""Roles that are put together, and into which others they go themselves; the parts come first."""
PARTS: dict[str, tuple[tuple[str, ...], tuple[Rule, ...]]] = {
    "system:aggregate-to-admin": (("admin",), _ADMIN),
    "system:aggregate-to-edit": (("edit",), _EDIT),
    "system:aggregate-to-view": (("view",), _VIEW),
    "system:aggregated-metrics-reader": (("admin", "edit", "view"), (_on("metrics.k8s.io", "nodes pods", *READ),)),
    "system:kubeedge:aggregate-to-edit": (("edit",), (Rule(WRITE, _KUBEEDGE_VIEWED, ("*",)),)),
    "system:kubeedge:aggregate-to-view": (("view",), (Rule(READ, _KUBEEDGE_VIEWED, ("*",)),)),
}
"""What they are put together of."""

BINDINGS: dict[str, tuple[tuple[str, str], ...]] = {
    "cluster-admin": (("Group", MASTERS),),
    "system:discovery": (("Group", AUTHENTICATED),),
    "system:basic-user": (("Group", AUTHENTICATED),),
    "system:public-info-viewer": (("Group", AUTHENTICATED), ("Group", UNAUTHENTICATED)),
    "system:monitoring": (("Group", "system:monitoring"),),
    "system:service-account-issuer-discovery": (("Group", ALL_ACCOUNTS),),
    "system:kubelet-api-admin": (("User", KUBELET_CLIENT),),
    "system:node": (),
    CLOUDCORE: (("User", CLOUDCORE),),
}
"""Who has which of the cluster roles."""
ROLE_BINDINGS: dict[tuple[str, str], tuple[tuple[str, str], ...]] = {("kubeedge", CLOUDCORE): (("User", CLOUDCORE),)}
"""Who has which of the roles of one namespace."""


def built_in() -> Iterator[Json]:
    """All default roles and bindings, roles first."""
    for name, rules in CLUSTER_ROLES.items():
        yield _role(name, rules)
    for name, (into, rules) in PARTS.items():
        yield _role(name, rules, labels={f"{AGGREGATE}{one}": "true" for one in into})
    for name, into in AGGREGATING.items():
        selectors = [{"matchLabels": {f"{AGGREGATE}{name}": "true"}}]
        row = _role(name, (), labels={f"{AGGREGATE}{one}": "true" for one in into})
        yield {**row, "aggregationRule": {"clusterRoleSelectors": selectors}}
    for (namespace, name), rules in ROLES.items():
        yield _placed(_role(name, rules), "Role", namespace)
    for name, subjects in BINDINGS.items():
        yield _binding(name, subjects)
    for (namespace, name), subjects in ROLE_BINDINGS.items():
        made = _placed(_binding(name, subjects), "RoleBinding", namespace)
        yield {**made, "roleRef": {**made["roleRef"], "kind": "Role"}}


def reconciled(stored: Json, wanted: Json) -> Json:
    """The stored object with what a newer version gives it."""
    annotations = stored["metadata"].get("annotations") or {}
    if annotations.get(AUTOUPDATE) != "true":
        return stored
    if "roleRef" in wanted:
        present = {_who(one) for one in stored.get("subjects") or []}
        new = [one for one in wanted.get("subjects") or [] if _who(one) not in present]
        return {**stored, "subjects": [*(stored.get("subjects") or []), *new]} if new else stored
    if "aggregationRule" in wanted:
        return stored
    missing = list(uncovered(_rules(stored), _rules(wanted)))
    return {**stored, "rules": [*(stored.get("rules") or []), *(one.shown() for one in missing)]} if missing else stored


def _rules(obj: Json) -> Sequence[Rule]:
    return rules_of(msgspec.convert(obj.get("rules") or [], list[PolicyRule]))


def _who(subject: Mapping[str, Any]) -> tuple[str, str, str]:
    return (subject.get("kind", ""), subject.get("namespace") or "", subject.get("name", ""))


def _metadata(name: str, labels: Mapping[str, str]) -> Json:
    return {"name": name, "labels": {**BOOTSTRAPPING, **labels}, "annotations": {AUTOUPDATE: "true"}}


def _role(name: str, rules: Sequence[Rule], labels: Mapping[str, str] | None = None) -> Json:
    return {
        "kind": "ClusterRole",
        "apiVersion": f"{GROUP}/v1",
        "metadata": _metadata(name, labels or {}),
        "rules": [rule.shown() for rule in rules],
    }


def _placed(obj: Json, kind: str, namespace: str) -> Json:
    return {**obj, "kind": kind, "metadata": {**obj["metadata"], "namespace": namespace}}


def _binding(name: str, subjects: Sequence[tuple[str, str]]) -> Json:
    return {
        "kind": "ClusterRoleBinding",
        "apiVersion": f"{GROUP}/v1",
        "metadata": _metadata(name, {}),
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": name},
        "subjects": [{"apiGroup": GROUP, "kind": kind, "name": who} for kind, who in subjects],
    }
