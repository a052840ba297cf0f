"""What each kind does beyond being stored: one row of functions a kind, everything else is the same for all."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import msgspec

from octoedge.apiserver.access.rbac import objects as rbac
from octoedge.apiserver.access.serviceaccounts import admit_pod, new_namespace
from octoedge.apiserver.behaviours import (
    autoscaling,
    devices,
    disruption,
    ephemeral,
    limits,
    priorities,
    services,
    workloads,
)
from octoedge.apiserver.crd import names
from octoedge.apiserver.crd import rules as crd
from octoedge.apiserver.kinds import KINDS
from octoedge.apiserver.schema import defaults
from octoedge.apiserver.store.backend import View
from octoedge.apiserver.volumes import objects as storage
from octoedge.apiserver.writing import metadata, rules
from octoedge.apiserver.writing.metadata import Cause, NameRule

Json = dict[str, Any]


def _nothing(_: Json) -> None:
    return None


def _nothing_to_carry(_new: Json, _old: Json, _view: View) -> None:
    return None


def _no_causes(_: Json) -> list[Cause]:
    return []


def _free_to_change(_new: Json, _old: Json) -> list[Cause]:
    return []


def no_warnings(_: Json) -> list[str]:
    """There is nothing to say."""
    return []


def _idle(what: str) -> Callable[[Json], list[str]]:
    """Of a kind that is only kept."""
    return lambda _: [f"this API server keeps the object, but {what}"]


def _no_admission(_obj: Json, _view: View) -> None:
    return None


def _no_company(_obj: Json, _view: View, _now: str) -> list[tuple[str, Json]]:
    return []


@dataclass(frozen=True, slots=True)
class Part:
    """A subresource through which one part of an object is written, and nothing else of it."""

    take: Callable[[Json, Json], Json]
    """(new, old) → the old object with the new part."""
    check: Callable[[Json, Json], list[Cause]]


@dataclass(frozen=True, slots=True)
class Behaviour:
    """The functions of one kind; each default does nothing."""

    name_rule: NameRule = metadata.subdomain
    keeps_status: bool = False
    """Whether a new object may bring its status along."""
    status_metadata: bool = True
    """Whether an update of the status may change labels and annotations."""
    counts_generations: bool = False
    conditional_only: bool = False
    """Whether an update must name the version it was made from."""
    normalize: Callable[[Json], None] = _nothing
    """Fill in and convert, at creation and at every update."""
    prepare: Callable[[Json], None] = _nothing
    """Fill in at creation only."""
    admit: Callable[[Json, View], None] = _no_admission
    """Change or refuse a new object by what else is there."""
    company: Callable[[Json, View, str], list[tuple[str, Json]]] = _no_company
    """Objects that are made together with a new one, by resource."""
    carry: Callable[[Json, Json, View], None] = _nothing_to_carry
    """Put into an updated object what the server chose for it earlier and the client left out."""
    check: Callable[[Json], list[Cause]] = _no_causes
    check_update: Callable[[Json, Json], list[Cause]] = _free_to_change
    parts: Mapping[str, Part] = field(default_factory=dict)
    """By subresource."""
    warnings: Callable[[Json], list[str]] = no_warnings
    """What the writer of an object should know although it was stored."""
    warnings_beside: Callable[[Json, View], list[str]] | None = None
    """The same, where it takes other objects to know."""


def _prepare_pod(obj: Json) -> None:
    defaults.tolerations(obj["spec"])
    obj["status"] = {"phase": "Pending", "qosClass": defaults.qos_class(obj["spec"])}


def _prepare_namespace(obj: Json) -> None:
    obj["spec"] = {"finalizers": ["kubernetes"]}
    obj["status"] = {"phase": "Active"}


def _normalize_namespace(obj: Json) -> None:
    name = obj["metadata"].get("name")
    if name:
        obj["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = name


def _normalize_secret(obj: Json) -> None:
    plain = obj.pop("stringData", None) or {}
    for key, value in plain.items():
        obj.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()


def _admit_pod(obj: Json, view: View) -> None:
    admit_pod(obj, view)
    priorities.admit(obj, view)
    limits.admit_pod(obj, view)
    obj["status"]["qosClass"] = defaults.qos_class(obj["spec"])


def _admit_claim(obj: Json, view: View) -> None:
    storage.admit_claim(obj, view)
    limits.admit_claim(obj, view)


def _admit_definition(obj: Json, view: View) -> None:
    others = [*_BUILT_IN, *(msgspec.json.decode(item.data) for item in view.items(crd.RESOURCE))]
    crd.settle(obj, others, obj["metadata"]["creationTimestamp"])


def _spec(
    normalize: Callable[[Json], None],
    check: Callable[[Json], list[Cause]],
    check_update: Callable[[Json, Json], list[Cause]],
    prepare: Callable[[Json], None] = _nothing,
    name_rule: NameRule = metadata.subdomain,
) -> Behaviour:
    """A kind whose spec counts generations."""
    return Behaviour(
        name_rule=name_rule,
        counts_generations=True,
        normalize=normalize,
        prepare=prepare,
        check=check,
        check_update=check_update,
    )


_DATA = Behaviour(check=rules.data, check_update=rules.data_update)
_CUSTOM = Behaviour(status_metadata=False, counts_generations=True, conditional_only=True)
_CUSTOM_OF = {
    devices.RESOURCE: replace(_CUSTOM, admit=devices.admit, carry=devices.carry, warnings_beside=devices.warnings)
}
"""What KubeEdge's admission webhooks do for its kinds, and more."""
_BINDING = Behaviour(
    name_rule=rbac.path_segment,
    normalize=rbac.normalize_binding,
    check=rbac.binding,
    check_update=rbac.binding_update,
)
_PLAIN = Behaviour()
_BUILT_IN = names.as_definitions(KINDS)

