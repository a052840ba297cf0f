"""Which node a pod goes to: pure.

`Pod × Nodes × what is placed already ──choose──► node name, or why not`, in the words that users of Kubernetes know.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

from octoedge.api.core import Container, Node, Pod, PodSpec, Taint, Toleration
from octoedge.apiserver.quantity import parse
from octoedge.kube.selector import from_label_selector

DEFAULT_MAX_PODS = Fraction(110)

HostPort = tuple[str, int]
"""(protocol, port)"""


class PlacedSpec(PodSpec, frozen=True):
    """A Pod's spec with what only its placement depends on; the edge needs none of it."""

    affinity: dict[str, Any] | None = None
    scheduling_gates: list[Any] | None = None


class PlacedPod(Pod, frozen=True):
    """A Pod as the scheduler sees it."""

    spec: PlacedSpec = PlacedSpec()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a pod takes from a node."""

    cpu: Fraction
    memory: Fraction
    ports: frozenset[HostPort]


@dataclass(slots=True)
class Usage:
    """What the pods of one node take together."""

    cpu: Fraction = Fraction(0)
    memory: Fraction = Fraction(0)
    pods: int = 0
    ports: Counter[HostPort] | None = None

    def add(self, demand: Demand) -> None:
        """A pod was placed."""
        self._change(demand, 1)

    def remove(self, demand: Demand) -> None:
        """A pod is gone."""
        self._change(demand, -1)

    def _change(self, demand: Demand, sign: int) -> None:
        self.cpu += sign * demand.cpu
        self.memory += sign * demand.memory
        self.pods += sign
        if self.ports is None:
            self.ports = Counter()
        for port in demand.ports:
            self.ports[port] += sign


@dataclass(frozen=True, slots=True)
class Unplaceable:
    """No node takes the pod; `message` is the text of the FailedScheduling event."""

    message: str


def demand(pod: PlacedPod) -> Demand:
    """What a pod asks for: the sum of its containers, or its largest init container when that is more."""
    spec = pod.spec
    return Demand(
        cpu=_requested(spec.containers, spec.init_containers, "cpu"),
        memory=_requested(spec.containers, spec.init_containers, "memory"),
        ports=frozenset(_host_ports(pod)),
    )


def choose(pod: PlacedPod, nodes: Mapping[str, Node], usage: Mapping[str, Usage]) -> str | Unplaceable:
    """The node with the fewest pods among those that fit; ties go by name, so the choice repeats."""
    wanted = demand(pod)
    reasons: Counter[str] = Counter()
    fitting: list[tuple[int, str]] = []
    for name, node in nodes.items():
        used = usage.get(name) or Usage()
        reason = _obstacle(pod, wanted, node, used)
        if reason:
            reasons[reason] += 1
        else:
            fitting.append((used.pods, name))
    if fitting:
        return min(fitting)[1]
    if not nodes:
        return Unplaceable("no nodes available to schedule pods")
    why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return Unplaceable(f"0/{len(nodes)} nodes are available: {why}.")


def selects(pod: PlacedPod, node: Node) -> bool:
    """Whether the pod's node selector and required node affinity choose the node."""
    labels = node.metadata.labels or {}
    selected = all(labels.get(key) == value for key, value in pod.spec.node_selector.items())
    return selected and _affine(pod.spec.affinity or {}, labels, node.metadata.name)


def tolerates(tolerations: Iterable[Toleration], taint: Taint) -> bool:
    """Whether one of the tolerations is for this taint."""
    return any(_matches(toleration, taint) for toleration in tolerations)


def _obstacle(pod: PlacedPod, wanted: Demand, node: Node, used: Usage) -> str:
    """Why this node does not take the pod; empty when it does."""
    if node.metadata.deletion_timestamp:
        return "node(s) were being deleted"
    if node.spec.unschedulable:
        return "node(s) were unschedulable"
    for taint in node.spec.taints:
        if taint.effect in ("NoSchedule", "NoExecute") and not tolerates(pod.spec.tolerations, taint):
            return f"node(s) had untolerated taint {{{taint.key}: {taint.value}}}"
    ready = next((condition.status for condition in node.status.conditions if condition.type == "Ready"), "Unknown")
    if ready != "True":
        return "node(s) were not ready"
    if not selects(pod, node):
        return "node(s) didn't match Pod's node affinity/selector"
    if used.ports and any(used.ports[port] > 0 for port in wanted.ports):
        return "node(s) didn't have free ports for the requested pod ports"
    return _shortage(wanted, node.status.allocatable or node.status.capacity, used)


def _affine(affinity: Mapping[str, Any], labels: Mapping[str, str], name: str) -> bool:
    """Whether the required node affinity, if there is any, lets the pod onto a node: one of its terms must hold."""
    required = (affinity.get("nodeAffinity") or {}).get("requiredDuringSchedulingIgnoredDuringExecution")
    if not required:
        return True
    for term in required.get("nodeSelectorTerms") or []:
        expressions = [*(term.get("matchExpressions") or []), *(term.get("matchFields") or [])]
        if expressions and _matches_all(expressions, {**labels, "metadata.name": name}):
            return True
    return False


def _matches_all(expressions: list[Any], labels: Mapping[str, str]) -> bool:
    return from_label_selector({"matchExpressions": expressions}).matches(labels)


def _shortage(wanted: Demand, allocatable: Mapping[str, str], used: Usage) -> str:
    if used.pods + 1 > _amount(allocatable, "pods", DEFAULT_MAX_PODS):
        return "Too many pods"
    if wanted.cpu and used.cpu + wanted.cpu > _amount(allocatable, "cpu", Fraction(0)):
        return "Insufficient cpu"
    if wanted.memory and used.memory + wanted.memory > _amount(allocatable, "memory", Fraction(0)):
        return "Insufficient memory"
    return ""


def _matches(toleration: Toleration, taint: Taint) -> bool:
    if toleration.effect and toleration.effect != taint.effect:
        return False
    if not toleration.key:
        return toleration.operator == "Exists"
    if toleration.key != taint.key:
        return False
    return toleration.operator == "Exists" or toleration.value == taint.value


def _requested(containers: Iterable[Container], init_containers: Iterable[Container], resource: str) -> Fraction:
    together = sum((_request(container, resource) for container in containers), Fraction(0))
    largest = max((_request(container, resource) for container in init_containers), default=Fraction(0))
    return max(together, largest)


def _request(container: Container, resource: str) -> Fraction:
    resources = container.resources
    if resources is None:
        return Fraction(0)
    value = resources.requests.get(resource, resources.limits.get(resource))
    return Fraction(0) if value is None else parse(str(value))


def _host_ports(pod: PlacedPod) -> Iterable[HostPort]:
    for container in [*pod.spec.containers, *pod.spec.init_containers]:
        for port in container.ports:
            if port.host_port:
                yield (port.protocol or "TCP", port.host_port)
            elif pod.spec.host_network:
                yield (port.protocol or "TCP", port.container_port)


def _amount(amounts: Mapping[str, str], resource: str, default: Fraction) -> Fraction:
    return parse(str(amounts[resource])) if resource in amounts else default
