"""What an answer's body means, in all the forms seen on the wire (spec: golden-vectors, section 2)."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ApiError, MessageError, not_found
from octoedge.protocol.payloads import error_value, failed, outcome, succeeded

GO_FAILURE = (
    b'{"Object":null,"Err":{"ErrStatus":{"metadata":{},"status":"Failure","message":"boom","reason":"Conflict",'
    b'"details":{"name":"l","kind":"leases"},"code":409}}}'
)


@pytest.mark.parametrize(
    ("body", "obj"),
    [
        (b'{"Object":{"a":1},"Err":null}', b'{"a":1}'),
        (b'{"Object":{"a":1}}', b'{"a":1}'),
        (b'{"Object":null,"Err":null}', b"null"),
        (b'{"metadata":{"name":"x"}}', b'{"metadata":{"name":"x"}}'),
        (b"OK", b"null"),
        (b"null", b"null"),
        (b"", b"null"),
        (succeeded(b'{"a":1}'), b'{"a":1}'),
    ],
)
def test_successes(body: bytes, obj: bytes) -> None:
    assert outcome(body) == obj


@pytest.mark.parametrize(
    ("body", "code", "reason"),
    [
        (GO_FAILURE, 409, "Conflict"),
        (b'{"ErrStatus":{"code":404,"reason":"NotFound","message":"m"}}', 404, "NotFound"),
        (b"{}", 500, "InternalError"),
        (b'{"Object":null,"Err":{}}', 500, "InternalError"),
        (b'{"Object":null,"Err":"some text"}', 500, "InternalError"),
        (failed(not_found("pods", "p")), 404, "NotFound"),
    ],
)
def test_failures(body: bytes, code: int, reason: str) -> None:
    with pytest.raises(ApiError) as raised:
        outcome(body)
    assert (raised.value.code, raised.value.reason) == (code, reason)


def test_an_error_survives_the_way_there_and_back() -> None:
    with pytest.raises(ApiError) as raised:
        outcome(msgspec.json.encode(error_value(not_found("pods", "p"))))
    assert raised.value.message == 'pods "p" not found'
    assert raised.value.details == {"name": "p", "kind": "pods"}


@given(st.binary(max_size=200) | st.binary(max_size=100).map(lambda data: b'{"Err":' + data + b"}"))
def test_garbage_is_an_error_or_nothing(body: bytes) -> None:
    try:
        outcome(body)
    except (ApiError, MessageError):
        return
