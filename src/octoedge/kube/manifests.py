"""Objects of one cluster as manifests for another: without what only the first one could know. Pure.

    portable(object) → the object to be created there, or None: whoever owns it, or the other cluster, makes it itself

A Pod of a controller, an EndpointSlice, a finished Job, a default role is made there anew or is of no use there. What
was given by the first cluster goes (uid, versions, status, cluster IPs, the mounts of tokens); what a user wrote stays.
ObjectSyncs go along: they are what tells the other CloudCore which pods a node still has from here.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

Json = dict[str, Any]

_ORDER = (
    ("10-namespaces", frozenset({"Namespace"})),
    ("20-definitions", frozenset({"CustomResourceDefinition"})),
    ("30-rights", frozenset({"ServiceAccount", "Role", "ClusterRole", "RoleBinding", "ClusterRoleBinding"})),
    ("40-configuration", frozenset({"ConfigMap", "Secret", "PriorityClass", "StorageClass", "PersistentVolume",
                                    "PersistentVolumeClaim", "LimitRange", "ResourceQuota", "RuntimeClass"})),
    ("50-nodes", frozenset({"Node"})),
    ("70-workloads", frozenset({"Pod", "Deployment", "DaemonSet", "StatefulSet", "ReplicaSet", "Job", "CronJob",
                                "ReplicationController", "Service", "Ingress", "PodDisruptionBudget",
                                "HorizontalPodAutoscaler"})),
)  # fmt: skip
_REST = "60-objects"
_MADE_THERE = frozenset(
    {"Event", "Endpoints", "EndpointSlice", "Lease", "ControllerRevision", "APIService", "ComponentStatus",
     "PodMetrics", "NodeMetrics", "CertificateSigningRequest", "CSINode", "VolumeAttachment"}
)  # fmt: skip
_SYSTEM_NAMESPACES = frozenset({"default", "kube-system", "kube-public", "kube-node-lease"})
_SYSTEM_OBJECTS = frozenset(
    {
        ("ConfigMap", "kube-root-ca.crt"),
        ("ConfigMap", "extension-apiserver-authentication"),
        ("ServiceAccount", "default"),
        ("Service", "kubernetes"),
        ("PriorityClass", "system-cluster-critical"),
        ("PriorityClass", "system-node-critical"),
    }
)
_META = ("name", "namespace", "labels", "annotations", "finalizers")
_ANNOTATIONS = ("deployment.kubernetes.io/revision", "kubectl.kubernetes.io/last-applied-configuration")
_TOKEN_VOLUME = "kube-api-access-"  # noqa: S105 - the name of a volume
_TOKEN_TYPE = "kubernetes.io/service-account-token"  # noqa: S105 - a type of Secrets
_JOB_LABELS = ("controller-uid", "job-name", "batch.kubernetes.io/controller-uid", "batch.kubernetes.io/job-name")


def file_of(kind: str) -> str:
    """The file that objects of a kind go into; files are created in the order of their names."""
    return next((name for name, kinds in _ORDER if kind in kinds), _REST)


def portable(obj: Json) -> Json | None:
    """The manifest of an object; None when it is not to be taken along."""
    kind, metadata = str(obj.get("kind")), obj["metadata"]
    name = metadata["name"]
    if kind in _MADE_THERE or (kind, name) in _SYSTEM_OBJECTS or (kind == "Namespace" and name in _SYSTEM_NAMESPACES):
        return None
    owned = any(owner.get("controller") for owner in metadata.get("ownerReferences") or ())
    default = "kubernetes.io/bootstrapping" in (metadata.get("labels") or {}) or name.startswith("system:")
    if owned or default or metadata.get("deletionTimestamp") or _over(kind, obj) or obj.get("type") == _TOKEN_TYPE:
        return None
    made: Json = copy.deepcopy({key: value for key, value in obj.items() if key not in ("metadata", "status")})
    made["metadata"] = copy.deepcopy({key: metadata[key] for key in _META if metadata.get(key)})
    annotations = made["metadata"].get("annotations", {})
    for key in _ANNOTATIONS:
        annotations.pop(key, None)
    cut = _BY_KIND.get(kind)
    if cut is not None:
        cut(made)
    return made


def _over(kind: str, obj: Json) -> bool:
    """Whether it has run to its end: made anew, it would run again."""
    status = obj.get("status") or {}
    if kind == "Job":
        ended = ("Complete", "Failed")
        return any(one.get("type") in ended and one.get("status") == "True" for one in status.get("conditions") or ())
    mirror = "kubernetes.io/config.mirror" in (obj["metadata"].get("annotations") or {})
    return kind == "Pod" and (mirror or status.get("phase") in ("Succeeded", "Failed"))


def _pod(made: Json) -> None:
    spec = made["spec"]
    spec["volumes"] = [one for one in spec.get("volumes") or () if not one["name"].startswith(_TOKEN_VOLUME)]
    for container in (*(spec.get("initContainers") or ()), *spec["containers"]):
        mounts = container.get("volumeMounts") or ()
        container["volumeMounts"] = [one for one in mounts if not one["name"].startswith(_TOKEN_VOLUME)]
    for key in ("serviceAccount", "priority", "ephemeralContainers"):
        spec.pop(key, None)


def _service(made: Json) -> None:
    if made["spec"].get("clusterIP") != "None":
        for key in ("clusterIP", "clusterIPs"):
            made["spec"].pop(key, None)


def _volume(made: Json) -> None:
    claim = made["spec"].get("claimRef") or {}
    for key in ("uid", "resourceVersion"):
        claim.pop(key, None)


def _job(made: Json) -> None:
    spec = made["spec"]
    if not spec.get("manualSelector"):
        spec.pop("selector", None)
        for labels in (made["metadata"].get("labels") or {}, spec["template"].get("metadata", {}).get("labels") or {}):
            for key in _JOB_LABELS:
                labels.pop(key, None)


def _namespace(made: Json) -> None:
    made.pop("spec", None)


def _account(made: Json) -> None:
    made.pop("secrets", None)


_BY_KIND: dict[str, Callable[[Json], None]] = {
    "Pod": _pod,
    "Service": _service,
    "PersistentVolume": _volume,
    "Job": _job,
    "Namespace": _namespace,
    "ServiceAccount": _account,
}
