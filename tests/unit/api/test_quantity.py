"""Quantities against what Kubernetes makes of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.quantity import milli, whole

CASES = [
    ("0", 0, 0), ("1", 1, 1000), ("100m", 1, 100), ("0.5", 1, 500), (".5", 1, 500), ("1.", 1, 1000),
    ("64Mi", 64 << 20, (64 << 20) * 1000), ("1k", 1000, 10**6), ("1e3", 1000, 10**6), ("1E3", 1000, 10**6),
    ("12e-1", 2, 1200), ("1n", 1, 1), ("1500u", 1, 2), ("-1", -1, -1000), ("+2", 2, 2000),
    ("1.5Gi", 3 << 29, (3 << 29) * 1000), ("2Ei", 2 << 60, (2 << 60) * 1000), ("1E", 10**18, 10**21),
]  # fmt: skip


@pytest.mark.parametrize(("text", "units", "thousandths"), CASES)
def test_amounts(text: str, units: int, thousandths: int) -> None:
    assert (whole(text), milli(text)) == (units, thousandths)


@pytest.mark.parametrize("text", ["", ".", "m", "1mm", "1 Mi", "0x10", "1e", "1MiB", "--1", "1.2.3", "9" * 40, "١"])
def test_what_is_no_quantity_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        whole(text)


@given(st.text(max_size=12))
def test_any_text_is_an_amount_or_a_value_error(text: str) -> None:
    try:
        amount = whole(text)
    except ValueError:
        return
    assert isinstance(amount, int)


@given(st.integers(0, 10**12), st.sampled_from(["", "k", "M", "Ki", "Mi", "m", "u", "n"]))
def test_rounding_is_upward_and_by_less_than_one(number: int, suffix: str) -> None:
    exact, rounded = milli(f"{number}{suffix}"), whole(f"{number}{suffix}")
    assert 0 <= rounded * 1000 - exact < 1000
