"""What a node may touch: itself, its lease, its pods, and what its pods refer to. Pure.

One rule per payload, as for the handlers; a rule gives the reason for a refusal, or nothing. A stolen node certificate
so opens that node's own things and no more.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Protocol

from octoedge.cloud.edgecontroller.references import PodFacts, facts
from octoedge.errors import CertificateError, MessageError
from octoedge.kube.nodelabels import reserved_labels
from octoedge.pki import x509
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import Resource

LEASES_NAMESPACE = "kube-node-lease"
_SIGNERS = ("kubernetes.io/kubelet-serving", "kubernetes.io/kube-apiserver-client-kubelet")


class Belongings(Protocol):
    """What is known of pods and of what they refer to."""

    def pod(self, namespace: str, name: str) -> PodFacts | None:
        """A pod."""
        ...

    def pods_of(self, node: str) -> Iterable[PodFacts]:
        """The pods of a node."""
        ...

    def uses(self, node: str, resource: Resource) -> bool:
        """Whether a pod of the node refers to a ConfigMap or Secret."""
        ...

    def labels(self, node: str) -> Mapping[str, str]:
        """The labels that a node has."""
        ...


def refusal(node: str, payload: p.Payload, belongings: Belongings) -> str:
    """Why `node` may not send this; empty when it may."""
    rule = _RULES.get(type(payload))
    if rule is None:
        return f"node {node} may not send {type(payload).__name__}"
    return rule(node, payload, belongings)


def _anything(_: str, _payload: p.Payload, _belongings: Belongings) -> str:
    return ""


def _itself(node: str, payload: p.Payload, _: Belongings) -> str:
    name = payload.resource.name
    return "" if name == node else f"node {node} may not touch node {name}"


def _writes_itself(node: str, payload: p.Payload, belongings: Belongings) -> str:
    """As `_itself`, and without the labels by which administrators keep pods away from nodes."""
    why = _itself(node, payload, belongings)
    if why:
        return why
    about, present = _object(payload).get("metadata") or {}, belongings.labels(node)
    wished = about.get("labels", {})
    if "$patch" in about or wished is None or "$patch" in wished:
        wrong = reserved_labels(present)  # all labels would go
    else:
        wrong = [key for key in reserved_labels(wished) if present.get(key) != wished[key]]
    return f"node {node} may not change its label {wrong[0]}: only an administrator may" if wrong else ""


def _lease(node: str, payload: p.Payload, _: Belongings) -> str:
    resource = payload.resource
    if resource.name == node and resource.namespace == LEASES_NAMESPACE:
        return ""
    return f"node {node} may only hold the lease {LEASES_NAMESPACE}/{node}, not {resource.namespace}/{resource.name}"


def _own_pod(node: str, payload: p.Payload, belongings: Belongings) -> str:
    resource = payload.resource
    if not resource.name:
        return ""  # a report of many pods: each is looked at by its handler
    pod = belongings.pod(resource.namespace, resource.name)
    if pod is None or pod.node == node:
        return ""  # an unknown pod is looked up by the handler
    return f"pod {resource.namespace}/{resource.name} does not belong to node {node}"


def _mirror_pod(node: str, payload: p.Payload, _: Belongings) -> str:
    pod = _object(payload)
    annotations = (pod.get("metadata") or {}).get("annotations") or {}
    if (pod.get("spec") or {}).get("nodeName") != node or "kubernetes.io/config.mirror" not in annotations:
        return f"node {node} may only create mirror pods of its own static pods"
    seen = facts(payload.body)
    if seen.references or seen.claims or pod["spec"].get("serviceAccountName"):
        # As Kubernetes' NodeRestriction: else a stolen certificate opens any Secret, by a pod made up for it.
        return f"node {node} may not create a mirror pod that refers to Secrets, ConfigMaps, claims or service accounts"
    return ""


def _token(node: str, payload: p.Payload, belongings: Belongings) -> str:
    resource = payload.resource
    bound = (_object(payload).get("spec") or {}).get("boundObjectRef") or {}
    for pod in belongings.pods_of(node):
        runs_as_it = (pod.namespace, pod.service_account) == (resource.namespace, resource.name)
        if runs_as_it and (bound.get("kind"), bound.get("name"), bound.get("uid")) == ("Pod", pod.name, pod.uid):
            return ""
    return (
        f"node {node} may not have this token of service account {resource.namespace}/{resource.name}: "
        "it must be bound to a pod of the node that runs as it"
    )


def _query(node: str, payload: p.Payload, belongings: Belongings) -> str:
    return _QUERIES.get(payload.resource.type, _unknown)(node, payload, belongings)


def _referenced(node: str, payload: p.Payload, belongings: Belongings) -> str:
    resource = payload.resource
    if belongings.uses(node, resource):
        return ""
    return f"node {node} may not read {resource}: no pod of the node refers to it"


def _referenced_or_behind_a_claim(node: str, payload: p.Payload, belongings: Belongings) -> str:
    """A Secret may be named by a volume: the handler looks, where there are claims at all."""
    if any(pod.claims for pod in belongings.pods_of(node)):
        return ""
    return _referenced(node, payload, belongings)


def _claimed(node: str, payload: p.Payload, belongings: Belongings) -> str:
    if any(payload.resource in pod.claims for pod in belongings.pods_of(node)):
        return ""
    return f"node {node} may not read {payload.resource}: no pod of the node claims it"


def _event(node: str, payload: p.Payload, belongings: Belongings) -> str:
    body = _object(payload)
    about = (body.get("event") or body).get("involvedObject") or {}
    name = str(about.get("name") or "")
    if about.get("kind") == "Node" and name != node:
        return f"node {node} may not report events of node {name}"
    if about.get("kind") == "Pod":
        pod = belongings.pod(str(about.get("namespace") or ""), name)
        if pod is not None and pod.node != node:
            return f"node {node} may not report events of pod {pod.namespace}/{name}"
    return ""


def _signing_request(node: str, payload: p.Payload, _: Belongings) -> str:
    why = of_another(node, _object(payload))
    return f"node {node} may not ask for this certificate: {why}" if why else ""


def of_another(node: str, signing_request: dict[str, Any]) -> str:
    """Why a CertificateSigningRequest is not about the node itself, or of a signer for others; empty when it is."""
    spec = signing_request.get("spec") or {}
    if spec.get("signerName") not in _SIGNERS:
        return f"nodes ask for certificates of {' and '.join(_SIGNERS)} only, not of {spec.get('signerName')!r}"
    try:
        pem = base64.b64decode(str(spec.get("request") or ""), validate=True)
        x509.key_of_request(x509.request_from_pem(pem), node)
    except (CertificateError, binascii.Error) as error:
        return str(error)
    return ""


def _anybody(_node: str, _payload: p.Payload, _belongings: Belongings) -> str:
    return ""


def _seen_by_handler(_node: str, _payload: p.Payload, _belongings: Belongings) -> str:
    """Whose it is stands in the object itself: the handler reads it, and then decides."""
    return ""


def _unknown(node: str, payload: p.Payload, _: Belongings) -> str:
    return f"node {node} may not read objects of type {payload.resource.type}"


def _object(payload: p.Payload) -> dict[str, Any]:
    decoded = payload.json()
    if not isinstance(decoded, dict):
        raise MessageError(f"{type(payload).__name__} {payload.resource}: the body is no object")
    return decoded


_Rule = Callable[[str, p.Payload, Belongings], str]

_QUERIES: dict[str, _Rule] = {
    "node": _itself,
    "lease": _lease,
    "configmap": _referenced,
    "secret": _referenced_or_behind_a_claim,
    "persistentvolumeclaim": _claimed,
    "persistentvolume": _seen_by_handler,
    "volumeattachment": _seen_by_handler,
    "csidriver": _anybody,
    "certificatesigningrequest": _seen_by_handler,
}

_RULES: dict[type[p.Payload], _Rule] = {
    p.UserUpload: _anything,
    p.ObjectQuery: _query,
    p.TokenQuery: _token,
    p.NodeInsert: _writes_itself,
    p.NodeUpdate: _writes_itself,
    p.NodeStatusPatch: _writes_itself,
    p.NodeStatusInsert: _writes_itself,
    p.NodeStatusReport: _itself,
    p.PodInsert: _mirror_pod,
    p.PodStatusPatch: _own_pod,
    p.PodStatusReport: _own_pod,
    p.PodDelete: _own_pod,
    p.LeaseInsert: _lease,
    p.LeaseUpdate: _lease,
    p.EventInsert: _event,
    p.EventUpdate: _event,
    p.EventPatch: _event,
    p.SigningRequestInsert: _signing_request,
    p.CaQuery: _anybody,
}
