"""Devices and their twins in the store: every function runs inside one transaction, or on a reader connection.

The tables, made by MetaManager's schema, are KubeEdge's (`device`, `device_twin`; `device_attr` stays empty: no message
brings attributes any more).
What is more than KubeEdge keeps lies in the JSON columns: remarks with a value, the desired value of the Device object.
"""

from __future__ import annotations

import sqlite3
from typing import Any

import msgspec

from octoedge.edge.devicetwin.merge import Stored
from octoedge.edge.devicetwin.twin import DELETED, Value, Version


class Device(msgspec.Struct, frozen=True):
    """A device of this node; its JSON form is KubeEdge's."""

    id: str
    name: str
    description: str = ""
    state: str = ""
    last_online: str = ""


class _Notes(msgspec.Struct, frozen=True, omit_defaults=True):
    """What we keep in the column `metadata`."""

    desired: str = ""
    declared: bool = False
    unfit: str = ""
    unheard: str = ""


def devices(connection: sqlite3.Connection) -> dict[str, Device]:
    """All devices by id."""
    rows = connection.execute("SELECT id, name, description, state, last_online FROM device ORDER BY id")
    return {row[0]: Device(*(value or "" for value in row)) for row in rows}


def device(connection: sqlite3.Connection, device_id: str) -> Device | None:
    """One device, or nothing."""
    row = connection.execute(
        "SELECT id, name, description, state, last_online FROM device WHERE id = ?", (device_id,)
    ).fetchone()
    return None if row is None else Device(*(value or "" for value in row))


def put_device(connection: sqlite3.Connection, kept: Device) -> None:
    """Keep a device, its name and description; state and twins of one that is there stay."""
    connection.execute(
        "INSERT INTO device (id, name, description, state, last_online) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (id) DO UPDATE SET name = excluded.name, description = excluded.description",
        (kept.id, kept.name, kept.description, kept.state, kept.last_online),
    )


def put_state(connection: sqlite3.Connection, device_id: str, state: str, last_online: str) -> None:
    """Keep a device's state; `last_online` is RFC 3339, empty when it is not online now."""
    connection.execute("UPDATE device SET state = ?, last_online = ? WHERE id = ?", (state, last_online, device_id))


def put_silent(connection: sqlite3.Connection, device_id: str, before: str | None) -> None:
    """Keep that nobody speaks of a device, and its state before; None: somebody does."""
    connection.execute("DELETE FROM device_silent WHERE id = ?", (device_id,))
    if before is not None:
        connection.execute("INSERT INTO device_silent (id, before) VALUES (?, ?)", (device_id, before))


def silent(connection: sqlite3.Connection) -> dict[str, str]:
    """Devices of which nobody speaks, and their state before."""
    return dict(connection.execute("SELECT id, before FROM device_silent").fetchall())


def remove(connection: sqlite3.Connection, device_id: str) -> None:
    """Drop a device and all that is kept of it."""
    connection.execute("DELETE FROM device WHERE id = ?", (device_id,))
    connection.execute("DELETE FROM device_twin WHERE deviceid = ?", (device_id,))
    connection.execute("DELETE FROM device_attr WHERE deviceid = ?", (device_id,))
    connection.execute("DELETE FROM device_silent WHERE id = ?", (device_id,))


def twins(connection: sqlite3.Connection, device_id: str) -> dict[str, Stored]:
    """All twins of a device by name, tombstones too."""
    rows = connection.execute(
        "SELECT name, expected, actual, expected_meta, actual_meta, expected_version, actual_version, optional, "
        "attr_type, metadata FROM device_twin WHERE deviceid = ? ORDER BY id",
        (device_id,),
    )
    return {row[0]: _twin(*row[1:]) for row in rows}


def put_twins(connection: sqlite3.Connection, device_id: str, changed: dict[str, Stored]) -> None:
    """Keep the changed twins of a device."""
    for name, twin in changed.items():
        notes = _Notes(twin.desired, twin.declared, twin.unfit, twin.unheard)
        connection.execute(
            "INSERT INTO device_twin (deviceid, name, expected, actual, expected_meta, actual_meta, expected_version, "
            "actual_version, optional, attr_type, metadata) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) "
            "ON CONFLICT (deviceid, name) DO UPDATE SET expected = excluded.expected, actual = excluded.actual, "
            "expected_meta = excluded.expected_meta, actual_meta = excluded.actual_meta, "
            "expected_version = excluded.expected_version, actual_version = excluded.actual_version, "
            "optional = excluded.optional, attr_type = excluded.attr_type, metadata = excluded.metadata",
            (
                device_id, name, _text(twin.expected), _text(twin.actual), _meta(twin.expected), _meta(twin.actual),
                _json(twin.expected_version), _json(twin.actual_version), twin.optional, twin.type, _json(notes),
            ),
        )  # fmt: skip


def _twin(
    expected: str | None, actual: str | None, expected_meta: str | None, actual_meta: str | None,
    expected_version: str | None, actual_version: str | None, optional: Any, kind: str | None, metadata: str | None,
) -> Stored:  # fmt: skip
    kind = kind or "string"
    notes = _read(metadata, _Notes)
    return Stored(
        kind,
        bool(optional),
        None if kind == DELETED else _value(expected, expected_meta),
        None if kind == DELETED else _value(actual, actual_meta),
        _read(expected_version, Version),
        _read(actual_version, Version),
        notes.desired,
        notes.declared,
        notes.unfit,
        notes.unheard,
    )


def _value(text: str | None, meta: str | None) -> Value | None:
    """An empty text is no value, as in KubeEdge."""
    return Value(text, _read(meta, dict[str, Any]) or None) if text else None


def _text(value: Value | None) -> str | None:
    return None if value is None else value.value


def _meta(value: Value | None) -> str | None:
    return None if value is None else _json(value.metadata or {})


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _read(text: str | None, kind: Any) -> Any:
    """A JSON column; one that cannot be read counts as empty: its twin is still worth having."""
    try:
        return msgspec.json.decode(text or "{}", type=kind)
    except (msgspec.DecodeError, RecursionError):
        return kind()
