"""A `Reader` of one resource in memory, for tests of reading: what it holds is put in and taken out by hand."""

from __future__ import annotations

import msgspec

from octoedge.apiserver.store.history import Follower, History
from octoedge.kube.read import Change, Item


class Shelf:
    """A small Reader of one resource, in memory."""

    def __init__(self, *names: str) -> None:
        self.history = History(max_changes=8)
        self.version = 0
        self.objects: dict[tuple[str, str], Item] = {}
        for name in names:
            self.put(name)

    def put(self, name: str, **labels: str) -> None:
        """Store an object, new or in place of the old one."""
        self.version += 1
        data = msgspec.json.encode({"metadata": {"name": name, "resourceVersion": str(self.version)}})
        item = Item("ns", name, self.version, data, labels)
        before = self.objects.get(item.key)
        self.objects[item.key] = item
        self._tell(Change("MODIFIED" if before else "ADDED", item, before))

    def drop(self, name: str) -> None:
        """Remove an object."""
        self.version += 1
        before = self.objects.pop(("ns", name))
        self._tell(Change("DELETED", Item("ns", name, self.version, before.data, before.labels), before))

    def _tell(self, change: Change) -> None:
        self.history.append(change)
        self.history.publish()

    def get(self, resource: str, namespace: str, name: str) -> Item | None:
        del resource  # there is one
        return self.objects.get((namespace, name))

    def items(self, resource: str, namespace: str = "") -> list[Item]:
        del resource  # there is one
        return [self.objects[key] for key in sorted(self.objects) if not namespace or key[0] == namespace]

    def follow(self, resource: str, after: int) -> Follower:
        del resource  # there is one
        return Follower(self.history, after, lambda: self.version)
