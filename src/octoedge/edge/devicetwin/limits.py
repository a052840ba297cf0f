"""Whether a desired value can be one, as the device's model says. Pure; whether it is of the type, `merge` knows."""

from __future__ import annotations

import contextlib

from octoedge.api.devices import ModelProperty

_NUMBERS = frozenset({"int", "integer", "float", "double"})


def unfit(prop: ModelProperty | None, value: str) -> str:
    """Why `value` cannot be wished for; empty when it can, or nothing is known."""
    if prop is None:
        return ""
    if prop.access_mode == "ReadOnly":
        return "the model says that it can only be read"
    if prop.type.lower() not in _NUMBERS:
        return ""
    with contextlib.suppress(ValueError):  # no number: the type says so
        number = float(value)
        for limit, outside in ((prop.minimum, number.__lt__), (prop.maximum, number.__gt__)):
            if limit and outside(float(limit)):
                return f"{value[:40]} is outside of the model's range, {prop.minimum or '…'} to {prop.maximum or '…'}"
    return ""
