"""Objects that every cluster has: made at the start where they are missing, otherwise left as they are."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from octoedge.apiserver.behaviours import priorities
from octoedge.apiserver.controllers.turn import Hands
from octoedge.apiserver.store.backend import Edit, View
from octoedge.apiserver.writing.rest import Place

Json = dict[str, Any]


def built_in() -> Iterable[Json]:
    """The objects."""
    yield from priorities.built_in()


class BuiltIns:
    """A module of the API server."""

    name = "builtins"
    needs: tuple[str, ...] = ("bootstrap",)

    def __init__(self, hands: Hands) -> None:
        self._hands = hands

    async def run(self, ready: Callable[[], None]) -> None:
        """Make what is missing, once."""
        for obj in built_in():
            await self._hands.rest.backend.change(lambda view, obj=obj: self._missing(view, obj))  # type: ignore[misc]
        ready()
        await asyncio.Event().wait()

    def _missing(self, view: View, obj: Json) -> Sequence[Edit]:
        kind = self._hands.kinds.of_object(obj["apiVersion"], obj["kind"])
        assert kind is not None, obj["kind"]
        about = obj["metadata"]
        if view.get(kind.resource, about.get("namespace", ""), about["name"]) is not None:
            return []
        return self._hands.rest.creation(view, Place(kind, about.get("namespace", "")), obj)
