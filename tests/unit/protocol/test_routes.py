"""THE table: every row goes out and comes back, strangers are refused, and no text can break the wire."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import MessageError, RouteError
from octoedge.protocol import payloads as p
from octoedge.protocol import routes
from octoedge.protocol.codec import decode, encode
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.resource import Resource
from octoedge.protocol.routes import (
    ROWS,
    Confirm,
    Direction,
    Row,
    acknowledge,
    answer,
    classify,
    compose,
    row_of,
)

ASKED = Message(
    Header(msg_id="q1", timestamp=5), Route(source="edged", group="meta", operation="query", resource="ns/secret/s")
)


def payload_of(row: Row) -> p.Payload:
    kind = sorted(row.types)[0] if row.types else "pod"
    namespace = "ns" if not row.paths or "{namespace}" in row.paths[0] else ""
    resource = Resource(namespace, kind, "x") if row.types or not row.paths else p.NOWHERE
    return row.payload(resource=resource, body=b'{"a":1}', version="7")


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.payload.__name__)
def test_every_row_comes_back_as_what_it_was(row: Row) -> None:
    sent = payload_of(row)
    message = compose(sent, message_id="i", timestamp=9)
    assert (message.header.msg_id, message.header.timestamp) == ("i", 9)
    assert classify(row.direction, decode(encode(message))) == sent


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.payload.__name__)
def test_every_row_says_what_confirms_it_and_has_one_payload(row: Row) -> None:
    assert row_of(row.payload) is row
    assert row_of(payload_of(row)) is row
    if row.direction is Direction.UP and row.confirm is Confirm.SOCKET:
        assert row.payload is p.Keepalive, "what carries state is confirmed between two of ours"


def test_a_patch_travels_as_text_with_json_inside() -> None:
    patch = p.PodStatusPatch(resource=Resource("ns", "podpatch", "x"), body=b'{"status":{}}')
    assert bytes(compose(patch, message_id="i", timestamp=0).content) == b'"{\\"status\\":{}}"'


def message(operation: str, resource: str, source: str = "edged", group: str = "meta") -> Message:
    return Message(Header(msg_id="i"), Route(source=source, group=group, operation=operation, resource=resource))


@pytest.mark.parametrize("source", ["cloudhub", "cloudStream", "devicecontroller", "edgecontroller", "synccontroller"])
def test_an_edge_may_not_speak_as_the_cloud(source: str) -> None:
    with pytest.raises(RouteError, match="an edge may not send as"):
        classify(Direction.UP, message("insert", "ns/pod/x", source))
    assert isinstance(classify(Direction.UP, message("response", "ns/pod/x", source)), p.Ack)


@pytest.mark.parametrize(
    ("direction", "strange"),
    [
        (Direction.UP, message("destroy", "ns/pod/x")),
        (Direction.UP, message("insert", "ns/unicorn/x")),
        (Direction.UP, message("insert", "ns/configmap/x")),
        (Direction.UP, message("keepalive", "node/x/y/z")),
        (Direction.UP, message("", "")),
        (Direction.DOWN, message("patch", "ns/pod/x", "edgecontroller", "resource")),
        (Direction.DOWN, message("insert", "membership", "devicecontroller", "twin")),
        (Direction.UP, message("update", "device//x/twin/edge_updated", "twin", "resource")),
        (Direction.UP, message("update", "device/ns/x/twin/edge_updated/y", "twin", "resource")),
        (Direction.UP, message("update", "/" * 100, "twin", "resource")),
        (Direction.DOWN, message("update", "ns/pod/x", "edgecontroller", "unknown")),
        (Direction.DOWN, message("keepalive", "node", "websocket", "resource")),
    ],
)
def test_what_no_row_knows_is_refused(direction: Direction, strange: Message) -> None:
    with pytest.raises(RouteError):
        classify(direction, strange)


def test_an_answer_goes_back_to_who_asked() -> None:
    said = answer(ASKED, b'{"kind":"Secret"}', message_id="a1", timestamp=6, version="12")
    assert said.header == Header(msg_id="a1", parent_msg_id="q1", timestamp=6, resourceversion="12")
    assert said.route == Route(
        source="edgecontroller", group="resource", operation="response", resource="ns/secret/s"
    )  # fmt: skip
    assert classify(Direction.DOWN, said) == p.Answer(
        resource=Resource("ns", "secret", "s"), body=b'{"kind":"Secret"}', version="12"
    )


def test_devices_are_told_of_by_devicecontroller_and_their_reports_answered_by_it() -> None:
    for kind in ("device", "devicemodel"):
        sent = compose(p.ObjectInsert(resource=Resource("ns", kind, "x"), body=b"{}"), message_id="d", timestamp=1)
        assert (sent.route.source, sent.route.group) == ("devicecontroller", "resource")
        assert isinstance(classify(Direction.DOWN, sent), p.ObjectInsert)
    report = compose(p.TwinReport(resource=Resource("ns", "device", "x"), body=b"{}"), message_id="u", timestamp=1)
    assert report.route.resource == "device/ns/x/twin/edge_updated"
    said = answer(report, b"OK", message_id="a", timestamp=2)
    assert said.route == Route(source="devicecontroller", group="twin", operation="response", resource="twin")
    assert (said.header.parent_msg_id, bytes(said.content)) == ("u", b'"OK"')


def test_a_device_of_an_old_edge_has_no_namespace() -> None:
    old = message("update", "device/x/twin/edge_updated", "twin", "resource")
    assert classify(Direction.UP, old) == p.TwinReport(resource=Resource("", "device", "x"))


def test_an_acknowledgement_and_a_refusal_name_what_they_are_about() -> None:
    down = compose(p.ObjectUpdate(resource=Resource("ns", "pod", "x"), body=b"{}"), message_id="d1", timestamp=1)
    ok = acknowledge(down, message_id="k1", timestamp=2)
    assert (ok.header.parent_msg_id, bytes(ok.content)) == ("d1", b'"OK"')
    assert isinstance(classify(Direction.UP, ok), p.Ack)
    refused = classify(Direction.UP, acknowledge(down, message_id="k2", timestamp=2, error="disk is full"))
    assert refused == p.Nack(resource=Resource("ns", "pod", "x"), body=b"disk is full")


@given(st.binary(max_size=40) | st.sampled_from([b"[Errno 2] no", b"{oops", b'"x', b"\xff", b"null", b"OK", b"[1]"]))
def test_no_body_can_break_the_wire(body: bytes) -> None:
    data = encode(answer(ASKED, body, message_id="a", timestamp=1))
    assert msgspec.json.decode(data)["header"]["parent_msg_id"] == "q1"
    read = classify(Direction.DOWN, decode(data)).body
    text = body.decode(errors="replace").encode()
    assert read in (body, text) or body[:1] == b'"'


def test_what_a_report_is_about_and_what_comes_first() -> None:
    assert routes.subject(Resource("ns", "podpatch", "a")) == Resource("ns", "pod", "a")
    assert routes.subject(Resource("null", "lease", "a")) == Resource("null", "lease", "a")
    assert (routes.after("device"), routes.after("devicemodel"), routes.after("pod")) == ("devicemodel", "", "")


@pytest.mark.parametrize("operation", ["insert", "update"])
def test_old_edges_get_the_answer_to_a_node_status_under_the_node(operation: str) -> None:
    asked = Message(Header(msg_id="q"), Route("edged", "", "meta", operation, "default/nodestatus/edge-1"))
    assert answer(asked, b"OK", message_id="a", timestamp=1).route.resource == "default/node/edge-1"


def test_questions_of_the_transport_are_answered_and_their_answers_are_not() -> None:
    question = Message(Header(msg_id="q"), Route(operation="ping"))
    assert routes.is_transport(question)
    reply = routes.answer_transport(question, message_id="a", timestamp=1)
    assert reply is not None
    assert (reply.header.parent_msg_id, reply.route.operation) == ("q", "response")
    assert routes.answer_transport(reply, message_id="b", timestamp=1) is None


@given(st.sets(st.integers(1, 300), min_size=1))
def test_many_acknowledgements_in_one(numbers: set[int]) -> None:
    message = decode(encode(routes.acknowledge_many(numbers, message_id="a", timestamp=1)))
    assert isinstance(classify(Direction.UP, message), p.Ack)
    assert routes.acknowledged(message) == [str(number) for number in sorted(numbers)]


@pytest.mark.parametrize("text", ["", "x", "1,,2", "-1", "1-99999999", "9" * 5000 + "-" + "9" * 5001])
def test_an_acknowledgement_that_names_nothing_sensible_is_refused(text: str) -> None:
    message = Message(Header(msg_id="a"), Route(operation="response"), msgspec.Raw(msgspec.json.encode(text)))
    if text == "9" * 5000 + "-" + "9" * 5001:
        assert len(routes.acknowledged(message)) == 1
        return
    with pytest.raises(MessageError):
        routes.acknowledged(message)
