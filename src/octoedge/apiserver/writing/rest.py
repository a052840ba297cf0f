"""The write verbs: create, update, patch. (Deletion is in `deletion.py`, reading in `octoedge.kube.read`.)

A verb makes a deciding function for the backend, which runs when it is its turn to write: there it sees the newest
version, so a patch never conflicts by itself, and an update conflicts exactly when somebody else wrote first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import msgspec

from octoedge.apiserver.access.serviceaccounts import check_namespace
from octoedge.apiserver.behaviours import quotas
from octoedge.apiserver.behaviours.behaviour import Behaviour, behaviour_of, behaviour_of_custom
from octoedge.apiserver.kinds import Kind
from octoedge.apiserver.schema.bodies import (
    Bodies,
    Findings,
    check_depth,
    check_kind,
    expect_object,
    judge_unknown,
    unknown_format,
)
from octoedge.apiserver.store.backend import Backend, Drop, Edit, Keep, Put, View
from octoedge.apiserver.writing import metadata
from octoedge.apiserver.writing.apply import Applier
from octoedge.apiserver.writing.strategic import StrategicMerge
from octoedge.errors import ApiError, already_exists, bad_request, conflict, invalid, not_found
from octoedge.kube.patch import apply_json, apply_merge
from octoedge.kube.read import Item
from octoedge.runtime.clock import Clock, rfc3339

Json = dict[str, Any]
Change = Callable[[Json], Json]

MERGE = "application/merge-patch+json"
JSON_PATCH = "application/json-patch+json"
STRATEGIC = "application/strategic-merge-patch+json"
APPLY = "application/apply-patch+yaml"


@dataclass(frozen=True, slots=True)
class Place:
    """Which object (or kind of object) a request is about."""

    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""
    guard: Callable[[Json, Json | None], None] | None = None
    """Told of (what is about to be stored, what was before); raises when the asker may not do that."""

    def missing(self) -> ApiError:
        """404 for the object."""
        return not_found(self.kind.plural, self.name, self.kind.group)

    def conflict(self, why: str) -> ApiError:
        """409 for the object."""
        return conflict(self.kind.plural, self.name, why, self.kind.group)


MODIFIED = "the object has been modified; please apply your changes to the latest version and try again"


class Rest:
    """Creates, updates and patches objects of every stored kind."""

    def __init__(self, backend: Backend, bodies: Bodies, clock: Clock) -> None:
        self.backend = backend
        self.bodies = bodies
        self.clock = clock
        self._strategic = StrategicMerge(bodies.schema)

    async def create(self, place: Place, obj: Json, query: Mapping[str, str]) -> Item:
        """Store a new object."""
        metadata.check_place(obj, place.namespace)
        now = rfc3339(self.clock.now())
        items = await self.backend.change(lambda view: self._create(view, place, obj, now), dry_run=dry_run(query))
        return items[0]

    async def update(self, place: Place, obj: Json, query: Mapping[str, str]) -> Item:
        """Replace an object."""
        metadata.check_place(obj, place.namespace, place.name)
        return await self.edit(place, lambda _: obj, query)

    async def patch(
        self, place: Place, media_type: str, body: bytes, query: Mapping[str, str], found: Findings
    ) -> Item:
        """Change an object as a patch says."""
        patch = self.bodies.decode(body, media_type)
        if media_type.partition(";")[0].strip().lower() == APPLY:
            return await self._apply(place, patch, query, found)
        apply = self._patcher(place.kind, media_type, patch)

        def change(old: Json) -> Json:
            new = apply(old)
            expect_object(new)
            if new.get("apiVersion") != old.get("apiVersion") or new.get("kind") != old.get("kind"):
                check_kind(new, place.kind.api_version, place.kind.kind)
            result = self._checked_patch(place.kind, new, patch, query, found)
            # Objects are stored by their own names: without this, who may patch one could write any.
            metadata.check_place(result, place.namespace, place.name)
            return result

        return await self.edit(place, change, query)

    async def edit(self, place: Place, change: Change, query: Mapping[str, str]) -> Item:
        """Replace an object by what `change` makes of its newest version."""
        items = await self.backend.change(lambda view: self._update(view, place, change), dry_run=dry_run(query))
        return items[0]

    async def _apply(self, place: Place, patch: Any, query: Mapping[str, str], found: Findings) -> Item:
        """Server-side apply; makes the object when it is not there."""
        expect_object(patch)
        check_kind(patch, place.kind.api_version, place.kind.kind)
        metadata.check_place(patch, place.namespace, place.name)
        if patch["metadata"].get("managedFields"):
            raise bad_request("metadata.managedFields must be nil")
        applied = self._checked_patch(place.kind, patch, patch, query, found)
        applied |= {"kind": place.kind.kind, "apiVersion": place.kind.api_version}
        definition = self.bodies.shape(place.kind).definition
        manager, force = query.get("fieldManager", ""), query.get("force", "").lower() == "true"
        now = rfc3339(self.clock.now())

        def change(live: Json) -> Json:
            new = Applier(self.bodies.schema).apply(definition, live, applied, manager, force=force, now=now)
            for name in ("uid", "resourceVersion"):
                if name in applied.get("metadata", {}):
                    new["metadata"][name] = applied["metadata"][name]
            return new

        def decide(view: View) -> list[Edit]:
            if view.get(place.kind.resource, place.namespace, place.name) is not None:
                return self._update(view, place, change)
            if applied["metadata"].get("uid") or place.subresource:
                raise place.missing()
            fresh = {"kind": applied["kind"], "apiVersion": applied["apiVersion"], "metadata": {"name": place.name}}
            return self._create(view, place, change(fresh), now)

        return (await self.backend.change(decide, dry_run=dry_run(query)))[0]

    def creation(self, view: View, place: Place, obj: Json) -> list[Edit]:
        """The edits that create `obj`, for a deciding function of the server's own controllers."""
        metadata.check_place(obj, place.namespace)
        return self._create(view, place, obj, rfc3339(self.clock.now()))

    def normalized(self, kind: Kind, obj: Json) -> None:
        """Fill in defaults and what follows from other fields, in place."""
        self._fill(kind, _behaviour(kind), obj)

    def _create(self, view: View, place: Place, obj: Json, now: str) -> list[Edit]:
        kind, behaviour = place.kind, _behaviour(place.kind)
        _check_open(kind)
        metadata.prepare_create(obj, place.namespace, now)
        about = obj["metadata"]
        metadata.generate_name(about, lambda name: view.get(kind.resource, place.namespace, name) is not None)
        name = about.get("name") or ""
        if place.namespace:
            check_namespace(view, place.namespace, kind.plural, name)
        if name and view.get(kind.resource, place.namespace, name) is not None:
            raise already_exists(kind.plural, name, kind.group)
        if place.guard is not None:
            place.guard(obj, None)
        self._prepare(kind, behaviour, obj, view)
        self._check(kind, behaviour, obj)
        if place.namespace:
            quotas.admit(view, kind.resource, obj)
        company = [Put(resource, other) for resource, other in behaviour.company(obj, view, now)]
        return [_kept(kind, Put(kind.resource, obj)), *company]

    def _prepare(self, kind: Kind, behaviour: Behaviour, obj: Json, view: View) -> None:
        if kind.subresource("status") and not behaviour.keeps_status:
            obj.pop("status", None)
        if behaviour.counts_generations:
            obj["metadata"]["generation"] = 1
        self._fill(kind, behaviour, obj)
        behaviour.prepare(obj)
        behaviour.admit(obj, view)

    def _fill(self, kind: Kind, behaviour: Behaviour, obj: Json) -> None:
        self.bodies.shape(kind).fill(obj)
        behaviour.normalize(obj)

    def _check(self, kind: Kind, behaviour: Behaviour, obj: Json) -> None:
        causes = metadata.check(obj["metadata"], behaviour.name_rule)
        causes += self.bodies.shape(kind).check(obj)
        causes += [cause for cause in behaviour.check(obj) if cause not in causes]
        metadata.refuse(kind.kind, kind.group, obj["metadata"].get("name") or "", causes)

    def _update(self, view: View, place: Place, change: Change) -> list[Edit]:
        kind, behaviour = place.kind, _behaviour(place.kind)
        item = view.get(kind.resource, place.namespace, place.name)
        if item is None:
            raise place.missing()
        old, new = _as_asked(kind, item), change(_as_asked(kind, item))
        _check_preconditions(place, behaviour, new, old)
        metadata.prepare_update(new, old)
        new = _only_part(place, behaviour, new, old)
        part = behaviour.parts.get(place.subresource)
        if not place.subresource:
            behaviour.carry(new, old, view)
        if not place.subresource or part is not None:
            self._fill(kind, behaviour, new)
        causes = metadata.check(new["metadata"], behaviour.name_rule) + metadata.check_ending(new, old)
        causes += self.bodies.shape(kind).check_update(new, old, place.subresource)
        if not place.subresource:
            causes += [cause for cause in behaviour.check_update(new, old) if cause not in causes]
        elif part is not None:
            causes += part.check(new, old)
        metadata.refuse(kind.kind, kind.group, place.name, causes)
        if place.guard is not None:
            place.guard(new, old)
        if behaviour.counts_generations and _intent(kind, new) != _intent(kind, old):
            new["metadata"]["generation"] = (old["metadata"].get("generation") or 0) + 1
        return [_kept(kind, finished(place, new, old, item))]

    def _patcher(self, kind: Kind, media_type: str, patch: Any) -> Change:
        word = media_type.partition(";")[0].strip().lower()
        if word == JSON_PATCH:
            return lambda old: apply_json(old, patch)
        expect_object(patch)
        if word == MERGE:
            return lambda old: apply_merge(old, patch)
        if word == STRATEGIC and kind.strategic:
            definition = self.bodies.shape(kind).definition
            return lambda old: self._strategic.apply(definition, old, patch)
        raise unknown_format((JSON_PATCH, MERGE, *([STRATEGIC] if kind.strategic else []), APPLY))

    def _checked_patch(self, kind: Kind, new: Json, patch: Any, query: Mapping[str, str], found: Findings) -> Json:
        check_depth(new)  # what a patch puts deep into something deep is deeper than both
        result, unknown = self.bodies.decoded(kind, new)

        def refuse(text: str) -> ApiError:
            shown = f"Invalid value: {_shown(patch)}: strict decoding error: {text}"
            return invalid("", "", [("FieldValueInvalid", "patch", shown)])

        judge_unknown(unknown, query, found, refuse)
        return result


