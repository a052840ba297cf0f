"""What a device's answers say."""

from __future__ import annotations

from typing import Any

import pytest

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers import Property
from octoedge.mappers.framework import readings

LEVEL, VALVE = Property("level", "INT", visitor={"path": "/"}), Property("valve", "BOOLEAN")


@pytest.mark.parametrize(
    ("found", "error"),
    [
        ({}, DeviceError),
        ({"level": None}, DeviceError),
        ({"level": DeviceError("away")}, DeviceError),
        ({"level": ConfigError("no such register")}, ConfigError),
        ({"level": "high"}, ValueRefused),
    ],
)
def test_what_is_no_value_is_said_with_its_property(found: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        readings.text_of(LEVEL, found)
    heard = readings.understood([LEVEL], found, (), {})
    assert heard.texts == {}
    assert heard.failed[0].startswith("level: ")


def test_one_that_fails_keeps_no_other_back() -> None:
    heard = readings.understood([LEVEL, VALVE], {"level": DeviceError("away"), "valve": True}, (), {})
    assert heard.texts == {"valve": "true"}
    assert len(heard.failed) == 1


def test_what_can_only_be_written_has_the_value_that_was_written() -> None:
    found = {"valve": ConfigError("nothing says how to read it")}
    assert readings.understood([VALVE], found, ["valve"], {"valve": "on"}) == readings.Round({"valve": "on"}, [])
    assert readings.understood([VALVE], found, ["valve"], {}) == readings.Round()
    assert readings.understood([VALVE], found, (), {"valve": "on"}).failed
    by_visitor = Property("valve", "BOOLEAN", visitor={"path": "/"})
    assert readings.understood([by_visitor], found, ["valve"], {"valve": "on"}).failed


def test_a_twin_says_when_it_was_read_and_why_it_is_not_as_wished() -> None:
    prop = Property("level", "INT", desired="5", said_type="int")
    told = readings.twin(prop, "4", "x" * 999, 1700000000.25)
    assert (told.observed_desired.value, told.reported.value) == ("5", "4")
    assert told.reported.metadata == {"type": "int", "timestamp": "1700000000250", "reason": "x" * readings.MAX_REASON}
    assert "reason" not in readings.twin(prop, "5", "", 0.0).reported.metadata


def test_what_several_properties_have_in_common_is_said_once() -> None:
    failed = [*(f"p{number}: no answer: 3 s" for number in range(5)), "valve: stuck"]
    assert readings.Round(failed=failed).trouble == "p0, p1, p2 and 2 more: no answer: 3 s; valve: stuck"
    assert readings.Round().trouble == ""
