"""Topics: read by segment, whatever names devices have."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from octoedge.errors import ProtocolError
from octoedge.protocol.topics import SUBSCRIBED, Reply, Request, Topic, device_topic, matches, node_topic, parse

NAMES = st.sampled_from(["device", "hw", "twin", "update", "node", "events", "a-b.c"])


@given(NAMES, NAMES)
def test_a_name_that_looks_like_another_segment_misleads_nobody(namespace: str, name: str) -> None:
    for request in Request:
        if request is not Request.MEMBERSHIP_GET:
            topic = f"$hw/events/device/{namespace}/{name}/{request.value}"
            assert parse(topic) == Topic(request, f"{namespace}/{name}")
            assert any(matches(pattern, topic) for pattern in SUBSCRIBED)


def test_a_node_is_asked_for_its_devices() -> None:
    assert parse("$hw/events/node/edge-1/membership/get") == Topic(Request.MEMBERSHIP_GET, "edge-1")


@pytest.mark.parametrize("topic", ["a/user/b", "SYS/dis/upload_records", "$hw/events/upload/x", "", "$hw/events/other"])
def test_what_is_for_the_cloud_is_not_ours(topic: str) -> None:
    assert parse(topic) is None


@pytest.mark.parametrize(
    "topic",
    [
        "$hw/events/device/x/twin/update", "$hw/events/device//x/twin/update", "$hw/events/device/a/b/twin/oops",
        "$hw/events/node/n/membership", "$hw/events/node//membership/get", "$hw/events/device", "x" * 2000,
    ],
)  # fmt: skip
def test_what_says_nothing_is_refused(topic: str) -> None:
    with pytest.raises(ProtocolError):
        parse(topic)


def test_replies_have_kubeedges_topics() -> None:
    assert device_topic("plant/boiler", Reply.TWIN_DELTA) == "$hw/events/device/plant/boiler/twin/update/delta"
    assert device_topic("", Reply.TWIN_RESULT) == "$hw/events/device//twin/update/result"
    assert node_topic("edge-1", Reply.MEMBERSHIP_UPDATED) == "$hw/events/node/edge-1/membership/updated"


@pytest.mark.parametrize(
    ("pattern", "topic", "expected"),
    [
        ("a/b", "a/b", True), ("a/+", "a/b", True), ("a/+", "a/b/c", False), ("a/#", "a", True), ("a/#", "a/b/c", True),
        ("+/user/#", "x/user/y/z", True), ("+/user/#", "$x/user/y", False), ("#", "$SYS/x", False), ("#", "x", True),
        ("+", "", True), ("a/b/c", "a/b", False),
    ],
)  # fmt: skip
def test_subscriptions_match_as_mqtt_says(pattern: str, topic: str, expected: bool) -> None:
    assert matches(pattern, topic) is expected


@given(st.text(max_size=60))
def test_any_topic_is_parsed_or_refused(topic: str) -> None:
    with contextlib.suppress(ProtocolError):
        parse(topic)
    with contextlib.suppress(ProtocolError):
        parse(f"$hw/events/device/{topic}")
