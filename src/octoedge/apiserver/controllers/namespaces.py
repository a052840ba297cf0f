"""Empties namespaces that are being deleted, then removes them; meanwhile their status says what holds them up."""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.plans import conditions
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.writing.deletion import DeleteOptions, Deletion
from octoedge.apiserver.writing.rest import Place, Rest
from octoedge.errors import ApiError, OctoedgeError
from octoedge.kube.read import Item, ReadOptions
from octoedge.runtime.clock import rfc3339
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

Json = dict[str, Any]

AGAIN_SECONDS = 1.0
"""A Pod takes its time to stop: look again after so long."""


class NamespaceController:
    """A module of the API server."""

    name = "namespaces"
    needs: tuple[str, ...] = ("bootstrap",)
    restart = True

    def __init__(self, rest: Rest, deletion: Deletion, kinds: Kinds) -> None:
        self._rest = rest
        self._deletion = deletion
        self._kinds = kinds
        self._queue: KeyedQueue[str] = KeyedQueue(self._work, workers=2, name="namespace")

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="namespaces queue")
            group.create_task(follow(self._rest.backend, "namespaces", self._seen), name="namespaces follow")
            ready()

    def _seen(self, item: Item, removed: bool) -> None:
        if not removed and item.fields.get("status.phase") == "Terminating":
            self._queue.add(item.name)

    async def _work(self, name: str) -> None:
        item = self._rest.backend.get("namespaces", "", name)
        if item is None or item.fields.get("status.phase") != "Terminating":
            return
        left: dict[str, Sequence[Item]] = {}
        for kind in self._kinds.stored():
            if kind.namespaced:
                try:
                    await self._deletion.delete_collection(Place(kind, name), ReadOptions(), DeleteOptions())
                except OctoedgeError as error:
                    log.warning("namespace %s: its %s could not be deleted: %s", name, kind.plural, error)
                if found := self._rest.backend.items(kind.resource, name):
                    left[kind.resource] = found
        try:
            await (self._tell(name, left) if left else self._remove(name))
        except OctoedgeError as error:
            log.warning("namespace %s could not be changed: %s", name, error)
        if left:
            self._queue.add_later(name, AGAIN_SECONDS)

    async def _tell(self, name: str, left: Mapping[str, Sequence[Item]]) -> None:
        """Write into the status what holds it up."""
        item = self._rest.backend.get("namespaces", "", name)
        known = (msgspec.json.decode(item.data).get("status") or {}).get("conditions") if item is not None else None
        now = rfc3339(self._rest.clock.now())
        wanted = known or []
        for condition in remaining(left):
            wanted = conditions.changed(wanted, condition, now)
        if wanted == known:
            return

        def change(obj: Json) -> Json:
            obj["status"] = {**(obj.get("status") or {}), "conditions": wanted}
            return obj

        await self._rest.edit(Place(self._kinds.named("namespaces"), "", name, "status"), change, {})

    async def _remove(self, name: str) -> None:
        def change(obj: Json) -> Json:
            obj["spec"] = {**(obj.get("spec") or {}), "finalizers": []}
            return obj

        try:
            await self._rest.edit(Place(self._kinds.named("namespaces"), "", name, "finalize"), change, {})
        except ApiError as error:
            if error.code != 404:
                raise
        log.info("= namespace %s is gone", name)


def remaining(left: Mapping[str, Sequence[Item]]) -> list[Json]:
    """The conditions of a namespace that is being deleted: what is left in it, and whose finalizers hold that."""
    content = [f"{resource} has {len(items)} resource instances" for resource, items in sorted(left.items())]
    holders = Counter(
        finalizer
        for items in left.values()
        for item in items
        if b'"finalizers"' in item.data
        for finalizer in msgspec.json.decode(item.data)["metadata"].get("finalizers") or ()
    )
    held = [f"{finalizer} in {count} resource instances" for finalizer, count in sorted(holders.items())]
    return [
        {
            "type": "NamespaceContentRemaining",
            "status": "True",
            "reason": "SomeResourcesRemain",
            "message": f"Some resources are remaining: {', '.join(content)}",
        },
        {
            "type": "NamespaceFinalizersRemaining",
            "status": "True" if held else "False",
            "reason": "SomeFinalizersRemain" if held else "ContentHasNoFinalizers",
            "message": f"Some content in the namespace has finalizers remaining: {', '.join(held)}"
            if held
            else "All content-preserving finalizers finished",
        },
    ]
