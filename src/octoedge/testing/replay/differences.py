"""What was said otherwise than in the capture: by kind of message and object, the last one of each compared.

How often something is said depends on when it happened; what was said last is what counts. Times, ids, versions, and
what depends on the machine are left out of the comparison.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

_MASKED = frozenset({
    "uid", "resourceVersion", "managedFields", "creationTimestamp", "generation", "selfLink", "timestamp", "event_id",
    "renewTime", "acquireTime", "token", "expirationTimestamp", "lastTransitionTime", "lastHeartbeatTime",
    "lastProbeTime", "lastUpdateTime", "startTime", "startedAt", "finishedAt", "deletionTimestamp",
    "deletionGracePeriodSeconds", "observedGeneration", "containerID", "imageID", "hostIP", "hostIPs", "podIP",
    "podIPs", "ip", "addresses", "nodeInfo", "capacity", "allocatable", "images", "daemonEndpoints", "lastOnlineTime",
    "msg_id", "boundObjectRef", "message", "cloudcore", "volumesAttached", "volumesInUse", "runtimeHandlers",
    "features", "config",
})  # fmt: skip
_SELDOM_SAID = frozenset({"kind", "apiVersion"})
"""Items of a list do not say them."""
_MOST = 8
"""Places of one message that are shown."""
_LONGEST = 100
"""Characters of a value that are shown."""

SAME, DIFFERS, MISSING, NEW, LEFT_OUT = "same", "differs", "missing", "new", "left out"


class Difference(msgspec.Struct, frozen=True):
    """How one kind of message about one object compares."""

    verdict: str
    what: str
    captured: int
    """How often it is in the capture."""
    now: int
    places: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        """Whether the replay is not what the capture was."""
        return self.verdict in (DIFFERS, MISSING, NEW)

    def lines(self) -> Iterator[str]:
        """For a person."""
        yield f"{self.verdict:<10}{self.what}  ({self.captured} captured, {self.now} now)"
        yield from (f"{'':<12}{place}" for place in self.places[:_MOST])
        if len(self.places) > _MOST:
            yield f"{'':<12}… and {len(self.places) - _MOST} more"


class Heap:
    """What was said, by kind and object."""

    def __init__(self) -> None:
        self.last: dict[str, Any] = {}
        self.count: dict[str, int] = {}

    def add(self, what: str, value: Any) -> None:
        """It was said; `value` is what of it is compared."""
        self.last[what] = plain(value)
        self.count[what] = self.count.get(what, 0) + 1


def compare(captured: Heap, now: Heap, left_out: Iterable[str] = ()) -> list[Difference]:
    """All that either has; `left_out` is what a replay cannot bring about."""
    found = []
    for what in [*captured.last, *(key for key in now.last if key not in captured.last)]:
        counts = captured.count.get(what, 0), now.count.get(what, 0)
        if not counts[1]:
            found.append(Difference(MISSING, what, *counts))
        elif not counts[0]:
            found.append(Difference(NEW, what, *counts))
        else:
            places = tuple(differing(captured.last[what], now.last[what]))
            found.append(Difference(DIFFERS if places else SAME, what, *counts, places))
    return [*found, *(Difference(LEFT_OUT, what, 1, 0) for what in left_out)]


def plain(value: Any) -> Any:
    """The value without what is new each time; documents in strings are unwrapped."""
    if isinstance(value, dict):
        made = {key: plain(one) for key, one in value.items() if key not in _MASKED and key[:1] != "$"}
        return {key: one for key, one in made.items() if one not in (None, {}, [], "")}
    if isinstance(value, list):
        return _named([plain(one) for one in value])
    if isinstance(value, str) and value[:1] in ("{", "["):
        try:
            return plain(msgspec.json.decode(value))
        except msgspec.DecodeError:
            return value
    return value


def _named(items: list[Any]) -> Any:
    """Items that have a type or a name of their own, as conditions and containers do: their order says nothing."""
    for key in ("type", "name"):
        names = [item.get(key) for item in items if isinstance(item, dict)]
        if items and len({name for name in names if isinstance(name, str)}) == len(items):
            return {item[key]: item for item in items}
    return items


def differing(captured: Any, now: Any, place: str = "") -> Iterator[str]:
    """Every place where two values differ, as a sentence."""
    if isinstance(captured, dict) and isinstance(now, dict):
        for key in [*captured, *(key for key in now if key not in captured)]:
            if key in _SELDOM_SAID and not (key in captured and key in now):
                continue
            yield from differing(captured.get(key), now.get(key), f"{place}.{key}".lstrip("."))
    elif isinstance(captured, list) and isinstance(now, list) and len(captured) == len(now):
        for index, (one, other) in enumerate(zip(captured, now, strict=True)):
            yield from differing(one, other, f"{place}[{index}]")
    elif captured != now:
        yield f"{place or 'it'}: captured {_shown(captured)}, now {_shown(now)}"


def _shown(value: Any) -> str:
    if value is None:
        return "nothing"
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= _LONGEST else text[:_LONGEST] + "…"
