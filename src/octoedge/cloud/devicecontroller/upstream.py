"""DeviceController, up: what nodes report of their devices → DeviceStatus → the answer.

    receive(node, message) → queue of its device → all that waits, merged → one patch → an answer to each
                                                                              └─► a state that changed: an Event

Reports about one device are merged in the order in which they came. Only the node that a Device names may report it.
An edge of ours is told what went wrong; KubeEdge's takes any answer for a confirmation, so it gets none where it should
try again.
"""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.cloud.devicecontroller import membership
from octoedge.cloud.devicecontroller.downstream import Downstream
from octoedge.cloud.devicecontroller.facts import Facts, facts
from octoedge.cloud.devicecontroller.reported import merged, reason
from octoedge.cloud.ports import Downlink
from octoedge.errors import ApiError, MessageError, TransportError, bad_request, forbidden, not_found
from octoedge.kube.client import Client
from octoedge.kube.kinds import DEVICES
from octoedge.protocol import routes
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import DeviceDetailQuery, DeviceStateReport, Payload, TwinReport, error_value
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock, milliseconds
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

PAYLOADS = (TwinReport, DeviceStateReport, DeviceDetailQuery)
"""What CloudHub hands to this module."""
_WORKERS = 32
_PER_DEVICE = 64
_PER_NODE = 4096
_PATIENCE_SECONDS = 15.0
"""How long reports wait for an API server that is away."""

Json = dict[str, Any]
Key = tuple[str, str, str]
"""(node, namespace of the device, its name); edges before 1.15 name no namespace"""


@dataclass(frozen=True, slots=True)
class _Report:
    message: Message
    payload: TwinReport | DeviceStateReport


class Upstream:
    """Module: takes in the reports of nodes."""

    name = "deviceController upstream"
    needs: tuple[str, ...] = ("deviceController",)

    def __init__(self, client: Client, downstream: Downstream, downlink: Downlink, clock: Clock) -> None:
        self._client = client
        self._downstream = downstream
        self._downlink = downlink
        self._clock = clock
        self._pending: dict[Key, deque[_Report]] = {}
        self._of_node: Counter[str] = Counter()
        self._queue: KeyedQueue[Key] = KeyedQueue(self._work, workers=_WORKERS, name="reports of")

    def receive(self, node: str, message: Message, payload: Payload) -> None:
        """Take one report or question; too many are refused."""
        if isinstance(payload, DeviceDetailQuery):
            devices = self._downstream.devices_of(node)
            if not self._downlink.ours(node):
                self._downlink.answer(node, membership.detail(devices, milliseconds(self._clock)))
            return
        assert isinstance(payload, TwinReport | DeviceStateReport)
        key = (node, payload.resource.namespace, payload.resource.name)
        waiting = self._pending.setdefault(key, deque())
        if len(waiting) >= _PER_DEVICE or self._of_node[node] >= _PER_NODE:
            if not waiting:
                del self._pending[key]
            text = f"node {node} has too many reports of devices waiting; send slower"
            self._answer(node, message, ApiError(429, "TooManyRequests", text))
            return
        waiting.append(_Report(message, payload))
        self._of_node[node] += 1
        self._queue.add(key)

    async def run(self, ready: Callable[[], None]) -> None:
        """Take in reports until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="reports of devices")
            ready()

    async def _work(self, key: Key) -> None:
        node = key[0]
        reports = self._pending.pop(key, deque())
        self._of_node[node] -= len(reports)
        if self._of_node[node] <= 0:
            del self._of_node[node]
        outcome: ApiError | None = None
        try:
            device = await self._device(key)
            outcome = await self._take(device, node, reports)
        except ApiError as error:
            outcome = error
        except Exception as error:
            log.exception("reports of node %s about device %s/%s failed", *key)
            outcome = ApiError(500, "InternalError", f"CloudCore failed on this report: {error}")
        if outcome is not None:
            log.info("node %s reports device %s/%s: %s", *key, outcome)
            for report in reports:
                self._answer(node, report.message, outcome)

    async def _take(self, device: Facts, node: str, reports: deque[_Report]) -> ApiError | None:
        """Merge and write; answers those that are in, and gives what the others are to be told."""
        status = before = self._downstream.statuses.now(device)
        taken: list[_Report] = []
        while reports:
            report = reports.popleft()
            try:
                status = merged(status, report.payload, device.properties)
                taken.append(report)
            except MessageError as error:
                log.warning("node %s: %s", node, error)
                self._answer(node, report.message, bad_request(str(error)))
        try:
            if status != before:
                await self._with_patience(device, status)
        except (ApiError, TransportError) as error:
            reports.extend(taken)
            return error if isinstance(error, ApiError) else ApiError(503, "ServiceUnavailable", str(error))
        self._note_state(device, before, status, taken)
        for report in taken:
            self._answer(node, report.message, None)
        return None

    def _note_state(self, device: Facts, before: Json, status: Json, taken: list[_Report]) -> None:
        """A state that changed is told on the Device, with the reason of the report that said it last."""
        was, now = str(before.get("state") or ""), str(status.get("state") or "")
        if was != now:
            states = [report.payload for report in taken if isinstance(report.payload, DeviceStateReport)]
            self._downstream.reachability.changed(device, was, now, reason(states[-1]))

    async def _with_patience(self, device: Facts, status: dict[str, object]) -> None:
        backoff = Backoff(first=0.2, limit=3.0)
        loop = asyncio.get_running_loop()
        until = loop.time() + _PATIENCE_SECONDS
        while True:
            try:
                await self._downstream.statuses.write(device, status)
            except TransportError:
                if loop.time() >= until:
                    raise
                await asyncio.sleep(backoff.next())
            else:
                return

    async def _device(self, key: Key) -> Facts:
        """The Device that the report is about. Raises `ApiError`: 404, 403, 503."""
        node, namespace, name = key
        known = self._downstream.device(namespace, name) if namespace else self._by_name(node, name)
        if known is None or known.node != node:
            known = await self._ask(namespace, name) if namespace else None
        if known is None:
            raise not_found("devices.devices.kubeedge.io", name)
        if known.node != node:
            where = f"node {known.node}" if known.node else "no node"
            raise forbidden(f"node {node} may not report device {known.id}: it belongs to {where}")
        return known

    def _by_name(self, node: str, name: str) -> Facts | None:
        found = [device for device in self._downstream.devices_of(node) if device.name == name]
        return found[0] if len(found) == 1 else None

    async def _ask(self, namespace: str, name: str) -> Facts:
        """The copy may be behind."""
        try:
            return facts(await self._client.get(DEVICES, namespace, name))
        except TransportError as error:
            raise ApiError(503, "ServiceUnavailable", f"CloudCore cannot reach the API server: {error}") from error
        except MessageError as error:
            raise bad_request(str(error)) from error

    def _answer(self, node: str, message: Message, error: ApiError | None) -> None:
        final = error is None or error.code in (400, 403, 404, 422)
        if not final and not self._downlink.ours(node):
            return
        body = b"OK" if error is None else msgspec.json.encode(error_value(error))
        answer = routes.answer(message, body, message_id=str(uuid.uuid4()), timestamp=milliseconds(self._clock))
        self._downlink.answer(node, answer)
