"""Checkpoints: ObjectSyncs and ClusterObjectSyncs as KubeEdge keeps them (spec: channel, section 8), written behind.

    expect(node, item) → created, then the caller may send         (what the node may have is never forgotten)
    reached(node, item) → status written a moment later, the latest version only; a delete removes the object

What many nodes reach is written in rounds, the next one the later the more there was to write: an object that changes
all the time costs the API a bounded number of writes a second, however many nodes have it.

A checkpoint counts for the database (`store`) that it was acknowledged from: an edge that lost its disk gets everything
again. The name of the database is an annotation, since KubeEdge's ObjectSync has no field for it.

Everything is decided by the table in memory; the API is brought to it key by key, with bounded concurrency. A write
that does not happen (kill -9) only costs that an object is sent once more.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace

import msgspec

from octoedge.api.meta import view
from octoedge.cloud.synccontroller.compare import Known
from octoedge.errors import ApiError, TransportError
from octoedge.kube.client import Client
from octoedge.kube.kinds import CLUSTEROBJECTSYNCS, OBJECTSYNCS, Kind
from octoedge.protocol.delivery import Item
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_WORKERS = 32
_BEHIND_SECONDS = 1.0
"""How long an acknowledged version waits for a later one before it is written, at least."""
_MOST_BEHIND_SECONDS = 10.0
_A_SECOND = 250
"""Checkpoints written a second, over the rounds."""
_UNCONFIRMED_SECONDS = 15.0
"""After this an object that was sent and not acknowledged gets its "0", so that a Go CloudCore would resend it."""
_AGAIN_SECONDS = 3.0
STORE = "octoedge.io/store"
"""Annotation: the edge's database that the checkpoint speaks of; absent for a Go edge."""
_DELETE_NOW = msgspec.json.encode({"apiVersion": "v1", "kind": "DeleteOptions", "gracePeriodSeconds": 0})

Key = tuple[str, str]
"""(node, uid of the object)"""


class _Spec(msgspec.Struct, frozen=True):
    objectAPIVersion: str = ""  # noqa: N815
    objectKind: str = ""  # noqa: N815
    objectName: str = ""  # noqa: N815


class _Status(msgspec.Struct, frozen=True):
    objectResourceVersion: str = ""  # noqa: N815


class _Meta(msgspec.Struct, frozen=True):
    name: str = ""
    namespace: str = ""
    annotations: dict[str, str] | None = None


class ObjectSync(msgspec.Struct, frozen=True):
    """What is read of an ObjectSync or ClusterObjectSync."""

    metadata: _Meta = _Meta()
    spec: _Spec = _Spec()
    status: _Status = _Status()


@dataclass(slots=True)
class _Record:
    known: Known
    api_version: str
    kind: str
    exists: bool = False
    written: str = ""
    """status.objectResourceVersion in the API; empty when there is none."""
    store: str = ""
    written_store: str = ""
    """The annotation in the API."""
    gone: bool = False
    refused: bool = False
    """The API takes no checkpoint for it (its namespace is going): kept in memory."""
    waiting: list[Callable[[], None]] = field(default_factory=list)


