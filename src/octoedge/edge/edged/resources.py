"""What a pod's requests and limits mean: QoS class, cgroup path, shares, quotas. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from octoedge.api.core import Amount, Container, Pod
from octoedge.api.quantity import milli, whole
from octoedge.edge.edged.cri.fields import HugepageLimit, Resources
from octoedge.edge.edged.limits import PERIOD, PodLimits

_HUGEPAGES = "hugepages-"
_MIN_QUOTA = 1_000
_MIN_SHARES = 2


def qos_class(pod: Pod) -> str:
    """Guaranteed, Burstable or BestEffort, as Kubernetes counts (CPU and memory only)."""
    containers = [*pod.spec.containers, *pod.spec.init_containers]
    asked = [_amounts(container.resources.requests) for container in containers]
    allowed = [_amounts(container.resources.limits) for container in containers]
    if not any(asked) and not any(allowed):
        return "BestEffort"
    for requests, limits in zip(asked, allowed, strict=True):
        if len(limits) < 2 or any(requests.get(name, limit) != limit for name, limit in limits.items()):
            return "Burstable"
    return "Guaranteed"


def container_resources(pod: Pod, container: Container, node_memory: int, may_lower_oom: bool) -> Resources:
    """CRI limits of one container; `may_lower_oom`: the runtime can give a negative oom_score_adj."""
    cpu_limit = request(container, "cpu", milli, limits=True)
    cpu_asked = request(container, "cpu", milli)
    memory_limit = request(container, "memory", whole, limits=True)
    return Resources(
        cpu_period=PERIOD if cpu_limit else 0,
        cpu_quota=quota(cpu_limit) if cpu_limit else 0,
        cpu_shares=shares(cpu_asked),
        memory_limit_in_bytes=memory_limit,
        oom_score_adj=_oom_score_adj(pod, container, node_memory, may_lower_oom),
        hugepage_limits=tuple(HugepageLimit(size, amount) for size, amount in _hugepages([container]).items()),
    )


def pod_limits(pod: Pod, pids: int = 0) -> PodLimits:
    """Limits of the whole pod; a limit only where every container has one. `pids`: what the node grants each pod."""
    cpu_limit = _pod_sum(pod, "cpu", milli, limits=True)
    return PodLimits(
        shares=shares(_pod_sum(pod, "cpu", milli)),
        quota=quota(cpu_limit) if cpu_limit else 0,
        memory=_pod_sum(pod, "memory", whole, limits=True),
        pids=max(pids, 0),
        hugepages=_hugepages(pod.spec.containers),
    )


def _hugepages(containers: Iterable[Container]) -> dict[str, int]:
    """Bytes by page size as the kernel names it: hugepages-2Mi → 2MB."""
    found: dict[str, int] = {}
    for container in containers:
        for name, amount in container.resources.limits.items():
            if name.startswith(_HUGEPAGES):
                size = whole(name.removeprefix(_HUGEPAGES))
                shown = (
                    f"{size >> 30}GB"
                    if size >= 1 << 30
                    else f"{size >> 20}MB"
                    if size >= 1 << 20
                    else f"{size >> 10}KB"
                )
                found[shown] = found.get(shown, 0) + whole(str(amount))
    return found


def burstable_cpu(pods: Iterable[Pod]) -> int | None:
    """Millicores that all burstable pods ask for together; None when there are none."""
    asked = [pod_request(pod, "cpu", milli) for pod in pods if qos_class(pod) == "Burstable"]
    return sum(asked) if asked else None


def cgroup_parent(root: str, pod: Pod) -> str:
    """The pod's cgroup below `root`, laid out as the kubelet does."""
    qos = qos_class(pod)
    tier = "" if qos == "Guaranteed" else f"/{qos.lower()}"
    return f"{root.rstrip('/')}{tier}/pod{pod.metadata.uid}"


def shares(cpu_milli: int) -> int:
    """CPU shares for a request in millicores."""
    return max(_MIN_SHARES, cpu_milli * 1024 // 1000)


def quota(cpu_milli: int) -> int:
    """Microseconds per period for a limit in millicores."""
    return max(_MIN_QUOTA, cpu_milli * PERIOD // 1000)


def request(container: Container, name: str, parse: Callable[[str], int], *, limits: bool = False) -> int:
    """A container's request (or limit) of `name`; a missing request is the limit, a missing limit 0."""
    table = container.resources.limits if limits else {**container.resources.limits, **container.resources.requests}
    return parse(str(table[name])) if name in table else 0


def pod_request(pod: Pod, name: str, parse: Callable[[str], int]) -> int:
    """What the whole pod asks for: its containers together with its sidecars, or the largest of what begins it."""
    return _pod_sum(pod, name, parse)


def _amounts(table: dict[str, Amount]) -> dict[str, int]:
    found = {name: milli(str(table[name])) for name in ("cpu", "memory") if name in table}
    return {name: amount for name, amount in found.items() if amount}


def _pod_sum(pod: Pod, name: str, parse: Callable[[str], int], *, limits: bool = False) -> int:
    amounts = [request(container, name, parse, limits=limits) for container in pod.spec.containers]
    if limits and not all(amounts):
        return 0
    largest_init: Iterable[int] = (request(init, name, parse, limits=limits) for init in pod.spec.init_containers)
    overhead = parse(str(pod.spec.overhead[name])) if name in pod.spec.overhead else 0
    return max(sum(amounts), max(largest_init, default=0)) + overhead


def _oom_score_adj(pod: Pod, container: Container, node_memory: int, may_lower_oom: bool) -> int:
    qos = qos_class(pod)
    if qos == "Guaranteed":
        return -997 if may_lower_oom else 0
    if qos == "BestEffort":
        return 1000
    asked = request(container, "memory", whole)
    return min(999, max(3, 1000 - 1000 * asked // max(node_memory, 1)))
