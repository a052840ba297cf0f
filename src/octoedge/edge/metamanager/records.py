"""Objects in the store: every function runs inside one transaction, on the writer or a reader connection."""

from __future__ import annotations

import sqlite3

import msgspec

from octoedge.api.meta import ObjectMeta, view
from octoedge.edge.metamanager.verdict import Delete, Put, on_delete, on_put
from octoedge.errors import MessageError
from octoedge.protocol.resource import Resource

POD = "pod"
_TOMBSTONES = 1000
"""So many ended pods are remembered; a pod's uid never comes back."""


class Stored(msgspec.Struct, frozen=True):
    """What a put did: the verdict, and the object that was replaced."""

    verdict: Put
    before: bytes | None = None


class Removed(msgspec.Struct, frozen=True):
    """What a delete did: the verdict, and the object that was or is stored."""

    verdict: Delete
    before: bytes | None = None


def get(connection: sqlite3.Connection, resource: Resource) -> bytes | None:
    """The stored object, or nothing."""
    row = connection.execute("SELECT value FROM meta WHERE key = ?", (str(resource),)).fetchone()
    return None if row is None else _bytes(row[0])


def of_type(connection: sqlite3.Connection, kind: str) -> list[bytes]:
    """All stored objects of a resource type."""
    return [_bytes(row[0]) for row in connection.execute("SELECT value FROM meta WHERE type = ? ORDER BY key", (kind,))]


def everything(connection: sqlite3.Connection) -> list[tuple[str, bytes]]:
    """(resource, object) of all that the cloud sent; what else lies there has keys of another form."""
    rows = connection.execute("SELECT key, value FROM meta WHERE key LIKE '%/%/%' AND key NOT LIKE '%/%/%/%'")
    return sorted((str(key), _bytes(value)) for key, value in rows)


def put(connection: sqlite3.Connection, resource: Resource, obj: bytes, sent: ObjectMeta) -> Stored:
    """Store `obj` unless what is stored is as new, or it is a pod that has ended here."""
    before = get(connection, resource)
    if resource.type == POD and _ended(connection, sent.uid):
        return Stored(Put.STALE)
    verdict = on_put(_meta(before), sent)
    if verdict in (Put.STORE, Put.REPLACE):
        connection.execute(
            "INSERT OR REPLACE INTO meta (key, type, value) VALUES (?, ?, ?)",
            (str(resource), resource.type, obj.decode()),
        )
    if verdict is Put.REPLACE and resource.type == POD:
        bury(connection, resource, _meta(before))
    return Stored(verdict, before)


def delete(connection: sqlite3.Connection, resource: Resource, uid: str) -> Removed:
    """Remove the object if it is the one that `uid` names, and with a pod everything kept for it."""
    before = get(connection, resource)
    known = _meta(before)
    verdict = on_delete(known, uid)
    if verdict is Delete.REMOVE or (before is not None and known is None):
        connection.execute("DELETE FROM meta WHERE key = ?", (str(resource),))
        if resource.type == POD:
            bury(connection, resource, known)
    return Removed(verdict, before)


def bury(connection: sqlite3.Connection, resource: Resource, pod: ObjectMeta | None) -> None:
    """Drop tokens and reports of a pod that has ended, and remember that it has."""
    if pod is None or not pod.uid:
        return
    connection.execute("DELETE FROM token WHERE pod_uid = ?", (pod.uid,))
    connection.execute(
        "DELETE FROM outbox WHERE kind IN ('pod-status', 'pod-delete') AND key = ? AND uid = ?",
        (f"{resource.namespace}/{resource.name}", pod.uid),
    )
    connection.execute(
        "INSERT OR IGNORE INTO tombstone (uid, number) SELECT ?, coalesce(max(number), 0) + 1 FROM tombstone",
        (pod.uid,),
    )
    connection.execute("DELETE FROM tombstone WHERE number <= (SELECT max(number) FROM tombstone) - ?", (_TOMBSTONES,))


def _ended(connection: sqlite3.Connection, uid: str) -> bool:
    return connection.execute("SELECT 1 FROM tombstone WHERE uid = ?", (uid,)).fetchone() is not None


def _meta(obj: bytes | None) -> ObjectMeta | None:
    """metadata of a stored object; one that cannot be read counts as not there, so that the next push replaces it."""
    if obj is None:
        return None
    try:
        return view(obj).metadata
    except MessageError:
        return None


def _bytes(value: object) -> bytes:
    return value.encode() if isinstance(value, str) else b"null"
