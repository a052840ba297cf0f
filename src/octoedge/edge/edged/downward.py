"""The downward API: what a pod may know of itself (fieldRef, resourceFieldRef). Pure."""

from __future__ import annotations

import re

import msgspec

from octoedge.api.core import Container, FieldRef, Pod, ResourceFieldRef
from octoedge.api.quantity import milli, whole
from octoedge.edge.edged import resources

_SUBSCRIPT = re.compile(r"metadata\.(labels|annotations)\['([^']+)'\]")


class Facts(msgspec.Struct, frozen=True):
    """What is known of the pod's place when its containers are made."""

    node_name: str
    host_ips: tuple[str, ...]
    pod_ips: tuple[str, ...]
    allocatable_milli_cpu: int
    allocatable_memory: int

    @property
    def pod_ip(self) -> str:
        return self.pod_ips[0] if self.pod_ips else ""

    @property
    def host_ip(self) -> str:
        return self.host_ips[0] if self.host_ips else ""


class UnknownField(ValueError):
    """A field path that the downward API does not know."""


def field(ref: FieldRef, pod: Pod, facts: Facts) -> str:
    """The text that `ref` stands for."""
    meta = pod.metadata
    subscript = _SUBSCRIPT.fullmatch(ref.field_path)
    if subscript:
        table = meta.labels if subscript[1] == "labels" else meta.annotations
        return (table or {}).get(subscript[2], "")
    values = {
        "metadata.name": meta.name,
        "metadata.namespace": meta.namespace,
        "metadata.uid": meta.uid,
        "metadata.labels": _lines(meta.labels),
        "metadata.annotations": _lines(meta.annotations),
        "spec.nodeName": facts.node_name,
        "spec.serviceAccountName": pod.spec.service_account_name,
        "status.hostIP": facts.host_ip,
        "status.hostIPs": ",".join(facts.host_ips),
        "status.podIP": facts.pod_ip,
        "status.podIPs": ",".join(facts.pod_ips),
    }
    if ref.field_path not in values:
        raise UnknownField(f"unsupported fieldPath: {ref.field_path}")
    return values[ref.field_path]


def resource_field(ref: ResourceFieldRef, container: Container, facts: Facts) -> str:
    """The amount that `ref` stands for, in units of its divisor, rounded up; a missing limit is what the node has."""
    kind, _, name = ref.resource.partition(".")
    parse = milli if name == "cpu" else whole
    if kind not in ("limits", "requests") or not name:
        raise UnknownField(f"unsupported container resource: {ref.resource}")
    amount = resources.request(container, name, parse, limits=kind == "limits")
    if not amount and kind == "limits":
        amount = {"cpu": facts.allocatable_milli_cpu, "memory": facts.allocatable_memory}.get(name, 0)
    divisor = parse(str(ref.divisor)) or parse("1")
    return str(-(-amount // divisor))


def _lines(table: dict[str, str] | None) -> str:
    escaped = ((key, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
               for key, value in sorted((table or {}).items()))  # fmt: skip
    return "\n".join(f'{key}="{value}"' for key, value in escaped)
