"""The garbage collector: what was owned goes when its owners have gone.

    background   the owner is gone at once; then everything it owned is deleted
    foreground   the owner waits (finalizer foregroundDeletion) until what it owned, and what blocks it, is gone
    orphan       the owner waits (finalizer orphan) until nothing names it as its owner any more

What is garbage is decided from the store in the turn that deletes it. The index of who owns what only says where to
look after a removal; what it does not know yet is looked at when it is heard of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.turn import Hands, Turn, decoded
from octoedge.apiserver.store.backend import Edit, View
from octoedge.apiserver.writing.deletion import FOREGROUND, ORPHAN, DeleteOptions
from octoedge.apiserver.writing.ownership import (
    OWNERS,
    Owner,
    has_finalizer,
    is_leaving,
    owners_of,
    uid_of,
    without,
    without_finalizer,
)
from octoedge.errors import OctoedgeError
from octoedge.kube.read import Item
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

Json = dict[str, Any]
Ref = tuple[str, str, str]
"""(resource, namespace, name)"""

RETRY_SECONDS = 2.0
NAME = "garbage-collector"


class GarbageCollector:
    """A module of the API server."""

    name = NAME
    needs: tuple[str, ...] = ("bootstrap",)
    restart = True

    def __init__(self, hands: Hands) -> None:
        self._hands = hands
        self._backend = hands.rest.backend
        self._dependents: dict[str, set[Ref]] = {}
        self._owners: dict[Ref, tuple[str, ...]] = {}
        self._followed: set[str] = set()
        self._queue: KeyedQueue[Ref] = KeyedQueue(self._work, workers=4, name="garbage")

    async def run(self, ready: Callable[[], None]) -> None:
        """Collect until cancelled. Kinds that appear later are followed as soon as they do."""
        self._followed = set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="garbage queue")
            ready()
            while True:
                appeared = self._hands.kinds.changed()
                for kind in self._hands.kinds.stored():
                    if kind.resource not in self._followed and kind.resource != "events":
                        self._followed.add(kind.resource)
                        seen = self._heard_of(kind.resource)
                        group.create_task(follow(self._backend, kind.resource, seen), name=f"garbage {kind.resource}")
                await appeared.wait()

    def _heard_of(self, resource: str) -> Callable[[Item, bool], None]:
        def seen(item: Item, removed: bool) -> None:
            ref = (resource, item.namespace, item.name)
            uids = tuple(item.fields.get(OWNERS, "").split(",")) if item.fields.get(OWNERS) else ()
            self._index(ref, () if removed else uids)
            if removed:
                for dependent in self._dependents.get(uid_of(item), ()):
                    self._queue.add(dependent)
                for owner in owners_of(item):
                    self._look_at(owner, item.namespace)
            elif uids or b'"finalizers"' in item.data:
                self._queue.add(ref)

        return seen

    def _look_at(self, owner: Owner, namespace: str) -> None:
        kind = self._hands.kinds.of_object(owner.api_version, owner.kind)
        if kind is not None:
            self._queue.add((kind.resource, namespace if kind.namespaced else "", owner.name))

    def _index(self, ref: Ref, uids: tuple[str, ...]) -> None:
        for uid in self._owners.pop(ref, ()):
            known = self._dependents.get(uid)
            if known is not None:
                known.discard(ref)
                if not known:
                    del self._dependents[uid]
        if uids:
            self._owners[ref] = uids
            for uid in uids:
                self._dependents.setdefault(uid, set()).add(ref)

    async def _work(self, ref: Ref) -> None:
        def decide(view: View) -> Sequence[Edit]:
            turn = Turn(self._hands, view, NAME, self._hands.clock.now())
            collect(turn, ref)
            return turn.edits()

        try:
            await self._backend.change(decide)
        except (OctoedgeError, ValueError, KeyError) as error:
            log.warning("garbage collector: %s %s/%s: %s", *ref, error)
            self._queue.add_later(ref, RETRY_SECONDS)


def collect(turn: Turn, ref: Ref) -> None:
    """What is due about one object: delete it, let go of owners that are gone, or end its waiting for dependents."""
    item = turn.view.get(*ref)
    if item is None:
        return
    obj = decoded(item)
    if is_leaving(obj) and has_finalizer(obj, ORPHAN):
        _orphan(turn, ref, obj)
    elif is_leaving(obj) and has_finalizer(obj, FOREGROUND):
        _wait_for_dependents(turn, ref, obj)
    elif item.fields.get(OWNERS) and not is_leaving(obj):
        _judge(turn, ref, item, obj)


def _judge(turn: Turn, ref: Ref, item: Item, obj: Json) -> None:
    """Delete an object all of whose owners are gone, or wait for it to go."""
    solid, gone, waiting = 0, set(), set()
    for owner in owners_of(item):
        found = _owner(turn, owner, item.namespace)
        if found is False:
            solid += 1
            text = f"ownerRef {owner.api_version}/{owner.kind} {owner.name} must not refer to a namespaced kind"
            turn.tell(obj, "OwnerRefInvalidNamespace", f"{text}: the object belongs to no namespace", warning=True)
        elif found is None:
            gone.add(owner.uid)
        elif isinstance(found, dict) and _waits_for(found, owner):
            waiting.add(owner.uid)
        else:
            solid += 1
    resource = ref[0]
    if solid:
        if gone or waiting:
            turn.put(resource, without(obj, gone | waiting))
        return
    policy = "Foreground" if waiting and any(True for _ in _dependents(turn, obj)) else _own_policy(obj)
    if gone or waiting:
        turn.delete(resource, obj, options=DeleteOptions(uid=obj["metadata"]["uid"], policy=policy))


def _own_policy(obj: Json) -> str:
    """Finalizers that a user set beforehand say how an object is to be deleted."""
    if has_finalizer(obj, ORPHAN):
        return "Orphan"
    return "Foreground" if has_finalizer(obj, FOREGROUND) else "Background"


def _owner(turn: Turn, owner: Owner, namespace: str) -> Json | bool | None:
    """The owner; None when it is gone. Where nothing can be said: True when its kind is not known here, False when an
    object of no namespace says that it belongs to one of some namespace."""
    kind = turn.hands.kinds.of_object(owner.api_version, owner.kind)
    if kind is None:
        return True
    if kind.namespaced and not namespace:
        return False
    obj = turn.get(kind.resource, namespace if kind.namespaced else "", owner.name)
    return obj if obj is not None and obj["metadata"]["uid"] == owner.uid else None


def _waits_for(obj: Json, owner: Owner) -> bool:
    """Whether the owner is being deleted and waits for its dependents; it then takes also those that do not block."""
    return is_leaving(obj) and has_finalizer(obj, FOREGROUND) and bool(owner.uid)


def _dependents(turn: Turn, obj: Json) -> Iterator[tuple[str, Item, Owner]]:
    """Every object that names this one as its owner."""
    about = obj["metadata"]
    for kind in turn.hands.kinds.stored():
        if about.get("namespace") and not kind.namespaced:
            continue
        for item in turn.items(kind.resource, about.get("namespace", "")):
            if about["uid"] in item.fields.get(OWNERS, ""):
                for owner in owners_of(item):
                    if owner.uid == about["uid"]:
                        yield kind.resource, item, owner


def _orphan(turn: Turn, ref: Ref, obj: Json) -> None:
    uid = obj["metadata"]["uid"]
    for resource, item, _ in _dependents(turn, obj):
        present = turn.get(resource, item.namespace, item.name)
        if present is not None:
            turn.put(resource, without(present, {uid}))
    turn.put(ref[0], without_finalizer(obj, ORPHAN))


def _wait_for_dependents(turn: Turn, ref: Ref, obj: Json) -> None:
    blocked = False
    for resource, item, owner in _dependents(turn, obj):
        blocked = blocked or bool(owner.block_owner_deletion)
        collect(turn, (resource, item.namespace, item.name))
    if not blocked:
        turn.put(ref[0], without_finalizer(obj, FOREGROUND))
