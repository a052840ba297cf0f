"""A Device, its DeviceModel and its DeviceStatus as a table for a person. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from octoedge.api import devices as api
from octoedge.keadm.table import plain, table
from octoedge.runtime.clock import parse_rfc3339

HEADER = ("PROPERTY", "DESIRED", "REPORTED", "UNIT", "AGE", "NOTE")
_LONGEST = 200
"""Characters of a value that a table shows; `-o json` has all."""


@dataclass(frozen=True, slots=True)
class Row:
    """One property."""

    name: str
    desired: str
    reported: str
    unit: str
    age: str
    """Since the device had the value; empty when it never reported one."""
    note: str
    """Why the value is not the desired one, or of what quality it is."""

    def cells(self) -> tuple[str, ...]:
        """In the order of `HEADER`."""
        return (self.name, self.desired or "-", self.reported or "-", self.unit, self.age or "-", self.note)


@dataclass(frozen=True, slots=True)
class Shown:
    """One device."""

    id: str
    node: str
    model: str
    protocol: str
    state: str
    seen: str
    """When it was online last, as an age."""
    rows: tuple[Row, ...]

    def text(self) -> str:
        """For a terminal."""
        head = f"{self.id} on node {self.node or '(none)'}, model {self.model}, protocol {self.protocol}"
        state = f"{self.state or 'state unknown'}{f', online {self.seen} ago' if self.seen else ''}"
        rows = [[plain(cell, _LONGEST) for cell in row.cells()] for row in self.rows]
        return "\n".join((head, state, "", table(HEADER, rows)))


def shown(device: bytes, model: bytes | None, status: bytes | None, now: float) -> Shown:
    """What the three objects say, at `now` (seconds since the epoch). Raises `MessageError`."""
    one = api.read(device, api.Device)
    of_model = api.read(model, api.DeviceModel) if model is not None else api.DeviceModel()
    body = (api.read(status, api.DeviceStatus) if status is not None else api.DeviceStatus()).status
    twins = {twin.property_name: twin for twin in body.twins or ()}
    rows = []
    for prop in one.spec.properties or ():
        reported = twins[prop.name].reported if prop.name in twins else api.TwinProperty()
        found = of_model.property(prop.name) or api.ModelProperty()
        rows.append(_row(prop.name, prop.desired.value, reported, found.unit, now))
    seen = _age(now - parse_rfc3339(body.last_online_time)) if body.last_online_time else ""
    protocol = one.spec.protocol.protocol_name
    return Shown(one.id, one.spec.node_name, one.model_name, protocol, body.state, seen, tuple(rows))


def _row(name: str, desired: str, reported: api.TwinProperty, unit: str, now: float) -> Row:
    notes = reported.metadata or {}
    stamp = notes.get("sourceTime") or notes.get("timestamp") or ""
    age = _age(now - int(stamp) / 1000) if stamp.isdecimal() and len(stamp) < 20 else ""
    note = "; ".join(text for text in (notes.get("reason", ""), notes.get("quality", "")) if text)
    if not note and desired and reported.value and desired != reported.value and not _equal(desired, reported.value):
        note = "not there yet"
    return Row(name, desired, reported.value, unit, age, note)


def _equal(one: str, other: str) -> bool:
    try:
        return float(one) == float(other)
    except ValueError:
        return one.lower() == other.lower()


def _age(seconds: float) -> str:
    for limit, unit, size in ((120, "s", 1), (7200, "m", 60), (172800, "h", 3600)):
        if seconds < limit:
            return f"{max(0, int(seconds // size))}{unit}"
    return f"{int(seconds // 86400)}d"


def as_json(device: Shown) -> dict[str, Any]:
    """For a program."""
    keys = [word.lower() for word in HEADER]
    return {
        "device": device.id,
        "node": device.node,
        "model": device.model,
        "protocol": device.protocol,
        "state": device.state,
        "properties": [dict(zip(keys, row.cells(), strict=True)) for row in device.rows],
    }
