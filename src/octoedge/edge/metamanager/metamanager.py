"""MetaManager itself: `receive` takes what the cloud sends, everything else serves edged (`ports.Metadata`).

What may happen twice is made to do no harm twice: a message that was stored but not acknowledged comes again, is found
stored, is told of again and acknowledged.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import msgspec

from octoedge.api.meta import ObjectMeta, typed, view
from octoedge.edge.metamanager import records
from octoedge.edge.metamanager.node import LeaseKeeper, register
from octoedge.edge.metamanager.outbox import EVENT, NODE_STATUS, POD_DELETE, POD_STATUS, Outbox
from octoedge.edge.metamanager.schema import Opened
from octoedge.edge.metamanager.tokens import Tokens
from octoedge.edge.metamanager.verdict import Delete, Put
from octoedge.edge.ports import Change, ChangeKind, Inbound, Link
from octoedge.errors import ApiError, DeadlineError, MessageError, OfflineError, StoreCorrupt, StoreError, not_found
from octoedge.protocol import deltas
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.runtime.channel import Sender
from octoedge.runtime.clock import Clock

log = logging.getLogger(__name__)

_KINDS = {
    "configmap": ("v1", "ConfigMap"),
    "secret": ("v1", "Secret"),
    "persistentvolume": ("v1", "PersistentVolume"),
    "persistentvolumeclaim": ("v1", "PersistentVolumeClaim"),
    "volumeattachment": ("storage.k8s.io/v1", "VolumeAttachment"),
    "csidriver": ("storage.k8s.io/v1", "CSIDriver"),
}
"""What may be asked from the cloud, and the kind that its answers may leave out. Their answers are acknowledged."""

_ONLY_OURS = frozenset({"csidriver"})
"""What a cloud of KubeEdge's own would never answer."""

_FILLED_AFTER = 60.0
"""Seconds of connection after which the cloud has sent what a new store must know."""
_GONE = frozenset({404, 409})


class Settings(msgspec.Struct, frozen=True):
    """How MetaManager behaves."""

    answer_seconds: float = 60.0
    """Until a question to the cloud is given up (`metaManager.remoteQueryTimeout`)."""


_DEFAULTS = Settings()
_EVENT_PATIENCE = 0.5
"""Seconds: a pod that starts has something better to do with the machine than to tell of it."""


