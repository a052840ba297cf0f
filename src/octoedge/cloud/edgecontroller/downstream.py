"""EdgeController, down: what each edge node should have, and every change of it (spec: metadata, section 1).

    informers (nodes, pods, configmaps, secrets) → who is concerned → Downlink.offer

It answers the same question in two ways: as events, for speed, and as `wanted`/`live` (the `Intent`), for the
comparison that makes good what events missed. A pod's ConfigMaps and Secrets go before the pod.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping

from octoedge.api.meta import view
from octoedge.cloud.edgecontroller.addresses import own
from octoedge.cloud.edgecontroller.changes import matters
from octoedge.cloud.edgecontroller.references import PodFacts, facts
from octoedge.cloud.ports import Downlink, LastChanges, Live, SessionListener, Wanted
from octoedge.errors import MessageError
from octoedge.kube.client import Client
from octoedge.kube.informer import Entry, Informer, Key
from octoedge.kube.kinds import CONFIGMAPS, NODES, PODS, SECRETS
from octoedge.protocol.delivery import Item
from octoedge.protocol.payloads import ObjectDelete, ObjectInsert, ObjectUpdate, Payload
from octoedge.protocol.resource import CLUSTER, Resource

log = logging.getLogger(__name__)

_INSERTED = ("pod", "configmap")
"""Types that are new by `insert`; nodes and secrets always go as `update` (spec: metadata, section 1)."""
EDGE_LABEL = "node-role.kubernetes.io/edge"


class Downstream:
    """Module: knows what belongs on which edge node."""

    name = "edgeController"
    needs: tuple[str, ...] = ("authority",)

    def __init__(self, client: Client, downlink: Downlink) -> None:
        self._downlink = downlink
        self._node_deleted: list[SessionListener] = []
        self._accounts_changed: list[Callable[[], None]] = []
        self._facts: dict[Key, PodFacts] = {}
        self._users: dict[Resource, dict[Key, str]] = {}
        """reference → pods that use it → their node"""
        self._changes = LastChanges(matters)
        self.nodes = Informer(client, NODES, self._on_node, labels=f"{EDGE_LABEL}=")
        self.pods = Informer(client, PODS, self._on_pod, index=_node_of)
        self.configmaps = Informer(client, CONFIGMAPS, self._on_referenced("configmap"))
        self.secrets = Informer(client, SECRETS, self._on_referenced("secret"))
        self._informers: dict[str, Informer] = {
            "node": self.nodes,
            "pod": self.pods,
            "configmap": self.configmaps,
            "secret": self.secrets,
        }

    def listen(self, *, node_deleted: SessionListener) -> None:
        """Be told of Node objects that are gone."""
        self._node_deleted.append(node_deleted)

    def listen_to_accounts(self, changed: Callable[[], None]) -> None:
        """Be told when pods of other service accounts may be on a node than before."""
        self._accounts_changed.append(changed)

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep the copies current; ready when each is complete."""
        async with asyncio.TaskGroup() as group:
            for informer in self._informers.values():
                group.create_task(informer.run(), name=f"informer {informer.kind.plural}")
            for informer in self._informers.values():
                await informer.wait_synced()
            log.info("%d edge nodes, %d pods known", len(self.nodes), len(self.pods))
            ready()

    # ---- the intent ------------------------------------------------------------------------------------------------

    def exists(self, node: str) -> bool:
        """Whether there is an edge node of this name."""
        return self.nodes.entry("", node) is not None

    def tracks(self, kind: str) -> bool:
        """Whether objects of this resource type are known here."""
        return kind in self._informers

    def live(self, resource: Resource) -> Live | None:
        """The object as it is now."""
        entry = self._entry(resource)
        return Live(entry.uid, entry.version) if entry is not None else None

    def wanted(self, node: str) -> Iterator[Wanted]:
        """Everything that `node` should have: itself, then for each pod what it refers to and the pod."""
        own = self.nodes.entry("", node)
        if own is None:
            return
        yield self._changes.want(Resource(CLUSTER, "node", node), own)
        given: set[Resource] = set()
        for key, entry in self.pods.find(node):
            seen = self._facts.get(key)
            for reference in sorted(seen.references - given) if seen else ():
                given.add(reference)
                referenced = self._entry(reference)
                if referenced is not None:
                    yield self._changes.want(reference, referenced)
            yield self._changes.want(Resource(key[0], "pod", key[1]), entry)

    def item(self, wanted: Wanted, *, first: bool) -> Item | None:
        """The item to offer for `wanted`."""
        entry = self._entry(wanted.resource)
        if entry is None or entry.uid != wanted.uid:
            return None
        insert = first and wanted.resource.type in _INSERTED
        kind: type[Payload] = ObjectInsert if insert else ObjectUpdate
        body = own(entry.raw) if wanted.resource.type == "node" else entry.raw
        payload = kind(resource=wanted.resource, body=body, version=str(entry.version))
        return Item(payload, entry.uid, self._changes.want(wanted.resource, entry).version)

    def pod(self, namespace: str, name: str) -> PodFacts | None:
        """What is known of a pod."""
        return self._facts.get((namespace, name))

    def pods_of(self, node: str) -> Iterator[PodFacts]:
        """The pods that belong on a node."""
        return (self._facts[key] for key, _ in self.pods.find(node) if key in self._facts)

    def accounts(self) -> dict[Key, set[str]]:
        """The service accounts that pods on edge nodes run as, and these nodes."""
        found: dict[Key, set[str]] = {}
        for pod in self._facts.values():
            if pod.node and self.exists(pod.node):
                found.setdefault((pod.namespace, pod.service_account), set()).add(pod.node)
        return found

    def uses(self, node: str, resource: Resource) -> bool:
        """Whether a pod of `node` refers to this ConfigMap or Secret."""
        return node in self._users.get(resource, {}).values()

    def labels(self, node: str) -> Mapping[str, str]:
        """The labels that a node has."""
        entry = self.nodes.entry("", node)
        return (view(entry.raw).metadata.labels or {}) if entry is not None else {}

    def cached(self, resource: Resource) -> bytes | None:
        """The object as the copy has it."""
        entry = self._entry(resource)
        return entry.raw if entry is not None else None

    # ---- the events ------------------------------------------------------------------------------------------------

    def _on_node(self, old: bytes | None, new: bytes | None) -> None:
        if new is None:
            name = view(old or b"{}").metadata.name
            self._changes.forget(view(old or b"{}").metadata.uid)
            self._downlink.end(name, "its Node object was deleted")
            for tell in self._node_deleted:
                tell(name)
            return
        if self._changes.note(old, new):
            name = view(new).metadata.name
            for wanted in [next(self.wanted(name))] if old is not None else list(self.wanted(name)):
                self._offer(name, wanted, first=old is None)

    def _on_pod(self, old: bytes | None, new: bytes | None) -> None:
        raw = new if new is not None else old
        try:
            now = facts(raw or b"")
        except MessageError as error:
            log.error("a pod cannot be read, its node will not get it: %s", error)
            return
        key = (now.namespace, now.name)
        if new is None:
            self._forget(key, now)
            self._tell(now.node, _removal(Resource(key[0], "pod", key[1]), raw or b""))
            return
        mattered = self._changes.note(old, new)
        fresh = self._remember(key, now)
        if not mattered or not now.node or not self.exists(now.node):
            return
        for reference in sorted(fresh):
            entry = self._entry(reference)
            if entry is not None:
                self._offer(now.node, self._changes.want(reference, entry), first=True)
        entry = self.pods.entry(*key)
        if entry is not None:
            self._offer(now.node, self._changes.want(Resource(key[0], "pod", key[1]), entry), first=old is None)

    def _on_referenced(self, kind: str) -> Callable[[bytes | None, bytes | None], None]:
        def handle(old: bytes | None, new: bytes | None) -> None:
            raw = new if new is not None else old
            meta = view(raw or b"{}").metadata
            resource = Resource(meta.namespace, kind, meta.name)
            if new is None:
                item: Item | None = _removal(resource, raw or b"")
            else:
                item = self.item(Wanted(resource, meta.uid, meta.version), first=old is None)
            for node in sorted(set(self._users.get(resource, {}).values())):
                self._tell(node, item)

        return handle

    def _offer(self, node: str, wanted: Wanted, *, first: bool) -> None:
        if node in self._downlink.connected:
            self._tell(node, self.item(wanted, first=first))

    def _tell(self, node: str, item: Item | None) -> None:
        if item is not None and node in self._downlink.connected:
            self._downlink.offer(node, item)

    # ---- what is noted ---------------------------------------------------------------------------------------------

    def _remember(self, key: Key, now: PodFacts) -> frozenset[Resource]:
        """Take in a pod's facts; gives what its node did not need before."""
        before = self._facts.get(key)
        if before == now:
            return frozenset()
        if before is not None:
            self._release(key, before)
        fresh = frozenset(reference for reference in now.references if not self.uses(now.node, reference))
        self._facts[key] = now
        if before is None or (before.node, before.service_account) != (now.node, now.service_account):
            self._tell_of_accounts()
        if now.node:
            for reference in now.references:
                self._users.setdefault(reference, {})[key] = now.node
        return fresh

    def _forget(self, key: Key, last: PodFacts) -> None:
        self._release(key, self._facts.pop(key, last))
        self._changes.forget(last.uid)
        self._tell_of_accounts()

    def _tell_of_accounts(self) -> None:
        for changed in self._accounts_changed:
            changed()

    def _release(self, key: Key, before: PodFacts) -> None:
        for reference in before.references:
            users = self._users.get(reference)
            if users is not None:
                users.pop(key, None)
                if not users:
                    del self._users[reference]

    def _entry(self, resource: Resource) -> Entry | None:
        informer = self._informers.get(resource.type)
        if informer is None:
            return None
        return informer.entry("" if resource.cluster_scoped else resource.namespace, resource.name)


def _removal(resource: Resource, last: bytes) -> Item:
    meta = view(last).metadata
    payload = ObjectDelete(resource=resource, body=last, version=meta.resource_version)
    return Item(payload, meta.uid, meta.version, deletes=True)


def _node_of(pod: bytes) -> list[str]:
    try:
        node = facts(pod).node
    except MessageError:
        return []
    return [node] if node else []
