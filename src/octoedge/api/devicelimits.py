"""Whether a desired value can be one, as the device's model says. Pure.

The embedded API refuses what cannot be; the edge keeps it out too, and says why, for it may come past that API, and a
model may change.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from octoedge.api.devices import ModelProperty

_NUMBERS = frozenset({"int", "integer", "float", "double"})
_BOOLEANS = frozenset({"true", "t", "on", "1", "false", "f", "off", "0"})
"""What some mapper takes for one; ours and KubeEdge's differ."""


def unfit(prop: ModelProperty | None, value: str) -> str:
    """Why `value`, of the right type or not, cannot be wished for; empty when it can, or nothing is known."""
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


def of_type(prop: ModelProperty, value: str) -> bool:
    """Whether some mapper could read `value` as one of the property's type."""
    return _TYPES.get(prop.type.lower(), _anything)(value)


def _anything(_: str) -> bool:
    return True


def _real(value: str) -> bool:
    try:
        return math.isfinite(float(value))
    except ValueError:
        return False


def _whole(value: str) -> bool:
    return _real(value) and float(value) == int(float(value))


_TYPES: dict[str, Callable[[str], bool]] = {
    "int": _whole,
    "float": _real,
    "double": _real,
    "boolean": lambda value: value.strip().lower() in _BOOLEANS,
}
