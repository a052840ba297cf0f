"""What MetaServer keeps in edgecore.db. Every function runs inside one transaction, on the writer or a reader.

`meta_v2` is KubeEdge's (spec: metadata, section 5.1): objects by `/<group>/<version>/<plural>/<namespace>/<name>`,
pages of discovery by their path. `metaserver_scope` says what was read as a whole, up to which version, and when;
`metaserver_allowed` what the cloud allowed to whom.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import msgspec

from octoedge.api.meta import ObjectMeta
from octoedge.protocol.application import Key

_SCOPES, _ALLOWED = 2000, 5000
_OF_OTHERS = "operations.kubeedge.io/"
"""Jobs of nodes, which nobody reads through MetaServer."""
Keep = Callable[[bytes], bool]
"""Whether an object belongs to a scope."""


@dataclass(frozen=True, slots=True)
class Row:
    """An object to be stored."""

    namespace: str
    name: str
    version: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Moved:
    """What storing did to one object: its form before (None: it is new), and after (None: it is gone)."""

    before: bytes | None
    after: bytes | None
    version: int


@dataclass(frozen=True, slots=True)
class Scope:
    """Something that was read as a whole."""

    key: str
    kind: str
    version: int
    seen: float


def get(connection: sqlite3.Connection, key: Key) -> bytes | None:
    """One object."""
    row = connection.execute("SELECT value FROM meta_v2 WHERE key = ?", (str(key),)).fetchone()
    return None if row is None else str(row[0]).encode()


def page(connection: sqlite3.Connection, path: str) -> bytes | None:
    """A page of discovery."""
    row = connection.execute("SELECT value FROM meta_v2 WHERE key = ?", (path,)).fetchone()
    return None if row is None else str(row[0]).encode()


def keep_page(connection: sqlite3.Connection, path: str, body: bytes) -> None:
    """Keep a page of discovery."""
    connection.execute("INSERT OR REPLACE INTO meta_v2 (key, value) VALUES (?, ?)", (path, body.decode()))


def of_kind(connection: sqlite3.Connection, key: Key) -> Iterator[tuple[str, str, int, bytes]]:
    """(namespace, name, version, object) of all, sorted; of one namespace when the key names one."""
    columns = "SELECT namespace, name, resource_version, value FROM meta_v2 WHERE group_version_resource = ?"
    place: tuple[str, ...] = (_resource(key),)
    if key.namespace:
        columns, place = f"{columns} AND namespace = ?", (*place, key.namespace)
    for namespace, name, version, value in connection.execute(f"{columns} ORDER BY namespace, name", place):
        yield ("" if namespace == "null" else namespace), name, version, value.encode()


def put(connection: sqlite3.Connection, key: Key, row: Row) -> Moved | None:
    """Store an object unless what is stored is as new."""
    place = str(msgspec.structs.replace(key, namespace=row.namespace, name=row.name))
    known = connection.execute("SELECT resource_version, value FROM meta_v2 WHERE key = ?", (place,)).fetchone()
    if known is not None and known[0] >= row.version and row.version:
        return None
    connection.execute(
        "INSERT OR REPLACE INTO meta_v2 (key, group_version_resource, namespace, name, resource_version, value)"
        " VALUES (?, ?, ?, ?, ?, ?)",
        (place, _resource(key), row.namespace or "null", row.name, row.version, row.data.decode()),
    )
    return Moved(None if known is None else str(known[1]).encode(), row.data, row.version)


def remove(connection: sqlite3.Connection, key: Key, version: int) -> Moved | None:
    """Remove an object that was deleted at this version; a later one with its name stays."""
    known = connection.execute("SELECT resource_version, value FROM meta_v2 WHERE key = ?", (str(key),)).fetchone()
    if known is None or known[0] > version:
        return None
    connection.execute("DELETE FROM meta_v2 WHERE key = ?", (str(key),))
    return Moved(str(known[1]).encode(), None, version)


def reconcile(
    connection: sqlite3.Connection, key: Key, names: set[tuple[str, str]], version: int, keep: Keep
) -> Iterable[Moved]:
    """Remove what belongs to a scope and is not in its whole list of that version."""
    gone = [
        (namespace, name)
        for namespace, name, stored, data in of_kind(connection, key)
        if (namespace, name) not in names and stored <= version and keep(data)
    ]
    moved = []
    for namespace, name in gone:
        one = remove(connection, msgspec.structs.replace(key, namespace=namespace, name=name), version)
        moved += [one] if one else []
    return moved


def scope(connection: sqlite3.Connection, key: str) -> Scope | None:
    """What is known of a scope."""
    row = connection.execute("SELECT key, kind, version, seen FROM metaserver_scope WHERE key = ?", (key,)).fetchone()
    return None if row is None else Scope(*row)


def keep_scope(connection: sqlite3.Connection, known: Scope) -> None:
    """Keep it; those that nobody has asked for the longest make room."""
    connection.execute(
        "INSERT OR REPLACE INTO metaserver_scope (key, kind, version, seen) VALUES (?, ?, ?, ?)",
        (known.key, known.kind, known.version, known.seen),
    )
    connection.execute(
        "DELETE FROM metaserver_scope WHERE key IN"
        " (SELECT key FROM metaserver_scope ORDER BY seen DESC LIMIT -1 OFFSET ?)",
        (_SCOPES,),
    )


def allow(connection: sqlite3.Connection, caller: str, what: str, now: float) -> None:
    """Remember that the cloud allowed this."""
    connection.execute(
        "INSERT OR REPLACE INTO metaserver_allowed (caller, what, seen) VALUES (?, ?, ?)", (caller, what, now)
    )
    connection.execute(
        "DELETE FROM metaserver_allowed WHERE rowid IN"
        " (SELECT rowid FROM metaserver_allowed ORDER BY seen DESC LIMIT -1 OFFSET ?)",
        (_ALLOWED,),
    )


def forbid(connection: sqlite3.Connection, caller: str, what: str) -> None:
    """Remember that it does not."""
    connection.execute("DELETE FROM metaserver_allowed WHERE caller = ? AND what = ?", (caller, what))


def allowed(connection: sqlite3.Connection, caller: str, any_of: Iterable[str]) -> float | None:
    """When the cloud last allowed one of these; None if never."""
    found = [
        connection.execute(
            "SELECT seen FROM metaserver_allowed WHERE caller = ? AND what = ?", (caller, what)
        ).fetchone()
        for what in any_of
    ]
    return max((row[0] for row in found if row is not None), default=None)


def prune(connection: sqlite3.Connection, before: float) -> int:
    """Forget kinds of which nobody has read anything since then; how many objects that were."""
    read = [row[0] for row in connection.execute("SELECT key FROM metaserver_scope WHERE seen >= ?", (before,))]
    read += [
        row[0].partition(" ")[2]
        for row in connection.execute("SELECT what FROM metaserver_allowed WHERE seen >= ?", (before,))
    ]
    kept = {_kind(place) for place in read}
    known = connection.execute("SELECT DISTINCT group_version_resource FROM meta_v2").fetchall()
    forgotten = [row for row in known if row[0] and row[0] not in kept and not row[0].startswith(_OF_OTHERS)]
    connection.execute("DELETE FROM metaserver_scope WHERE seen < ?", (before,))
    connection.execute("DELETE FROM metaserver_allowed WHERE seen < ?", (before,))
    return connection.executemany("DELETE FROM meta_v2 WHERE group_version_resource = ?", forgotten).rowcount


def _kind(place: str) -> str:
    """The kind of what begins with the text of a key."""
    _, group, version, plural, *_ = [*place.split("/"), "", "", ""]
    return f"{'' if group == 'core' else group}/{version}, Resource={plural}"


def row_of(meta: ObjectMeta, data: bytes) -> Row:
    """The row of an object."""
    return Row(meta.namespace, meta.name, meta.version, data)


def _resource(key: Key) -> str:
    """As Go writes a GroupVersionResource."""
    return f"{key.group}/{key.version}, Resource={key.plural}"
