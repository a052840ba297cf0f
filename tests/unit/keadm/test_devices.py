"""A device as a table."""

from __future__ import annotations

from typing import Any

import msgspec

from octoedge.keadm.devices import Shown, as_json, shown
from octoedge.testing.devices import MODEL, device

NOW = 1_769_847_300.0


def _shown(**values: dict[str, Any]) -> Shown:
    twins = [{"propertyName": name, "reported": value} for name, value in values.items()]
    status = {"status": {"twins": twins, "state": "online", "lastOnlineTime": "2026-01-31T08:14:30Z"}}
    encode = msgspec.json.encode
    return shown(encode(device()), encode(MODEL), encode(status), NOW)


def test_a_device_property_by_property() -> None:
    stamp = str(int((NOW - 90) * 1000))
    found = _shown(
        temperature={"value": "63.5", "metadata": {"timestamp": "5", "sourceTime": stamp}},
        setpoint={"value": "38", "metadata": {"reason": "not applied: 40 is over the maximum of 39"}},
    )
    assert found.text().splitlines() == [
        "plant/boiler on node edge-1, model probe, protocol modbus",
        "online, online 30s ago",
        "",
        "PROPERTY      DESIRED   REPORTED   UNIT   AGE   NOTE",
        "temperature   -         63.5       °C     90s",
        "setpoint      40        38                -     not applied: 40 is over the maximum of 39",
    ]


def test_a_value_that_is_on_its_way_says_so() -> None:
    assert _shown(setpoint={"value": "38"}).rows[1].note == "not there yet"
    assert _shown(setpoint={"value": "40.0"}).rows[1].note == ""


def test_a_device_that_never_reported() -> None:
    found = shown(msgspec.json.encode(device()), None, None, NOW)
    assert found.state == ""
    assert as_json(found)["properties"][0]["reported"] == "-"
