"""What EdgeCore tells of a device, as its mapper sees it."""

from __future__ import annotations

import pytest

from octoedge.dmi import messages as m
from octoedge.edge.devicetwin import twin
from octoedge.mappers.framework.device import device


@pytest.mark.parametrize("name", ["outlet temp", "Température", "", "x" * 129, "a\nb"])
def test_a_name_that_edgecore_does_not_take_costs_the_other_properties_nothing(name: str) -> None:
    told = m.Device("boiler", m.DeviceSpec(properties=(m.DeviceProperty(name), m.DeviceProperty("a/b-1"))))
    made = device(told, None)
    assert list(made.properties) == ["a/b-1"]
    assert [text.startswith(f"properties[{name}] is not read") for text in made.problems] == [True]
    assert not twin.KEY.fullmatch(name)
