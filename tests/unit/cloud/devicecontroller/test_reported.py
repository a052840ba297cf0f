"""Reports merged into a status."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.cloud.devicecontroller.reported import merged
from octoedge.errors import MessageError
from octoedge.protocol.payloads import DeviceStateReport, TwinReport

PROPERTIES = {"temperature", "setpoint"}


def _twins(**twins: object) -> TwinReport:
    return TwinReport(body=msgspec.json.encode({"event_id": "e", "timestamp": 1, "twin": twins}))


def test_the_first_report_of_a_property_is_kept_whole() -> None:
    value = {"value": "63.5", "metadata": {"timestamp": 1769847300000, "quality": "good"}}
    status = merged({}, _twins(temperature={"actual": value, "metadata": {"type": "float"}}), PROPERTIES)
    metadata = {"timestamp": "1769847300000", "quality": "good", "type": "float"}
    assert status["twins"] == [
        {
            "propertyName": "temperature",
            "reported": {"value": "63.5", "metadata": metadata},
            "observedDesired": {"value": ""},
        }
    ]


def test_a_part_that_is_not_said_stays_as_it_was() -> None:
    before = merged({}, _twins(setpoint={"actual": {"value": "1"}, "expected": {"value": "2"}}), PROPERTIES)
    [twin] = merged(before, _twins(setpoint={"actual": {"value": "3"}}), PROPERTIES)["twins"]
    assert (twin["reported"]["value"], twin["observedDesired"]["value"]) == ("3", "2")


def test_properties_that_the_device_has_not_are_left_out() -> None:
    before = merged({}, _twins(temperature={"actual": {"value": "1"}}), PROPERTIES)
    assert merged(before, _twins(pressure={"actual": {"value": "1"}}, setpoint=None), {"setpoint"})["twins"] == []


@pytest.mark.parametrize("key", ["device", "Device"])
def test_a_state_without_a_time_leaves_the_time(key: str) -> None:
    before = {"state": "ok", "lastOnlineTime": "2026-01-31T08:15:00Z", "extensions": {"mine": 1}}
    report = DeviceStateReport(body=msgspec.json.encode({key: {"name": "boiler", "state": "offline"}}))
    assert merged(before, report, PROPERTIES) == {**before, "state": "offline"}


@pytest.mark.parametrize("body", [b"", b"[]", b'{"twin":{"temperature":{"actual":5}}}', b'{"twin":7}', b"[" * 5000])
def test_what_cannot_be_read_says_so(body: bytes) -> None:
    with pytest.raises(MessageError, match="TwinReport"):
        merged({}, TwinReport(body=body), PROPERTIES)


def test_a_state_report_names_a_state() -> None:
    with pytest.raises(MessageError, match="names no state"):
        merged({}, DeviceStateReport(body=b"{}"), PROPERTIES)


@given(st.dictionaries(st.sampled_from(["temperature", "setpoint"]), st.text(max_size=20), min_size=1))
def test_the_same_report_twice_is_the_same_as_once(values: dict[str, str]) -> None:
    report = _twins(**{name: {"actual": {"value": value}} for name, value in values.items()})
    once = merged({}, report, PROPERTIES)
    assert merged(once, report, PROPERTIES) == once
    assert {twin["propertyName"]: twin["reported"]["value"] for twin in once["twins"]} == values
