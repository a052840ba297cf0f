"""Deleting: at once, after a grace period that the kubelet ends, or when the last finalizer is gone.

Pod on a node       deletionTimestamp + grace; the node stops it and deletes it again with grace 0
with finalizers     deletionTimestamp; removed when the list is empty
Foreground, Orphan  a finalizer of the garbage collector, which first sees to what the object owns
Namespace           deletionTimestamp, phase Terminating; the namespace controller empties and removes it
everything else     gone
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.store.backend import Backend, Drop, Edit, Keep, Put, View
from octoedge.apiserver.writing.rest import Place, dry_run
from octoedge.errors import bad_request, forbidden
from octoedge.kube.read import Item, ReadOptions, select
from octoedge.runtime.clock import Clock, parse_rfc3339, rfc3339

Json = dict[str, Any]
Also = Callable[[View], Sequence[Edit]]

_PROTECTED = ("default", "kube-system", "kube-public")
_POLICIES = (None, "", "Background", "Foreground", "Orphan")


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete."""

    grace: int | None = None
    uid: str = ""
    version: str = ""
    dry_run: bool = False
    policy: str = ""
    """Background (usual), Foreground or Orphan: what becomes of the objects that this one owns."""

    @classmethod
    def of(cls, body: Json, query: Mapping[str, str]) -> DeleteOptions:
        """The options in a DeleteOptions object and in the query; the query wins."""
        grace = query.get("gracePeriodSeconds", body.get("gracePeriodSeconds"))
        if grace is not None and (not str(grace).lstrip("-").isdecimal() or len(str(grace)) > 12):
            raise bad_request(f"gracePeriodSeconds: {grace!r} is not a whole number")
        policy = query.get("propagationPolicy", body.get("propagationPolicy"))
        if policy not in _POLICIES:
            raise bad_request(f"propagationPolicy: {policy!r} is none of Background, Foreground, Orphan")
        orphan = body.get("orphanDependents")
        if orphan is not None:
            policy = policy or ("Orphan" if orphan else "Background")
        conditions = body.get("preconditions") or {}
        return cls(
            None if grace is None else int(grace),
            conditions.get("uid") or "",
            conditions.get("resourceVersion") or "",
            dry_run(query) or "All" in (body.get("dryRun") or []),
            policy or "",
        )


@dataclass(frozen=True, slots=True)
class Deleted:
    """What became of an object: `gone`, or still there with a deletionTimestamp."""

    item: Item
    gone: bool


