"""A device as a mapper sees it: what EdgeCore tells of it (DMI), joined with its model. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from octoedge.dmi import messages as m
from octoedge.dmi.values import unpack
from octoedge.errors import MessageError

if TYPE_CHECKING:
    from octoedge.mappers.push.settings import Target

DEFAULT_CYCLE = 1.0
"""Seconds between readings of a property that names no cycle, as in KubeEdge."""
_NAME = re.compile(r"[a-zA-Z0-9\-_.,:/@#]{1,128}")
"""KubeEdge's EdgeCore has the same rule."""
MIN_CYCLE = 0.01
MAX_CYCLE = 86400.0


@dataclass(frozen=True, slots=True)
class Property:
    """One property of a device."""

    name: str
    type: str = ""
    """INT, FLOAT, DOUBLE, STRING, BOOLEAN, BYTES, STREAM; empty when the model does not name the property."""
    writable: bool = True
    minimum: str = ""
    maximum: str = ""
    unit: str = ""
    desired: str = ""
    """The value that it should have; empty: nothing is wished."""
    said_type: str = ""
    """The type that goes along with reported values, as the desired value names it."""
    visitor: Mapping[str, Any] = field(default_factory=dict)
    """How the driver finds it: the model's settings with the device's over them."""
    cycle: float = DEFAULT_CYCLE
    """Seconds between reports to EdgeCore."""
    reported: bool = False
    """Whether EdgeCore hears of it at all."""
    pushes: tuple[Target, ...] = ()
    """Where the mapper itself sends its values."""
    push_cycle: float = DEFAULT_CYCLE
    """Seconds between values that it sends there."""

    @property
    def beat(self) -> float | None:
        """Seconds between readings; None: it is not read by itself."""
        cycles = ([self.cycle] if self.reported else []) + ([self.push_cycle] if self.pushes else [])
        return min(cycles) if cycles and self.type != "STREAM" else None

    def described_as(self, other: Property) -> bool:
        """Whether it is the same property in the same place, however often and to whom its values go."""
        mine = replace(
            self, cycle=other.cycle, reported=other.reported, pushes=other.pushes, push_cycle=other.push_cycle
        )
        return mine == other


@dataclass(frozen=True, slots=True)
class Device:
    """One device."""

    namespace: str
    name: str
    model: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """How the driver connects to it."""
    properties: Mapping[str, Property] = field(default_factory=dict)
    methods: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Name → properties that it may write."""
    state_cycle: float | None = None
    """Seconds between reports of its state; None: its state is not reported."""
    problems: tuple[str, ...] = ()
    """What of its description could not be read."""

    @property
    def id(self) -> str:
        """Namespace and name."""
        return f"{self.namespace}/{self.name}"


def device(told: m.Device, model: m.DeviceModel | None) -> Device:
    """The device that EdgeCore tells of; without its model types and ranges are unknown."""
    spec, problems = told.spec, list[str]()
    models = {prop.name: prop for prop in model.spec.properties} if model is not None else {}
    key = (told.namespace or "default", told.name)
    known = [prop for prop in spec.properties if _is_name(prop.name, problems)]
    properties = {prop.name: _property(key, prop, models.get(prop.name), problems) for prop in known}
    return Device(
        *key,
        spec.model,
        _settings("protocol", spec.protocol.config_data, problems),
        properties,
        {method.name: method.property_names for method in spec.methods},
        _seconds(told.status.report_cycle) if told.status.report_to_cloud else None,
        tuple(problems),
    )


def _is_name(name: str, problems: list[str]) -> bool:
    """Whether EdgeCore takes it; with one that it does not take it refuses all values of the device."""
    if _NAME.fullmatch(name):
        return True
    signs = "a-z A-Z 0-9 - _ . , : / @ #"
    problems.append(f"properties[{name[:140]}] is not read: EdgeCore takes names of 1 to 128 of the characters {signs}")
    return False


def _property(
    device: tuple[str, str], told: m.DeviceProperty, model: m.ModelProperty | None, problems: list[str]
) -> Property:
    model = model or m.ModelProperty()
    return Property(
        told.name,
        model.type.upper(),
        model.access_mode != "ReadOnly",
        model.minimum,
        model.maximum,
        model.unit,
        told.desired.value,
        told.desired.metadata.get("type", ""),
        _settings(f"properties[{told.name}].visitors", told.visitors.config_data, problems),
        _seconds(told.collect_cycle),
        told.report_to_cloud,
        _pushes(device, told, problems),
        _seconds(told.report_cycle),
    )


def _pushes(device: tuple[str, str], told: m.DeviceProperty, problems: list[str]) -> tuple[Target, ...]:
    if told.push_method is None:
        return ()
    from octoedge.mappers.push.settings import targets  # most mappers push nothing

    return targets(told.push_method, device, told.name, problems)


def _settings(where: str, given: m.Settings, problems: list[str]) -> dict[str, Any]:
    settings: dict[str, Any] = {}
    for one in given.data:
        try:
            settings[one.key] = unpack(one.value)
        except MessageError as error:
            problems.append(f"{where}.configData.{one.key}: {error}")
    return settings


def _seconds(milliseconds: int) -> float:
    return min(max(milliseconds / 1000, MIN_CYCLE), MAX_CYCLE) if milliseconds > 0 else DEFAULT_CYCLE
