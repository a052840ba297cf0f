"""Single values in Any: what is put in comes out, within what the wire allows."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.dmi.messages import AnyValue
from octoedge.dmi.values import pack, pack_all, unpack
from octoedge.errors import MessageError

EXACT = st.booleans() | st.text(max_size=30) | st.integers(-(2**63), 2**63 - 1)


@given(EXACT, st.booleans())
def test_texts_integers_and_booleans_stay_what_they_are(value: Any, wide: bool) -> None:
    back = unpack(pack(value, wide=wide))
    assert (type(back), back) == (type(value), value)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_our_own_mappers_get_every_number_whole(value: float) -> None:
    assert unpack(pack(value, wide=True)) == value


@pytest.mark.parametrize("value", [0.1, 0.001, 63.5, -3.75, 1e10, 0.03125])
def test_a_go_mapper_gets_the_decimal_that_was_written(value: float) -> None:
    packed = pack(value, wide=False)
    assert packed.type_url.endswith("FloatValue")
    assert unpack(packed) == value


@given(st.floats(-1e30, 1e30))
def test_a_go_mapper_gets_at_least_six_digits(value: float) -> None:
    assert math.isclose(unpack(pack(value, wide=False)), value, rel_tol=1e-6, abs_tol=1e-37)


def test_what_has_no_form_is_refused_and_what_is_nested_is_text() -> None:
    with pytest.raises(MessageError, match="leave the key out"):
        pack(None, wide=True)
    with pytest.raises(MessageError, match="too large"):
        pack(1e300, wide=False)
    assert unpack(pack({"a": [1]}, wide=True)) == '{"a":[1]}'
    assert [setting.key for setting in pack_all({"a": 1, "gone": None}, wide=False).data] == ["a"]


def test_a_strange_type_is_named() -> None:
    with pytest.raises(MessageError, match=r"example\.com/Strange"):
        unpack(AnyValue("example.com/Strange", b""))


def test_gos_float_is_read() -> None:
    """Three, as KubeEdge's EdgeCore sends the number 3."""
    assert unpack(AnyValue("type.googleapis.com/google.protobuf.FloatValue", bytes.fromhex("0d00004040"))) == 3
