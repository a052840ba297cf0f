"""Following one resource from inside the server: what there is first, then every change."""

from __future__ import annotations

from collections.abc import Callable

from octoedge.apiserver.store.backend import Backend
from octoedge.errors import ApiError
from octoedge.kube.read import Item

Seen = Callable[[Item, bool], None]
"""Told of (object, whether it was removed)."""


async def follow(backend: Backend, resource: str, seen: Seen) -> None:
    """Tell `seen` of every object and every change until cancelled; callers are level-triggered and may hear twice."""
    known: dict[tuple[str, str], Item] = {}
    while True:
        cursor = backend.follow(resource, backend.version)
        present = {item.key: item for item in backend.items(resource)}
        for key, item in known.items():
            if key not in present:
                seen(item, True)
        for item in present.values():
            seen(item, False)
        known = present
        try:
            while True:
                for change in await cursor.next():
                    removed = change.type == "DELETED"
                    if removed:
                        known.pop(change.item.key, None)
                    else:
                        known[change.item.key] = change.item
                    seen(change.item, removed)
        except ApiError as error:
            if error.code != 410:
                raise
