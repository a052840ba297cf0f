"""Quantities keep their value in their usual form."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.schema.quantity import canonical, decimal, parse

SUFFIXES = ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E2", "e-2"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0.5", "500m"), ("1000m", "1"), ("1024Mi", "1Gi"), ("1.5Gi", "1536Mi"), ("1e3", "1e3"), ("0", "0"), ("-1", "-1")],
)
def test_the_usual_form(text: str, expected: str) -> None:
    assert canonical(text) == expected


@pytest.mark.parametrize("text", ["", "x", "1Q", "1 Gi", ".", "--1", "1e", "1e9999", "9" * 100])
def test_what_is_no_quantity(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse(text)


@given(st.integers(-(10**9), 10**9), st.integers(0, 999), st.sampled_from(SUFFIXES))
def test_the_value_stays(whole: int, thousandths: int, suffix: str) -> None:
    text = f"{whole}.{thousandths:03}{suffix}"
    usual = canonical(text)
    # Below a nano everything is rounded up.
    assert abs(parse(usual) - parse(text)) * 10**9 < 1
    assert canonical(usual) == usual


@given(st.integers(0, 10**24).map(lambda nanos: Fraction(nanos, 10**9)))
def test_a_value_in_decimal_form_is_that_value(value: Fraction) -> None:
    assert parse(decimal(value)) == value
    assert canonical(decimal(value)) == decimal(value)
