"""The node's own Node and Lease in the API: registered or adopted, renewed.

register: NodeInsert ─ created ─► Node          lease: LeaseUpdate ─ 404 ─► LeaseInsert
                     └ exists ──► ObjectQuery, NodeUpdate (labels)         └ 409 ─► ObjectQuery, LeaseUpdate
"""

from __future__ import annotations

import logging
from typing import Any

import msgspec

from octoedge.api.meta import ObjectMeta, splice, typed, view
from octoedge.edge.ports import Link
from octoedge.errors import ApiError, DeadlineError, OfflineError
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import CLUSTER, Resource

log = logging.getLogger(__name__)

_MERGE_SECONDS = 5.0
_CONFLICT = 409
_NOT_FOUND = 404


class _NodeInfo(msgspec.Struct, frozen=True, rename="camel"):
    machine_id: str = msgspec.field(default="", name="machineID")


class _NodeStatus(msgspec.Struct, frozen=True, rename="camel"):
    node_info: _NodeInfo = _NodeInfo()


class _Node(msgspec.Struct, frozen=True):
    status: _NodeStatus = _NodeStatus()


async def register(link: Link, node: bytes, answer_seconds: float) -> bytes:
    """Create or adopt the Node, and return it. Raises `OfflineError`, `DeadlineError`, `ApiError`."""
    ours = view(node).metadata
    resource = Resource(CLUSTER, "node", ours.name)
    try:
        reply = await link.request(p.NodeInsert(resource=resource, body=node), answer_seconds)
        return typed(p.outcome(reply.body), "v1", "Node")
    except ApiError as error:
        if error.code != _CONFLICT:
            raise
    reply = await link.request(p.ObjectQuery(resource=resource), answer_seconds)
    existing = p.outcome(reply.body)
    if existing == b"null":
        raise ApiError(_NOT_FOUND, "NotFound", f"the cloud has node {ours.name} and does not show it")
    _warn_of_namesake(node, existing, ours.name)
    if _lacks(view(existing).metadata, ours):
        await _merge(link, resource, node)
    return typed(existing, "v1", "Node")


async def _merge(link: Link, resource: Resource, node: bytes) -> None:
    """Let the cloud merge labels and annotations; a Go cloud gives no answer when it cannot."""
    try:
        await link.request(p.NodeUpdate(resource=resource, body=node), _MERGE_SECONDS)
    except DeadlineError:
        log.warning("the cloud did not take the labels of node %s", resource.name)


def _lacks(existing: ObjectMeta, ours: ObjectMeta) -> bool:
    return any(
        (have or {}).get(key) != value
        for have, want in ((existing.labels, ours.labels), (existing.annotations, ours.annotations))
        for key, value in (want or {}).items()
    )


def _warn_of_namesake(node: bytes, existing: bytes, name: str) -> None:
    mine, theirs = (_machine(obj) for obj in (node, existing))
    if mine and theirs and mine != theirs:
        log.warning(
            "the cloud knows node %s as another machine (machine id %s, ours is %s); if that one still runs, give one "
            "of the two another name (edged.hostnameOverride)",
            name,
            theirs,
            mine,
        )


def _machine(node: bytes) -> str:
    try:
        return msgspec.json.decode(node, type=_Node).status.node_info.machine_id
    except msgspec.DecodeError:
        return ""


class LeaseKeeper:
    """Renews one lease; remembers the version that the next renewal must name."""

    def __init__(self, link: Link, answer_seconds: float) -> None:
        self._link = link
        self._answer_seconds = answer_seconds
        self._known: ObjectMeta | None = None
        self._silences = 0

    async def renew(self, lease: bytes) -> bytes:
        """Create or update the lease; returns it. Raises `OfflineError`, `DeadlineError`, `ApiError`.

        A cloud of ours renews it by itself, at each heartbeat of the connection.
        """
        if self._link.keeps_lease:
            self._known = None
            before, self._silences = self._silences, self._link.silences
            if self._silences > before:
                raise DeadlineError("the cloud was silent for a while, and may not have renewed the lease")
            return lease
        wanted = view(lease).metadata
        resource = Resource(wanted.namespace, "lease", wanted.name)
        try:
            return await self._try(resource, lease)
        except ApiError as error:
            if error.code not in (_CONFLICT, _NOT_FOUND):
                raise
            self._known = None
            return await self._try(resource, lease)
        except (OfflineError, DeadlineError):
            self._known = None  # whether the cloud took the renewal is open, so the version is too
            raise

    async def _try(self, resource: Resource, lease: bytes) -> bytes:
        known = self._known or await self._current(resource)
        changes: dict[str, Any] = {
            "resourceVersion": known.resource_version if known else None,
            "uid": known.uid if known else None,
        }
        kind = p.LeaseUpdate if known else p.LeaseInsert
        reply = await self._link.request(
            kind(resource=resource, body=splice(lease, metadata=changes)), self._answer_seconds
        )
        stored = p.outcome(reply.body)
        self._known = view(stored).metadata if stored != b"null" else None
        return stored if self._known else lease

    async def _current(self, resource: Resource) -> ObjectMeta | None:
        try:
            reply = await self._link.request(p.ObjectQuery(resource=resource), self._answer_seconds)
            found = p.outcome(reply.body)
        except ApiError as error:
            if error.code != _NOT_FOUND:
                raise
            return None
        seen = view(found).metadata if found != b"null" else None
        return seen if seen and seen.resource_version else None
