"""The MQTT topics of a node: one parse, one format (KubeEdge's EventBus and DeviceTwin).

    $hw/events/device/<namespace>/<name>/twin/update          what clients send: `parse`
    $hw/events/device/<namespace>/<name>/twin/update/result   what they are told: `device_topic`, `node_topic`

A topic is read segment by segment; a namespace or name that looks like another segment misleads nobody.
"""

from __future__ import annotations

import enum

import msgspec

from octoedge.errors import MessageError, ProtocolError

DEVICE = "$hw/events/device"
NODE = "$hw/events/node"
MAX_TOPIC = 1024
"""Characters."""

SUBSCRIBED = (
    "$hw/events/upload/#",
    f"{DEVICE}/+/+/state/update",
    f"{DEVICE}/+/+/twin/+",
    f"{NODE}/+/membership/get",
    "SYS/dis/upload_records",
    "+/user/#",
)
"""What EventBus listens to from the start; the rules of the router add more."""


class Request(enum.Enum):
    """What a client asks of DeviceTwin."""

    TWIN_UPDATE = "twin/update"
    TWIN_GET = "twin/get"
    TWIN_CLOUD_UPDATED = "twin/cloud_updated"
    STATE_UPDATE = "state/update"
    MEMBERSHIP_GET = "membership/get"


class Reply(enum.Enum):
    """What DeviceTwin tells clients."""

    TWIN_RESULT = "twin/update/result"
    TWIN_DOCUMENT = "twin/update/document"
    TWIN_DELTA = "twin/update/delta"
    TWIN_GET_RESULT = "twin/get/result"
    STATE_RESULT = "state/update/result"
    ATTRIBUTES = "updated"
    MEMBERSHIP_UPDATED = "membership/updated"
    MEMBERSHIP_GET_RESULT = "membership/get/result"


class Topic(msgspec.Struct, frozen=True):
    """A topic that DeviceTwin answers; `identity` is a device id `<namespace>/<name>`, or a node's name."""

    request: Request
    identity: str


def parse(topic: str) -> Topic | None:
    """What DeviceTwin is asked by a message on `topic`; None when the topic is not for it (but for the cloud).

    Raises `ProtocolError` for a topic in DeviceTwin's place that says nothing it knows.
    """
    if len(topic) > MAX_TOPIC:
        raise ProtocolError(f"a topic of {len(topic)} characters is longer than {MAX_TOPIC}")
    parts = topic.split("/")
    prefix = "/".join(parts[:3])
    if prefix not in (DEVICE, NODE):
        return None
    names = 2 if prefix == DEVICE else 1
    identity, rest = parts[3 : 3 + names], "/".join(parts[3 + names :])
    request = _REQUESTS.get((prefix, rest))
    if request is None or len(identity) != names or not all(identity):
        raise ProtocolError(f"no device or node is asked anything on {topic!r}")
    return Topic(request, "/".join(identity))


def is_for_devices(topic: str) -> bool:
    """Whether DeviceTwin answers for the topic, well or ill; everything else is for the cloud."""
    return topic.startswith((f"{DEVICE}/", f"{NODE}/"))


def check_pattern(pattern: str) -> None:
    """Raises `MessageError` when nobody can subscribe to `pattern` (MQTT 3.1.1, section 4.7)."""
    parts = pattern.split("/")
    wild = any(("#" in part or "+" in part) and len(part) > 1 for part in parts)
    if not 0 < len(pattern) <= MAX_TOPIC or "\0" in pattern or wild or "#" in parts[:-1]:
        raise MessageError(f"{pattern[:200]!r} is no MQTT topic that can be listened to")


def device_topic(device: str, reply: Reply) -> str:
    """Where clients are told of a device; `device` is `<namespace>/<name>`, or empty when nobody knows which."""
    return f"{DEVICE}/{device}/{reply.value}"


def node_topic(node: str, reply: Reply) -> str:
    """Where clients are told of the node's devices."""
    return f"{NODE}/{node}/{reply.value}"


def matches(pattern: str, topic: str) -> bool:
    """Whether a subscription to `pattern` gets messages on `topic` (MQTT 3.1.1, section 4.7)."""
    wanted, given = pattern.split("/"), topic.split("/")
    if given[0][:1] == "$" and wanted[0] in ("+", "#"):
        return False
    for index, want in enumerate(wanted):
        if want == "#":
            return True
        if index >= len(given) or want not in ("+", given[index]):
            return False
    return len(wanted) == len(given)


_REQUESTS = {(NODE if request is Request.MEMBERSHIP_GET else DEVICE, request.value): request for request in Request}
