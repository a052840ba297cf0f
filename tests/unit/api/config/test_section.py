"""Durations as Go writes them."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.api.config.section import format_duration, parse_duration


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0), ("0s", 0), ("1m0s", 60), ("100ms", 0.1), ("4h0m0s", 14400), ("1h30m", 5400), ("-1.5h", -5400),
        ("2m0s", 120), ("1us", 1e-6), ("1µs", 1e-6), (".5s", 0.5), ("1.s", 1), ("+3s", 3),
    ],
)  # fmt: skip
def test_durations_are_read_as_go_reads_them(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "1", "1 s", "1m 0s", "1d", "--1s", "1e3s", "١s", "1s" * 40, "-", "inf"])
def test_what_go_refuses_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not a duration"):
        parse_duration(text)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (60, "1m0s"), (0.1, "100ms"), (14400, "4h0m0s"), (1.5, "1.5s"), (-90, "-1m30s"), (2e-9, "2ns"),
     (0.0000015, "1.5µs"), (3600.25, "1h0m0.25s"), (0.9999, "999.9ms")],
)  # fmt: skip
def test_durations_are_written_as_go_writes_them(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(st.integers(min_value=-(10**15), max_value=10**15))
def test_writing_and_reading_are_inverses(nanos: int) -> None:
    assert parse_duration(format_duration(nanos / 1e9)) == pytest.approx(nanos / 1e9, abs=1e-9)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        seconds = parse_duration(text)
    except ValueError:
        return
    assert math.isfinite(seconds)
