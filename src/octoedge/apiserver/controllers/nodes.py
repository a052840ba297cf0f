"""The life of nodes as the cloud sees it: a node that is not heard of for 40 s is Unknown and unreachable.

Heard of means that its lease or its Ready heartbeat *changed*; when is told by our own monotonic clock, so that a wrong
clock at the edge does no harm. Pods stay: the edge lives alone, and comes back. Pods of nodes that were deleted are
removed.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.columns import dig
from octoedge.apiserver.controllers.recorder import Recorder
from octoedge.apiserver.deletion import DeleteOptions, Deletion
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.rest import Place, Rest
from octoedge.errors import ApiError
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, rfc3339

log = logging.getLogger(__name__)

Json = dict[str, Any]

UNREACHABLE = "node.kubernetes.io/unreachable"
NOT_READY = "node.kubernetes.io/not-ready"
_OURS = (UNREACHABLE, NOT_READY)
_LEASES = "kube-node-lease"
_CONDITIONS = ("Ready", "MemoryPressure", "DiskPressure", "PIDPressure")


@dataclass(frozen=True, slots=True)
class NodeTimes:
    """Tunables of the loop, in seconds."""

    grace: float = 40.0
    """How long a node may be silent."""
    period: float = 5.0
    """How often the loop looks."""
    orphan: float = 60.0
    """How long the Pods of a node that is not there are left alone."""


@dataclass(slots=True)
class _Heard:
    sign: str
    at: float


class NodeLifecycle:
    """A module of the API server."""

    name = "nodes"
    needs: tuple[str, ...] = ("bootstrap",)

    def __init__(
        self, rest: Rest, deletion: Deletion, kinds: Kinds, recorder: Recorder, clock: Clock, times: NodeTimes
    ) -> None:
        self._rest = rest
        self._deletion = deletion
        self._kinds = kinds
        self._recorder = recorder
        self._clock = clock
        self._times = times
        self._heard: dict[str, _Heard] = {}
        self._orphans: dict[str, float] = {}

    async def run(self, ready: Callable[[], None]) -> None:
        """Look every few seconds until cancelled."""
        ready()
        while True:
            await self.look(asyncio.get_running_loop().time())
            await asyncio.sleep(self._times.period)

    async def look(self, now: float) -> None:
        """One round at monotonic time `now`."""
        nodes = self._rest.backend.items("nodes")
        for item in nodes:
            await self._check(item, now)
        present = {item.name for item in nodes}
        self._heard = {name: heard for name, heard in self._heard.items() if name in present}
        await self._collect(present, now)

    async def _check(self, item: Item, now: float) -> None:
        node: Json = msgspec.json.decode(item.data)
        sign = self._sign(node)
        heard = self._heard.get(item.name)
        if heard is None or heard.sign != sign:
            heard = self._heard[item.name] = _Heard(sign, now)
        silent = now - heard.at > self._times.grace
        wanted = judged(node, silent=silent, now=rfc3339(self._clock.now()))
        if wanted != node:
            await self._write(item, node, wanted, silent=silent)

    def _sign(self, node: Json) -> str:
        lease = self._rest.backend.get("leases.coordination.k8s.io", _LEASES, node["metadata"]["name"])
        ready = condition(node, "Ready") or {}
        return f"{lease.version if lease else ''} {ready.get('lastHeartbeatTime')}"

    async def _write(self, item: Item, node: Json, wanted: Json, *, silent: bool) -> None:
        kind = self._kinds.named("nodes")
        try:
            for part, field in (("status", "status"), ("", "spec")):
                if wanted.get(field) != node.get(field):
                    await self._rest.edit(Place(kind, "", item.name, part), _replace(field, node, wanted), {})
        except ApiError as error:
            if error.code not in (404, 409):
                raise
            return
        if silent and (condition(node, "Ready") or {}).get("status") != "Unknown":
            log.info("= node %s is silent for %.0f s: unreachable", item.name, self._times.grace)
            text = f"Node {item.name} status is now: NodeNotReady"
            await self._recorder.record(node, "NodeNotReady", text)

    async def _collect(self, present: set[str], now: float) -> None:
        """Remove Pods whose node has been away from the API for a while: nobody else can end them."""
        lost = [
            item
            for item in self._rest.backend.items("pods")
            if item.fields.get("spec.nodeName") and item.fields["spec.nodeName"] not in present
        ]
        names = {item.fields["spec.nodeName"] for item in lost}
        self._orphans = {name: self._orphans.get(name, now) for name in names}
        for item in lost:
            if now - self._orphans[item.fields["spec.nodeName"]] >= self._times.orphan:
                place = Place(self._kinds.named("pods"), item.namespace, item.name)
                try:
                    await self._deletion.delete(place, DeleteOptions(grace=0))
                except ApiError as error:
                    if error.code != 404:
                        raise


def condition(obj: Json, kind: str) -> Json | None:
    """A condition by its type."""
    found: list[Json] = dig(obj, "status.conditions") or []
    return next((one for one in found if one.get("type") == kind), None)


def judged(node: Json, *, silent: bool, now: str) -> Json:
    """The node as it should stand: conditions Unknown when it is silent, and the taints that follow from Ready."""
    result = dict(node)
    if silent:
        status = dict(node.get("status") or {})
        status["conditions"] = _unknown(status.get("conditions") or [], now)
        result["status"] = status
    ready = condition(result, "Ready")
    word = ready.get("status") if ready else "Unknown"
    key = {"True": "", "False": NOT_READY}.get(str(word), UNREACHABLE if ready and silent else NOT_READY)
    if word == "Unknown" and ready and not silent:
        # It is heard of again; its own report will say whether it is ready. Until then nothing changes.
        return result
    taints = dig(node, "spec.taints") or []
    wanted = _tainted(taints, key, now)
    if wanted != taints:
        result["spec"] = {**(node.get("spec") or {}), "taints": wanted}
    return result


def _unknown(conditions: list[Json], now: str) -> list[Json]:
    changed = []
    for one in conditions:
        if one.get("type") in _CONDITIONS and one.get("status") != "Unknown":
            text = "Kubelet stopped posting node status."
            said = {"status": "Unknown", "reason": "NodeStatusUnknown", "message": text, "lastTransitionTime": now}
            changed.append({**one, **said})
        else:
            changed.append(one)
    if not any(one.get("type") == "Ready" for one in changed):
        text = "Kubelet never posted node status."
        said = {"type": "Ready", "status": "Unknown", "reason": "NodeStatusNeverUpdated", "message": text}
        changed.append({**said, "lastTransitionTime": now})
    return changed


def _tainted(taints: list[Json], key: str, now: str) -> list[Json]:
    """The taints with ours for `key` and none of ours for another; those that are right stay as they are."""
    kept = [taint for taint in taints if taint.get("key") not in _OURS or taint.get("key") == key]
    for effect in ("NoSchedule", "NoExecute") if key else ():
        if not any(taint.get("key") == key and taint.get("effect") == effect for taint in kept):
            kept.append({"key": key, "effect": effect, "timeAdded": now})
    return kept


def _replace(field: str, seen: Json, wanted: Json) -> Callable[[Json], Json]:
    """Set one field, unless the node was written meanwhile: then the next round looks again."""

    def change(obj: Json) -> Json:
        if obj.get(field) != seen.get(field):
            raise ApiError(409, "Conflict", "the node has changed meanwhile")
        return {**obj, field: wanted.get(field)}

    return change
