"""Refuses what this edge cannot do yet, by name: nothing in a pod's spec is ignored without a word.

What edged understands are the fields of the views in `octoedge.api.core`. Fields that may be left aside here stand in
a table with the reason; every other field is a reason to refuse the pod.
"""

from __future__ import annotations

import functools
import re
import types
import typing
from collections.abc import Iterator, Mapping

import msgspec

from octoedge.api.core import EphemeralContainer, Pod, PodSpec

ELSEWHERE = {
    "spec.containers[].resizePolicy": "resources are not changed in place",
    "spec.initContainers[].resizePolicy": "resources are not changed in place",
    "spec.enableServiceLinks": "a node lists no Services, so there are none to link",
    "spec.preemptionPolicy": "used by the scheduler",
    "spec.priorityClassName": "resolved to spec.priority by the API",
    "spec.schedulerName": "used by the scheduler",
    "spec.schedulingGates": "used by the scheduler",
    "spec.serviceAccount": "old name of serviceAccountName",
    "spec.automountServiceAccountToken": "the API has added the volume",
    "spec.topologySpreadConstraints": "used by the scheduler",
    "spec.os": "only Linux nodes exist here",
    "spec.tolerations": "used by the scheduler and the node lifecycle controller",
    "spec.tolerations[].tolerationSeconds": "used by the node lifecycle controller",
}
"""Fields that edged leaves aside, and why that is right."""

_REASONS = {
    "spec.runtimeClassName": "runtime classes are not supported yet",
    "spec.hostUsers": "user namespaces are not supported yet",
    "spec.resourceClaims": "dynamic resource allocation is not supported yet",
    "spec.containers[].volumeDevices": "block devices are not supported yet",
    "spec.volumes[].image": "image volumes are not supported yet",
    "spec.securityContext.seLinuxOptions": "SELinux options are not supported yet",
}

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_DEBUGGERS = "ephemeralContainers"
_SAME_AS_UNSET: dict[str, object] = {
    "hostUsers": True,
    "recursiveReadOnly": "Disabled",
    "supplementalGroupsPolicy": "Merge",
}
_EMPTY: tuple[object, ...] = (None, "", 0, False, [], {})


def refusals(obj: bytes, pod: Pod) -> list[str]:
    """Why a pod (its JSON and its view) cannot run here; empty when it can."""
    spec = {**(msgspec.json.decode(obj).get("spec") or {}), _DEBUGGERS: None}
    return list(dict.fromkeys([*_unknown(spec, PodSpec, "spec"), *_values(pod.spec)]))


def refused_debuggers(obj: bytes, pod: Pod) -> dict[str, str]:
    """Why ephemeral containers cannot run here, by name; those that can are left out."""
    if not pod.spec.ephemeral_containers:
        return {}
    found = (msgspec.json.decode(obj).get("spec") or {}).get(_DEBUGGERS) or []
    reasons = {
        str(one.get("name")): [*_name(str(one.get("name"))), *_unknown(one, EphemeralContainer, f"spec.{_DEBUGGERS}[]")]
        for one in found
        if isinstance(one, dict)
    }
    return {name: "this node cannot run the container: " + "; ".join(why) for name, why in reasons.items() if why}


def reason(path: str) -> str:
    """Why a field is refused."""
    return _REASONS.get(path, f"{path} is not supported yet")


def message(reasons: list[str]) -> str:
    """The sentence that users read."""
    return "this node cannot run the pod: " + "; ".join(reasons) if reasons else ""


def _unknown(value: object, kind: object, path: str) -> Iterator[str]:
    """Fields of `value` that the view `kind` does not have."""
    if isinstance(value, list):
        for item in value:
            yield from _unknown(item, element(kind), f"{path}[]")
    elif isinstance(value, dict) and isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        known = fields(kind)
        for name, item in value.items():
            here = f"{path}.{name}"
            if name in known:
                yield from _unknown(item, known[name], here)
            elif here not in ELSEWHERE and not _unset(name, item):
                yield reason(here)


def _unset(name: str, item: object) -> bool:
    """Whether a field's value says the same as no value."""
    return item in (None, "", _SAME_AS_UNSET[name]) if name in _SAME_AS_UNSET else item in _EMPTY


@functools.cache  # Fifty kinds, 19 KB; to find out anew took a millisecond of every pod that came or changed.
def fields(kind: type[msgspec.Struct]) -> Mapping[str, object]:
    """The fields of a view as they are called in objects, and their types."""
    hints = typing.get_type_hints(kind)
    return {
        shown: _without_none(hints[name])
        for shown, name in zip(kind.__struct_encode_fields__, kind.__struct_fields__, strict=True)
    }


def _without_none(hint: object) -> object:
    if isinstance(hint, types.UnionType):
        rest = [part for part in hint.__args__ if part is not type(None)]
        return rest[0] if len(rest) == 1 else hint
    return hint


def element(kind: object) -> object:
    """The type of a list's elements."""
    arguments = getattr(kind, "__args__", ())
    return arguments[0] if arguments else None


def _name(name: str) -> Iterator[str]:
    """A container's name is a directory's too."""
    if not _LABEL.fullmatch(name) or len(name) > 63:
        yield f"container name {name!r} is not a DNS label"


def _values(spec: PodSpec) -> Iterator[str]:
    """Known fields with values that are not."""
    for container in (*spec.containers, *spec.init_containers):
        yield from _name(container.name)
        if container.restart_policy not in ("", "Always"):
            yield f"container restartPolicy {container.restart_policy!r} is not supported yet"
        if any(mount.sub_path and mount.sub_path_expr for mount in container.volume_mounts):
            yield "subPath and subPathExpr exclude each other"
