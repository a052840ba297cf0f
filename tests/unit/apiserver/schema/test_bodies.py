"""Bodies: how deep and how large they may be, and what of YAML is read."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.apiserver.schema.bodies import MAX_DEPTH, MAX_YAML, Bodies, check_depth
from octoedge.apiserver.schema.schema import Schema
from octoedge.errors import ApiError

BODIES = Bodies(Schema.load())


def nested(depth: int, *, as_list: bool) -> Any:
    value: Any = [] if as_list else {}
    for _ in range(depth - 1):
        value = [value] if as_list else {"a": value}
    return value


@given(st.integers(1, 2 * MAX_DEPTH), st.booleans())
def test_the_depth_is_counted_exactly(depth: int, as_list: bool) -> None:
    value = nested(depth, as_list=as_list)
    if depth <= MAX_DEPTH:
        check_depth(value)
    else:
        with pytest.raises(ApiError, match="nested more than 128 levels deep"):
            check_depth(value)


@pytest.mark.parametrize("media_type", ["application/json", "application/yaml", "application/apply-patch+yaml"])
def test_wide_is_not_deep(media_type: str) -> None:
    assert len(BODIES.decode(b"[" + b",".join([b"[{}]"] * 500) + b"]", media_type)) == 500


def test_deep_yaml_is_refused_before_it_is_built() -> None:
    with pytest.raises(ApiError, match="nested more than"):
        BODIES.decode(b"a: " + b"[" * 50_000, "application/yaml")


def test_large_yaml_is_not_read() -> None:
    with pytest.raises(ApiError) as refused:
        BODIES.decode(b"#" * (MAX_YAML + 1), "application/yaml")
    assert (refused.value.code, refused.value.reason) == (413, "RequestEntityTooLarge")


@pytest.mark.parametrize("text", [b"a: &x 1\nb: *x", b"!!python/object/apply:os.system [id]", b"a: [", b"\x00"])
def test_what_is_not_read_of_yaml(text: bytes) -> None:
    with pytest.raises(ApiError) as refused:
        BODIES.decode(text, "application/yaml")
    assert refused.value.code == 400
