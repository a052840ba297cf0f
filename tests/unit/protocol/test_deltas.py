"""Deltas: what comes out is what went in to the last byte, or nothing does."""

from __future__ import annotations

import json
import random
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import MessageError
from octoedge.protocol import deltas
from octoedge.protocol.deltas import LEAST_BYTES, apply, digest, make

PIECES = st.binary(min_size=1, max_size=60)


@given(st.lists(PIECES, min_size=1, max_size=60), st.data())
def test_what_is_applied_is_what_was_meant(pieces: list[bytes], data: st.DataObject) -> None:
    kept = data.draw(st.lists(st.one_of(st.sampled_from(pieces), PIECES), max_size=60))
    base, whole = b"".join(pieces) * 3, b"".join(kept) * 3
    delta = make(base, whole)
    if delta is None:
        return
    assert apply(base, delta) == whole
    assert apply(whole, delta) == whole, "sent again, it is applied already"
    assert json.loads(delta), "it travels as JSON"
    if base != whole:
        with pytest.raises(MessageError, match="another version"):
            apply(base + b"x", delta)


@given(st.binary(max_size=300), st.binary(max_size=300))
def test_bytes_that_have_nothing_in_common_make_no_wrong_delta(base: bytes, whole: bytes) -> None:
    delta = make(base * 9, whole * 9)
    assert delta is None or apply(base * 9, delta) == whole * 9


@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(str.encode)))
def test_what_is_no_delta_is_refused(garbage: bytes) -> None:
    with pytest.raises(MessageError):
        apply(b"base", garbage)


Part = st.one_of(st.text(max_size=5), st.tuples(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40)))


@given(st.lists(Part, max_size=6))
def test_parts_that_lie_are_refused(parts: list[tuple[int, int] | str]) -> None:
    lie = msgspec.json.encode(deltas.Delta(digest(b"base"), digest(b"other"), parts))
    with pytest.raises(MessageError):
        apply(b"base", lie)


def configmap(lines: list[str], version: int) -> bytes:
    about = {"name": "rules", "namespace": "default", "uid": "u", "resourceVersion": str(version)}
    text = "\n".join(lines)
    return msgspec.json.encode({"kind": "ConfigMap", "apiVersion": "v1", "metadata": about, "data": {"rules": text}})


def test_a_line_of_a_large_configmap_costs_a_few_bytes() -> None:
    rng = random.Random(1)
    lines = [f"rule {number}: {rng.getrandbits(200):x}" for number in range(3300)]
    base = configmap(lines, 1000)
    assert len(base) > 200_000
    lines[1700] = "rule 1700: none"
    whole = configmap(lines, 1234)
    began = time.perf_counter()
    delta = make(base, whole)
    took = time.perf_counter() - began
    assert delta is not None
    assert apply(base, delta) == whole
    assert len(delta) < 250
    assert took < 1.0


def test_what_is_new_altogether_or_small_goes_whole() -> None:
    rng = random.Random(2)
    base, whole = rng.randbytes(300_000), rng.randbytes(300_000)
    assert make(base, whole) is None
    small = b"x" * (LEAST_BYTES - 1)
    assert make(small, small[1:]) is None
