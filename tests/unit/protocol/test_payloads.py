"""Answers are read in all the forms that exist, and anything else is an error of ours."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ApiError, MessageError, OctoedgeError, conflict, invalid, not_found
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import Resource

KEYS = st.sampled_from(["Object", "Err", "ErrStatus", "code", "message", "details", "reason", "kind"])
JSON = st.recursive(
    st.none() | st.integers(0, 600) | st.text("abc", max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=12,
)


@pytest.mark.parametrize(
    "error",
    [
        not_found("pods", "p"),
        conflict("leases", "l", "changed"),
        invalid("Pod", "p", [("Required", "spec.containers", "must have one")]),
    ],
)
def test_an_error_arrives_as_itself_in_both_forms(error: ApiError) -> None:
    for body in (p.failed(error), msgspec.json.encode(p.error_value(error))):
        with pytest.raises(ApiError) as caught:
            p.outcome(body)
        assert caught.value.status() == error.status()


@pytest.mark.parametrize(
    ("body", "gives"),
    [
        (b"OK", b"null"), (b"", b"null"), (b"null", b"null"), (b'"text"', b"null"),
        (b'{"Object":{"a":1},"Err":null}', b'{"a":1}'), (b'{"Object":null}', b"null"),
        (b'{"Object":{"a":1}}', b'{"a":1}'), (b'{"kind":"Secret"}', b'{"kind":"Secret"}'),
    ],
)  # fmt: skip
def test_success_gives_the_object(body: bytes, gives: bytes) -> None:
    assert p.outcome(body) == gives


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (b"{}", "gave no text"),
        (b'{"Object":null,"Err":"no such thing"}', "no such thing"),
        (b'{"Object":null,"Err":{}}', "{}"),
        (b'{"Object":null,"Err":{"ErrStatus":5}}', "ErrStatus"),
        (b'{"ErrStatus":{"metadata":{}}}', "no message"),
    ],
)
def test_an_error_without_a_status_is_an_internal_one(body: bytes, text: str) -> None:
    with pytest.raises(ApiError, match=text) as caught:
        p.outcome(body)
    assert caught.value.code == 500


@given(JSON.map(msgspec.json.encode) | st.binary(max_size=30) | st.binary(max_size=20).map(lambda b: b"{" + b))
def test_anything_is_an_object_or_an_error_of_ours(body: bytes) -> None:
    try:
        assert isinstance(p.outcome(body), bytes)
    except OctoedgeError:
        return


def test_a_body_that_is_no_json_is_named_with_its_payload() -> None:
    payload = p.ObjectUpdate(resource=Resource("ns", "pod", "x"), body=b"{oops")
    with pytest.raises(MessageError, match=r"ObjectUpdate ns/pod/x: body is not JSON"):
        payload.json()


@given(st.integers(400, 599), st.text(min_size=1, max_size=10), st.text(min_size=1, max_size=20))
def test_a_status_and_its_error_are_the_same_thing(code: int, reason: str, message: str) -> None:
    error = ApiError(code, reason, message, {"kind": "pods"})
    again = ApiError.from_status(error.status())
    assert again.status() == error.status()


@pytest.mark.parametrize("status", [{}, {"code": "x"}, {"code": 0, "message": None, "details": []}])
def test_a_status_that_says_nothing_is_an_internal_error(status: dict[str, Any]) -> None:
    error = ApiError.from_status(status)
    assert (error.code, error.reason, error.details) == (500, "InternalError", {})
