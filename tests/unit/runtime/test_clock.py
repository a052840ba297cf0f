"""Times as Kubernetes writes and reads them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.runtime.clock import parse_rfc3339, rfc3339, rfc3339_micro

SECONDS = st.integers(min_value=0, max_value=4_102_444_800)


def test_times_are_written_as_kubernetes_writes_them() -> None:
    assert rfc3339(1_767_323_045.987) == "2026-01-02T03:04:05Z"
    assert rfc3339_micro(1_767_323_045.25) == "2026-01-02T03:04:05.250000Z"


@given(SECONDS, st.integers(0, 999_999))
def test_reading_is_the_inverse_of_writing(seconds: int, micros: int) -> None:
    assert parse_rfc3339(rfc3339(seconds)) == seconds
    assert parse_rfc3339(rfc3339_micro(seconds + micros / 1e6)) == pytest.approx(seconds + micros / 1e6, abs=1e-5)


@pytest.mark.parametrize("text", ["2026-01-02T03:04:05Z", "2026-01-02T05:04:05+02:00", "2026-01-02T03:04:05.000Z"])
def test_offsets_and_fractions_are_understood(text: str) -> None:
    assert parse_rfc3339(text) == 1_767_323_045


def test_nanoseconds_are_understood() -> None:
    assert parse_rfc3339("2026-01-02T03:04:05.123456789Z") == pytest.approx(1_767_323_045.123456, abs=1e-5)


@pytest.mark.parametrize("text", ["", "now", "2026-01-02", "2026-01-02T03:04:05", "2026-13-02T03:04:05Z", "1767323045"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        parse_rfc3339(text)
