"""DeviceController, down: each Device and its DeviceModel to the node that the Device names, and every change.

    informers (devices, devicemodels) → facts → membership (edges of KubeEdge), model, device → Downlink.offer

As EdgeController it answers in two ways: as events, for speed, and as the `Intent` that makes good what events missed.
A model goes before its devices, and stays on a node until it is deleted. A Device that cannot be read stays where it
was; it is said once, and the others go on.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import TypeVar

from octoedge.api import devices as api
from octoedge.api.meta import view
from octoedge.cloud.devicecontroller import membership
from octoedge.cloud.devicecontroller.events import Events
from octoedge.cloud.devicecontroller.facts import Facts, facts, matters
from octoedge.cloud.devicecontroller.reach import Reachability
from octoedge.cloud.devicecontroller.statuses import Statuses
from octoedge.cloud.devicecontroller.wishes import Wishes
from octoedge.cloud.ports import Downlink, LastChanges, Live, Wanted
from octoedge.errors import ApiError, MessageError, TransportError
from octoedge.kube.client import Client, path
from octoedge.kube.informer import Entry, Informer, Key
from octoedge.kube.kinds import DEVICEMODELS, DEVICES, DEVICESTATUSES
from octoedge.protocol.delivery import Item
from octoedge.protocol.payloads import ObjectDelete, ObjectInsert, ObjectUpdate, Payload
from octoedge.protocol.resource import Resource
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock, milliseconds
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

K = TypeVar("K")

_FORMER = 10_000
"""Devices that have left their nodes, of which these are remembered."""
_LOOK_AGAIN_SECONDS = 10.0
"""How often an API server without KubeEdge's kinds is asked for them."""