def finished(place: Place, new: Json, old: Json, item: Item) -> Edit:
    """The edit that stores `new`: nothing when nothing changed, removal when a deletion only waited for finalizers."""
    about = new["metadata"]
    about["resourceVersion"] = old["metadata"]["resourceVersion"]
    waits = about.get("finalizers") or (place.kind.resource == "namespaces" and new.get("spec", {}).get("finalizers"))
    if about.get("deletionTimestamp") and not waits and not about.get("deletionGracePeriodSeconds"):
        return Drop(place.kind.resource, place.namespace, place.name)
    return Keep(item) if new == old else Put(place.kind.resource, new)


def _shown(patch: Any) -> str:
    """A patch in an error."""
    text = msgspec.json.encode(patch).decode()
    return text if len(text) <= 200 else f"{text[:200]}…"


def _behaviour(kind: Kind) -> Behaviour:
    return behaviour_of_custom(kind.resource) if kind.custom else behaviour_of(kind.resource)


def _check_open(kind: Kind) -> None:
    """405 while the definition of a custom kind is being deleted."""
    if kind.custom is not None and kind.custom.closing:
        text = "create not allowed while custom resource definition is terminating"
        raise ApiError(405, "MethodNotAllowed", text)


def _as_asked(kind: Kind, item: Item) -> Json:
    """A stored object in the version that the request speaks."""
    obj: Json = msgspec.json.decode(kind.shown(item).data)
    return obj


