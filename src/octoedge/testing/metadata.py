"""MetaManager in memory, as edged sees it: what is stored, what was reported, and a cloud that can be away."""

# ruff: noqa: ARG002  (the signatures are the port's)

from __future__ import annotations

import asyncio
import builtins
from typing import Any

import msgspec

from octoedge.edge.ports import Change, ChangeKind
from octoedge.errors import ApiError, OfflineError, StoreFull, not_found
from octoedge.protocol.resource import Resource
from octoedge.runtime.channel import Receiver, Sender, channel
from octoedge.runtime.clock import Clock, rfc3339

_PLURALS = {"configmap": "configmaps", "secret": "secrets", "pod": "pods"}


class MemoryMetadata:
    """`Metadata` in memory; `put` and `delete` do what the cloud does."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self.objects: dict[Resource, bytes] = {}
        self.statuses: dict[str, list[dict[str, Any]]] = {}
        """By pod uid: every reported status, in order."""
        self.deleted: list[tuple[str, str]] = []
        """(path, uid) of pods reported as ended."""
        self.forgotten: list[str] = []
        self.mirrors_made = 0
        self.events: list[dict[str, Any]] = []
        self.node: dict[str, Any] = {}
        self.refuse_node: builtins.list[ApiError] = []
        """Errors that the next registrations end with."""
        self.node_statuses: list[dict[str, Any]] = []
        self.node_patches: builtins.list[dict[str, Any]] = []
        """The same with what goes with them."""
        self.leases: list[dict[str, Any]] = []
        self.tokens_asked: list[dict[str, Any]] = []
        self.token_seconds = 3600.0
        self.rebuilt = False
        self.damage = ""
        self.full = False
        """The disk has no room: nothing that is reported can be kept."""
        self._online = asyncio.Event()
        self._online.set()
        self._changed = asyncio.Condition()
        ends: tuple[Sender[Change], Receiver[Change]] = channel("changes", 256)
        self._sender, self.changes = ends

    @property
    def online(self) -> bool:
        return self._online.is_set()

    def set_online(self, online: bool) -> None:
        """Connect or cut the cloud."""
        if online:
            self._online.set()
        else:
            self._online.clear()

    async def put(self, kind: str, obj: dict[str, Any]) -> None:
        """The cloud sends an object."""
        meta = obj["metadata"]
        resource = Resource(meta.get("namespace", "default"), kind, meta["name"])
        encoded = msgspec.json.encode(obj)
        self.objects[resource] = encoded
        await self._sender.send(Change(ChangeKind.PUT, resource, encoded))

    async def delete(self, resource: Resource) -> None:
        """The cloud removes an object."""
        obj = self.objects.pop(resource)
        await self._sender.send(Change(ChangeKind.DELETE, resource, obj))

    def status(self, uid: str) -> dict[str, Any]:
        """The status reported last for a pod; empty when there is none."""
        return self.statuses.get(uid, [{}])[-1]

    async def until_status(self, uid: str, wanted: Any, seconds: float = 600.0) -> dict[str, Any]:
        """Wait until `wanted(status)`; returns the status."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: wanted(self.status(uid)))
        return self.status(uid)

    async def until_deleted(self, uid: str, seconds: float = 600.0) -> None:
        """Wait until the pod is reported as ended."""
        async with asyncio.timeout(seconds), self._changed:
            await self._changed.wait_for(lambda: any(known == uid for _, known in self.deleted))

    # --- the interface ------------------------------------------------------------------------------------------------

    async def until_online(self) -> None:
        await self._online.wait()

    async def list(self, kind: str) -> list[bytes]:
        return [obj for resource, obj in self.objects.items() if resource.type == kind]

    async def get(self, resource: Resource, *, fresh: bool = False) -> bytes:
        if resource in self.objects:
            return self.objects[resource]
        self._need_cloud(str(resource))
        raise not_found(_PLURALS.get(resource.type, resource.type), resource.name)

    async def token(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        self._need_cloud("token")
        self.tokens_asked.append(request)
        expires = rfc3339(self._clock.now() + self.token_seconds)
        text = f"token-{len(self.tokens_asked)}-of-{namespace}-{service_account}"
        return {**request, "status": {"token": text, "expirationTimestamp": expires}}

    async def forget_pod(self, resource: Resource, uid: str) -> None:
        self._need_room()
        self.forgotten.append(uid)

    async def report_pod_status(self, resource: Resource, uid: str, patch: bytes, *, patience: float = 0.0) -> None:
        self._need_room()
        self.statuses.setdefault(uid, []).append(msgspec.json.decode(patch)["status"])
        await self._notify()

    async def create_pod(self, resource: Resource, pod: bytes) -> bytes:
        self._need_cloud("pod")
        if resource in self.objects:
            raise ApiError(409, "AlreadyExists", f'pods "{resource.name}" already exists')
        self.mirrors_made += 1
        made = msgspec.json.decode(pod)
        made["metadata"]["uid"] = f"mirror-{self.mirrors_made}"
        await self.put("pod", made)
        return msgspec.json.encode(made)

    async def delete_pod(self, resource: Resource, uid: str) -> None:
        self._need_room()
        self.deleted.append((str(resource), uid))
        await self._notify()

    async def register_node(self, node: bytes) -> bytes:
        self._need_cloud("node")
        if self.refuse_node:
            raise self.refuse_node.pop()
        self.node = self.node or {**msgspec.json.decode(node)}
        self.node["metadata"].setdefault("uid", "node-uid")
        return msgspec.json.encode(self.node)

    async def report_node_status(self, name: str, patch: bytes) -> None:
        self._need_room()
        self._need_cloud("node status")
        self.node_patches.append(msgspec.json.decode(patch))
        self.node_statuses.append(self.node_patches[-1]["status"])
        await self._notify()

    async def renew_lease(self, lease: bytes) -> bytes:
        self._need_cloud("lease")
        self.leases.append(msgspec.json.decode(lease))
        return lease

    async def report_event(self, event: bytes) -> None:
        self._need_room()
        self.events.append(msgspec.json.decode(event))

    def reasons(self) -> builtins.list[str]:
        """Reasons of all events, in order."""
        return [str(event["reason"]) for event in self.events]

    def _need_room(self) -> None:
        if self.full:
            raise StoreFull("edgecore.db cannot be written (database or disk is full)")

    def _need_cloud(self, what: str) -> None:
        if not self.online:
            raise OfflineError(f"{what}: the cloud is away")

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()
