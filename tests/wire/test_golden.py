"""The golden vectors of the specification that concern this slice (spec: golden-vectors)."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from octoedge.errors import ApiError, conflict, not_found
from octoedge.protocol import payloads as p
from octoedge.protocol.codec import decode, encode
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import Direction, classify, compose

KEEPALIVE = (
    b'{"header":{"msg_id":"1ab1a02d-7203-4ac8-8b47-d6ae28d1f941","timestamp":1795227469433},"route":{"source":"websocket"'
    b',"group":"resource","operation":"keepalive","resource":"node"},"content":"ping"}\n'
)
OBJECT = (
    rb'{"header":{"msg_id":"e7c6f894-ae94-4832-9a46-7f73a64a4758","timestamp":1795227469433,"resourceversion":"7"},'
    rb'"route":{"source":"edgecontroller","group":"resource","operation":"insert","resource":"ns/pod/p"},"content":'
    rb'{"metadata":{"name":"p\u003c1\u003e","namespace":"ns","uid":"u-1","creationTimestamp":null},'
    rb'"spec":{"containers":null},"status":{}}}' + b"\n"
)
ANSWERED_PING = (
    b'{"header":{"msg_id":"45299bfb-d2b4-4cc8-9542-7f62d984cc2b","parent_msg_id":"k3","timestamp":1795227471030},'
    b'"route":{"source":"edged","group":"meta","operation":"response","resource":"r"},"content":"ack"}'
)
MISSING = (
    b'{"ErrStatus":{"metadata":{},"status":"Failure","message":"pods \\"p\\" not found","reason":"NotFound",'
    b'"details":{"name":"p","kind":"pods"},"code":404}}'
)
CONFLICT = (
    b'{"Object":null,"Err":{"ErrStatus":{"metadata":{},"status":"Failure","message":'
    b'"Operation cannot be fulfilled on leases \\"l\\": boom","reason":"Conflict",'
    b'"details":{"name":"l","kind":"leases"},"code":409}}}'
)


def test_the_keepalive_is_gos_byte_for_byte() -> None:
    message = compose(
        p.Keepalive(body=b'"ping"'), message_id="1ab1a02d-7203-4ac8-8b47-d6ae28d1f941", timestamp=1795227469433
    )
    assert encode(message) == KEEPALIVE
    assert isinstance(classify(Direction.UP, decode(KEEPALIVE)), p.Keepalive)


def test_an_object_keeps_its_bytes() -> None:
    message = decode(OBJECT)
    payload = classify(Direction.DOWN, message)
    assert type(payload) is p.ObjectInsert
    assert (payload.resource, payload.version) == (Resource("ns", "pod", "p"), "7")
    assert payload.body in OBJECT
    assert payload.json()["metadata"]["name"] == "p<1>"
    assert encode(message) == OBJECT


def test_a_transport_answer_is_known_as_an_answer() -> None:
    assert isinstance(classify(Direction.DOWN, decode(ANSWERED_PING)), p.Answer)


@pytest.mark.parametrize("content", [b'"OK"', b"null", b"{}", b"[1,2]", b'"eyJhIjoxfQ=="', b"1", b"true"])
def test_content_of_every_kind_stays_what_it_is(content: bytes) -> None:
    message = Message(Header(msg_id="i", timestamp=1), Route(operation="response"), msgspec.Raw(content))
    assert bytes(decode(encode(message)).content) == content


def test_a_document_inside_a_string_is_unwrapped() -> None:
    message = Message(Header(msg_id="i"), Route(), msgspec.Raw(msgspec.json.encode('{"status":{}}')))
    assert message.data() == b'{"status":{}}'


def decoded(data: bytes) -> Any:
    return msgspec.json.decode(data)


def test_errors_are_written_as_gos_and_read_as_what_they_are() -> None:
    assert p.error_value(not_found("pods", "p")) == decoded(MISSING)
    assert decoded(p.failed(conflict("leases", "l", "boom"))) == decoded(CONFLICT)
    for body, code, reason in ((MISSING, 404, "NotFound"), (CONFLICT, 409, "Conflict")):
        with pytest.raises(ApiError) as caught:
            p.outcome(body)
        assert (caught.value.code, caught.value.reason) == (code, reason)


def test_success_is_written_as_gos() -> None:
    assert decoded(p.succeeded(b'{"a":1}')) == {"Object": {"a": 1}, "Err": None}
    assert p.outcome(p.succeeded(b'{"a":1}')) == b'{"a":1}'


def test_a_plain_go_error_is_an_error_too() -> None:
    with pytest.raises(ApiError):
        p.outcome(b"{}")
