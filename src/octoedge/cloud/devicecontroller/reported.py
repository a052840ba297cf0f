"""What an edge reports of a device, merged into the status of its DeviceStatus. Pure.

Text goes in as it came; a report never removes a property, and one that the Device does not name is left out.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import msgspec

from octoedge.errors import MessageError
from octoedge.protocol.payloads import DeviceStateReport, TwinReport

Json = dict[str, Any]


class _Value(msgspec.Struct, frozen=True):
    value: str | None = None
    metadata: dict[str, Any] | None = None


class _Type(msgspec.Struct, frozen=True):
    type: str | None = None


class _Twin(msgspec.Struct, frozen=True):
    actual: _Value | None = None
    expected: _Value | None = None
    metadata: _Type | None = None


class _Twins(msgspec.Struct, frozen=True):
    twin: dict[str, _Twin | None] | None = None


class _State(msgspec.Struct, frozen=True):
    state: str = ""
    lastOnlineTime: str = ""  # noqa: N815
    reason: Any = ""
    """Why it is so; edges of ours say that."""


def merged(status: Json, report: TwinReport | DeviceStateReport, properties: Collection[str]) -> Json:
    """The status after the report; `MessageError` when it cannot be read."""
    return _with_twins(status, report, properties) if isinstance(report, TwinReport) else _with_state(status, report)


def _with_twins(status: Json, report: TwinReport, properties: Collection[str]) -> Json:
    said = _read(report, report.body, _Twins).twin or {}
    twins = {twin.get("propertyName"): twin for twin in status.get("twins") or () if isinstance(twin, dict)}
    kept: dict[str, Json] = {str(name): twin for name, twin in twins.items() if name in properties}
    for name, twin in said.items():
        if twin is not None and name in properties:
            kept[name] = _with_twin(name, kept.get(name, {}), twin)
    return {**status, "twins": list(kept.values())}


def _with_twin(name: str, before: Json, said: _Twin) -> Json:
    nothing = {"value": ""}
    parts: Json = {
        "propertyName": name,
        "reported": before.get("reported") or nothing,
        "observedDesired": before.get("observedDesired") or nothing,
    }
    for part, value in (("reported", said.actual), ("observedDesired", said.expected)):
        if value is not None and value.value is not None:
            parts[part] = _plain(value, (said.metadata.type if said.metadata else None) or "")
    return parts


def _plain(said: _Value, kind: str) -> Json:
    """A value as DeviceStatus has it: all that is known of it is text, times too."""
    notes = {key: note if isinstance(note, str) else str(note) for key, note in (said.metadata or {}).items()}
    if kind:
        notes["type"] = kind
    return {"value": said.value, "metadata": notes} if notes else {"value": said.value}


def reason(report: DeviceStateReport) -> str:
    """Why the device is in this state; empty where the edge does not say. Raises `MessageError`."""
    said = _state(report).reason
    return said if isinstance(said, str) else ""


def _with_state(status: Json, report: DeviceStateReport) -> Json:
    said = _state(report)
    if not said.state:
        raise MessageError(f"{type(report).__name__} {report.resource} names no state")
    online = {"lastOnlineTime": said.lastOnlineTime} if said.lastOnlineTime else {}
    return {**status, "state": said.state, **online}


def _state(report: DeviceStateReport) -> _State:
    parts = _read(report, report.body, dict[str, msgspec.Raw])
    device = next((part for key, part in parts.items() if key.lower() == "device"), msgspec.Raw(b"{}"))
    said: _State = _read(report, bytes(device), _State)
    return said


def _read(report: TwinReport | DeviceStateReport, body: bytes, kind: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError) as error:
        raise MessageError(f"{type(report).__name__} {report.resource} cannot be read: {error}") from error
