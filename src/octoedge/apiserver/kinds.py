"""The table of kinds: one row makes a kind appear in discovery, OpenAPI, paths, storage and Tables.

What a kind does beyond being stored (defaults, rules, status, deletion) is in `behaviour.py`; its columns are in
`columns.py`; its fields are in `schema.json`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import msgspec

from octoedge.apiserver.behaviours.autoscaling import VersionOne
from octoedge.apiserver.behaviours.eventviews import NewerEvent
from octoedge.apiserver.crd.shape import Custom
from octoedge.apiserver.writing.ownership import owner_fields
from octoedge.kube.read import Item

Json = dict[str, Any]

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class Subresource:
    """Something below an object: `status`, `token`, `log`."""

    name: str
    kind: str
    verbs: tuple[str, ...]
    group: str = ""
    """Group and version of the kind, when they are not the parent's."""
    version: str = ""


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where an object keeps what a Scale shows; dotted."""

    spec: str = "spec.replicas"
    status: str = "status.replicas"
    selector: str = "spec.selector"
    """A label selector, or its text."""


class Conversion(Protocol):
    """Between the version in which a built-in kind is kept and another one of it."""

    def shown(self, obj: Json) -> Json:
        """A kept object in the other version."""
        ...

    def kept(self, obj: Json) -> Json:
        """An object of the other version as it is kept."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of object."""

    group: str
    version: str
    plural: str
    kind: str
    short_names: tuple[str, ...] = ()
    namespaced: bool = True
    subresources: tuple[Subresource, ...] = ()
    fields: tuple[str, ...] = ()
    """What field selectors may ask for, beside metadata.name and metadata.namespace."""
    categories: tuple[str, ...] = ()
    verbs: tuple[str, ...] = ALL_VERBS
    """A kind that can only be created (reviews) is computed, not stored."""
    strategic: bool = True
    """Whether strategic merge patches are understood; kinds that come from CRDs take merge patches only."""

    scale_paths: ScalePaths = ScalePaths()
    singular_name: str = ""
    list_name: str = ""
    custom: Custom | None = field(default=None, compare=False, repr=False)
    """What its CustomResourceDefinition says; None for a built-in kind."""
    conversion: Conversion | None = field(default=None, compare=False, repr=False)
    """For a built-in kind that is kept in another version."""
    kept_as: str = ""
    """For a built-in kind that is kept under a name of another group; that one's row must come later."""

    @property
    def converts(self) -> bool:
        """Whether objects may be kept in another version than this one."""
        return self.custom is not None or self.conversion is not None

    def shown(self, item: Item) -> Item:
        """A stored object in this version."""
        if self.custom is not None:
            return self.custom.converted(item)
        if self.conversion is not None:
            return replace(item, data=msgspec.json.encode(self.conversion.shown(msgspec.json.decode(item.data))))
        return item

    def kept(self, obj: Json) -> Json:
        """An object of this version as it is stored."""
        if self.custom is not None:
            return self.custom.stored.converted(obj)
        return self.conversion.kept(obj) if self.conversion is not None else obj

    @property
    def scale(self) -> ScalePaths | None:
        """Where its scale is kept; None when it has none."""
        return self.scale_paths if self.subresource("scale") else None

    @property
    def api_version(self) -> str:
        """As it stands in objects."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def root(self) -> str:
        """Where paths of its group and version begin."""
        return f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"

    @property
    def resource(self) -> str:
        """The name in messages and in the store: `pods`, `leases.coordination.k8s.io`."""
        return self.kept_as or (f"{self.plural}.{self.group}" if self.group else self.plural)

    @property
    def singular(self) -> str:
        """`pod`."""
        return self.singular_name or self.kind.lower()

    @property
    def list_kind(self) -> str:
        """`PodList`."""
        return self.list_name or f"{self.kind}List"

    @property
    def stored(self) -> bool:
        """Whether objects of this kind are kept."""
        return "get" in self.verbs and not self.measured

    @property
    def measured(self) -> bool:
        """Whether objects of this kind are only looked at: they are made when they are asked for."""
        return "create" not in self.verbs

    def subresource(self, name: str) -> Subresource | None:
        """The subresource of that name."""
        return next((item for item in self.subresources if item.name == name), None)


def _status(kind: str) -> Subresource:
    return Subresource("status", kind, ("get", "patch", "update"))


_SCALE = Subresource("scale", "Scale", ("get", "patch", "update"), "autoscaling", "v1")
_ALL = ("all",)


_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_AUTHORIZATION = "authorization.k8s.io"
_AUTHENTICATION = "authentication.k8s.io"
_RBAC = "rbac.authorization.k8s.io"
_STORAGE = "storage.k8s.io"
_NETWORK = "networking.k8s.io"


def _autoscaler(version: str, conversion: Conversion | None = None) -> Kind:
    """The row that is kept must come last."""
    kind = "HorizontalPodAutoscaler"
    below = (_status(kind),)
    plural = "horizontalpodautoscalers"
    return Kind("autoscaling", version, plural, kind, ("hpa",), True, below, (), _ALL, conversion=conversion)


WORKLOADS = (
    Kind("apps", "v1", "deployments", "Deployment", ("deploy",), True, (_status("Deployment"), _SCALE), (), _ALL),
    Kind(
        "apps",
        "v1",
        "replicasets",
        "ReplicaSet",
        ("rs",),
        True,
        (_status("ReplicaSet"), _SCALE),
        ("status.replicas",),
        _ALL,
    ),
    Kind("apps", "v1", "statefulsets", "StatefulSet", ("sts",), True, (_status("StatefulSet"), _SCALE), (), _ALL),
    Kind("apps", "v1", "daemonsets", "DaemonSet", ("ds",), True, (_status("DaemonSet"),), (), _ALL),
    Kind("apps", "v1", "controllerrevisions", "ControllerRevision"),
    Kind("batch", "v1", "jobs", "Job", (), True, (_status("Job"),), ("status.successful",), _ALL),
    Kind("batch", "v1", "cronjobs", "CronJob", ("cj",), True, (_status("CronJob"),), (), _ALL),
    Kind("", "v1", "endpoints", "Endpoints", ("ep",)),
    Kind("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice"),
    Kind("", "v1", "persistentvolumes", "PersistentVolume", ("pv",), False, (_status("PersistentVolume"),)),
    Kind(
        "",
        "v1",
        "persistentvolumeclaims",
        "PersistentVolumeClaim",
        ("pvc",),
        True,
        (_status("PersistentVolumeClaim"),),
    ),
    Kind(
        "policy",
        "v1",
        "poddisruptionbudgets",
        "PodDisruptionBudget",
        ("pdb",),
        True,
        (_status("PodDisruptionBudget"),),
    ),
    Kind("scheduling.k8s.io", "v1", "priorityclasses", "PriorityClass", ("pc",), False),
    Kind(_STORAGE, "v1", "storageclasses", "StorageClass", ("sc",), False),
    Kind(_STORAGE, "v1", "csidrivers", "CSIDriver", (), False),
    Kind(_STORAGE, "v1", "csinodes", "CSINode", (), False),
    Kind(_STORAGE, "v1", "volumeattachments", "VolumeAttachment", (), False, (_status("VolumeAttachment"),)),
    Kind(_NETWORK, "v1", "ingresses", "Ingress", ("ing",), True, (_status("Ingress"),)),
    Kind(_NETWORK, "v1", "ingressclasses", "IngressClass", (), False),
    Kind(_NETWORK, "v1", "networkpolicies", "NetworkPolicy", ("netpol",)),
    Kind("node.k8s.io", "v1", "runtimeclasses", "RuntimeClass", (), False),
    Kind("", "v1", "resourcequotas", "ResourceQuota", ("quota",), True, (_status("ResourceQuota"),)),
    Kind("", "v1", "limitranges", "LimitRange", ("limits",)),
    # Kept for the clients that ask for them; nothing acts on them, and whoever writes one is told (behaviour.py).
    Kind(
        "",
        "v1",
        "replicationcontrollers",
        "ReplicationController",
        ("rc",),
        True,
        (_status("ReplicationController"), _SCALE),
        ("status.replicas",),
        _ALL,
    ),
    Kind("", "v1", "podtemplates", "PodTemplate"),
    _autoscaler("v1", VersionOne()),
    _autoscaler("v2"),
    Kind(
        "certificates.k8s.io",
        "v1",
        "certificatesigningrequests",
        "CertificateSigningRequest",
        ("csr",),
        False,
        (
            _status("CertificateSigningRequest"),
            Subresource("approval", "CertificateSigningRequest", ("get", "patch", "update")),
        ),
        ("spec.signerName",),
    ),
    Kind(_RBAC, "v1", "roles", "Role"),
    Kind(_RBAC, "v1", "rolebindings", "RoleBinding"),
    Kind(_RBAC, "v1", "clusterroles", "ClusterRole", (), False),
    Kind(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", (), False),
)

KINDS = (
    Kind(
        "",
        "v1",
        "namespaces",
        "Namespace",
        ("ns",),
        False,
        (_status("Namespace"), Subresource("finalize", "Namespace", ("update",))),
        ("status.phase",),
        verbs=tuple(verb for verb in ALL_VERBS if verb != "deletecollection"),
    ),
    Kind(
        "",
        "v1",
        "nodes",
        "Node",
        ("no",),
        False,
        (_status("Node"), Subresource("proxy", "NodeProxyOptions", ("get",))),
        ("spec.unschedulable",),
    ),
    Kind(
        "",
        "v1",
        "pods",
        "Pod",
        ("po",),
        True,
        (
            _status("Pod"),
            Subresource("binding", "Binding", ("create",)),
            Subresource("eviction", "Eviction", ("create",), "policy", "v1"),
            Subresource("log", "Pod", ("get",)),
            Subresource("ephemeralcontainers", "Pod", ("get", "patch", "update")),
            Subresource("attach", "PodAttachOptions", ("create", "get")),
            Subresource("exec", "PodExecOptions", ("create", "get")),
            Subresource("portforward", "PodPortForwardOptions", ("create", "get")),
        ),
        (
            "spec.nodeName",
            "spec.restartPolicy",
            "spec.schedulerName",
            "spec.serviceAccountName",
            "spec.hostNetwork",
            "status.phase",
            "status.podIP",
            "status.nominatedNodeName",
        ),
        ("all",),
    ),
    Kind("", "v1", "configmaps", "ConfigMap", ("cm",)),
    Kind("", "v1", "secrets", "Secret", fields=("type",)),
    Kind(
        "events.k8s.io",
        "v1",
        "events",
        "Event",
        fields=("reason", "type"),
        conversion=NewerEvent(),
        kept_as="events",
    ),
    Kind(
        "",
        "v1",
        "events",
        "Event",
        ("ev",),
        fields=(
            *(f"involvedObject.{name}" for name in _INVOLVED),
            "reason",
            "reportingComponent",
            "source",
            "type",
        ),
    ),
    Kind(
        "",
        "v1",
        "serviceaccounts",
        "ServiceAccount",
        ("sa",),
        subresources=(Subresource("token", "TokenRequest", ("create",), _AUTHENTICATION, "v1"),),
    ),
    Kind(
        "",
        "v1",
        "services",
        "Service",
        ("svc",),
        True,
        (_status("Service"),),
        ("spec.clusterIP", "spec.type"),
        ("all",),
    ),
    Kind("coordination.k8s.io", "v1", "leases", "Lease"),
    Kind(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
        ("crd", "crds"),
        False,
        (_status("CustomResourceDefinition"),),
        (),
        ("api-extensions",),
    ),
    Kind("metrics.k8s.io", "v1beta1", "nodes", "NodeMetrics", (), False, verbs=("get", "list")),
    Kind("metrics.k8s.io", "v1beta1", "pods", "PodMetrics", verbs=("get", "list")),
    Kind(_AUTHENTICATION, "v1", "tokenreviews", "TokenReview", namespaced=False, verbs=("create",)),
    Kind(_AUTHENTICATION, "v1", "selfsubjectreviews", "SelfSubjectReview", namespaced=False, verbs=("create",)),
    Kind(_AUTHORIZATION, "v1", "subjectaccessreviews", "SubjectAccessReview", namespaced=False, verbs=("create",)),
    Kind(_AUTHORIZATION, "v1", "localsubjectaccessreviews", "LocalSubjectAccessReview", verbs=("create",)),
    Kind(
        _AUTHORIZATION, "v1", "selfsubjectaccessreviews", "SelfSubjectAccessReview", namespaced=False, verbs=("create",)
    ),
    Kind(
        _AUTHORIZATION, "v1", "selfsubjectrulesreviews", "SelfSubjectRulesReview", namespaced=False, verbs=("create",)
    ),
    *WORKLOADS,
)


class Kinds:
    """The kinds that this server has, found by path, by storage name and by group."""

    def __init__(self, kinds: Iterable[Kind] = KINDS) -> None:
        self._by_path = {(kind.group, kind.version, kind.plural): kind for kind in kinds}
        self._by_resource = {kind.resource: kind for kind in kinds}
        self._by_object = {(kind.api_version, kind.kind): kind for kind in kinds if kind.stored}

        self._changed = asyncio.Event()

    def changed(self) -> asyncio.Event:
        """Set when kinds have come or gone since it was asked for."""
        return self._changed

    def replace(self, resource: str, rows: Sequence[Kind], stored: Kind | None) -> None:
        """Serve these rows (one a version) of a custom resource from now on; `stored` is the version that is kept."""
        for kind in [kind for kind in self if kind.custom and kind.resource == resource]:
            del self._by_path[kind.group, kind.version, kind.plural]
            self._by_object.pop((kind.api_version, kind.kind), None)
        self._by_resource.pop(resource, None)
        if stored is not None:
            self._by_resource[resource] = stored
        for kind in rows:
            self._by_path[kind.group, kind.version, kind.plural] = kind
            self._by_object[kind.api_version, kind.kind] = kind
        self._changed.set()
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Kind]:
        return iter(self._by_path.values())

    def at(self, group: str, version: str, plural: str) -> Kind | None:
        """The kind that a path names."""
        return self._by_path.get((group, version, plural))

    def named(self, resource: str) -> Kind:
        """The kind by its storage name (`pods`, `leases.coordination.k8s.io`)."""
        return self._by_resource[resource]

    def groups(self) -> dict[tuple[str, str], list[Kind]]:
        """Kinds by (group, version); the core group first, then by name, within a group the best version first."""
        groups: dict[tuple[str, str], list[Kind]] = {}
        for kind in sorted(self, key=lambda kind: (kind.group, _rank(kind.version), kind.plural)):
            groups.setdefault((kind.group, kind.version), []).append(kind)
        return groups

    def stored(self) -> list[Kind]:
        """The kinds whose objects are kept."""
        return [kind for kind in self._by_resource.values() if kind.stored]

    def fields_of(self, resource: str, obj: Json) -> Mapping[str, str]:
        """The values of an object that field selectors may ask for."""
        kind = self._by_resource.get(resource)
        chosen = {path: _text(obj, path) for path in kind.fields} if kind else {}
        return {**chosen, **owner_fields(obj)}

    def of_object(self, api_version: str, kind: str) -> Kind | None:
        """The kind by the names that stand in objects."""
        return self._by_object.get((api_version, kind))


_VERSION = re.compile(r"v(\d{1,9})(?:(alpha|beta)(\d{1,9}))?")


def _rank(version: str) -> tuple[int, int, int, str]:
    """Kubernetes' order of versions: v2, v1, v1beta1, v1alpha2, then all others by name."""
    found = _VERSION.fullmatch(version)
    if found is None:
        return (3, 0, 0, version)
    return ({None: 0, "beta": 1, "alpha": 2}[found[2]], -int(found[1]), -int(found[3] or 0), version)


def _text(obj: Any, path: str) -> str:
    if path == "source":
        path = "source.component"
    for key in path.split("."):
        obj = obj.get(key) if isinstance(obj, dict) else None
    if isinstance(obj, bool):
        return "true" if obj else "false"
    if obj is None:
        return "false" if path in ("spec.unschedulable", "spec.hostNetwork") else ""
    return str(obj)