BEHAVIOURS: dict[str, Behaviour] = {
    "pods": Behaviour(
        normalize=defaults.pod,
        prepare=_prepare_pod,
        admit=_admit_pod,
        company=storage.ephemeral_claims,
        check=lambda obj: rules.pod(obj) + ephemeral.check_new(obj),
        check_update=rules.pod_update,
        parts={"ephemeralcontainers": Part(ephemeral.take, ephemeral.check)},
    ),
    "namespaces": Behaviour(
        name_rule=metadata.label, normalize=_normalize_namespace, prepare=_prepare_namespace, company=new_namespace
    ),
    "nodes": Behaviour(keeps_status=True),
    "configmaps": _DATA,
    "secrets": Behaviour(normalize=_normalize_secret, check=rules.data, check_update=rules.data_update),
    "services": Behaviour(
        name_rule=metadata.label_1035,
        normalize=services.normalize,
        prepare=services.prepare,
        admit=services.allocate,
        carry=services.carry,
        check=services.check,
        check_update=services.check_update,
    ),
    "endpointslices.discovery.k8s.io": Behaviour(normalize=services.normalize_slice),
    storage.VOLUMES: Behaviour(
        normalize=storage.normalize_volume,
        prepare=storage.prepare_volume,
        check=storage.volume,
        check_update=storage.volume_update,
    ),
    storage.CLAIMS: Behaviour(
        prepare=storage.prepare_claim,
        admit=_admit_claim,
        check=storage.claim,
        check_update=storage.claim_update,
    ),
    storage.CLASSES: Behaviour(
        normalize=storage.normalize_class, check=storage.storage_class, check_update=storage.storage_class_update
    ),
    disruption.RESOURCE: Behaviour(
        counts_generations=True, check=disruption.check, check_update=lambda new, _: disruption.check(new)
    ),
    priorities.RESOURCE: Behaviour(
        normalize=priorities.normalize, check=priorities.check, check_update=priorities.check_update
    ),
    "roles.rbac.authorization.k8s.io": Behaviour(
        name_rule=rbac.path_segment, check=rbac.role, check_update=lambda new, _: rbac.role(new)
    ),
    "clusterroles.rbac.authorization.k8s.io": Behaviour(
        name_rule=rbac.path_segment, check=rbac.cluster_role, check_update=lambda new, _: rbac.cluster_role(new)
    ),
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
    limits.RESOURCE: Behaviour(
        normalize=limits.normalize, check=limits.check, check_update=lambda new, _: limits.check(new)
    ),
    "events": Behaviour(check=rules.event),
    "replicationcontrollers": Behaviour(
        counts_generations=True, warnings=_idle("makes no Pods for a ReplicationController; use a Deployment")
    ),
    "horizontalpodautoscalers.autoscaling": Behaviour(
        counts_generations=True,
        normalize=autoscaling.normalize,
        check=autoscaling.check,
        check_update=lambda new, _: autoscaling.check(new),
        warnings=_idle("nothing scales by it"),
    ),
    "certificatesigningrequests.certificates.k8s.io": Behaviour(
        counts_generations=True, warnings=_idle("nobody signs the request")
    ),
    "deployments.apps": _spec(
        workloads.deployment_defaults,
        workloads.deployment,
        workloads.unchangeable(workloads.deployment, "selector"),
    ),
    "replicasets.apps": _spec(
        workloads.template_defaults,
        workloads.replicaset,
        workloads.unchangeable(workloads.replicaset, "selector"),
    ),
    "statefulsets.apps": _spec(
        workloads.statefulset_defaults, workloads.statefulset, workloads.statefulset_update, name_rule=metadata.label
    ),
    "daemonsets.apps": _spec(
        workloads.daemonset_defaults,
        workloads.daemonset,
        workloads.unchangeable(workloads.daemonset, "selector"),
    ),
    "jobs.batch": _spec(workloads.job_defaults, workloads.job, workloads.job_update, workloads.prepare_job),
    "cronjobs.batch": _spec(workloads.cronjob_defaults, workloads.cronjob, workloads.unchangeable(workloads.cronjob)),
    crd.RESOURCE: Behaviour(
        counts_generations=True,
        normalize=crd.normalize,
        prepare=crd.prepare,
        admit=_admit_definition,
        check=crd.check,
        check_update=crd.check_update,
        warnings=names.warnings,
    ),
}


def behaviour_of(resource: str) -> Behaviour:
    """The functions of a kind."""
    return BEHAVIOURS.get(resource, _PLAIN)


def behaviour_of_custom(resource: str) -> Behaviour:
    """The functions of a kind that a CustomResourceDefinition makes."""
    return _CUSTOM_OF.get(resource, _CUSTOM)
