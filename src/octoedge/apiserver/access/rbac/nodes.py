"""What a node may do with a certificate of its own (user `system:node:NAME`, group `system:nodes`), as in Kubernetes.

    NodeAuthorizer    reads: itself, its pods, and what they refer to; writes: itself, its lease, its pods' status
    restriction       what it may not write into them: another node's name, labels that others rely on

Pods of the node are found in the store when something is asked that depends on them: nodes that come to the API by
themselves are few, the others come by CloudCore.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from octoedge.apiserver.access.authorization import NO_OPINION, Attributes, Decision, Rule
from octoedge.apiserver.access.rbac.escalation import Guard
from octoedge.apiserver.serving.requests import NODE, NODES, User
from octoedge.errors import CertificateError, forbidden
from octoedge.kube.nodelabels import forbidden_labels
from octoedge.kube.read import Reader
from octoedge.pki import x509

Json = dict[str, Any]

_MIRROR = "kubernetes.io/config.mirror"
_LEASES = "kube-node-lease"
_KUBELET_SIGNERS = frozenset(("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet"))
_READ = ("get", "list", "watch")
_ANY = (
    Rule(_READ, ("",), ("services",)),
    Rule(_READ, ("node.k8s.io",), ("runtimeclasses",)),
    Rule(_READ, ("storage.k8s.io",), ("csidrivers",)),
    Rule(("create", "get", "list", "watch"), ("certificates.k8s.io",), ("certificatesigningrequests",)),
    Rule(("create",), ("authentication.k8s.io",), ("tokenreviews",)),
    Rule(("create",), ("authorization.k8s.io",), ("subjectaccessreviews", "localsubjectaccessreviews")),
    Rule(("create", "update", "patch"), ("",), ("events",)),
    Rule(("create",), ("",), ("nodes", "pods")),
    Rule(("create",), ("coordination.k8s.io",), ("leases",)),
    Rule(("create",), ("storage.k8s.io",), ("csinodes",)),
)
"""What every node may do; what it may create is looked at again by `restriction`."""
_POD_WRITES = frozenset((("delete", ""), ("create", "eviction"), ("update", "status"), ("patch", "status")))
"""(verb, subresource) of what a node may do to the pods that are on it."""


def node_of(user: User) -> str:
    """The node that a user is; empty when it is none."""
    return user.name.removeprefix(NODE) if user.name.startswith(NODE) and NODES in user.groups else ""


class NodeAuthorizer:
    """Allows nodes what concerns them."""

    def __init__(self, reader: Reader) -> None:
        self._reader = reader
        self._by_resource: dict[str, Callable[[str, Attributes], str]] = {
            "nodes": self._node,
            "pods": self._pod,
            "leases.coordination.k8s.io": self._lease,
            "csinodes.storage.k8s.io": self._itself,
            "configmaps": self._referred,
            "secrets": self._referred,
            "persistentvolumeclaims": self._claim,
            "persistentvolumes": self._volume,
            "serviceaccounts": self._account,
        }

    def decide(self, user: User, asked: Attributes) -> Decision:
        """Whether it concerns the node; no opinion about users that are none."""
        node = node_of(user)
        if not node or not asked.resource:
            return NO_OPINION
        if any(rule.covers(asked) for rule in _ANY):
            return Decision(True, "nodes may")
        resource = f"{asked.resource}.{asked.group}" if asked.group else asked.resource
        about = self._by_resource.get(resource)
        why = f"node '{node}' has no business with {asked.whole}" if about is None else about(node, asked)
        return Decision(not why, why or f"it concerns node '{node}'")

    def rules(self, user: User, _namespace: str = "") -> Sequence[Rule]:
        """What can be said without naming an object."""
        return _ANY if node_of(user) else ()

    def _itself(self, node: str, asked: Attributes) -> str:
        return "" if asked.name == node else f"node '{node}' may only touch what has its own name"

    def _node(self, node: str, asked: Attributes) -> str:
        if asked.verb in _READ and asked.name == node and not asked.subresource:
            return ""
        allowed = asked.verb in ("update", "patch") and asked.subresource in ("", "status")
        return self._itself(node, asked) if allowed else f"node '{node}' may not {asked.verb} {asked.whole}"

    def _lease(self, node: str, asked: Attributes) -> str:
        if asked.namespace == _LEASES and asked.name == node and asked.verb not in ("list", "watch"):
            return ""
        return f"node '{node}' may only hold the lease {_LEASES}/{node}"

    def _pod(self, node: str, asked: Attributes) -> str:
        if asked.verb in ("list", "watch") and not asked.subresource:
            return "" if asked.node == node else "can only list/watch pods with spec.nodeName field selector"
        reads = asked.verb == "get" and not asked.subresource
        if not (reads or (asked.verb, asked.subresource) in _POD_WRITES):
            return f"node '{node}' may not {asked.verb} {asked.whole}"
        item = self._reader.get("pods", asked.namespace, asked.name)
        there = item is None or item.fields.get("spec.nodeName") == node
        return "" if there else f"pod {asked.namespace}/{asked.name} is not on node '{node}'"

    def _referred(self, node: str, asked: Attributes) -> str:
        allowed = asked.verb in _READ and not asked.subresource
        return self._related(node, asked, allowed, lambda pod: asked.name in references(pod, asked.resource))

    def _claim(self, node: str, asked: Attributes) -> str:
        allowed = asked.verb == "get" or (asked.subresource == "status" and asked.verb in ("update", "patch"))
        return self._related(node, asked, allowed, lambda pod: asked.name in references(pod, asked.resource))

    def _volume(self, node: str, asked: Attributes) -> str:
        item = self._reader.get("persistentvolumes", "", asked.name) if asked.verb == "get" else None
        if item is not None and not asked.subresource:
            claim = msgspec.json.decode(item.data)["spec"].get("claimRef") or {}
            for pod in self._pods(node, claim.get("namespace") or ""):
                if claim.get("name") in references(pod, "persistentvolumeclaims"):
                    return ""
        return _unrelated(node)

    def _account(self, node: str, asked: Attributes) -> str:
        allowed = (asked.verb, asked.subresource) in (("create", "token"), ("get", ""))
        return self._related(node, asked, allowed, lambda pod: pod["spec"].get("serviceAccountName") == asked.name)

    def _related(self, node: str, asked: Attributes, allowed: bool, concerns: Callable[[Json], bool]) -> str:
        """Nothing if what is asked for is allowed with such an object, and a pod of the node is concerned with it."""
        if allowed and asked.name and any(map(concerns, self._pods(node, asked.namespace))):
            return ""
        return _unrelated(node)

    def _pods(self, node: str, namespace: str) -> Iterator[Json]:
        for item in self._reader.items("pods", namespace) if namespace else ():
            if item.fields.get("spec.nodeName") == node:
                yield msgspec.json.decode(item.data)


def _unrelated(node: str) -> str:
    return f"no relationship found between node '{node}' and this object"


def references(pod: Json, resource: str) -> frozenset[str]:
    """The names of the ConfigMaps, Secrets or claims that a Pod refers to; a mirror Pod refers to nothing."""
    if _MIRROR in (pod["metadata"].get("annotations") or {}):
        return frozenset()
    return frozenset(_named(pod["spec"], _KEYS[resource]))


_KEYS: dict[str, dict[str, str]] = {
    "configmaps": {"configMap": "name", "configMapRef": "name", "configMapKeyRef": "name"},
    "secrets": {
        "secret": "secretName",
        "secretRef": "name",
        "secretKeyRef": "name",
        "imagePullSecrets": "name",
        "nodePublishSecretRef": "name",
    },
    "persistentvolumeclaims": {"persistentVolumeClaim": "claimName"},
}


def _named(value: Any, keys: dict[str, str]) -> Iterator[str]:
    """Names below fields of these names, wherever in a spec they stand."""
    if isinstance(value, list):
        for one in value:
            yield from _named(one, keys)
    elif isinstance(value, dict):
        for key, below in value.items():
            for one in below if isinstance(below, list) else [below]:
                if key in keys and isinstance(one, dict):
                    yield str(one.get(keys[key]) or one.get("name") or "")
            yield from _named(below, keys)


def restriction(user: User, group: str, plural: str, namespace: str, subresource: str) -> Guard | None:
    """The guard of what a node writes; None when the user is none, or the object is nothing to guard."""
    node = node_of(user)
    check = _RESTRICTIONS.get(f"{plural}.{group}" if group else plural) if node else None
    if check is None or subresource not in ("", "status"):
        return None
    return lambda new, old: check(node, namespace, new, old)


def restrict_token(user: User, account: str, on: str) -> None:
    """A node gets a token only for a pod that is on it; `on` is the node of the token's pod, empty when it has none."""
    node = node_of(user)
    if node and on != node:
        text = f'node "{node}" may only request tokens that are bound to a pod on it'
        raise forbidden(f'serviceaccounts "{account}" is forbidden: {text}')


