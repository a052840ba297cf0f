"""Keys of configData that a protocol knows. What a device has besides is told by its path, and ignored: manifests for
other mappers have keys of their own, but `offest` should not silently be an offset of 0. Pure.

    @keys(settings="ip port", visitor="register offset")
    async def connect(device): …
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from octoedge.mappers.framework.device import Device

F = TypeVar("F", bound=Callable[..., Any])
MOST = 20
"""So many are told of one device."""
_ALWAYS = frozenset({"dataType"})
"""KubeEdge's own framework puts it into every visitor."""


@dataclass(frozen=True, slots=True)
class Keys:
    """What a protocol knows."""

    settings: frozenset[str]
    """Of `protocol.configData` of a Device."""
    visitor: frozenset[str]
    """Of `visitors.configData` of a property."""


def keys(*, settings: str, visitor: str) -> Callable[[F], F]:
    """Say which keys a `connect` knows, blanks between them."""

    def keep(connect: F) -> F:
        connect.octoedge_keys = Keys(  # type: ignore[attr-defined]
            frozenset(settings.split()), frozenset(visitor.split())
        )
        return connect

    return keep


def strangers(device: Device, connect: Any, protocol: str, besides: Collection[str] = ()) -> list[str]:
    """A sentence for each key that means nothing to this `connect`; not of the properties `besides`, which functions
    of the mapper's author are for."""
    known = getattr(connect, "octoedge_keys", None)
    if not isinstance(known, Keys):
        return []
    found = list(_unknown("protocol", device.settings, known.settings, protocol))
    for prop in device.properties.values():
        if prop.name not in besides:
            where = f"properties[{prop.name}].visitors"
            found += _unknown(where, prop.visitor, known.visitor | _ALWAYS, protocol)
    return found[:MOST]


def _unknown(where: str, given: Mapping[str, Any], known: Iterable[str], protocol: str) -> Iterator[str]:
    by_letters = {one.lower(): one for one in sorted(known)}
    for key in given.keys() - set(known):
        near = difflib.get_close_matches(key.lower()[:100], by_letters, 1)
        hint = f"; did you mean {by_letters[near[0]]}?" if near else ""
        yield f"{where}.configData.{key[:100]} means nothing to {protocol} and is ignored{hint}"
