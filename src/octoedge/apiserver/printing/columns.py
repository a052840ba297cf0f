"""The columns that `kubectl get` shows, kind by kind: a function from an object to the cells of its row."""

from __future__ import annotations

from typing import Any

from octoedge.apiserver.printing.cells import AGE, NAME, Cell, Column, age, at, count_of, dig, pairs
from octoedge.apiserver.printing.columns_workloads import WORKLOADS

Json = dict[str, Any]


_ROLE = "node-role.kubernetes.io/"


def columns_of(resource: str) -> tuple[Column, ...]:
    """The columns of a kind; NAME and AGE for those without columns of their own."""
    return COLUMNS.get(resource, (NAME, AGE))


def _containers(obj: Json) -> list[Json]:
    return dig(obj, "spec.containers") or []


def _statuses(obj: Json, field: str = "containerStatuses") -> list[Json]:
    return dig(obj, f"status.{field}") or []


def _ready(obj: Json, _: float) -> str:
    sidecars = [item["name"] for item in dig(obj, "spec.initContainers") or [] if item.get("restartPolicy") == "Always"]
    statuses = [*_statuses(obj), *(one for one in _statuses(obj, "initContainerStatuses") if one["name"] in sidecars)]
    return f"{sum(bool(one.get('ready')) for one in statuses)}/{len(_containers(obj)) + len(sidecars)}"


def _restarts(obj: Json, now: float) -> str:
    statuses = _statuses(obj)
    count = sum(one.get("restartCount") or 0 for one in statuses)
    ends = [dig(one, "lastState.terminated.finishedAt") for one in statuses]
    last = max((end for end in ends if end), default=None)
    return f"{count} ({age(last, now)} ago)" if count and last else str(count)


def pod_reason(obj: Json) -> str:
    """The word in the STATUS column of a Pod."""
    reason = dig(obj, "status.reason") or dig(obj, "status.phase") or "Unknown"
    for condition in dig(obj, "status.conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated":
            reason = "SchedulingGated"
    reason = _init_reason(obj) or _container_reason(obj, reason)
    if dig(obj, "metadata.deletionTimestamp"):
        lost = dig(obj, "status.reason") == "NodeLost"
        reason = "Unknown" if lost else reason if reason in ("Succeeded", "Failed", "Completed") else "Terminating"
    return str(reason)


def _init_reason(obj: Json) -> str:
    specs = {item["name"]: item for item in dig(obj, "spec.initContainers") or []}
    for index, status in enumerate(_statuses(obj, "initContainerStatuses")):
        state = status.get("state") or {}
        terminated, waiting = state.get("terminated"), state.get("waiting")
        sidecar = specs.get(status.get("name"), {}).get("restartPolicy") == "Always"
        if (terminated and terminated.get("exitCode") == 0) or (sidecar and status.get("started")):
            continue
        if terminated:
            return f"Init:{_ended(terminated)}"
        if waiting and waiting.get("reason") not in (None, "", "PodInitializing"):
            return f"Init:{waiting['reason']}"
        return f"Init:{index}/{len(specs)}"
    return ""


def _ended(terminated: Json) -> str:
    if terminated.get("reason"):
        return str(terminated["reason"])
    if terminated.get("signal"):
        return f"Signal:{terminated['signal']}"
    return f"ExitCode:{terminated.get('exitCode')}"


def _container_reason(obj: Json, reason: str) -> str:
    running = False
    for status in reversed(_statuses(obj)):
        state = status.get("state") or {}
        if dig(state, "waiting.reason"):
            reason = state["waiting"]["reason"]
        elif state.get("terminated"):
            reason = _ended(state["terminated"])
        elif status.get("ready") and state.get("running"):
            running = True
    if reason == "Completed" and running:
        ready = any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in dig(obj, "status.conditions") or []
        )
        return "Running" if ready else "NotReady"
    return reason


def _gates(obj: Json, _: float) -> str:
    gates = dig(obj, "spec.readinessGates") or []
    if not gates:
        return "<none>"
    true = {one.get("type") for one in dig(obj, "status.conditions") or [] if one.get("status") == "True"}
    return f"{sum(gate.get('conditionType') in true for gate in gates)}/{len(gates)}"


def _node_status(obj: Json, _: float) -> str:
    ready = [one for one in dig(obj, "status.conditions") or [] if one.get("type") == "Ready"]
    word = "Unknown" if not ready else "Ready" if ready[0].get("status") == "True" else "NotReady"
    return f"{word},SchedulingDisabled" if dig(obj, "spec.unschedulable") else word


def _roles(obj: Json, _: float) -> str:
    labels = dig(obj, "metadata.labels") or {}
    roles = {key.removeprefix(_ROLE) for key in labels if key.startswith(_ROLE)}
    if labels.get("kubernetes.io/role"):
        roles.add(labels["kubernetes.io/role"])
    return ",".join(sorted(role for role in roles if role)) or "<none>"