def _restrict_node(node: str, _namespace: str, new: Json, old: Json | None) -> None:
    name = new["metadata"].get("name")
    if name != node:
        raise forbidden(f'nodes "{name}" is forbidden: node "{node}" is not allowed to modify node "{name}"')
    before = old["metadata"].get("labels") or {} if old else {}
    wrong = forbidden_labels(before, new["metadata"].get("labels") or {})
    if wrong:
        text = f"is not allowed to modify labels: {', '.join(wrong)}"
        raise forbidden(f'nodes "{name}" is forbidden: node "{node}" {text}')
    if old is not None and (new.get("spec") or {}).get("taints") != (old.get("spec") or {}).get("taints"):
        raise forbidden(f'nodes "{name}" is forbidden: node "{node}" is not allowed to modify taints')
    if old is not None and new["metadata"].get("ownerReferences") != old["metadata"].get("ownerReferences"):
        # The garbage collector would delete the node; it could then register anew, without its taints.
        raise forbidden(f'nodes "{name}" is forbidden: node "{node}" is not allowed to modify ownerReferences')


def _restrict_pod(node: str, namespace: str, new: Json, old: Json | None) -> None:
    name = f'pods "{new["metadata"].get("name")}" is forbidden: '
    if old is not None:
        # A report of a status may bring labels along; Services and others choose Pods by them.
        if (new["metadata"].get("labels") or {}) != (old["metadata"].get("labels") or {}):
            raise forbidden(f'{name}node "{node}" cannot update labels through pod status')
        return
    if _MIRROR not in (new["metadata"].get("annotations") or {}):
        raise forbidden(f'{name}pod does not have "{_MIRROR}" annotation, node "{node}" can only create mirror pods')
    if new["spec"].get("nodeName") != node:
        raise forbidden(f'{name}node "{node}" can only create pods with spec.nodeName set to itself')
    bare = {**new, "metadata": {"namespace": namespace}}
    if new["spec"].get("serviceAccountName") or any(references(bare, resource) for resource in _KEYS):
        text = f'node "{node}" can not create pods that reference a service account, secret, configmap or claim'
        raise forbidden(f"{name}{text}")


def _restrict_name(node: str, _namespace: str, new: Json, _old: Json | None) -> None:
    name = new["metadata"].get("name")
    if name != node:
        raise forbidden(f'"{name}" is forbidden: node "{node}" may only write what has its own name')


def _restrict_signing(node: str, _namespace: str, new: Json, old: Json | None) -> None:
    spec = new.get("spec") or {}
    if old is not None or spec.get("signerName") not in _KUBELET_SIGNERS:
        return
    try:
        pem = base64.b64decode(str(spec.get("request") or ""), validate=True)
        x509.key_of_request(x509.request_from_pem(pem), node)
    except (CertificateError, binascii.Error) as error:
        name = new["metadata"].get("name")
        text = f"can only create a node CSR with CN=system:node:{node}"
        raise forbidden(f'certificatesigningrequests "{name}" is forbidden: {text}: {error}') from error


_RESTRICTIONS: dict[str, Callable[[str, str, Json, Json | None], None]] = {
    "nodes": _restrict_node,
    "pods": _restrict_pod,
    "certificatesigningrequests.certificates.k8s.io": _restrict_signing,
    "leases.coordination.k8s.io": _restrict_name,
    "csinodes.storage.k8s.io": _restrict_name,
}