class ObjectSyncs:
    """The table of checkpoints of all nodes."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._nodes: dict[str, dict[str, _Record]] = {}
        self._stores: dict[str, str] = {}
        self._queue: KeyedQueue[Key] = KeyedQueue(self._write, workers=_WORKERS, name="checkpoint")
        self._behind: dict[Key, None] = {}
        """What nodes have reached since the last round."""
        self._reached = asyncio.Event()
        self._said = SaidOnce(log)
        self.durable = True
        """False when the API server knows no ObjectSyncs: then the table lives in memory only."""

    def known(self, node: str) -> Mapping[str, Known]:
        """The checkpoints of a node by uid; version 0 for what another database of the node has acknowledged."""
        store = self._stores.get(node)
        return {
            uid: record.known if store in (None, record.store) else replace(record.known, version=0)
            for uid, record in self._nodes.get(node, {}).items()
            if not record.gone
        }

    @property
    def nodes(self) -> list[str]:
        """Nodes that have checkpoints."""
        return [node for node, records in self._nodes.items() if records]

    def opened(self, node: str, store: str) -> None:
        """A session of the node began, with this database."""
        self._stores[node] = store
        others = sum(1 for record in self._nodes.get(node, {}).values() if record.store != store)
        if others:
            log.info("node %s has another database than before: %d objects are sent again", node, others)

    def store_of(self, node: str) -> str | None:
        """The database that the node's latest session named; None before the first."""
        return self._stores.get(node)

    def version(self, node: str, uid: str) -> int | None:
        """The version that the node has; 0 when it may have something; None when it was never sent the object."""
        record = self._nodes.get(node, {}).get(uid)
        if record is None or not (record.exists or not self.durable):
            return None
        return record.known.version if self._stores.get(node) in (None, record.store) else 0

    def expect(self, node: str, item: Item, then: Callable[[], None]) -> None:
        """Make a checkpoint for an object that is about to be sent; `then` is called once it is durable."""
        record = self._record(node, item)
        if record.exists or not self.durable:
            then()
            return
        record.waiting.append(then)
        self._queue.add((node, item.uid))

    def reached(self, node: str, item: Item, store: str) -> None:
        """The node has stored the item in this database."""
        if store != self._stores.get(node, store):
            return
        if item.deletes:
            self._drop(node, item.uid)
            return
        record = self._record(node, item)
        if item.version > record.known.version or record.store != store:
            record.known = Known(item.key, item.uid, item.version)
        record.store = store
        self._behind[node, item.uid] = None
        self._reached.set()

    def forget_node(self, node: str) -> None:
        """Remove all checkpoints of a node that no longer exists."""
        for uid in list(self._nodes.get(node, {})):
            self._drop(node, uid)

    def seen(self, old: bytes | None, new: bytes | None) -> None:
        """What an informer of ObjectSyncs or ClusterObjectSyncs tells: other CloudCores write them too."""
        raw = new or old
        if raw is None:
            return
        try:
            sync = msgspec.json.decode(raw, type=ObjectSync)
        except msgspec.DecodeError as error:
            # One that somebody wrote by hand must not end the following of all others.
            log.warning("a checkpoint in the API cannot be read and is left alone: %s", error)
            return
        node, _, uid = sync.metadata.name.rpartition(".")
        if not node or not uid:
            return
        if new is None:
            self._removed(node, uid)
        else:
            self._loaded(node, uid, sync)

    async def run(self) -> None:
        """Write behind until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="writers of checkpoints")
            group.create_task(self._rounds(), name="rounds of checkpoints")

    async def _rounds(self) -> None:
        loop = asyncio.get_running_loop()
        not_before = loop.time()
        while True:
            await self._reached.wait()
            await asyncio.sleep(max(_BEHIND_SECONDS, not_before - loop.time()))
            self._reached.clear()
            reached, self._behind = self._behind, {}
            for key in reached:
                self._queue.add(key)
            not_before = loop.time() + min(len(reached) / _A_SECOND, _MOST_BEHIND_SECONDS)

    # ---- the table -------------------------------------------------------------------------------------------------

    def _record(self, node: str, item: Item) -> _Record:
        records = self._nodes.setdefault(node, {})
        record = records.get(item.uid)
        if record is None:
            seen = view(item.payload.body)
            record = _Record(Known(item.key, item.uid, 0), seen.api_version or "v1", seen.kind)
            record.store = self._stores.get(node, "")
            records[item.uid] = record
        return record

    def _loaded(self, node: str, uid: str, sync: ObjectSync) -> None:
        version = int(sync.status.objectResourceVersion) if sync.status.objectResourceVersion.isdigit() else 0
        resource = Resource(sync.metadata.namespace or CLUSTER, sync.spec.objectKind.lower(), sync.spec.objectName)
        records = self._nodes.setdefault(node, {})
        record = records.get(uid)
        store = (sync.metadata.annotations or {}).get(STORE, "")
        if record is None:
            record = _Record(Known(resource, uid, version), sync.spec.objectAPIVersion, sync.spec.objectKind)
            record.store = store
            records[uid] = record
        record.written_store = store
        if store == record.store and version > record.known.version:
            record.known = Known(resource, uid, version)
        record.exists = True
        record.written = sync.status.objectResourceVersion
        self._release(record)

    def _removed(self, node: str, uid: str) -> None:
        record = self._nodes.get(node, {}).get(uid)
        if record is None:
            return
        record.exists, record.written, record.written_store = False, "", ""
        if record.gone:
            self._pop(node, uid)
        else:
            # Somebody else removed it; the node still has the object.
            self._queue.add((node, uid))

    def _drop(self, node: str, uid: str) -> None:
        record = self._nodes.get(node, {}).get(uid)
        if record is None:
            return
        if not record.exists and not record.waiting:
            self._pop(node, uid)
            return
        record.gone = True
        self._queue.add((node, uid))

    def _pop(self, node: str, uid: str) -> None:
        records = self._nodes.get(node)
        if records is not None:
            records.pop(uid, None)
            if not records:
                del self._nodes[node]

    @staticmethod
    def _release(record: _Record) -> None:
        waiting, record.waiting = record.waiting, []
        for then in waiting:
            then()

    # ---- the API ---------------------------------------------------------------------------------------------------

    async def _write(self, key: Key) -> None:
        node, uid = key
        record = self._nodes.get(node, {}).get(uid)
        if record is None or not self.durable:
            return
        if record.refused:
            if record.gone:
                self._pop(node, uid)
            return
        try:
            await self._bring_up_to_date(node, uid, record)
            self._said.over("writing checkpoints", "works again")
        except (ApiError, TransportError) as error:
            self._said.trouble("writing checkpoints", f"{error}; trying again")
            self._queue.add_later(key, _AGAIN_SECONDS)

    async def _bring_up_to_date(self, node: str, uid: str, record: _Record) -> None:
        kind, namespace, name = _place(record.known, node)
        if record.gone:
            await _ignoring(404, self._client.delete(kind, namespace, name, _DELETE_NOW))
            self._pop(node, uid)
        elif not record.exists:
            await self._create(kind, namespace, name, record)
            later = _BEHIND_SECONDS if record.known.version else _UNCONFIRMED_SECONDS
            self._queue.add_later((node, uid), later)
        else:
            try:
                await self._patch(kind, namespace, name, record)
            except ApiError as error:
                if error.code != 404:
                    raise
                record.exists = False
                self._queue.add((node, uid))

    async def _patch(self, kind: Kind, namespace: str, name: str, record: _Record) -> None:
        # First the version, then whose it is: a kill in between leaves a checkpoint that does not count.
        version, store = str(record.known.version), record.store
        if record.written != version:
            status = msgspec.json.encode({"status": {"objectResourceVersion": version}})
            await self._client.patch(kind, namespace, name, status, sub="status")
            record.written = version
        if record.written_store != store:
            annotations = msgspec.json.encode({"metadata": {"annotations": {STORE: store or None}}})
            await self._client.patch(kind, namespace, name, annotations)
            record.written_store = store

    async def _create(self, kind: Kind, namespace: str, name: str, record: _Record) -> None:
        metadata: dict[str, object] = {"name": name}
        if namespace:
            metadata["namespace"] = namespace
        if record.store:
            metadata["annotations"] = {STORE: record.store}
        body = {
            "apiVersion": kind.api_version,
            "kind": kind.kind,
            "metadata": metadata,
            "spec": {
                "objectAPIVersion": record.api_version,
                "objectKind": record.kind,
                "objectName": record.known.resource.name,
            },
        }
        try:
            await self._client.create(kind, namespace, msgspec.json.encode(body))
        except ApiError as error:
            if error.code in (403, 404, 422):
                # The namespace is going, or the kind is unknown: sending without a checkpoint beats not sending.
                log.debug("no checkpoint for %s: %s", record.known.resource, error)
                record.refused = True
            elif error.code != 409:
                raise
        record.exists, record.written_store = True, record.store
        self._release(record)


def _place(known: Known, node: str) -> tuple[Kind, str, str]:
    name = f"{node}.{known.uid}"
    if known.resource.cluster_scoped:
        return CLUSTEROBJECTSYNCS, "", name
    return OBJECTSYNCS, known.resource.namespace, name


async def _ignoring(code: int, request: Awaitable[bytes]) -> None:
    try:
        await request
    except ApiError as error:
        if error.code != code:
            raise
