"""Several controllers as one: the `Intent` of all, in their order, and each node's message to the one that knows it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping

from octoedge.cloud.ports import Intent, Live, Upstream, Wanted
from octoedge.protocol.delivery import Item
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Payload
from octoedge.protocol.resource import Resource


class Intents:
    """Implements `ports.Intent`; each resource type is tracked by one of them. The first knows which nodes exist."""

    def __init__(self, *parts: Intent) -> None:
        self._parts = parts

    def wanted(self, node: str) -> Iterator[Wanted]:
        """Everything that the node should have."""
        return itertools.chain.from_iterable(part.wanted(node) for part in self._parts)

    def item(self, wanted: Wanted, *, first: bool) -> Item | None:
        """The item to offer for it."""
        part = self._part(wanted.resource)
        return part.item(wanted, first=first) if part is not None else None

    def tracks(self, kind: str) -> bool:
        """Whether absence means something for this resource type."""
        return any(part.tracks(kind) for part in self._parts)

    def live(self, resource: Resource) -> Live | None:
        """The object as it is now."""
        part = self._part(resource)
        return part.live(resource) if part is not None else None

    def objects(self, node: str) -> Iterator[tuple[str, bytes]]:
        """(resource, object) of everything that the node should have."""
        for wanted in self.wanted(node):
            item = self.item(wanted, first=False)
            if item is not None:
                yield str(wanted.resource), item.payload.body

    def body(self, resource: Resource) -> bytes | None:
        """An object as it would be sent now."""
        live = self.live(resource)
        item = self.item(Wanted(resource, live.uid, live.version), first=False) if live is not None else None
        return item.payload.body if item is not None else None

    def exists(self, node: str) -> bool:
        """Whether there is an edge node of this name."""
        return self._parts[0].exists(node)

    def _part(self, resource: Resource) -> Intent | None:
        return next((part for part in self._parts if part.tracks(resource.type)), None)


class Dispatch:
    """Implements `ports.Upstream`: by the kind of payload."""

    def __init__(self, others: Upstream, by_payload: Mapping[type[Payload], Upstream]) -> None:
        self._others = others
        self._by_payload = by_payload

    def receive(self, node: str, message: Message, payload: Payload) -> None:
        """Hand one request to the controller that knows it."""
        self._by_payload.get(type(payload), self._others).receive(node, message, payload)
