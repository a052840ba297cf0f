"""Who must go first when the node is short of something, and what is said to him. Pure.

The kubelet's order: pods that use more than they asked for, then the lower priority, then the larger use beyond the
request. Process ids are not requested: there only priority and use count. Critical pods never go.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from octoedge.api.core import Pod
from octoedge.api.quantity import whole
from octoedge.edge.edged import resources
from octoedge.edge.edged.pressure import RESOURCES, Amount, Signal, Threshold, bytes_of

SYSTEM_CRITICAL = 2_000_000_000
"""Priority from which a pod is critical."""
STATIC, MIRROR = "kubernetes.io/config.source", "kubernetes.io/config.mirror"

_SUFFIXES = ("", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei")


class PodUse(msgspec.Struct, frozen=True):
    """What a pod uses, by resource and in all; `containers` by name. Nothing is known where a resource is missing."""

    pod: Pod
    total: dict[str, int] = {}
    containers: dict[str, dict[str, int]] = {}


def is_critical(pod: Pod) -> bool:
    """Whether a pod is never evicted: a static one, or one of the highest priorities."""
    notes = pod.metadata.annotations or {}
    return MIRROR in notes or notes.get(STATIC, "api") != "api" or pod.spec.priority >= SYSTEM_CRITICAL


def rank(signal: Signal, pods: Iterable[PodUse]) -> list[PodUse]:
    """The pods that may be evicted, first those that go first."""
    resource = RESOURCES[signal]

    def order(use: PodUse) -> tuple[bool, bool, int, int]:
        known = use.total.get(resource)
        if known is None:
            return (False, False, 0, 0)  # Who tells nothing of himself goes first, as the kubelet has it.
        beyond = known - requested(use.pod, resource)
        exceeds = beyond > 0 or resource == "pids"
        return (True, not exceeds, use.pod.spec.priority, -beyond)

    return sorted((use for use in pods if not is_critical(use.pod)), key=order)


def requested(pod: Pod, resource: str) -> int:
    """What the whole pod asked for, of `memory` or `ephemeral-storage`."""
    return resources.pod_request(pod, resource, whole)


def message(threshold: Threshold, amount: Amount, use: PodUse) -> str:
    """The kubelet's sentence for an evicted pod."""
    resource = RESOURCES[threshold.signal]
    limit = binary(bytes_of(threshold.limit, amount.capacity)) if threshold.limit.endswith("%") else threshold.limit
    text = f"The node was low on resource: {resource}. Threshold quantity: {limit}, available: "
    text += f"{_shown(amount.available, threshold.signal)}. "
    for spec in use.pod.spec.containers:
        used = use.containers.get(spec.name, {}).get(resource)
        asked = str(spec.resources.requests.get(resource, "0"))
        if used is not None and used > whole(asked):
            shown = _shown(used, threshold.signal)
            text += (
                f"Container {spec.name} was using {shown}, request is {asked}, has larger consumption of {resource}. "
            )
    return text


def binary(number: int) -> str:
    """A number of bytes as Kubernetes writes it, exactly: 1536Ki, 100Mi, 1000."""
    step = 0
    while number and number % 1024 == 0 and step < len(_SUFFIXES) - 1:
        number //= 1024
        step += 1
    return f"{number}{_SUFFIXES[step]}"


def _shown(number: int, signal: Signal) -> str:
    if RESOURCES[signal] in ("inodes", "pids"):
        return str(number)
    return binary(number // 1024 * 1024 if number >= 1024 else number)


def refusal(pod: Pod, conditions: frozenset[str]) -> str:
    """Why a node in these conditions takes no such pod; empty when it does."""
    if not conditions or is_critical(pod):
        return ""
    if conditions == {"MemoryPressure"}:
        tolerated = any(_tolerates(one.key, one.operator, one.effect) for one in pod.spec.tolerations)
        if resources.qos_class(pod) != "BestEffort" or tolerated:
            return ""
    return f"The node had condition: [{' '.join(sorted(conditions))}]. "


def _tolerates(key: str, operator: str, effect: str) -> bool:
    fits = key == "node.kubernetes.io/memory-pressure" or (not key and operator == "Exists")
    return fits and effect in ("", "NoSchedule")