class Deletion:
    """Deletes objects of every stored kind."""

    def __init__(self, backend: Backend, clock: Clock) -> None:
        self.backend = backend
        self.clock = clock

    async def delete(self, place: Place, options: DeleteOptions, also: Also | None = None) -> Deleted:
        """Delete one object, if `also` does not refuse, together with the edits that it gives."""
        gone = False

        def decide(view: View) -> list[Edit]:
            nonlocal gone
            more = also(view) if also is not None else []
            edit = self._decide(view, place, options)
            gone = isinstance(edit, Drop)
            return [edit, *more]

        items = await self.backend.change(decide, dry_run=options.dry_run)
        return Deleted(items[0], gone)

    async def delete_collection(self, place: Place, selection: ReadOptions, options: DeleteOptions) -> list[Item]:
        """Delete all objects that the selectors choose, each for itself."""
        kind = place.kind
        chosen = select(self.backend, kind.resource, place.namespace, selection)

        def decide(view: View) -> list[Edit]:
            present = [item for item in chosen if view.get(kind.resource, item.namespace, item.name) is not None]
            return [self._decide(view, Place(kind, item.namespace, item.name), options) for item in present]

        return await self.backend.change(decide, dry_run=options.dry_run)

    def removal(self, view: View, place: Place, options: DeleteOptions) -> Edit:
        """The edit that deletes an object, for a deciding function of the server's own controllers."""
        return self._decide(view, place, options)

    def _decide(self, view: View, place: Place, options: DeleteOptions) -> Edit:
        item = view.get(place.kind.resource, place.namespace, place.name)
        if item is None:
            raise place.missing()
        obj: Json = msgspec.json.decode(item.data)
        _check_preconditions(place, obj, options)
        if place.kind.resource == "namespaces":
            return self._namespace(place, obj, item)
        grace = _grace(place, obj, options)
        about = obj["metadata"]
        repeated = _leave_to_collector(about, options.policy)
        if grace == 0 and not about.get("finalizers"):
            return Drop(place.kind.resource, place.namespace, place.name)
        if about.get("deletionTimestamp"):
            return self._shorten(place, obj, None if repeated else item, grace, options)
        about["deletionTimestamp"] = rfc3339(self.clock.now() + grace)
        about["deletionGracePeriodSeconds"] = grace
        return Put(place.kind.resource, obj)

    def _shorten(self, place: Place, obj: Json, same: Item | None, grace: int, options: DeleteOptions) -> Edit:
        """A second deletion can only make the time shorter; `same` is the stored object while nothing has changed."""
        about = obj["metadata"]
        before = about.get("deletionGracePeriodSeconds") or 0
        if options.grace is None or grace >= before:
            return Keep(same) if same else Put(place.kind.resource, obj)
        about["deletionTimestamp"] = rfc3339(parse_rfc3339(about["deletionTimestamp"]) - before + grace)
        about["deletionGracePeriodSeconds"] = grace
        return Put(place.kind.resource, obj)

    def _namespace(self, place: Place, obj: Json, item: Item) -> Edit:
        if place.name in _PROTECTED:
            raise forbidden(
                f'namespaces "{place.name}" is forbidden: this namespace may not be deleted',
                {"name": place.name, "kind": "namespaces"},
            )
        if obj["metadata"].get("deletionTimestamp"):
            return Keep(item)
        obj["metadata"]["deletionTimestamp"] = rfc3339(self.clock.now())
        obj["metadata"]["deletionGracePeriodSeconds"] = 0
        obj["status"] = {**(obj.get("status") or {}), "phase": "Terminating"}
        return Put("namespaces", obj)


FOREGROUND = "foregroundDeletion"
ORPHAN = "orphan"
_FINALIZERS = {"Foreground": FOREGROUND, "Orphan": ORPHAN}


def _leave_to_collector(about: Json, policy: str) -> bool:
    """Set the finalizer by which the garbage collector does its part before the object goes; whether that is new.

    Without a wish in the request, a finalizer that was set before says what is wanted.
    """
    if not policy:
        return False
    before = list(about.pop("finalizers", None) or [])
    wanted = [one for one in before if one not in (FOREGROUND, ORPHAN)]
    wanted += [_FINALIZERS[policy]] if policy in _FINALIZERS else []
    if wanted:
        about["finalizers"] = wanted
    return sorted(wanted) != sorted(before)


def _check_preconditions(place: Place, obj: Json, options: DeleteOptions) -> None:
    about = obj["metadata"]
    if options.uid and options.uid != about["uid"]:
        raise place.conflict(
            f"Precondition failed: UID in precondition: {options.uid}, UID in object meta: {about['uid']}"
        )
    if options.version and options.version != about["resourceVersion"]:
        raise place.conflict(
            f"Precondition failed: ResourceVersion in precondition: {options.version}, "
            f"ResourceVersion in object meta: {about['resourceVersion']}"
        )


def _grace(place: Place, obj: Json, options: DeleteOptions) -> int:
    """Seconds that the object may still live; only a Pod on a node has any."""
    if place.kind.resource != "pods":
        return 0
    spec = obj.get("spec") or {}
    if not spec.get("nodeName") or (obj.get("status") or {}).get("phase") in ("Succeeded", "Failed"):
        return 0
    if options.grace is not None:
        return options.grace if options.grace >= 0 else 1
    wished = spec.get("terminationGracePeriodSeconds")
    return 30 if wished is None else max(int(wished), 1 if wished < 0 else 0)