def _address(kind: str) -> Cell:
    def cell(obj: Json, _: float) -> str:
        found = [one.get("address") for one in dig(obj, "status.addresses") or [] if one.get("type") == kind]
        return found[0] if found and found[0] else "<none>"

    return cell


def _last_seen(obj: Json, now: float) -> str:
    seen = dig(obj, "series.lastObservedTime") or obj.get("lastTimestamp") or obj.get("eventTime")
    first = obj.get("firstTimestamp") or obj.get("eventTime")
    count = dig(obj, "series.count") or obj.get("count") or 1
    if count > 1 and first:
        return f"{age(seen, now)} (x{count} over {age(first, now)})"
    return age(seen or first, now)


def _involved(obj: Json, _: float) -> str:
    return f"{str(dig(obj, 'involvedObject.kind') or '').lower()}/{dig(obj, 'involvedObject.name') or ''}"


def _source(obj: Json, _: float) -> str:
    parts = [dig(obj, "source.component") or obj.get("reportingComponent"), dig(obj, "source.host")]
    return ", ".join(part for part in parts if part)


def _ports(obj: Json, _: float) -> str:
    texts = []
    for port in dig(obj, "spec.ports") or []:
        node = f":{port['nodePort']}" if port.get("nodePort") else ""
        texts.append(f"{port.get('port')}{node}/{port.get('protocol', 'TCP')}")
    return ",".join(texts) or "<none>"


def _external(obj: Json, _: float) -> str:
    found = list(dig(obj, "spec.externalIPs") or [])
    found += [one.get("ip") or one.get("hostname") for one in dig(obj, "status.loadBalancer.ingress") or []]
    if not found and dig(obj, "spec.type") == "ExternalName":
        found = [dig(obj, "spec.externalName")]
    return ",".join(found) or ("<pending>" if dig(obj, "spec.type") == "LoadBalancer" else "<none>")


COLUMNS: dict[str, tuple[Column, ...]] = {
    "pods": (
        NAME,
        Column("Ready", _ready),
        Column("Status", lambda obj, _: pod_reason(obj)),
        Column("Restarts", _restarts),
        AGE,
        Column("IP", at("status.podIP", "<none>"), priority=1),
        Column("Node", at("spec.nodeName", "<none>"), priority=1),
        Column("Nominated Node", at("status.nominatedNodeName", "<none>"), priority=1),
        Column("Readiness Gates", _gates, priority=1),
    ),
    "nodes": (
        NAME,
        Column("Status", _node_status),
        Column("Roles", _roles),
        AGE,
        Column("Version", at("status.nodeInfo.kubeletVersion")),
        Column("Internal-IP", _address("InternalIP"), priority=1),
        Column("External-IP", _address("ExternalIP"), priority=1),
        Column("OS-Image", at("status.nodeInfo.osImage", "<unknown>"), priority=1),
        Column("Kernel-Version", at("status.nodeInfo.kernelVersion", "<unknown>"), priority=1),
        Column("Container-Runtime", at("status.nodeInfo.containerRuntimeVersion", "<unknown>"), priority=1),
    ),
    "namespaces": (NAME, Column("Status", at("status.phase")), AGE),
    "configmaps": (NAME, Column("Data", count_of("data", "binaryData"), "integer"), AGE),
    "secrets": (NAME, Column("Type", at("type")), Column("Data", count_of("data"), "integer"), AGE),
    "serviceaccounts": (NAME, Column("Secrets", count_of("secrets"), "integer"), AGE),
    "services": (
        NAME,
        Column("Type", at("spec.type")),
        Column("Cluster-IP", at("spec.clusterIP", "<none>")),
        Column("External-IP", _external),
        Column("Port(s)", _ports),
        AGE,
        Column("Selector", pairs("spec.selector"), priority=1),
    ),
    "events": (
        Column("Last Seen", _last_seen),
        Column("Type", at("type")),
        Column("Reason", at("reason")),
        Column("Object", _involved),
        Column("Subobject", at("involvedObject.fieldPath"), priority=1),
        Column("Source", _source, priority=1),
        Column("Message", lambda obj, _: str(obj.get("message") or "").strip()),
        Column("First Seen", lambda obj, now: age(obj.get("firstTimestamp") or obj.get("eventTime"), now), priority=1),
        Column("Count", lambda obj, _: dig(obj, "series.count") or obj.get("count") or 1, "integer", priority=1),
        Column("Name", at("metadata.name"), format="name", priority=1),
    ),
    "leases.coordination.k8s.io": (NAME, Column("Holder", at("spec.holderIdentity")), AGE),
    **WORKLOADS,
}
