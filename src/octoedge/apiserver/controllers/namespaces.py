"""Empties namespaces that are being deleted, then removes them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.deletion import DeleteOptions, Deletion
from octoedge.apiserver.kinds import Kinds
from octoedge.apiserver.rest import Place, Rest
from octoedge.errors import ApiError
from octoedge.kube.read import Item, ReadOptions
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

Json = dict[str, Any]

AGAIN_SECONDS = 1.0
"""A Pod takes its time to stop: look again after so long."""


class NamespaceController:
    """A module of the API server."""

    name = "namespaces"
    needs: tuple[str, ...] = ("bootstrap",)

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
        left = 0
        for kind in self._kinds.stored():
            if kind.namespaced:
                place = Place(kind, name)
                await self._deletion.delete_collection(place, ReadOptions(), DeleteOptions())
                left += len(self._rest.backend.items(kind.resource, name))
        if left:
            self._queue.add_later(name, AGAIN_SECONDS)
            return
        await self._remove(name)

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