class MetaManager:
    """Implements `ports.Metadata` and `ports.Inbound`; a module that sends the outbox."""

    name = "metamanager"
    needs: tuple[str, ...] = ()

    def __init__(
        self, store: Opened, link: Link, clock: Clock, changes: Sender[Change] | None, settings: Settings = _DEFAULTS
    ) -> None:
        self._database = store.database
        self._link = link
        self._changes = changes
        self._changes_of: dict[str, Sender[Change]] = {}
        self._seconds = settings.answer_seconds
        self._rebuilt = store.new
        self.damage = store.damage
        """What was wrong with the database at the start; empty when nothing was."""
        self.outbox = Outbox(store.database, link, answer_seconds=settings.answer_seconds)
        self._tokens = Tokens(store.database, link, clock, answer_seconds=settings.answer_seconds)
        self._lease = LeaseKeeper(link, settings.answer_seconds)
        self._doors: dict[type[p.Payload], Inbound] = {
            p.ObjectInsert: self._put,
            p.ObjectUpdate: self._put,
            p.ObjectDelta: self._put_delta,
            p.ObjectDelete: self._delete,
            p.Answer: self._late_answer,
        }

    def tell(self, kind: str, changes: Sender[Change]) -> None:
        """From the start, changes of objects of this resource type go here instead of to edged."""
        self._changes_of[kind] = changes

    def hand_on(self, payload: type[p.Payload], door: Inbound) -> None:
        """From the start, such messages of the cloud go here; they are about nothing that MetaManager keeps."""
        self._doors[payload] = door

    async def run(self, ready: Callable[[], None]) -> None:
        """Send reports until cancelled."""
        ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(self.outbox.run(), name="outbox sender")
            group.create_task(self._watch_filling(), name="store filling")

    # ---- from the cloud ------------------------------------------------------------------------------------------

    async def receive(self, message: Message, payload: p.Payload) -> None:
        """Store, act, acknowledge. What cannot be stored is answered with the reason; raises `StoreCorrupt` only."""
        door = self._doors.get(type(payload))
        if door is None:
            log.warning("%s is nothing for MetaManager", type(payload).__name__)
            return
        try:
            await door(message, payload)
        except StoreCorrupt:
            raise
        except (StoreError, MessageError, UnicodeError) as error:
            log.warning("%s %s is not stored: %s", message.route.operation, payload.resource, error)
            await self._link.acknowledge(message, str(error))

    async def _put(self, message: Message, payload: p.Payload) -> None:
        sent = _meta(payload)
        stored = await self._store(payload.resource, payload.body, sent)
        if stored.verdict is Put.REPLACE and stored.before is not None:
            await self._tell(ChangeKind.DELETE, payload.resource, stored.before)
        if stored.verdict is not Put.STALE:
            await self._tell(ChangeKind.PUT, payload.resource, payload.body)
        await self._link.acknowledge(message)

    async def _put_delta(self, message: Message, payload: p.Payload) -> None:
        """What is new in an object, against the bytes that are stored; are those others, the cloud sends it whole."""
        stored = self._database.read_now(lambda connection: records.get(connection, payload.resource))
        try:
            whole = deltas.apply(stored or b"", payload.body)
        except MessageError as error:
            log.info("the whole of %s is asked for: %s", payload.resource, error)
            await self._link.acknowledge(message, str(error))
            return
        await self._put(message, p.ObjectUpdate(resource=payload.resource, body=whole, version=payload.version))

    async def _delete(self, message: Message, payload: p.Payload) -> None:
        resource = payload.resource
        uid = _uid(payload)
        removed = await self._remove(resource, uid)
        if removed.verdict is Delete.ASK and removed.before is not None:
            uid = view(removed.before).metadata.uid
            if await self._lives(resource, uid):
                log.info("the cloud asked to delete %s without a uid, and still has it: kept", resource)
                await self._link.acknowledge(message)
                return
            removed = await self._remove(resource, uid)
        if removed.verdict in (Delete.REMOVE, Delete.ABSENT):
            await self._tell(ChangeKind.DELETE, resource, removed.before or payload.body)
        await self._link.acknowledge(message)

    async def _late_answer(self, message: Message, payload: p.Payload) -> None:
        """An answer that nobody waits for any more: objects are stored all the same, lest the cloud sends for ever."""
        if payload.resource.type not in _KINDS:
            return
        try:
            obj = p.outcome(payload.body)
        except (ApiError, MessageError):
            return
        if obj != b"null":
            await self._store_answer(message, payload.resource, obj)

    async def _lives(self, resource: Resource, uid: str) -> bool:
        """Whether the cloud still has the object; a pod is asked for by an empty patch, since pods have no query."""
        question: p.Payload
        if resource.type == records.POD:
            body = msgspec.json.encode({"metadata": {"uid": uid}})
            question = p.PodStatusPatch(resource=Resource(resource.namespace, "podpatch", resource.name), body=body)
        elif resource.type in _KINDS or resource.type == "node":
            question = p.ObjectQuery(resource=resource)
        else:
            return False
        try:
            reply = await self._link.request(question, self._seconds)
            found = p.outcome(reply.body)
        except ApiError as error:
            if error.code in _GONE:
                return False
            raise StoreError(f"the cloud cannot say whether {resource} still exists: {error}") from error
        except DeadlineError as error:
            raise StoreError(f"the cloud does not say whether {resource} still exists") from error
        return found != b"null" and view(found).metadata.uid in ("", uid)

    async def _store(self, resource: Resource, obj: bytes, sent: ObjectMeta) -> records.Stored:
        return await self._database.write(lambda connection: records.put(connection, resource, obj, sent))

    async def _remove(self, resource: Resource, uid: str) -> records.Removed:
        return await self._database.write(lambda connection: records.delete(connection, resource, uid))

    async def _store_answer(self, message: Message, resource: Resource, obj: bytes) -> bytes:
        """Keep an object that the cloud answered with; returns what is stored, which may be newer still."""
        api_version, kind = _KINDS[resource.type]
        whole = typed(obj, api_version, kind)
        stored = await self._store(resource, whole, view(whole).metadata)
        if stored.verdict is Put.STORE:
            await self._tell(ChangeKind.PUT, resource, whole)
        await self._link.acknowledge(message)
        return stored.before if stored.verdict is Put.STALE and stored.before is not None else whole

    async def _tell(self, kind: ChangeKind, resource: Resource, obj: bytes) -> None:
        changes = self._changes_of.get(resource.type, self._changes)
        if changes is not None:
            await changes.send(Change(kind, resource, obj))

    async def _watch_filling(self) -> None:
        while self._rebuilt:
            await self._link.until_connected()
            try:
                async with asyncio.timeout(_FILLED_AFTER):
                    await self._link.until_disconnected()
            except TimeoutError:
                self._rebuilt = False

    # ---- for edged -----------------------------------------------------------------------------------------------

    @property
    def online(self) -> bool:
        return self._link.connected

    @property
    def rebuilt(self) -> bool:
        return self._rebuilt

    async def until_online(self) -> None:
        await self._link.until_connected()

    async def list(self, kind: str) -> list[bytes]:
        return self._database.read_now(lambda connection: records.of_type(connection, kind))

    async def get(self, resource: Resource, *, fresh: bool = False) -> bytes:
        stored = self._database.read_now(lambda connection: records.get(connection, resource))
        if stored is not None and not (fresh and self.online):
            return stored
        if resource.type not in _KINDS:
            raise not_found(resource.type + "s", resource.name)
        if resource.type in _ONLY_OURS and self.online and not self._link.answers(p.EventInsert()):
            raise OfflineError(f"{resource}: this cloud does not tell")
        try:
            reply = await self._link.request(p.ObjectQuery(resource=resource), self._seconds)
        except (OfflineError, DeadlineError):
            if stored is None:
                raise
            return stored
        found = p.outcome(reply.body)
        if found == b"null":
            raise not_found(resource.type + "s", resource.name)
        return await self._store_answer(reply.message, resource, found)

    async def token(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        return await self._tokens.get(namespace, service_account, request)

    async def forget_pod(self, resource: Resource, uid: str) -> None:
        await self.outbox.forget(resource.namespace, resource.name, uid)
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM token WHERE pod_uid = ?", (uid,)).rowcount
        )

    async def report_pod_status(self, resource: Resource, uid: str, patch: bytes, *, patience: float = 0.0) -> None:
        await self.outbox.put(POD_STATUS, f"{resource.namespace}/{resource.name}", uid, patch, patience=patience)

    async def create_pod(self, resource: Resource, pod: bytes) -> bytes:
        reply = await self._link.request(p.PodInsert(resource=resource, body=pod), self._seconds)
        return p.outcome(reply.body)

    async def delete_pod(self, resource: Resource, uid: str) -> None:
        options = msgspec.json.encode({"gracePeriodSeconds": 0, "preconditions": {"uid": uid}})
        await self.outbox.put(POD_DELETE, f"{resource.namespace}/{resource.name}", uid, options)

    async def register_node(self, node: bytes) -> bytes:
        registered = await register(self._link, node, self._seconds)
        seen = view(registered).metadata
        await self._store(Resource(CLUSTER, "node", seen.name), registered, seen)
        return registered

    async def report_node_status(self, name: str, patch: bytes) -> None:
        await self.outbox.deliver(NODE_STATUS, name, "", patch)

    async def renew_lease(self, lease: bytes) -> bytes:
        return await self._lease.renew(lease)

    async def report_event(self, event: bytes) -> None:
        about = view(event).metadata
        key = f"{about.namespace or 'default'}/{about.name}"
        await self.outbox.put(EVENT, key, "", event, patience=_EVENT_PATIENCE)

    def holds_pods(self) -> bool:
        """Whether there is a pod to look after."""
        return bool(self._database.read_now(lambda connection: records.of_type(connection, records.POD)))

    def close(self) -> None:
        """Close the store; nothing may be asked afterwards."""
        self._database.close()


def _meta(payload: p.Payload) -> ObjectMeta:
    """metadata of what was sent; `MessageError` when it is no object with a name."""
    sent = view(payload.body).metadata
    if not sent.name and not sent.uid:
        raise MessageError(f"{payload.resource}: the content is no object")
    if not sent.resource_version and payload.version:
        return msgspec.structs.replace(sent, resource_version=payload.version)
    return sent


def _uid(payload: p.Payload) -> str:
    """The uid that a delete names; empty when it names none."""
    if payload.body[:1] != b"{":
        return ""
    return view(payload.body).metadata.uid
