"""Points in line protocol, read by a parser of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from line_protocol_parser import parse_line

from octoedge.dmi import messages as m
from octoedge.mappers.push.influxdb2 import line
from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import Influxdb2, targets


def sample(value: str, *, measurement: str = "m", tags: dict[str, str] | None = None, field: str = "f") -> Sample:
    told = m.Influxdb2(m.Influxdb2Client("http://i", "o", "b"), m.Influxdb2Data(measurement, tags or {}, field))
    problems: list[str] = []
    (target,) = targets(m.PushMethod(database=m.PushDatabase(influxdb2=told)), ("n", "d"), "p", problems)
    assert isinstance(target, Influxdb2)
    return Sample(target, "plant", "boiler", "t", "float", value, 1_790_000_000_123)


def test_a_point_is_a_text_as_kubeedge_writes_it() -> None:
    said = line(sample("21.5", measurement="energy meter", tags={"unit": "kWh", "in,hall": "a=b c"}, field="va lue"))
    assert said == 'energy\\ meter,in\\,hall=a\\=b\\ c,unit=kWh va\\ lue="21.5" 1790000000123'


@pytest.mark.parametrize("value", ["", "21.5", 'a "b" c', "back\\slash\\", "comma, equals=", "°C"])
def test_every_value_arrives_as_itself(value: str) -> None:
    tags = {"t a,g": "x=y z", "other": 'q"q'}
    found = parse_line(line(sample(value, measurement="m, n", tags=tags, field="f=g")))
    assert found == {"measurement": "m, n", "tags": tags, "fields": {"f=g": value}, "time": 1_790_000_000_123}


@given(st.text(st.characters(min_codepoint=32, max_codepoint=0x24F, exclude_characters="\x7f"), max_size=30))
def test_no_value_ends_its_field(value: str) -> None:
    assert parse_line(line(sample(value)))["fields"] == {"f": value}
