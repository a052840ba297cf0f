from __future__ import annotations

import contextlib
import itertools
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import MessageError
from octoedge.protocol import telemetry as t

TIMES = st.integers(0, t.LATEST - 1)
DECIMALS = st.decimals(allow_nan=False, allow_infinity=False, places=3, min_value=-(10**6), max_value=10**6).map(str)
TEXTS = st.one_of(
    DECIMALS, st.integers(-(1 << 70), 1 << 70).map(str), st.floats().map(str), st.text(max_size=20),
    st.sampled_from(["0", "-0", "-0.0", "0.0", "1.", ".5", "01", "1e3", "٣", "-0.5", "12.50", "true", "NaN", "9" * 30]),
)  # fmt: skip
PAIRS = st.one_of(st.lists(st.tuples(TIMES, DECIMALS), max_size=60), st.lists(st.tuples(TIMES, TEXTS), max_size=60))


def apart(pairs: list[tuple[int, str]]) -> tuple[list[int], list[str]]:
    return [time for time, _ in pairs], [text for _, text in pairs]


@given(PAIRS)
def test_what_is_packed_comes_out_to_the_last_character(pairs: list[tuple[int, str]]) -> None:
    column = t.pack(*apart(pairs))
    assert t.unpack(msgspec.json.decode(msgspec.json.encode(column), type=t.Column)) == apart(pairs)
    assert t.unpack(msgspec.msgpack.decode(msgspec.msgpack.encode(column), type=t.Column)) == apart(pairs)


@given(PAIRS, st.lists(st.integers(0, 60), max_size=3))
def test_columns_of_any_kinds_are_joined_in_order(pairs: list[tuple[int, str]], cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(pairs)]
    parts = [t.pack(*apart(pairs[a:b])) for a, b in itertools.pairwise(edges)]
    assert t.unpack(t.joined(parts)) == apart(pairs)


@given(PAIRS, st.integers(0, 60))
def test_the_tail_of_a_column(pairs: list[tuple[int, str]], skip: int) -> None:
    assert t.unpack(t.tail(t.pack(*apart(pairs)), skip)) == apart(pairs[skip:])


@given(st.binary(max_size=200) | st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6), max_leaves=30,
).map(msgspec.json.encode))  # fmt: skip
def test_whatever_a_node_sends_is_refused_by_a_sentence_or_read(body: bytes) -> None:
    with contextlib.suppress(MessageError):
        assert all(section.last <= section.numbered for section in t.decode(body))


@pytest.mark.parametrize(
    ("section", "says"),
    [
        (["thermometer", "t", "e", 1, 0], "NAMESPACE/DEVICE/PROPERTY"),
        (["default/x/y", "t", "e", 1, 0], "NAMESPACE/DEVICE/PROPERTY"),
        (["default/x", "", "e", 1, 0], "NAMESPACE/DEVICE/PROPERTY"),
        (["default/x", "t", "", 1, 0], "epoch"),
        (["default/x", "t", "e", 0, 0], "cannot be"),
        (["default/x", "t", "e", 1, 0, [], [[5], [1]]], "values 1 to 1 of 0"),
        (["default/x", "t", "e", 1, 9, [], [[5], []]], "no column"),
        (["default/x", "t", "e", 1, 9, [], [[-5], [1]]], "milliseconds"),
        (["default/x", "t", "e", 1, 9, [], [[5], ["1"]]], "whole number"),
        (["default/x", "t", "e", 1, 9, [], [[5], [1], 10]], "whole number"),
        (["default/x", "t", "e", 1, 9, [], [[5], [1], -1]], "no text"),
        (["default/x", "t", "e", 1, 9, [], [[5], ["x" * 5000], -1]], "no text"),
        (["default/x", "t", "e", 1, 9, [], [[5, 5], [1 << 59, 1 << 59]]], "beyond"),
        (["default/x", "t", "e", 5, 9, [[2, 5, "why"]]], "gap 2 to 5"),
        (["default/x", "t", "e", 5, 9, [[3, 2, "why"]]], "gap 3 to 2"),
        (["default/x", "t", "e", 5, 9, [[1, 2, "w" * 500]]], "gap 1 to 2"),
    ],
)
def test_a_section_that_cannot_be_is_refused_by_name(section: list[object], says: str) -> None:
    with pytest.raises(MessageError, match=says):
        t.decode(msgspec.json.encode([section]))


def test_a_batch_has_a_largest_size() -> None:
    many = [[f"default/x{number}", "t", "e", 1, 0] for number in range(t.MAX_SECTIONS + 1)]
    with pytest.raises(MessageError, match="at most"):
        t.decode(msgspec.json.encode(many))


def test_an_hour_of_a_thermometer_is_about_a_byte_for_each_value() -> None:
    times = [1_700_000_000_000 + 1000 * second + second * 7 % 3 for second in range(3600)]
    texts = [f"{20 + second % 37 / 10:.1f}" for second in range(3600)]
    assert len(zlib.compress(t.encode([t.Section("default/x", "t", "e", 1, 3600, [], t.pack(times, texts))]))) < 3600
