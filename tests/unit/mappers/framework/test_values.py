"""Values as text and back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ValueRefused
from octoedge.mappers.framework import values


class _Broken:
    """What an author gives as a value, and cannot be asked what it is."""

    def __str__(self) -> str:
        raise AttributeError("name")

    def __bool__(self) -> bool:
        raise AttributeError("value")


@pytest.mark.parametrize(
    ("value", "kind", "said"),
    [
        (635 * 0.1, "FLOAT", "63.5"),
        (3 * 0.1, "DOUBLE", "0.3"),
        (1e21, "DOUBLE", "1000000000000000000000"),
        (1e-7, "DOUBLE", "0.0000001"),
        (0.0, "FLOAT", "0"),
        (0.10000000149011612, "FLOAT", "0.1"),
        (41.6, "INT", "42"),
        (16777217, "INT", "16777217"),
        (True, "BOOLEAN", "true"),
        (0, "BOOLEAN", "false"),
        ("on", "BOOLEAN", "true"),
        (b"\x01\xff", "BYTES", "01ff"),
        ("01FF", "BYTES", "01ff"),
        ("a b", "STRING", "a b"),
        (2.0, "", "2"),
    ],
)
def test_how_values_travel(value: object, kind: str, said: str) -> None:
    assert values.text(value, kind) == said


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("4o", "INT"),
        ("1.5", "INT"),
        ("nan", "FLOAT"),
        ("inf", "DOUBLE"),
        ("maybe", "BOOLEAN"),
        ("xyz", "BYTES"),
        ("", "INT"),
    ],
)
def test_a_text_that_is_no_value_is_refused(said: str, kind: str) -> None:
    with pytest.raises(ValueRefused, match=kind):
        values.parse(said, kind)


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        (float("nan"), "FLOAT"),
        (None, "INT"),
        ("hello", "BYTES"),
        ("x", "DOUBLE"),
        ("v" * 5000, "STRING"),
        (1 << 63, "INT"),
        (-(1 << 63) - 1, "INT"),
        pytest.param(10**5000, "INT", id="long"),
        pytest.param(10**5000, "", id="long-any"),
        ("half \ud800", "STRING"),
        ("maybe" * 1000, "BOOLEAN"),
        pytest.param(_Broken(), "STRING", id="broken"),
        pytest.param(_Broken(), "BOOLEAN", id="broken-truth"),
    ],
)
def test_what_a_device_cannot_mean_is_refused(value: object, kind: str) -> None:
    with pytest.raises(ValueRefused) as refused:
        values.text(value, kind)
    assert str(refused.value).encode()


def test_a_number_out_of_range_names_the_bound() -> None:
    values.check(5, "5", "90")
    values.check(7, "", "none")
    values.check("text", "5", "90")
    with pytest.raises(ValueRefused, match="over the maximum of 90"):
        values.check(90.5, "5", "90")
    with pytest.raises(ValueRefused, match="under the minimum of -20"):
        values.check(-21, "-20", "")


@given(st.integers(-(2**63), 2**63 - 1), st.floats(-1e300, 1e300))
def test_what_is_written_reads_as_it_was(whole: int, real: float) -> None:
    assert values.parse(values.text(whole, "INT"), "INT") == whole
    assert values.parse(values.text(real, "DOUBLE"), "DOUBLE") == pytest.approx(real, rel=1e-14)
    assert "e" not in values.text(real, "DOUBLE")


def test_the_same_value_may_be_said_in_two_ways() -> None:
    assert values.same("40", "40.0", "FLOAT")
    assert values.same("on", "true", "BOOLEAN")
    assert not values.same("40", "41", "INT")
    assert not values.same("40", "forty", "INT")