class Downstream:
    """Module: knows which device is on which node."""

    name = "deviceController"
    needs: tuple[str, ...] = ("authority",)

    def __init__(self, client: Client, downlink: Downlink, clock: Clock, *, mirror: bool = False) -> None:
        self._client = client
        self._downlink = downlink
        self._clock = clock
        self.statuses = Statuses(client, mirror=mirror)
        events = Events(client, clock)
        self.reachability = Reachability(events)
        self._wishes = Wishes(events, self._object)
        self._facts: dict[Key, Facts] = {}
        self._of_node: dict[str, set[Key]] = {}
        self._of_model: dict[Key, set[Key]] = {}
        self._former: OrderedDict[Key, str] = OrderedDict()
        self._changes = LastChanges(matters)
        self.devices = Informer(client, DEVICES, self._on_device)
        self.models = Informer(client, DEVICEMODELS, self._on_model)
        self._informers = {api.DEVICE: self.devices, api.MODEL: self.models}
        self._known = False
        self._said = SaidOnce(log)

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep the copies current; ready when each is complete, or when the API server has no such kinds."""
        while not await self._kinds_are_there():
            ready()
            await asyncio.sleep(_LOOK_AGAIN_SECONDS)
        async with asyncio.TaskGroup() as group:
            for informer in (self.statuses.informer, self.models, self.devices):
                group.create_task(informer.run(), name=f"informer {informer.kind.plural}")
                await informer.wait_synced()
            group.create_task(self.statuses.run(), name="DeviceStatuses")
            group.create_task(self._wishes.run(), name="wishes of devices")
            group.create_task(self.reachability.run(), name="reachability of devices")
            self._known = True
            log.info("%d devices of %d models known", len(self.devices), len(self.models))
            ready()

    async def _kinds_are_there(self) -> bool:
        backoff = Backoff(first=0.2, limit=5.0)
        while True:
            try:
                for kind in (DEVICES, DEVICEMODELS, DEVICESTATUSES):
                    await self._client.request("GET", path(kind), query={"limit": "1"})
            except ApiError as error:
                text = "install KubeEdge's CRDs (`keadm init` does it) to have devices on this cluster"
                self._said.trouble("devices", f"{error}; {text}")
                if error.code in (403, 404):
                    return False
            except TransportError as error:
                log.debug("= devices: %s; trying again", error)
            else:
                self._said.over("devices", "the API server knows their kinds")
                return True
            await asyncio.sleep(backoff.next())

    # ---- what is known ---------------------------------------------------------------------------------------------

    def device(self, namespace: str, name: str) -> Facts | None:
        """A Device."""
        return self._facts.get((namespace, name))

    def gone(self, namespace: str, name: str) -> bool:
        """Whether there surely is no such Device; one that cannot be read is one."""
        return self._known and self.devices.entry(namespace, name) is None

    def former(self, namespace: str, name: str) -> str:
        """The node that a Device named before it went, or named another; empty when that is long ago, or unknown."""
        return self._former.get((namespace, name), "")

    def devices_of(self, node: str) -> list[Facts]:
        """The Devices of a node."""
        return [self._facts[key] for key in sorted(self._of_node.get(node, ()))]

    # ---- the intent ------------------------------------------------------------------------------------------------

    def exists(self, node: str) -> bool:
        """Whether a Device names this node; nodes themselves are EdgeController's."""
        return node in self._of_node

    def tracks(self, kind: str) -> bool:
        """Whether objects of this resource type are known here."""
        return self._known and kind in self._informers

    def live(self, resource: Resource) -> Live | None:
        """The object as it is now; a Device may be on its node only."""
        entry = self._entry(resource)
        if entry is None:
            return None
        known = self._facts.get((resource.namespace, resource.name)) if resource.type == api.DEVICE else None
        return Live(entry.uid, entry.version, known.node if known else None, entry.raw)

    def wanted(self, node: str) -> Iterator[Wanted]:
        """Everything that `node` should have: for each device its model, once, and the device."""
        given: set[Resource] = set()
        for known in self.devices_of(node):
            for resource in (_model_of(known), Resource(known.namespace, api.DEVICE, known.name)):
                entry = self._entry(resource)
                if entry is not None and resource not in given:
                    given.add(resource)
                    yield self._changes.want(resource, entry)

    def item(self, wanted: Wanted, *, first: bool) -> Item | None:
        """The item to offer for `wanted`."""
        entry = self._entry(wanted.resource)
        if entry is None or entry.uid != wanted.uid:
            return None
        kind: type[Payload] = ObjectInsert if first else ObjectUpdate
        payload = kind(resource=wanted.resource, body=entry.raw, version=str(entry.version))
        return Item(payload, entry.uid, self._changes.want(wanted.resource, entry).version)

    # ---- the events ------------------------------------------------------------------------------------------------

    def _on_device(self, old: bytes | None, new: bytes | None) -> None:
        raw = new if new is not None else old or b""
        try:
            now = facts(raw)
        except MessageError as error:
            self._unreadable(raw, new is None, error)
            return
        before = self._facts.get(now.key)
        if new is None:
            self._forget(before or now)
            self._leave(before or now, raw)
            return
        self._said.over(f"device {now.id}", "it can be read")
        mattered = self._changes.note(old, new)
        self._remember(now)
        if mattered or before is None:
            self._wishes.look(now.key)
        if before is None or before.uid != now.uid:
            self.statuses.ensure(now)
        elif before.node and before.node != now.node:
            self._leave(before, raw)
        arrived = before is None or before.uid != now.uid or before.node != now.node
        if now.node and (mattered or arrived):
            self._arrive(now, arrived=arrived)

    def _unreadable(self, raw: bytes, gone: bool, error: MessageError) -> None:
        meta = view(raw).metadata
        known = self._facts.get((meta.namespace, meta.name))
        self._said.trouble(f"device {meta.namespace}/{meta.name}", f"{error}; its node is not told of this change")
        if gone and known is not None:
            self._forget(known)
            self._leave(known, raw)

    def _arrive(self, device: Facts, *, arrived: bool) -> None:
        node = device.node
        if node not in self._downlink.connected:
            return
        if arrived and not self._downlink.ours(node):
            self._downlink.answer(node, membership.added(device, milliseconds(self._clock)))
        if arrived:
            self._offer(node, _model_of(device), first=True)
        self._offer(node, Resource(device.namespace, api.DEVICE, device.name), first=arrived)

    def _leave(self, device: Facts, last: bytes) -> None:
        node = device.node
        if node:
            self._former[device.key] = node
            self._former.move_to_end(device.key)
        if len(self._former) > _FORMER:
            self._former.popitem(last=False)
        if not node or node not in self._downlink.connected:
            return
        if not self._downlink.ours(node):
            self._downlink.answer(node, membership.removed(device, milliseconds(self._clock)))
        self._remove(node, Resource(device.namespace, api.DEVICE, device.name), last)

    def _on_model(self, old: bytes | None, new: bytes | None) -> None:
        meta = view(new if new is not None else old or b"{}").metadata
        key = (meta.namespace, meta.name)
        resource = Resource(meta.namespace, api.MODEL, meta.name)
        nodes = sorted({self._facts[device].node for device in self._of_model.get(key, ())} - {""})
        if new is None:
            self._changes.forget(meta.uid)
            for node in nodes:
                self._remove(node, resource, old or b"")
        elif self._changes.note(old, new):
            for node in nodes:
                self._offer(node, resource, first=old is None)
            for device in self._of_model.get(key, ()):
                self._wishes.look(device)

    def _offer(self, node: str, resource: Resource, *, first: bool) -> None:
        entry = self._entry(resource)
        if entry is not None and node in self._downlink.connected:
            item = self.item(self._changes.want(resource, entry), first=first)
            if item is not None:
                self._downlink.offer(node, item)

    def _remove(self, node: str, resource: Resource, last: bytes) -> None:
        if node in self._downlink.connected:
            meta = view(last).metadata
            payload = ObjectDelete(resource=resource, body=last, version=meta.resource_version)
            self._downlink.offer(node, Item(payload, meta.uid, meta.version, deletes=True))

    # ---- what is noted ---------------------------------------------------------------------------------------------

    def _remember(self, now: Facts) -> None:
        before = self._facts.get(now.key)
        if before is not None:
            self._unindex(before)
        self._facts[now.key] = now
        self._of_model.setdefault((now.namespace, now.model), set()).add(now.key)
        if now.node:
            self._of_node.setdefault(now.node, set()).add(now.key)

    def _forget(self, last: Facts) -> None:
        self._facts.pop(last.key, None)
        self._changes.forget(last.uid)
        self._unindex(last)
        self.statuses.forget(last)
        self.reachability.forget(last)
        self._wishes.look(last.key)

    def _unindex(self, known: Facts) -> None:
        _discard(self._of_node, known.node, known.key)
        _discard(self._of_model, (known.namespace, known.model), known.key)

    def _object(self, kind: str, key: Key) -> bytes | None:
        entry = self._entry(Resource(key[0], kind, key[1]))
        return entry.raw if entry is not None else None

    def _entry(self, resource: Resource) -> Entry | None:
        informer = self._informers.get(resource.type)
        return informer.entry(resource.namespace, resource.name) if informer is not None else None


def _discard(index: dict[K, set[Key]], value: K, key: Key) -> None:
    keys = index.get(value, set())
    keys.discard(key)
    if not keys:
        index.pop(value, None)


def _model_of(device: Facts) -> Resource:
    return Resource(device.namespace, api.MODEL, device.model)
