"""The form that a value is posted as, against the parser of forms."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.mappers.push.http import form
from octoedge.mappers.push.sending import Sample
from octoedge.mappers.push.settings import Http


def sample(value: str, prop: str = "temperature") -> Sample:
    return Sample(Http("http://h"), "plant", "boiler", prop, "float", value, 1_790_000_000_123)


@pytest.mark.parametrize("value", ["21.5", "-3", "true", "on the way", '{"a": [1, "x"]}', "a=b", "°C", ""])
def test_a_plain_value_is_written_as_kubeedge_writes_it(value: str) -> None:
    said = form(sample(value)).decode()
    assert re.fullmatch(r"temperature=(.*)&time=2026-09-\d\d \d\d:\d\d:\d\d", said)
    assert said.startswith(f"temperature={value}&time=")


@given(st.text(max_size=30), st.text(min_size=1, max_size=10))
def test_every_value_arrives_as_itself(value: str, prop: str) -> None:
    pairs = parse_qsl(form(sample(value, prop)).decode(), keep_blank_values=True, strict_parsing=True)
    assert pairs[0] == (prop, value)
    assert [name for name, _ in pairs] == [prop, "time"]
