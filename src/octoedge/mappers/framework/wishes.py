"""What one device should be, has been set to, and why the two differ. Pure.

wish ─► due? ─► (written) ─► applied: left alone until it is another, or the device is connected anew
                    ├──────► refused by the device or its model: not tried again until it changes
                    └──────► failed on the way: due again
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from octoedge.errors import ValueRefused
from octoedge.mappers.framework import values
from octoedge.mappers.framework.device import Device, Property

NO_STREAM = "mappers here carry no video; have the camera's address in a property of type STRING"


class Wishes:
    """The wishes of one device's properties."""

    def __init__(self) -> None:
        self._applied: dict[str, str] = {}
        """Property → the wish that the device has been set to since it was connected."""
        self._written: dict[str, str] = {}
        """Property → what it was set to last, by a wish or by a method."""
        self._refused: dict[str, tuple[str, str]] = {}
        """Property → the wish that will not do, and why."""

    @property
    def written(self) -> Mapping[str, str]:
        """Property → what it was set to last, by a wish or by a method."""
        return self._written

    def due(self, prop: Property) -> bool:
        """Whether the device is to be set to what is wished."""
        if not prop.desired or prop.type == "STREAM" or self._applied.get(prop.name) == prop.desired:
            return False
        return self._refused.get(prop.name, ("", ""))[0] != prop.desired

    def write(self, prop: Property, text: str) -> None:
        """The device was set to this, by whomever."""
        self._written[prop.name] = text

    def apply(self, prop: Property) -> None:
        """The device was set to what is wished."""
        self._applied[prop.name] = prop.desired
        self._refused.pop(prop.name, None)

    def refuse(self, prop: Property, why: str) -> None:
        """What is wished will not do."""
        self._refused[prop.name] = (prop.desired, why)

    def connected(self) -> None:
        """The device may have forgotten what it was set to."""
        self._applied.clear()

    def swapped(self) -> None:
        """Another mapper may do what the one before refused."""
        self._refused.clear()

    def changed(self, before: Device, after: Device) -> None:
        """Properties that may lie elsewhere now, or have another range: their wishes are looked at anew."""
        for name, prop in after.properties.items():
            known = before.properties.get(name)
            if known is not None and not known.described_as(prop):
                self._refused.pop(name, None)
                self._applied.pop(name, None)

    def reason(self, prop: Property, said: str) -> str:
        """Why the value is not the one that is wished; empty when it is, or when nothing is wished."""
        if prop.type == "STREAM":
            return f"properties[{prop.name}] is of type STREAM: {NO_STREAM}"
        wish, why = self._refused.get(prop.name, ("", ""))
        if wish and wish == prop.desired:
            return why
        written = self._written.get(prop.name, "")
        if written and not values.same(said, written, prop.type):
            return f"the device was set to {written[:60]} and answers {said[:60]}"
        return ""


def meant(prop: Property, text: str) -> Any:
    """The value to set a property to. Raises `ValueRefused` for what its model does not let it be."""
    if not prop.writable:
        raise ValueRefused(f"the model says that {prop.name} is read-only")
    value = values.parse(text, prop.type)
    values.check(value, prop.minimum, prop.maximum)
    return value
