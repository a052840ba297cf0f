"""What to do with an object that the cloud sent, given what is stored. Decisions only: no I/O, no clock.

The cloud may send the same thing twice, late, or about an object that has been replaced under its name since. A uid
says which object is meant; a resourceVersion says which state of it is newer.
"""

from __future__ import annotations

import enum

from octoedge.api.meta import ObjectMeta


class Put(enum.Enum):
    """What becomes of an insert or update."""

    STORE = "store it"
    REPLACE = "store it; the stored object with the same name is another one, and gone"
    SAME = "it is stored already; tell of it again, since nobody may have been told"
    STALE = "what is stored is newer"


class Delete(enum.Enum):
    """What becomes of a delete."""

    REMOVE = "remove it"
    ABSENT = "it is not stored; tell of it again, since nobody may have been told"
    OTHER = "the stored object is another one with the same name"
    ASK = "nobody says which object is meant: ask the cloud"


def on_put(stored: ObjectMeta | None, sent: ObjectMeta) -> Put:
    """Compare what was sent with what is stored."""
    if stored is None:
        return Put.STORE
    if stored.uid and sent.uid and stored.uid != sent.uid:
        older = (sent.creation_timestamp or "") <= (stored.creation_timestamp or "") and sent.version < stored.version
        return Put.STALE if older and sent.version else Put.REPLACE
    if not sent.version or sent.version > stored.version:
        return Put.STORE
    return Put.SAME if sent.version == stored.version else Put.STALE


def on_delete(stored: ObjectMeta | None, uid: str) -> Delete:
    """Compare the uid that a delete names with what is stored."""
    if stored is None:
        return Delete.ABSENT
    if not uid:
        return Delete.ASK
    return Delete.REMOVE if uid == stored.uid or not stored.uid else Delete.OTHER
