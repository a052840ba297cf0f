"""The columns of workloads, volumes, roles and what belongs to them."""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.printing.cells import AGE, NAME, Cell, Column, age_of, at, count_of, dig, duration, pairs
from octoedge.runtime.clock import parse_rfc3339

Json = dict[str, Any]


def _of(*, ready: str, wanted: str) -> Cell:
    return lambda obj, _: f"{dig(obj, ready) or 0}/{dig(obj, wanted) or 0}"


def _number(path: str) -> Cell:
    return at(path, 0)


def _containers(field: str, base: str = "spec.template.spec") -> Cell:
    def cell(obj: Json, _: float) -> str:
        return ",".join(str(one.get(field, "")) for one in dig(obj, f"{base}.containers") or [])

    return cell


def _selector(obj: Json, _: float) -> str:
    """A label selector as text."""
    selector = dig(obj, "spec.selector") or {}
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for one in selector.get("matchExpressions") or []:
        values = f" ({','.join(one.get('values') or [])})" if one.get("values") else ""
        terms.append(f"{one.get('key')} {str(one.get('operator', '')).lower()}{values}")
    return ",".join(terms) or "<none>"


_TEMPLATE = (
    Column("Containers", _containers("name"), priority=1),
    Column("Images", _containers("image"), priority=1),
)
_SELECTED = (*_TEMPLATE, Column("Selector", _selector, priority=1))


def _job_status(obj: Json, _: float) -> str:
    true = {one.get("type") for one in dig(obj, "status.conditions") or [] if one.get("status") == "True"}
    if dig(obj, "metadata.deletionTimestamp"):
        return "Terminating"
    for kind in ("Complete", "Failed", "Suspended", "FailureTarget"):
        if kind in true:
            return kind
    return "Running"


def _job_completions(obj: Json, _: float) -> str:
    done, wanted = dig(obj, "status.succeeded") or 0, dig(obj, "spec.completions")
    if wanted is not None:
        return f"{done}/{wanted}"
    at_once = dig(obj, "spec.parallelism") or 1
    return f"{done}/1 of {at_once}" if at_once > 1 else f"{done}/1"


def _job_duration(obj: Json, now: float) -> str:
    begun, ended = dig(obj, "status.startTime"), dig(obj, "status.completionTime")
    if not begun:
        return ""
    return duration((parse_rfc3339(ended) if ended else now) - parse_rfc3339(begun))


def _bound_to(obj: Json, _: float) -> str:
    claim = dig(obj, "spec.claimRef") or {}
    return f"{claim.get('namespace')}/{claim.get('name')}" if claim else ""


_MODES = {"ReadWriteOnce": "RWO", "ReadOnlyMany": "ROX", "ReadWriteMany": "RWX", "ReadWriteOncePod": "RWOP"}


def _modes(path: str) -> Cell:
    return lambda obj, _: ",".join(_MODES.get(mode, mode) for mode in dig(obj, path) or [])


def _default_class(obj: Json, _: float) -> str:
    marked = (dig(obj, "metadata.annotations") or {}).get("storageclass.kubernetes.io/is-default-class") == "true"
    return f"{dig(obj, 'metadata.name')} (default)" if marked else str(dig(obj, "metadata.name"))


def _endpoints(obj: Json, _: float) -> str:
    """`10.0.0.1:80,10.0.0.2:80 + 1 more...`"""
    found = [
        f"{address.get('ip')}:{port.get('port')}"
        for subset in obj.get("subsets") or []
        for port in subset.get("ports") or [{"port": ""}]
        for address in subset.get("addresses") or []
    ]
    shown = ",".join(one.rstrip(":") for one in found[:3])
    return (f"{shown} + {len(found) - 3} more..." if len(found) > 3 else shown) or "<none>"


def _slice_ports(obj: Json, _: float) -> str:
    return ",".join(str(port.get("port", "*")) for port in obj.get("ports") or []) or "<unset>"


