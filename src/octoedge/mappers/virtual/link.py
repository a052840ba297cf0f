"""Devices that are not there: protocol `virtual`, for trying things out (keys as in the documentation of mappers).

A visitor's `kind` is `counter` (one more every `stepMs`), `random` (0 to `max`; 0 to 1 for a FLOAT or DOUBLE) or
`store` (keeps what it was set to). The device's `seed` makes random values repeat.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from typing import Any

from octoedge.errors import ConfigError
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import keys
from octoedge.mappers.framework.settings import number

_EMPTY: dict[str, Any] = {"": "", "STRING": "", "BYTES": b""}
KINDS = ("counter", "random", "store")
_MOST = 10**15


@keys(
    settings="seed stepMs",
    visitor="kind max",
)
async def connect(device: Device) -> Virtual:
    """Connect to a device that exists in this process only."""
    return Virtual(device)


class Virtual:
    """One device."""

    def __init__(self, device: Device) -> None:
        self._random = random.Random(str(device.settings.get("seed", 0)))  # noqa: S311 - a device that repeats
        self._step = number(device.settings, "stepMs", 1000, 1, _MOST, "protocol.configData") / 1000
        self._set: dict[str, tuple[Any, float]] = {}
        """Property → what it was set to, and when."""
        self._began = _now()

    async def read(self, wanted: Sequence[Property]) -> dict[str, Any]:
        """Values by property."""
        return {prop.name: self._value_or_why(prop) for prop in wanted}

    async def write(self, prop: Property, value: Any) -> None:
        """Set a property."""
        self._set[prop.name] = (value, _now())

    def _value_or_why(self, prop: Property) -> Any:
        try:
            return self._value(prop)
        except ConfigError as error:
            return error

    def _value(self, prop: Property) -> Any:
        where, kind = f"properties[{prop.name}].visitors.configData", str(prop.visitor.get("kind", "store"))
        value, since = self._set.get(prop.name, (None, self._began))
        if kind == "counter":
            return int(value or 0) + int((_now() - since) / self._step)
        if kind == "random":
            if prop.type in ("FLOAT", "DOUBLE"):
                return self._random.random()
            return self._random.randint(0, int(number(prop.visitor, "max", 100, 1, _MOST, where)))
        if kind == "store":
            return _EMPTY.get(prop.type, 0) if value is None else value
        raise ConfigError(f"{where}.kind: {kind[:40]!r} is none of {', '.join(KINDS)}")


def _now() -> float:
    return asyncio.get_running_loop().time()
