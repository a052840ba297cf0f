"""Conditions of an object's status: found, set, taken away. Pure."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]


def find(conditions: list[Json] | None, kind: str) -> Json | None:
    """The condition of that type."""
    return next((one for one in conditions or [] if one.get("type") == kind), None)


def is_true(conditions: list[Json] | None, kind: str) -> bool:
    """Whether there is one and it says True."""
    found = find(conditions, kind)
    return found is not None and found.get("status") == "True"


def changed(conditions: list[Json] | None, new: Json, now: str, stamp: str = "") -> list[Json]:
    """The conditions with this one set. lastTransitionTime stays while its status does; `stamp` names a field that
    tells when it was last written anew."""
    before = find(conditions, new["type"])
    same = before is not None and before.get("status") == new["status"]
    since = before["lastTransitionTime"] if before is not None and same else now
    written = {**new, "lastTransitionTime": since}
    if stamp:
        told = before is not None and same and before.get("reason") == new.get("reason")
        written[stamp] = before[stamp] if before is not None and told and before.get(stamp) else now
    if before is None:
        return [*(conditions or []), written]
    return [written if one is before else one for one in conditions or []]


def without(conditions: list[Json] | None, kind: str) -> list[Json]:
    """The conditions but this one."""
    return [one for one in conditions or [] if one.get("type") != kind]
