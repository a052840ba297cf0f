"""How many dead containers are kept, and how long: what users may still want to read, and no more. Pure.

The last instance of each container always stays while its pod does: its exit is the pod's status.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from octoedge.edge.edged.observed import PodSeen


class DeadPolicy(msgspec.Struct, frozen=True):
    """Keys of KubeEdge's edged section."""

    per_container: int = 1
    """Dead instances kept beside the last of a container (maxPerPodContainerCount)."""
    at_most: int = -1
    """Such instances on the whole node, -1: any number (maxContainerCount)."""
    min_age: float = 0.0
    """Seconds that each is kept in any case (minimumGCAge)."""


def kept(policy: DeadPolicy, pods: Iterable[PodSeen]) -> int:
    """How many are kept of each container now: none while there are too many on the node."""
    if policy.at_most < 0:
        return policy.per_container
    return policy.per_container if sum(_old(pod) for pod in pods) <= policy.at_most else 0


def young(policy: DeadPolicy, pod: PodSeen, now: float) -> dict[str, float]:
    """Ids of dead containers that are not old enough to go, and the seconds until they are; `now` by the wall clock."""
    if not policy.min_age:
        return {}
    ages = {one.id: now - one.finished_at / 1e9 for one in pod.containers if not one.alive and one.finished_at}
    return {id_: min(policy.min_age - age, policy.min_age) for id_, age in ages.items() if age < policy.min_age}


def _old(pod: PodSeen) -> int:
    """Dead instances beside the last of each container."""
    names = {container.name for container in pod.containers}
    return sum(not one.alive for name in names for one in pod.of(name)[1:])
