"""`Mapper`: what an author writes. Functions under `@read` and `@write` stand for properties; the rest is done here.

    class Thermometer(Mapper, protocol="modbus"):
        @read("temperature", unit="°C")
        async def temperature(self, device): return await device.holding(0) * 0.1

`device` is what the protocol's `connect` gives: for `modbus` a link with `holding`, `coil` …; for a protocol of one's
own whatever `connect` of the subclass returns. A property without a function is read and written by the protocol, from
its visitor.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import Any, ClassVar, TypeVar

from octoedge.errors import ConfigError, DeviceError, OctoedgeError
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.keys import strangers

ENTRY_POINTS = "octoedge.mappers"
"""Group under which packages offer protocols: name = `module:connect`, an async function Device → link."""

Read = Callable[[Any, Any], Awaitable[Any]]
Write = Callable[[Any, Any, Any], Awaitable[None]]
Connect = Callable[[Device], Awaitable[Any]]
R = TypeVar("R", bound=Read)
W = TypeVar("W", bound=Write)


@dataclass(frozen=True, slots=True)
class _Mark:
    """What a decorator says of a function."""

    reads: str = ""
    writes: str = ""
    unit: str = ""


def read(name: str, *, unit: str = "") -> Callable[[R], R]:
    """The function gives the property's value; `unit` is what it gives it in, checked against the model's."""
    return _marked(_Mark(reads=name, unit=unit))


def write(name: str) -> Callable[[W], W]:
    """The function sets the property to a value, which has the type and lies in the range that the model says."""
    return _marked(_Mark(writes=name))


def _marked(mark: _Mark) -> Callable[[Any], Any]:
    def keep(function: Any) -> Any:
        function.octoedge_mark = mark
        return function

    return keep


class Mapper:
    """The devices of one protocol; subclass it with `protocol=`."""

    protocol: ClassVar[str] = ""
    readers: ClassVar[dict[str, Read]] = {}
    writers: ClassVar[dict[str, Write]] = {}
    units: ClassVar[dict[str, str]] = {}
    connect_seconds: ClassVar[float] = 10.0
    read_seconds: ClassVar[float] = 10.0
    """Deadline of one round of readings of a device."""
    write_seconds: ClassVar[float] = 10.0

    def __init_subclass__(cls, protocol: str = "", **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.protocol = protocol or cls.protocol
        cls.readers, cls.writers, cls.units = dict(cls.readers), dict(cls.writers), dict(cls.units)
        for function in vars(cls).values():
            mark = getattr(function, "octoedge_mark", None)
            if mark is None:
                continue
            if mark.reads:
                cls.readers[mark.reads], cls.units[mark.reads] = function, mark.unit
            else:
                cls.writers[mark.writes] = function

    async def connect(self, device: Device) -> Any:
        """Open the way to a device. Raises `DeviceError`, and `ConfigError` when its settings make no sense."""
        return device if self._offered is None else await self._offered(device)

    @functools.cached_property
    def _offered(self) -> Connect | None:
        """Looked for once: it takes a look at every installed package."""
        return protocol(self.protocol)

    async def disconnect(self, link: Any) -> None:
        """Close it."""
        close = getattr(link, "close", None)
        if close is not None:
            await close()

    def strangers(self, device: Device) -> list[str]:
        """A sentence for each key of its configData that means nothing here; nothing where `connect` is one's own."""
        own = type(self).connect is not Mapper.connect
        try:
            connect = type(self).connect if own else self._offered
        except ConfigError:  # it is raised again, and told, when the device is connected
            return []
        return strangers(device, connect, self.protocol, self.readers.keys() | self.writers.keys())

    async def read_all(self, link: Any, wanted: Sequence[Property]) -> dict[str, Any]:
        """Values by property; an `OctoedgeError` stands for one that could not be read."""
        found: dict[str, Any] = {}
        by_visitor = [prop for prop in wanted if prop.name not in self.readers]
        if by_visitor:
            found.update(await self._by_visitor(link, by_visitor))
        for prop in wanted:
            if prop.name in self.readers:
                found[prop.name] = await _outcome(self.readers[prop.name](self, link))
        return found

    async def write_one(self, link: Any, prop: Property, value: Any) -> None:
        """Set a property. Raises `DeviceError`, `ValueRefused`."""
        writer = self.writers.get(prop.name)
        if writer is not None:
            await writer(self, link, value)
        elif hasattr(link, "write"):
            await link.write(prop, value)
        else:
            raise ConfigError(f'no function under @write("{prop.name}") says how to write it')

    async def _by_visitor(self, link: Any, wanted: Sequence[Property]) -> dict[str, Any]:
        if hasattr(link, "read"):
            values: dict[str, Any] = await link.read(wanted)
            return values
        return {
            prop.name: ConfigError(f'no function under @read("{prop.name}") says how to read it') for prop in wanted
        }


def protocol(name: str) -> Connect | None:
    """What connects to devices of a protocol; None when no installed package offers it."""
    for entry in entry_points(group=ENTRY_POINTS, name=name):
        try:
            connect: Connect = entry.load()
        except ImportError as error:
            raise ConfigError(
                f"protocol {name} needs a package that is not installed ({error}); `pip install 'octoedge[{name}]'`"
            ) from error
        return connect
    return None


async def _outcome(reading: Awaitable[Any]) -> Any:
    """What an author's function gives; whatever it raises becomes an error about this property."""
    try:
        return await reading
    except OctoedgeError as error:
        return error
    except asyncio.CancelledError:
        raise
    except Exception as error:
        return DeviceError(f"{type(error).__name__}: {error}")