def _slice_addresses(obj: Json, _: float) -> str:
    found = [address for one in obj.get("endpoints") or [] for address in one.get("addresses") or []]
    shown = ",".join(found[:3])
    return (f"{shown} + {len(found) - 3} more..." if len(found) > 3 else shown) or "<unset>"


def _role(obj: Json, _: float) -> str:
    return f"{dig(obj, 'roleRef.kind')}/{dig(obj, 'roleRef.name')}"


def _subjects(kind: str) -> Cell:
    def cell(obj: Json, _: float) -> str:
        found = [one for one in obj.get("subjects") or [] if one.get("kind") == kind]
        return ", ".join(f"{one['namespace']}/{one['name']}" if one.get("namespace") else one["name"] for one in found)

    return cell


_BINDING = (
    NAME,
    Column("Role", _role),
    AGE,
    Column("Users", _subjects("User"), priority=1),
    Column("Groups", _subjects("Group"), priority=1),
    Column("ServiceAccounts", _subjects("ServiceAccount"), priority=1),
)
_CREATED = (NAME, Column("Created At", at("metadata.creationTimestamp")))


def _owner(obj: Json, _: float) -> str:
    owners = dig(obj, "metadata.ownerReferences") or []
    for one in owners:
        if one.get("controller"):
            group = str(one.get("apiVersion", "")).partition("/")[0] if "/" in str(one.get("apiVersion")) else ""
            return f"{str(one.get('kind')).lower()}{'.' + group if group else ''}/{one.get('name')}"
    return "<none>"


def _ingress_hosts(obj: Json, _: float) -> str:
    return ",".join(rule.get("host") or "*" for rule in dig(obj, "spec.rules") or []) or "*"


