"""The shell that every controller runs in: it hears of changes, says which owners they concern, gives each its turn.

follow(owners, children) → keys of owners → queue → change(decide) → again later, or after a failure with back-off
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence

from octoedge.apiserver.controllers.following import follow
from octoedge.apiserver.controllers.turn import Decision, Hands, Turn, decoded
from octoedge.apiserver.store.backend import Edit, View
from octoedge.apiserver.writing.ownership import CONTROLLER, owners_of, selector_of
from octoedge.kube.read import Item
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.keyed import KeyedQueue

log = logging.getLogger(__name__)

Key = tuple[str, str]
Concern = Callable[[Item], Iterable[Key]]
"""The owners that a change of another object concerns."""


class Controller:
    """A module of the API server that keeps the objects of one resource as they should be."""

    needs: tuple[str, ...] = ("bootstrap",)
    restart = True

    def __init__(
        self,
        name: str,
        resource: str,
        hands: Hands,
        decide: Decision,
        missing: Callable[[Turn, Key], None] | None = None,
    ) -> None:
        self.name = name
        self._resource = resource
        self._hands = hands
        self._backend = hands.rest.backend
        self._decide = decide
        self._missing = missing
        self._concerns: dict[str, Concern] = {}
        self._related: dict[tuple[str, Key], frozenset[Key]] = {}
        self._failed: dict[Key, Backoff] = {}
        self._queue: KeyedQueue[Key] = KeyedQueue(self._work, workers=4, name=name)

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until cancelled; starts from what is stored."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name=f"{self.name} queue")
            group.create_task(follow(self._backend, self._resource, self._seen), name=f"{self.name} owners")
            for resource in self._concerns:
                name = f"{self.name} {resource}"
                group.create_task(follow(self._backend, resource, self._heard_of(resource)), name=name)
            ready()

    def _seen(self, item: Item, removed: bool) -> None:
        if removed:
            self._failed.pop(item.key, None)
        if not removed or self._missing is not None:
            self._queue.add(item.key)

    def _heard_of(self, resource: str) -> Callable[[Item, bool], None]:
        concern = self._concerns[resource]

        def seen(item: Item, removed: bool) -> None:
            now = frozenset(concern(item))
            # Whom it concerned before counts too: a label that changed may have taken it from its owner.
            before = self._related.pop((resource, item.key), frozenset())
            if now and not removed:
                self._related[resource, item.key] = now
            for key in now | before:
                self._queue.add(key)

        return seen

    async def _work(self, key: Key) -> None:
        try:
            wait = await self.turn(key)
        except Exception as error:  # one odd object must not stop the others; it is logged and tried again
            log.warning("%s: %s/%s: %s", self.name, *key, error, exc_info=error)
            wait = self._failed.setdefault(key, Backoff(first=1.0, limit=120.0)).next()
        if wait is not None:
            self._queue.add_later(key, wait)

    async def turn(self, key: Key) -> float | None:
        """Give one object its turn; the seconds after which it wants another."""
        turns: list[Turn] = []

        def decide(view: View) -> Sequence[Edit]:
            turn = Turn(self._hands, view, self.name, self._hands.clock.now())
            turns.append(turn)
            item = view.get(self._resource, *key)
            if item is not None:
                self._decide(turn, decoded(item))
            elif self._missing is not None:
                self._missing(turn, key)
            return turn.edits()

        await self._backend.change(decide)
        turn = turns[0]
        if turn.failures:
            return self._failed.setdefault(key, Backoff(first=1.0, limit=120.0)).next()
        self._failed.pop(key, None)
        return turn.wait

    def controlled(self) -> Concern:
        """The concern for children: their controller, or for a child without one whoever's selector chooses it."""
        kind = self._hands.kinds.named(self._resource).kind

        def concern(item: Item) -> Iterable[Key]:
            if item.fields.get(CONTROLLER):
                return [(item.namespace, one.name) for one in owners_of(item) if one.controller and one.kind == kind]
            return self.choosing(item)

        return concern

    def choosing(self, item: Item) -> list[Key]:
        """The owners whose selector chooses the item."""
        found = []
        for owner in self._backend.items(self._resource, item.namespace):
            selector = selector_of(decoded(owner))
            if selector is not None and selector.matches(item.labels):
                found.append(owner.key)
        return found

    def attend(self, resource: str, concern: Concern) -> Controller:
        """Hear of changes of `resource` too; before `run`."""
        self._concerns[resource] = concern
        return self
