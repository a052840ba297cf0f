"""Tables for `kubectl get`: rows of cells made of objects. What has no columns of its own here shows name and age."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import msgspec

from octoedge.api.meta import fields
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, parse_rfc3339

Json = dict[str, Any]
Cell = Callable[[Json], Any]


def is_wanted(accept: str) -> bool:
    """Whether a client asks for a Table (`Accept`)."""
    return "as=Table" in accept.split(",")[0]


class TableRenderer:
    """A `kube.read.Renderer`."""

    form = "table"

    def __init__(self, kind: str, clock: Clock, resource_version: str = "") -> None:
        self._columns = [("Name", _name), *_COLUMNS.get(kind, ())]
        self._clock = clock
        self._version = resource_version

    def one(self, item: Item) -> bytes:
        """A Table with one row."""
        return self.all([item])

    def all(self, items: Iterable[Item]) -> bytes:
        """A Table of all."""
        definitions = [
            {
                "name": name,
                "type": "string",
                "format": "name" if name == "Name" else "",
                "description": "",
                "priority": 0,
            }
            for name, _ in self._columns
        ]
        definitions.append({"name": "Age", "type": "string", "format": "", "description": "", "priority": 0})
        table = {
            "kind": "Table",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": {"resourceVersion": self._version},
            "columnDefinitions": definitions,
            "rows": [self._row(item.data) for item in items],
        }
        return msgspec.json.encode(table)

    def _row(self, data: bytes) -> Json:
        obj: Json = msgspec.json.decode(data)
        cells = [cell(obj) for _, cell in self._columns]
        head = {
            "kind": "PartialObjectMetadata",
            "apiVersion": "meta.k8s.io/v1",
            "metadata": fields(data).get("metadata", msgspec.Raw(b"{}")),
        }
        return {"cells": [*cells, self._age(obj)], "object": head}

    def _age(self, obj: Json) -> str:
        try:
            seconds = int(self._clock.now() - parse_rfc3339(obj["metadata"]["creationTimestamp"]))
        except (KeyError, TypeError, ValueError):
            return "<unknown>"
        return age(max(seconds, 0))


def age(seconds: int) -> str:
    """As kubectl writes it."""
    for unit, size, most in (("s", 1, 120), ("m", 60, 180), ("h", 3600, 48), ("d", 86400, 730)):
        if seconds // size < most:
            return f"{seconds // size}{unit}"
    return f"{seconds // (365 * 86400)}y"


def _at(*path: str | int) -> Cell:
    def cell(obj: Json) -> str:
        value: Any = obj
        for step in path:
            try:
                value = value[step]
            except (KeyError, IndexError, TypeError):
                return "<none>"
        return str(value)

    return cell


def _name(obj: Json) -> str:
    return str((obj.get("metadata") or {}).get("name", ""))


def _ready(obj: Json) -> str:
    statuses = (obj.get("status") or {}).get("containerStatuses") or []
    total = len((obj.get("spec") or {}).get("containers") or [])
    return f"{sum(bool(one.get('ready')) for one in statuses)}/{total}"


def _pod_status(obj: Json) -> str:
    status = obj.get("status") or {}
    if (obj.get("metadata") or {}).get("deletionTimestamp"):
        return "Terminating"
    for one in status.get("containerStatuses") or ():
        for state in ("waiting", "terminated"):
            reason = ((one.get("state") or {}).get(state) or {}).get("reason")
            if reason:
                return str(reason)
    return str(status.get("reason") or status.get("phase") or "Unknown")


def _restarts(obj: Json) -> str:
    return str(sum(one.get("restartCount", 0) for one in (obj.get("status") or {}).get("containerStatuses") or ()))


def _node_status(obj: Json) -> str:
    conditions = (obj.get("status") or {}).get("conditions") or ()
    ready = next((one.get("status") for one in conditions if one.get("type") == "Ready"), "Unknown")
    return {"True": "Ready", "False": "NotReady"}.get(str(ready), "Unknown")


def _ports(obj: Json) -> str:
    ports = (obj.get("spec") or {}).get("ports") or ()
    return ",".join(f"{one.get('port')}/{one.get('protocol', 'TCP')}" for one in ports) or "<none>"


def _data(obj: Json) -> str:
    return str(len(obj.get("data") or ()) + len(obj.get("binaryData") or ()))


def _of(field: str) -> Cell:
    def cell(obj: Json) -> str:
        status, spec = obj.get("status") or {}, obj.get("spec") or {}
        return f"{status.get(field, 0)}/{spec.get('replicas', 1)}"

    return cell


_COLUMNS: dict[str, Sequence[tuple[str, Cell]]] = {
    "Pod": (("Ready", _ready), ("Status", _pod_status), ("Restarts", _restarts)),
    "Node": (("Status", _node_status), ("Version", _at("status", "nodeInfo", "kubeletVersion"))),
    "Service": (("Type", _at("spec", "type")), ("Cluster-IP", _at("spec", "clusterIP")), ("Port(s)", _ports)),
    "ConfigMap": (("Data", _data),),
    "Secret": (("Type", _at("type")), ("Data", _data)),
    "Deployment": (("Ready", _of("readyReplicas")), ("Available", _at("status", "availableReplicas"))),
    "StatefulSet": (("Ready", _of("readyReplicas")),),
    "ReplicaSet": (("Ready", _of("readyReplicas")),),
    "DaemonSet": (("Desired", _at("status", "desiredNumberScheduled")), ("Ready", _at("status", "numberReady"))),
    "Namespace": (("Status", _at("status", "phase")),),
}