WORKLOADS: dict[str, tuple[Column, ...]] = {
    "deployments.apps": (
        NAME,
        Column("Ready", _of(ready="status.readyReplicas", wanted="spec.replicas")),
        Column("Up-to-date", _number("status.updatedReplicas"), "integer"),
        Column("Available", _number("status.availableReplicas"), "integer"),
        AGE,
        *_SELECTED,
    ),
    "replicasets.apps": (
        NAME,
        Column("Desired", _number("spec.replicas"), "integer"),
        Column("Current", _number("status.replicas"), "integer"),
        Column("Ready", _number("status.readyReplicas"), "integer"),
        AGE,
        *_SELECTED,
    ),
    "statefulsets.apps": (
        NAME,
        Column("Ready", _of(ready="status.readyReplicas", wanted="spec.replicas")),
        AGE,
        *_TEMPLATE,
    ),
    "daemonsets.apps": (
        NAME,
        Column("Desired", _number("status.desiredNumberScheduled"), "integer"),
        Column("Current", _number("status.currentNumberScheduled"), "integer"),
        Column("Ready", _number("status.numberReady"), "integer"),
        Column("Up-to-date", _number("status.updatedNumberScheduled"), "integer"),
        Column("Available", _number("status.numberAvailable"), "integer"),
        Column("Node Selector", pairs("spec.template.spec.nodeSelector")),
        AGE,
        *_SELECTED,
    ),
    "controllerrevisions.apps": (
        NAME,
        Column("Controller", _owner),
        Column("Revision", _number("revision"), "integer"),
        AGE,
    ),
    "jobs.batch": (
        NAME,
        Column("Status", _job_status),
        Column("Completions", _job_completions),
        Column("Duration", _job_duration),
        AGE,
        *_SELECTED,
    ),
    "cronjobs.batch": (
        NAME,
        Column("Schedule", at("spec.schedule")),
        Column("Timezone", at("spec.timeZone", "<none>")),
        Column("Suspend", lambda obj, _: "True" if dig(obj, "spec.suspend") else "False", "boolean"),
        Column("Active", count_of("status.active"), "integer"),
        Column(
            "Last Schedule",
            lambda obj, now: (
                age_of("status.lastScheduleTime")(obj, now) if dig(obj, "status.lastScheduleTime") else "<none>"
            ),
        ),
        AGE,
        Column("Containers", _containers("name", "spec.jobTemplate.spec.template.spec"), priority=1),
        Column("Images", _containers("image", "spec.jobTemplate.spec.template.spec"), priority=1),
    ),
    "endpoints": (NAME, Column("Endpoints", _endpoints), AGE),
    "endpointslices.discovery.k8s.io": (
        NAME,
        Column("AddressType", at("addressType")),
        Column("Ports", _slice_ports),
        Column("Endpoints", _slice_addresses),
        AGE,
    ),
    "persistentvolumes": (
        NAME,
        Column("Capacity", at("spec.capacity.storage")),
        Column("Access Modes", _modes("spec.accessModes")),
        Column("Reclaim Policy", at("spec.persistentVolumeReclaimPolicy")),
        Column("Status", at("status.phase")),
        Column("Claim", _bound_to),
        Column("StorageClass", at("spec.storageClassName")),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        Column("Reason", at("status.reason")),
        AGE,
        Column("VolumeMode", at("spec.volumeMode", "<unset>"), priority=1),
    ),
    "persistentvolumeclaims": (
        NAME,
        Column(
            "Status",
            lambda obj, _: "Terminating" if dig(obj, "metadata.deletionTimestamp") else dig(obj, "status.phase") or "",
        ),
        Column("Volume", at("spec.volumeName")),
        Column("Capacity", at("status.capacity.storage")),
        Column("Access Modes", _modes("status.accessModes")),
        Column("StorageClass", at("spec.storageClassName")),
        Column("VolumeAttributesClass", at("spec.volumeAttributesClassName", "<unset>")),
        AGE,
        Column("VolumeMode", at("spec.volumeMode", "<unset>"), priority=1),
    ),
    "storageclasses.storage.k8s.io": (
        Column("Name", _default_class, format="name"),
        Column("Provisioner", at("provisioner")),
        Column("ReclaimPolicy", at("reclaimPolicy", "Delete")),
        Column("VolumeBindingMode", at("volumeBindingMode", "Immediate")),
        Column("AllowVolumeExpansion", lambda obj, _: "true" if obj.get("allowVolumeExpansion") else "false"),
        AGE,
    ),
    "priorityclasses.scheduling.k8s.io": (
        NAME,
        Column("Value", _number("value"), "integer"),
        Column("Global-Default", lambda obj, _: "true" if obj.get("globalDefault") else "false", "boolean"),
        AGE,
        Column("PreemptionPolicy", at("preemptionPolicy", "PreemptLowerPriority"), priority=1),
    ),
    "poddisruptionbudgets.policy": (
        NAME,
        Column("Min Available", at("spec.minAvailable", "N/A")),
        Column("Max Unavailable", at("spec.maxUnavailable", "N/A")),
        Column("Allowed Disruptions", _number("status.disruptionsAllowed"), "integer"),
        AGE,
    ),
    "roles.rbac.authorization.k8s.io": _CREATED,
    "clusterroles.rbac.authorization.k8s.io": _CREATED,
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    "customresourcedefinitions.apiextensions.k8s.io": _CREATED,
    "ingresses.networking.k8s.io": (
        NAME,
        Column("Class", at("spec.ingressClassName", "<none>")),
        Column("Hosts", _ingress_hosts),
        Column(
            "Address",
            lambda obj, _: ",".join(
                one.get("ip") or one.get("hostname", "") for one in dig(obj, "status.loadBalancer.ingress") or []
            ),
        ),
        Column("Ports", lambda obj, _: "80, 443" if dig(obj, "spec.tls") else "80"),
        AGE,
    ),
    "ingressclasses.networking.k8s.io": (
        NAME,
        Column("Controller", at("spec.controller")),
        Column("Parameters", at("spec.parameters.name", "<none>")),
        AGE,
    ),
    "networkpolicies.networking.k8s.io": (NAME, Column("Pod-Selector", pairs("spec.podSelector.matchLabels")), AGE),
}