def _kept(kind: Kind, edit: Edit) -> Edit:
    """The edit with the object in the version in which it is kept."""
    if not kind.converts or not isinstance(edit, Put):
        return edit
    return Put(edit.resource, kind.kept(edit.obj))


def _intent(kind: Kind, obj: Json) -> Json:
    """What of an object counts as a new generation when it changes: all but metadata, and the status if it is one."""
    left_out = ("kind", "apiVersion", "metadata", "status" if kind.subresource("status") else "metadata")
    return {key: value for key, value in obj.items() if key not in left_out}


def dry_run(query: Mapping[str, str]) -> bool:
    """Whether the request only asks what would happen."""
    mode = query.get("dryRun", "")
    if mode not in ("", "All"):
        raise bad_request(f'dryRun: Unsupported value: "{mode}": supported values: "All"')
    return mode == "All"


def _check_preconditions(place: Place, behaviour: Behaviour, new: Json, old: Json) -> None:
    """409 unless the version and UID that the client names, if it names any, are the present ones."""
    about, before = new.get("metadata") or {}, old["metadata"]
    version, uid = about.get("resourceVersion"), about.get("uid")
    if behaviour.conditional_only and not version:
        cause = metadata.wrong("metadata.resourceVersion", 0, "must be specified for an update")
        metadata.refuse(place.kind.kind, place.kind.group, place.name, [cause])
    if uid and uid != before["uid"]:
        raise place.conflict(f"Precondition failed: UID in precondition: {uid}, UID in object meta: {before['uid']}")
    if version and version != before["resourceVersion"]:
        raise place.conflict(MODIFIED)


def _only_part(place: Place, behaviour: Behaviour, new: Json, old: Json) -> Json:
    """What the subresource lets through: the status only below /status, everything else otherwise."""
    if place.subresource in behaviour.parts:
        return behaviour.parts[place.subresource].take(new, old)
    if not place.kind.subresource("status") or place.subresource == "binding":
        return new
    status_part = place.subresource in ("status", "approval")
    kept = old if status_part else new
    status = (new if status_part else old).get("status")
    result = {key: value for key, value in kept.items() if key != "status"}
    if status is not None:
        result["status"] = status
    if status_part and behaviour.status_metadata:
        result["metadata"] = {**old["metadata"], **_loose(new["metadata"])}
    return result


def _loose(about: Json) -> Json:
    return {key: about.get(key) or {} for key in ("labels", "annotations") if key in about}
