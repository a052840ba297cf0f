"""What a device should be, has been set to, and why the two differ."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from octoedge.errors import ValueRefused
from octoedge.mappers import Device, Property
from octoedge.mappers.framework.wishes import Wishes, meant


def _prop(desired: str = "40", **more: object) -> Property:
    return Property("setpoint", **{"type": "INT", "desired": desired, **more})  # type: ignore[arg-type]


def _device(prop: Property) -> Device:
    return Device("plant", "boiler", properties={prop.name: prop})


def test_a_wish_is_due_until_it_is_applied_and_again_when_it_is_another_or_the_device_is_connected_anew() -> None:
    wishes = Wishes()
    assert wishes.due(_prop())
    wishes.apply(_prop())
    assert not wishes.due(_prop())
    assert wishes.due(_prop("41"))
    wishes.connected()
    assert wishes.due(_prop())


def test_what_was_refused_is_due_when_it_changes_lies_elsewhere_or_another_mapper_is_there() -> None:
    wishes = Wishes()
    changes: list[Callable[[], None]] = [
        lambda: wishes.changed(_device(_prop()), _device(_prop(maximum="50"))),
        lambda: wishes.changed(_device(_prop()), _device(_prop(visitor={"offset": 2}))),
        wishes.swapped,
    ]
    for again in changes:
        wishes.refuse(_prop(), "no")
        assert not wishes.due(_prop())
        assert wishes.due(_prop("41"))
        again()
        assert wishes.due(_prop())


def test_a_property_that_goes_to_others_or_more_often_keeps_its_wish() -> None:
    wishes = Wishes()
    wishes.apply(_prop())
    wishes.changed(_device(_prop()), _device(_prop(cycle=5.0, reported=True)))
    assert not wishes.due(_prop())


def test_nothing_wished_and_a_stream_are_never_due() -> None:
    assert not Wishes().due(_prop(""))
    assert not Wishes().due(_prop("on", type="STREAM"))


def test_the_reason_is_of_the_wish_that_stands() -> None:
    wishes = Wishes()
    assert wishes.reason(_prop(), "20") == ""
    wishes.refuse(_prop("400"), "not applied: too much")
    assert wishes.reason(_prop("400"), "20") == "not applied: too much"
    assert wishes.reason(_prop("41"), "20") == ""
    wishes.write(_prop(), "41")
    assert wishes.reason(_prop("41"), "41.0") == ""
    assert wishes.reason(_prop("41"), "20") == "the device was set to 41 and answers 20"
    assert "STREAM" in wishes.reason(_prop(type="STREAM"), "")


def test_a_value_to_write_has_its_type_and_lies_in_its_range() -> None:
    assert meant(_prop(minimum="5", maximum="90"), " 40 ") == 40
    for prop, text in ((_prop(writable=False), "40"), (_prop(maximum="30"), "40"), (_prop(), "warm")):
        with pytest.raises(ValueRefused):
            meant(prop, text)
