"""Hands pod statuses to MetaManager when they have changed, and again when the cloud shows something else."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import msgspec

from octoedge.api.core import Pod, PodStatus
from octoedge.edge.edged import status
from octoedge.edge.edged.observed import History, PodSeen
from octoedge.edge.edged.termination import TerminationMessages
from octoedge.edge.ports import Metadata
from octoedge.protocol.resource import Resource
from octoedge.runtime.clock import Clock

_OWN = frozenset({"PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled"})

_PENDING_PATIENCE = 0.5
"""Seconds that the word of a pod that is about to start may wait: most run by then, and that is said at once."""


class _Sent(msgspec.Struct):
    status: PodStatus
    ips: set[str] = msgspec.field(default_factory=set)
    """Every address the pod has had: a merge patch must name those that are gone."""
    stale: bool = False
    """The cloud shows something else: to be said again."""


class Reporter:
    """Statuses of all pods."""

    def __init__(
        self,
        metadata: Metadata,
        clock: Clock,
        messages: TerminationMessages,
        host_ips: Callable[[], tuple[str, ...]],
        runtime_name: Callable[[], str],
        reported_as: Callable[[Pod], str | None],
    ) -> None:
        self._metadata = metadata
        self._clock = clock
        self._messages = messages
        self._host_ips = host_ips
        self._runtime_name = runtime_name
        self._reported_as = reported_as
        self._sent: dict[str, _Sent] = {}

    def basis(self, pod: Pod) -> Pod:
        """The pod with the status that it has by our own last word; conditions of others come from the cloud."""
        sent = self._sent.get(pod.metadata.uid)
        if sent is None:
            return pod
        foreign = [condition for condition in pod.status.conditions if condition.type not in _OWN]
        mixed = msgspec.structs.replace(sent.status, conditions=[*sent.status.conditions, *foreign])
        return msgspec.structs.replace(pod, status=mixed)

    async def pod(self, pod: Pod, seen: PodSeen, history: History) -> None:
        """Report the pod's status if it is not what was said last."""
        uid = pod.metadata.uid
        basis = self.basis(pod)
        around = status.Surroundings(
            now=self._clock.now(),
            at=asyncio.get_running_loop().time(),
            host_ips=self._host_ips(),
            runtime=self._runtime_name(),
            messages=self._messages.of(seen),
        )
        new = status.pod_status(basis, seen, history, around)
        known = self._sent.get(uid) or _Sent(_own_part(pod.status), {ip.ip for ip in pod.status.pod_ips})
        if _same(new, known.status) and not known.stale:
            self._sent[uid] = known
            return
        current = {ip.ip for ip in new.pod_ips}
        gone = sorted(known.ips - current)
        resource = Resource(pod.metadata.namespace, "pod", pod.metadata.name)
        shown = self._reported_as(pod)
        if shown is not None:
            patience = _PENDING_PATIENCE if new.phase == "Pending" else 0.0
            patch = status.patch(shown, new, gone)
            await self._metadata.report_pod_status(resource, shown, patch, patience=patience)
        self._sent[uid] = _Sent(new, known.ips | current, stale=shown is None)

    def differs(self, pod: Pod) -> bool:
        """Whether the cloud shows another status than was reported last."""
        sent = self._sent.get(pod.metadata.uid)
        return sent is not None and not _same(_own_part(pod.status), _own_part(sent.status))

    def repeat(self, uid: str) -> None:
        """Report again at the next look, even if nothing changed since."""
        sent = self._sent.get(uid)
        if sent is not None:
            sent.stale = True

    def forget(self, uid: str) -> None:
        self._sent.pop(uid, None)
        self._messages.forget(uid)


def _own_part(known: PodStatus) -> PodStatus:
    """A status as this node would have written it."""
    own = [condition for condition in known.conditions if condition.type in _OWN]
    own = [msgspec.structs.replace(condition, last_probe_time=None) for condition in own]
    return msgspec.structs.replace(known, conditions=own)


def _same(one: PodStatus, other: PodStatus) -> bool:
    """Whether two statuses say the same; the order of conditions and addresses says nothing."""
    return _in_order(one) == _in_order(other)


def _in_order(known: PodStatus) -> PodStatus:
    return msgspec.structs.replace(
        known,
        conditions=sorted(known.conditions, key=lambda condition: condition.type),
        pod_ips=sorted(known.pod_ips, key=lambda address: address.ip),
        host_ips=sorted(known.host_ips, key=lambda address: address.ip),
    )
