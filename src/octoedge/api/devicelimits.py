"""Whether a desired value can be one, as the device's model says. Pure.

The embedded API refuses what cannot be; the edge keeps it out too, and says why, for it may come past that API, and a
model may change.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable

from octoedge.api.devices import Device, DeviceModel, ModelProperty

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


def causes(device: Device, model: DeviceModel) -> list[str]:
    """What the Device asks for that its model does not know or allow, as sentences."""
    found = []
    for prop in device.spec.properties or ():
        of_model, wish = model.property(prop.name), prop.desired.value
        if of_model is None:
            found.append(_unknown(prop.name, device))
        elif wish and (why := unfit(of_model, wish) or _mistyped(of_model, wish)):
            found.append(f"the desired value {wish[:40]!r} of property {prop.name[:63]!r} is not applied: {why}")
    return found


def unknown(device: Device, model: DeviceModel) -> list[str]:
    """Properties of the Device that its model does not have, as sentences."""
    names = (prop.name for prop in device.spec.properties or ())
    return [_unknown(name, device) for name in names if model.property(name) is None]


def _unknown(name: str, device: Device) -> str:
    return f"property {name[:63]!r} is none of DeviceModel {device.model_name!r}; nothing reads it"


def _mistyped(prop: ModelProperty, value: str) -> str:
    return "" if of_type(prop, value) else f"no value of type {prop.type}"


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
