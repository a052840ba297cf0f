"""The node's door: each pod is let in once, held until it is released here, or refused for good.

    new pod ──► held? (waits for a word on the node) ──► admission (pure) ──► let in, or Failed with a reason

What was here before (its sandbox, its reported status, or, after a boot, its directory says so) is not asked again.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator

from octoedge.api.core import Pod
from octoedge.edge.edged import holding
from octoedge.edge.edged.admission import preempted, rejection
from octoedge.edge.edged.observed import Failure
from octoedge.edge.edged.pods import Pods
from octoedge.edge.edged.rounds import Parts, Record, Round, keep_failure
from octoedge.protocol.resource import Resource

log = logging.getLogger(__name__)

_LABELS_SETTLE = 3.0
"""Seconds until a pod that does not fit the node's labels is looked at again."""


class Door:
    """Lets pods in; `again` asks for another look at a pod after some seconds."""

    def __init__(
        self, pods: Pods, parts: Parts, records: dict[str, Record], again: Callable[[str, float], None]
    ) -> None:
        self._pods = pods
        self._parts = parts
        self._records = records
        self._again = again

    async def let_in(self, round_: Round) -> bool:
        """Whether it is decided that the pod may come, or ends; False while it waits."""
        pod, record = round_.pod, round_.record
        if record.admitted or pod is None or pod.metadata.deletion_timestamp is not None:
            return True
        if self._was_here(round_, pod):
            record.admitted = True
            return True
        if holding.wants_hold(pod) and not record.released:
            await self._hold(pod, record)
            return False
        around = await self._parts.surroundings()
        others = [other for other in self.active() if other.metadata.uid != round_.uid]
        refused = rejection(pod, others, around)
        if refused is not None and refused.reason == "NodeAffinity" and not record.doubted:
            record.doubted = True
            self._again(round_.uid, _LABELS_SETTLE)
            return False
        record.admitted = True
        for other in preempted(pod, others, around.allocatable) if refused is None else ():
            self._preempt(other)
        if refused is not None:
            self._parts.recorder.pod(pod, "Warning", refused.reason, refused.message)
            text = f"Pod was rejected: {refused.message}"
            self.end(round_.uid, record, Failure(refused.reason, text, rejected=True))
        return True

    def _preempt(self, pod: Pod) -> None:
        """A critical pod needs the place."""
        text = "Preempted in order to admit critical pod"
        log.info("pod %s/%s is preempted in order to admit a critical pod", pod.metadata.namespace, pod.metadata.name)
        self._parts.recorder.pod(pod, "Warning", "Preempting", text)
        record = self._records[pod.metadata.uid]
        self.end(pod.metadata.uid, record, Failure("Preempting", text, disruption="TerminationByKubelet"))
        record.interrupt()
        self._again(pod.metadata.uid, 0.0)

    def end(self, uid: str, record: Record, failure: Failure) -> None:
        """The pod has failed for good; written down first."""
        keep_failure(self._parts.layout, uid, failure)
        record.history.failure = failure

    def active(self) -> Iterator[Pod]:
        """Pods that have a place here and have not ended."""
        for pod in self._pods.all():
            record = self._records.get(pod.metadata.uid)
            if record is None or not record.admitted or record.history.failure is not None or record.history.refused:
                continue
            if self._parts.reporter.basis(pod).status.phase not in ("Succeeded", "Failed"):
                yield pod

    def release(self, namespace: str = "", name: str = "") -> int:
        """Let held pods start: the one of that name, or all; how many there were."""
        found = [pod for pod in self._pods.all() if self._is_held(pod, namespace, name)]
        for pod in found:
            record = self._records[pod.metadata.uid]
            record.held, record.released, record.history.was_held = False, True, True
            self._again(pod.metadata.uid, 0.0)
        return len(found)

    def _was_here(self, round_: Round, pod: Pod) -> bool:
        seen = round_.seen.sandboxes or round_.seen.containers
        return bool(seen or pod.status.start_time) or self._parts.layout.mark(round_.uid).exists()

    def _is_held(self, pod: Pod, namespace: str, name: str) -> bool:
        record, meta = self._records.get(pod.metadata.uid), pod.metadata
        return record is not None and record.held and (not name or (meta.namespace, meta.name) == (namespace, name))

    async def _hold(self, pod: Pod, record: Record) -> None:
        """Keep a pod from starting until it is released here, and say so once."""
        if record.held:
            return
        meta = pod.metadata
        log.info("pod %s/%s is held until it is released on this node", meta.namespace, meta.name)
        resource = Resource(meta.namespace, "pod", meta.name)
        await self._parts.metadata.report_pod_status(resource, meta.uid, holding.patch(pod, self._parts.clock.now()))
        record.held = True
