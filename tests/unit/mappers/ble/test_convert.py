"""What the bytes of a characteristic mean."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ConfigError, DeviceError, ValueRefused
from octoedge.mappers.ble.convert import meaning

WHERE = "properties[p].visitors.configData"


@given(st.integers(-(2**15), 2**15 - 1))
def test_a_number_that_is_written_is_read_again(raw: int) -> None:
    one = meaning({"format": "int16", "scale": 0.01}, "FLOAT", WHERE)
    assert one.decode(one.encode(raw * 0.01)) == pytest.approx(raw * 0.01)


@given(st.binary(max_size=20), st.sampled_from(["int16", "float32", "uint8", "boolean", "string", "bytes"]))
def test_any_bytes_are_a_value_or_an_error_of_the_device(raw: bytes, kind: str) -> None:
    with contextlib.suppress(DeviceError):
        assert meaning({"format": kind}, "", WHERE).decode(raw) is not None


def test_kubeedges_converter_puts_the_bytes_decimals_together() -> None:
    steps = [{"operationType": "Divide", "operationValue": 100}, {"operationType": "add", "operationValue": 1}]
    said = {"startIndex": 2, "endIndex": 1, "orderOfOperations": steps}
    one = meaning({"dataConverter": said}, "FLOAT", WHERE)
    assert one == meaning({"dataConverter": json.dumps(said)}, "FLOAT", WHERE)  # as it comes over DMI
    assert one.decode(bytes([9, 45, 12])) == 13.45
    with pytest.raises(DeviceError, match="sent 1 bytes"):
        one.decode(b"\x01")
    with pytest.raises(ValueRefused):
        one.encode(1)


@pytest.mark.parametrize(
    ("visitor", "field"),
    [
        ({}, "format"),
        ({"format": "int24"}, "format"),
        ({"format": "int16", "scale": 0}, "scale"),
        ({"dataConverter": "{"}, "dataConverter"),
        ({"dataConverter": {"shiftLeft": 4_000_000_000}}, "dataConverter.shiftLeft"),
        ({"dataConverter": {"shiftRight": -1}}, "dataConverter.shiftRight"),
        ({"dataConverter": {"orderOfOperations": [{"operationType": "root", "operationValue": 2}]}}, "dataConverter"),
        ({"dataConverter": {"orderOfOperations": [{"operationType": "Divide", "operationValue": 0}]}}, "dataConverter"),
    ],
)
def test_a_visitor_that_makes_no_sense_is_named(visitor: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError) as caught:
        meaning(visitor, "INT", WHERE)
    assert str(caught.value).startswith(f"{WHERE}.{field}")


def test_a_value_that_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueRefused, match="does not fit into uint8"):
        meaning({"format": "uint8"}, "INT", WHERE).encode(256)
