"""CustomResourceDefinitions: KubeEdge's own are installed, names that became free are given, deleted ones emptied."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Iterable
from importlib.resources import files
from typing import Any

import msgspec
import yaml

from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.turn import decoded
from octoedge.apiserver.crd.names import as_definitions, settled, taken_by
from octoedge.apiserver.crd.rules import FINALIZER, RESOURCE
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.store.backend import Drop, Edit, Put, View
from octoedge.apiserver.writing.deletion import DeleteOptions, Deletion
from octoedge.apiserver.writing.ownership import has_finalizer, is_leaving, without_finalizer
from octoedge.apiserver.writing.rest import Place, Rest
from octoedge.errors import OctoedgeError
from octoedge.kube.read import Item, ReadOptions
from octoedge.runtime.clock import rfc3339
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

Json = dict[str, Any]

AGAIN_SECONDS = 1.0
"""Objects with finalizers take their time: look again after so long."""
INSTALLED = "octoedge.io/installed"
"""An annotation with the digest of the spec that was installed; whoever changes the spec makes it his own."""

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Ten times as fast where PyYAML was built with libyaml: this is part of every start."""


def own_definitions() -> Iterable[Json]:
    """The definitions that come with the package: KubeEdge's kinds."""
    folder = files("octoedge.api").joinpath("crds")
    for file in sorted(folder.iterdir(), key=lambda file: file.name):
        if file.name.endswith(".yaml"):
            yield yaml.load(file.read_bytes(), Loader=_LOADER)  # noqa: S506 (both loaders are safe ones)


class DefinitionController:
    """A module of the API server."""

    name = "definitions"
    needs: tuple[str, ...] = ("backend",)

    def __init__(self, rest: Rest, deletion: Deletion, kinds: Kinds) -> None:
        self._rest = rest
        self._deletion = deletion
        self._kinds = kinds
        self._built_in = as_definitions([kind for kind in kinds if kind.custom is None])
        self._place = Place(kinds.named(RESOURCE))
        self._queue: KeyedQueue[str] = KeyedQueue(self._work, workers=1, name="definition")

    async def run(self, ready: Callable[[], None]) -> None:
        """Install, then work until cancelled."""
        for definition in own_definitions():
            await self._install(definition)
        ready()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="definitions queue")
            group.create_task(follow(self._rest.backend, RESOURCE, self._seen), name="definitions follow")

    async def _install(self, definition: Json) -> None:
        name = definition["metadata"]["name"]
        try:
            typed = self._rest.bodies.decoded(self._place.kind, definition)[0]
            await self._rest.backend.change(lambda view: self._installing(view, typed))
        except OctoedgeError as error:
            log.error("the CustomResourceDefinition %s could not be installed: %s", name, error)

    def _installing(self, view: View, definition: Json) -> list[Edit]:
        name = definition["metadata"]["name"]
        item = view.get(RESOURCE, "", name)
        edits = self._rest.creation(view, self._place, definition) if item is None else []
        for edit in edits:
            if isinstance(edit, Put):
                _mark(edit.obj)
        return edits if item is None else self._renewing(item, definition)

    def _renewing(self, item: Item, definition: Json) -> list[Edit]:
        """Bring an installed definition up to date, unless somebody has changed it."""
        obj = decoded(item)
        digest = _digest(obj["spec"])
        if obj["metadata"].get("annotations", {}).get(INSTALLED) != digest:
            log.info("= CustomResourceDefinition %s is not as it was installed: it is left alone", item.name)
            return []
        fresh = {**obj, "spec": definition["spec"], "metadata": dict(obj["metadata"])}
        self._rest.normalized(self._place.kind, fresh)
        _mark(fresh)
        if fresh["spec"] == obj["spec"]:
            return []
        fresh["metadata"]["generation"] = (obj["metadata"].get("generation") or 0) + 1
        return [Put(RESOURCE, fresh)]

    def _seen(self, item: Item, _removed: bool) -> None:
        self._queue.add(item.name)

    async def _work(self, name: str) -> None:
        try:
            await self._rest.backend.change(self._settle)
            await self._empty(name)
        except OctoedgeError as error:
            log.warning("CustomResourceDefinition %s: %s", name, error)
            self._queue.add_later(name, AGAIN_SECONDS)

    def _settle(self, view: View) -> list[Edit]:
        """Names and conditions of all definitions, as they should be now; each takes its names before the next."""
        now = rfc3339(self._rest.clock.now())
        present = [decoded(item) for item in view.items(RESOURCE)]
        present.sort(key=lambda one: (one["metadata"].get("creationTimestamp") or "", one["metadata"]["name"]))
        edits: list[Edit] = []
        for obj in present:
            group = obj["spec"]["group"]
            status = settled(obj, taken_by([*self._built_in, *present], group, obj["metadata"]["name"]), now)
            if status != obj.get("status"):
                obj["status"] = status
                edits.append(Put(RESOURCE, obj))
        return edits

    async def _empty(self, name: str) -> None:
        """Delete the objects of a definition that is being deleted, then let it go."""
        item = self._rest.backend.get(RESOURCE, "", name)
        if item is None or not _is_leaving(decoded(item)):
            return
        kind = next((kind for kind in self._kinds.stored() if kind.custom and kind.resource == name), None)
        if kind is not None and self._rest.backend.items(name):
            await self._deletion.delete_collection(Place(kind), ReadOptions(), DeleteOptions())
        if self._rest.backend.items(name):
            self._queue.add_later(name, AGAIN_SECONDS)
            return
        await self._rest.backend.change(lambda view: _let_go(view, name))


def _is_leaving(obj: Json) -> bool:
    return is_leaving(obj) and has_finalizer(obj, FINALIZER)


def _let_go(view: View, name: str) -> list[Edit]:
    item = view.get(RESOURCE, "", name)
    obj = decoded(item) if item else {}
    if not obj or not _is_leaving(obj) or view.items(name):
        return []
    left = without_finalizer(obj, FINALIZER)
    return [Put(RESOURCE, left)] if left["metadata"].get("finalizers") else [Drop(RESOURCE, "", name)]


def _mark(obj: Json) -> None:
    about = obj["metadata"]
    about["annotations"] = {**about.get("annotations", {}), INSTALLED: _digest(obj["spec"])}


def _digest(spec: Json) -> str:
    return hashlib.sha256(msgspec.json.encode(spec, order="sorted")).hexdigest()[:32]
