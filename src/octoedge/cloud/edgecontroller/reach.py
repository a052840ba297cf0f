"""What the holder of a node's certificate can read and change: every object there is, put to `authorize`. Pure.

    objects of the cluster → one question per verb → `authorize.refusal`, which CloudCore asks too → those that pass

Which PersistentVolumes and attachments pass is decided by their handler from the object: they follow the claims.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from octoedge.cloud.edgecontroller.authorize import LEASES_NAMESPACE, refusal
from octoedge.cloud.edgecontroller.references import PodFacts
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import CLUSTER, Resource


@dataclass(frozen=True, slots=True)
class Known:
    """The cluster as it is now; implements `Belongings`."""

    pods: tuple[PodFacts, ...]
    nodes: tuple[str, ...]
    objects: tuple[Resource, ...]
    """ConfigMaps, Secrets, claims and service accounts."""
    node_labels: Mapping[str, str] = field(default_factory=dict)

    def pod(self, namespace: str, name: str) -> PodFacts | None:
        """A pod."""
        return next((pod for pod in self.pods if (pod.namespace, pod.name) == (namespace, name)), None)

    def pods_of(self, node: str) -> Iterable[PodFacts]:
        """The pods of a node."""
        return [pod for pod in self.pods if pod.node == node]

    def uses(self, node: str, resource: Resource) -> bool:
        """Whether a pod of the node refers to a ConfigMap or Secret."""
        return any(resource in pod.references for pod in self.pods_of(node))

    def labels(self, _node: str) -> Mapping[str, str]:
        """The labels that the node has."""
        return self.node_labels


@dataclass(frozen=True, slots=True)
class Access:
    """One thing that passes."""

    verb: str
    kind: str
    namespace: str
    name: str


def reach(node: str, known: Known) -> list[Access]:
    """Everything that `node` may do through CloudHub."""
    return [access for access, question in _questions(known) if not refusal(node, question, known)]


def _questions(known: Known) -> Iterator[tuple[Access, p.Payload]]:
    for resource in known.objects:
        if resource.type == "serviceaccount":
            yield from _tokens(resource, known)
        else:
            yield Access("read", resource.type, resource.namespace, resource.name), p.ObjectQuery(resource=resource)
    for name in known.nodes:
        itself, lease = Resource(CLUSTER, "node", name), Resource(LEASES_NAMESPACE, "lease", name)
        yield Access("read", "node", "", name), p.ObjectQuery(resource=itself)
        yield Access("write", "node", "", name), p.NodeUpdate(resource=itself, body=b"{}")
        yield Access("write status", "node", "", name), p.NodeStatusPatch(resource=itself, body=b"{}")
        yield Access("read", "lease", LEASES_NAMESPACE, name), p.ObjectQuery(resource=lease)
        yield Access("write", "lease", LEASES_NAMESPACE, name), p.LeaseUpdate(resource=lease, body=b"{}")
        yield Access("create mirror", "pod", "*", f"*-{name}"), _mirror_pod(name)
    for pod in known.pods:
        resource = Resource(pod.namespace, "pod", pod.name)
        about = {"involvedObject": {"kind": "Pod", "namespace": pod.namespace, "name": pod.name}}
        yield Access("write status", "pod", pod.namespace, pod.name), p.PodStatusPatch(resource=resource, body=b"{}")
        yield Access("delete", "pod", pod.namespace, pod.name), p.PodDelete(resource=resource)
        yield (
            Access("report events", "pod", pod.namespace, pod.name),
            p.EventInsert(resource=resource, body=_json(about)),
        )


def _tokens(account: Resource, known: Known) -> Iterator[tuple[Access, p.Payload]]:
    """A token may be bound to any pod: the first that passes will do."""
    for pod in known.pods:
        if (pod.namespace, pod.service_account) == (account.namespace, account.name):
            bound = {"spec": {"boundObjectRef": {"kind": "Pod", "name": pod.name, "uid": pod.uid}}}
            resource = Resource(account.namespace, "serviceaccounttoken", account.name)
            access = Access(f"token, as pod {pod.name}", "serviceaccount", account.namespace, account.name)
            yield access, p.TokenQuery(resource=resource, body=_json(bound))


def _mirror_pod(node: str) -> p.Payload:
    annotations = {"kubernetes.io/config.mirror": "x"}
    pod = {"metadata": {"name": "x", "namespace": "default", "annotations": annotations}, "spec": {"nodeName": node}}
    return p.PodInsert(resource=Resource("default", "pod", "x"), body=_json(pod))


def _json(value: Any) -> bytes:
    return json.dumps(value).encode()
