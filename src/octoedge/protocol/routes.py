"""THE table: what the strings on the wire mean (spec: channel, sections 3 and 6; metadata, sections 1 and 2).

Each row says how one kind of payload is written (source, group, operation, resource type), which way it goes, in which
lane it travels, and what confirms it towards one of ours and towards a Go peer. `classify` turns a message into a
payload, `compose` a payload into a message, `after` says which objects come first. Nobody else compares these strings;
the table of guarantees in the documentation is printed from here.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from octoedge.errors import MessageError, ResourceError, RouteError
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Header, Message, Route
from octoedge.protocol.resource import CLUSTER, Resource, parse
from octoedge.protocol.topics import MAX_TOPIC


class Direction(enum.Enum):
    """Which way a message goes."""

    DOWN = "cloud → edge"
    UP = "edge → cloud"


class Confirm(enum.Enum):
    """What tells the sender that a message arrived and took effect."""

    ACK = "acknowledgement"
    REPLY = "reply"
    EFFECT = "observed effect"
    SOCKET = "nothing but the socket"


class Lane(enum.IntEnum):
    """Priority on a shared link, most urgent first; an answer travels in the lane of its question.

    Streams (logs, exec) have a connection of their own, the tunnel.
    """

    LIVENESS = 0
    CONTROL = 1
    STREAMS = 2
    TELEMETRY = 3
    BULK = 4


class Row(msgspec.Struct, frozen=True):
    """One kind of message."""

    payload: type[p.Payload]
    direction: Direction
    source: str
    group: str
    operation: str
    types: frozenset[str]
    """Resource types of this row; empty means any type."""
    confirm: Confirm
    """… when both ends are ours."""
    confirm_go: Confirm
    """… when the other end is KubeEdge's."""
    lane: Lane = Lane.CONTROL
    paths: tuple[str, ...] = ()
    """The resource text, for resources that are not `<namespace>/<type>[/<name>]`; the first is written, all are read.

    `{namespace}` and `{name}` stand for those of the resource, whose type is then the single one in `types`.
    """


DYNAMIC = "dynamiccontroller"
USER, TOPIC = "user", "topic"
"""The group of what clients of MQTT and rules of the router say to each other, and the type of its resources."""
_ROUTER = "router_eventbus"


def _down(payload: type[p.Payload], operation: str) -> Row:
    return Row(payload, Direction.DOWN, "edgecontroller", "resource", operation, frozenset(), Confirm.ACK, Confirm.ACK)


def _device_down(payload: type[p.Payload], path: str, types: str = "") -> Row:
    """For edges of KubeEdge only: ours knows all this from the Device objects that it has stored."""
    confirm = Confirm.SOCKET
    kinds = frozenset(types.split())
    return Row(
        payload, Direction.DOWN, "devicecontroller", "twin", "update", kinds, confirm, confirm, paths=(path,),
    )  # fmt: skip


def _device_up(payload: type[p.Payload], *paths: str) -> Row:
    """Device ids have a namespace since KubeEdge 1.15; before, they were bare names."""
    reply = Confirm.REPLY
    return Row(
        payload, Direction.UP, "twin", "resource", "update", frozenset({"device"}), reply, reply, Lane.TELEMETRY,
        paths,
    )  # fmt: skip


def _user(payload: type[p.Payload], direction: Direction, source: str, operation: str, confirm: Confirm) -> Row:
    """The resource is an MQTT topic as it stands."""
    types = frozenset({TOPIC})
    return Row(
        payload, direction, source, USER, operation, types, confirm, Confirm.SOCKET, Lane.TELEMETRY, ("{name}",),
    )  # fmt: skip


def _metaserver(payload: type[p.Payload], path: str) -> Row:
    reply = Confirm.REPLY
    return Row(
        payload, Direction.UP, "metaserver", DYNAMIC, "null", frozenset(), reply, reply, Lane.BULK, (path,),
    )  # fmt: skip


def _watched(payload: type[p.Payload], operation: str) -> Row:
    """Only with a peer of KubeEdge's; one of ours asks for changes by Application, and the answer confirms."""
    confirm = Confirm.ACK
    return Row(payload, Direction.DOWN, DYNAMIC, "resource", operation, frozenset(), confirm, confirm, Lane.BULK)


def _up(
    payload: type[p.Payload],
    operation: str,
    types: str,
    confirm: Confirm = Confirm.REPLY,
    confirm_go: Confirm = Confirm.REPLY,
    lane: Lane = Lane.CONTROL,
) -> Row:
    return Row(payload, Direction.UP, "edged", "meta", operation, frozenset(types.split()), confirm, confirm_go, lane)


QUERIED = (
    "configmap secret node lease persistentvolume persistentvolumeclaim volumeattachment csidriver "
    "certificatesigningrequest"
)

ROWS: tuple[Row, ...] = (
    _down(p.ObjectInsert, "insert"),
    _down(p.ObjectUpdate, "update"),
    _down(p.ObjectDelta, "delta"),
    _down(p.ObjectDelete, "delete"),
    _device_down(p.DeviceMembership, "membership"),
    _device_down(p.DeviceDetail, "membership/detail"),
    _device_down(p.TwinSync, "device/{name}/twin/cloud_updated", "device"),
    Row(
        p.Keepalive,
        Direction.UP,
        "websocket",
        "resource",
        "keepalive",
        frozenset(),
        Confirm.REPLY,
        Confirm.SOCKET,
        Lane.LIVENESS,
        ("node",),
    ),
    Row(
        p.CaQuery,
        Direction.UP,
        "metaserver",
        "meta",
        "query",
        frozenset(),
        Confirm.REPLY,
        Confirm.REPLY,
        paths=("k8s/ca.crt",),
    ),
    _metaserver(p.ApplicationRequest, "null"),
    _metaserver(p.WatchSync, "watchapp/sync"),
    _watched(p.WatchedInsert, "insert"),
    _watched(p.WatchedUpdate, "update"),
    _watched(p.WatchedDelete, "delete"),
    _up(p.ObjectQuery, "query", QUERIED),
    _up(p.TokenQuery, "query", "serviceaccounttoken"),
    _up(p.NodeInsert, "insert", "node"),
    _up(p.NodeUpdate, "update", "node"),
    _up(p.NodeStatusPatch, "patch", "nodepatch"),
    _up(p.NodeStatusInsert, "insert", "nodestatus"),
    _up(p.NodeStatusReport, "update", "nodestatus"),
    _up(p.PodInsert, "insert", "pod"),
    _up(p.PodStatusPatch, "patch", "podpatch"),
    _up(p.PodStatusReport, "update", "podstatus"),
    _up(p.PodDelete, "delete", "pod"),
    _up(p.LeaseInsert, "insert", "lease", lane=Lane.LIVENESS),
    _up(p.LeaseUpdate, "update", "lease", lane=Lane.LIVENESS),
    _up(p.EventInsert, "insert", "event", Confirm.REPLY, Confirm.SOCKET, Lane.TELEMETRY),
    _up(p.EventUpdate, "update", "event", Confirm.REPLY, Confirm.SOCKET, Lane.TELEMETRY),
    _up(p.EventPatch, "patch", "event", Confirm.REPLY, Confirm.SOCKET, Lane.TELEMETRY),
    _up(p.SigningRequestInsert, "insert", "certificatesigningrequest"),
    Row(
        p.DeviceDetailQuery, Direction.UP, "twin", "resource", "get", frozenset(), Confirm.EFFECT, Confirm.SOCKET,
        paths=("membership/detail",),
    ),
    _user(p.TopicSubscribe, Direction.DOWN, _ROUTER, "subscribe", Confirm.SOCKET),
    _user(p.TopicUnsubscribe, Direction.DOWN, _ROUTER, "unsubscribe", Confirm.SOCKET),
    _user(p.TopicPublish, Direction.DOWN, _ROUTER, "publish", Confirm.SOCKET),
    _user(p.UserUpload, Direction.UP, "bus", "upload", Confirm.REPLY),
    _device_up(p.TwinReport, "device/{namespace}/{name}/twin/edge_updated", "device/{name}/twin/edge_updated"),
    Row(
        p.TelemetryBatch, Direction.UP, "twin", "resource", "insert", frozenset(), Confirm.REPLY, Confirm.SOCKET,
        Lane.TELEMETRY, ("telemetry/batch",),
    ),
    _device_up(p.DeviceStateReport, "device/{namespace}/{name}/state/update", "device/{name}/state/update"),
)  # fmt: skip

_SOURCES = {
    "device": "devicecontroller",
    "devicemodel": "devicecontroller",
    "serviceaccountaccess": "policycontroller",
}
"""Who objects of these types come from, where it is not the row's source: a Go edge hands them on by their source."""

_ANSWERED = {"twin": Route(source="devicecontroller", group="twin", operation="response", resource="twin")}
"""How requests of a source are answered, where it is not as edgecontroller, about the same resource."""

_AFTER = {"device": "devicemodel"}
"""… → what must have been acknowledged before. Everything else finds what it refers to when it needs it."""

_REPORTS_OF = {"podpatch": "pod", "podstatus": "pod", "nodepatch": "node", "nodestatus": "node"}

_DIGITS, _MANY = 19, 4096
"""Of a number in an acknowledgement, and how many messages one may name."""

_TRANSPORT = frozenset({"ping", "pong", "config"})
"""Operations that viaduct, the Go side's transport, answers by itself (spec: channel, section 3.2)."""

_CLOUD_SOURCES = frozenset({"cloudhub", "cloudStream", "devicecontroller", "edgecontroller", "synccontroller"})
"""An edge must not use these as source of a request (spec: channel, section 3.6); acknowledgements do carry them."""


def row_of(payload: p.Payload | type[p.Payload]) -> Row:
    """The row that says how this payload travels."""
    kind = payload if isinstance(payload, type) else type(payload)
    try:
        return _BY_PAYLOAD[kind]
    except KeyError:
        raise RouteError(f"no row of the route table sends {kind.__name__}") from None


def classify(direction: Direction, message: Message) -> p.Payload:
    """What `message` means; `RouteError` when no row knows it.

    Answers and acknowledgements are known by their operation alone: they copy source, group and resource from what
    they answer (spec: channel, sections 2.2 and 6.4).
    """
    route = message.route
    if route.operation in ("response", "error", "applicationResponse"):
        return _classify_answer(direction, message)
    if direction is Direction.UP and route.source in _CLOUD_SOURCES:
        raise RouteError(f"an edge may not send as {route.source!r}: {_text(route)}")
    if route.group == USER:
        return _classify_user(direction, message)
    special = _by_path(direction, route)
    if special is not None:
        return _build(special[0].payload, message, special[1])
    try:
        resource = parse(route.resource)
    except ResourceError as error:
        raise RouteError(f"{_text(route)}: {error}") from error
    if direction is Direction.DOWN and route.source == DYNAMIC:  # of other nodes too: never what this node must run
        row = _WATCHED.get(route.operation)
    else:
        by_type, any_type = (direction, route.operation, resource.type), (direction, route.operation, "")
        row = _BY_TYPE.get(by_type) or _BY_TYPE.get(any_type)
    if row is None:
        raise RouteError(f"no row of the route table knows {_text(route)}")
    if direction is Direction.DOWN and route.group not in ("resource", "func"):
        raise RouteError(f"no row of the route table knows {_text(route)}")
    return _build(row.payload, message, resource)


def compose(payload: p.Payload, *, message_id: str, timestamp: int, sent_as_text: bool | None = None) -> Message:
    """The message that says `payload`; `timestamp` is milliseconds since the epoch.

    Patches travel as a JSON string with JSON inside, as the Go edge sends them.
    """
    row = row_of(payload)
    as_text = type(payload) in _AS_TEXT if sent_as_text is None else sent_as_text
    return Message(
        header=Header(msg_id=message_id, timestamp=timestamp, resourceversion=payload.version),
        route=Route(
            source=_source(row, payload.resource),
            group=row.group,
            operation=row.operation,
            resource=_path(row, payload.resource),
        ),
        content=_content(payload.body, as_text),
    )


def answer(request: Message, body: bytes, *, message_id: str, timestamp: int, version: str = "") -> Message:
    """The cloud's answer to an edge's request: source edgecontroller, group resource, same resource.

    What devices report is answered by devicecontroller, about `twin`; Applications by dynamiccontroller. `body` is
    JSON, or text such as `OK`, which travels as a JSON string.
    """
    return Message(
        header=Header(
            msg_id=message_id,
            parent_msg_id=request.header.msg_id,
            timestamp=timestamp,
            resourceversion=version,
        ),
        route=_ANSWERED.get(request.route.source) or _answer_route(request.route),
        content=_content(body, False),
    )


def acknowledge(received: Message, *, message_id: str, timestamp: int, error: str = "") -> Message:
    """The edge's `OK` for a message that it has stored, or `error` with the reason why it could not."""
    return Message(
        header=Header(msg_id=message_id, parent_msg_id=received.header.msg_id, timestamp=timestamp),
        route=Route(
            source=received.route.source,
            group=received.route.group,
            operation="error" if error else "response",
            resource=received.route.resource,
        ),
        content=msgspec.Raw(msgspec.json.encode(error or "OK")),
    )


def acknowledge_many(numbers: Iterable[int], *, message_id: str, timestamp: int) -> Message:
    """The edge's `OK` for numbered messages (`handshake.ACKS`), in one."""
    return Message(
        header=Header(msg_id=message_id, timestamp=timestamp),
        route=Route(source="edgecontroller", group="resource", operation="response", resource="node"),
        content=msgspec.Raw(msgspec.json.encode(_ranges(numbers))),
    )


def acknowledged(message: Message) -> list[str]:
    """The ids of the messages that this acknowledgement names; `MessageError` when it names none that can be read."""
    if message.header.parent_msg_id:
        return [message.header.parent_msg_id]
    ids: list[str] = []
    for part in message.data().decode(errors="replace").split(","):
        first, _, last = part.partition("-")
        if not (first.isascii() and first.isdigit() and (last or first).isascii() and (last or first).isdigit()):
            raise MessageError(f"{part[:40]!r} names no numbered messages")
        begin, end = int(first[:_DIGITS]), int((last or first)[:_DIGITS])
        if end - begin + len(ids) >= _MANY:
            raise MessageError(f"more than {_MANY} messages are acknowledged at once")
        ids += map(str, range(begin, end + 1))
    return ids


def _ranges(numbers: Iterable[int]) -> str:
    """`1-17,19`"""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ",".join(f"{first}-{last}" if last > first else str(first) for first, last in runs)


def after(kind: str) -> str:
    """The resource type whose objects must be there before one of type `kind` is sent; empty: none."""
    return _AFTER.get(kind, "")


def subject(resource: Resource) -> Resource:
    """What a report is about: a `podpatch` changes the `pod` of that name. Requests about it keep their order."""
    kind = _REPORTS_OF.get(resource.type)
    return resource if kind is None else Resource(resource.namespace, kind, resource.name)


def is_transport(message: Message) -> bool:
    """Whether this is a question of the Go side's transport layer, which means nothing to anybody above it."""
    return message.route.operation in _TRANSPORT


def is_farewell(message: Message) -> bool:
    """Whether this is what a Go edge writes when it stops: nothing at all."""
    return not message.header.msg_id and not message.route.operation


def answer_transport(question: Message, *, message_id: str, timestamp: int) -> Message | None:
    """The answer to a question of the transport; None when it is itself an answer."""
    if question.header.parent_msg_id:
        return None
    header = Header(msg_id=message_id, parent_msg_id=question.header.msg_id, timestamp=timestamp)
    route = msgspec.structs.replace(question.route, operation="response")
    return Message(header=header, route=route, content=msgspec.Raw(b'"ack"'))


def _answer_route(asked: Route) -> Route:
    resource = asked.resource
    if asked.group == DYNAMIC:
        about = resource if resource == "watchapp/sync" else "ignore/Application/ignore"
        return Route(source=DYNAMIC, group="resource", operation="applicationResponse", resource=about)
    if asked.operation in ("insert", "update") and "/nodestatus/" in resource:
        resource = str(subject(parse(resource)))  # edges before 1.12 wait for the answer under the node itself
    return Route(source="edgecontroller", group="resource", operation="response", resource=resource)


def _source(row: Row, resource: Resource) -> str:
    return row.source if row.types or row.paths else _SOURCES.get(resource.type, row.source)


def _path(row: Row, resource: Resource) -> str:
    if not row.paths:
        return str(resource)
    return row.paths[0].replace("{namespace}", resource.namespace).replace("{name}", resource.name)


def _by_path(direction: Direction, route: Route) -> tuple[Row, Resource] | None:
    """The row whose path the message's resource is, and the resource that it names."""
    parts = route.resource.split("/", _LONGEST_PATH)
    for row, pattern in _BY_PATH.get((direction, route.operation, len(parts)), ()):
        named = {want: part for want, part in zip(pattern, parts, strict=True) if want != part}
        if named.keys() <= _PLACEHOLDERS and all(named.values()):
            if not row.types:
                return row, p.NOWHERE
            (kind,) = row.types
            return row, Resource(named.get("{namespace}", ""), kind, named.get("{name}", ""))
    return None


def _classify_user(direction: Direction, message: Message) -> p.Payload:
    route = message.route
    row = _BY_USER.get((direction, route.source, route.operation))
    if row is None:
        raise RouteError(f"no row of the route table knows {_text(route)}")
    if not 0 < len(route.resource) <= MAX_TOPIC:
        raise RouteError(f"a topic has 1 to {MAX_TOPIC} characters: {_text(route)}")
    return _build(row.payload, message, Resource("", TOPIC, route.resource))


def _classify_answer(direction: Direction, message: Message) -> p.Payload:
    resource = _resource_or_nowhere(message.route.resource)
    if direction is Direction.DOWN:
        return _build(p.Answer, message, resource)
    return _build(p.Nack if message.route.operation == "error" else p.Ack, message, resource)


def _resource_or_nowhere(text: str) -> Resource:
    try:
        return parse(text)
    except ResourceError:
        return p.NOWHERE


def _build(kind: type[p.Payload], message: Message, resource: Resource) -> p.Payload:
    return kind(resource=resource, body=message.data(), version=message.header.resourceversion)


def _content(body: bytes, as_text: bool) -> msgspec.Raw:
    if not as_text and _is_document(body):
        return msgspec.Raw(body)
    return msgspec.Raw(msgspec.json.encode(body.decode(errors="replace")))


def _is_document(body: bytes) -> bool:
    """Whether the body is a JSON object, list, string or null; an error text may begin like one."""
    if body[:1] not in (b"{", b"[", b'"'):
        return body == b"null"
    try:
        _documents.decode(body)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _text(route: Route) -> str:
    return f"{route.source}/{route.group} {route.operation} {route.resource[:200]!r}"


def _index(rows: Iterable[Row]) -> dict[tuple[Direction, str, str], Row]:
    index: dict[tuple[Direction, str, str], Row] = {}
    for row in rows:
        for kind in row.types or {""}:
            if not row.paths and index.setdefault((row.direction, row.operation, kind), row) is not row:
                raise ValueError(f"two rows for {row.direction.value} {row.operation} {kind}")
    return index


def _index_paths(rows: Iterable[Row]) -> dict[tuple[Direction, str, int], list[tuple[Row, list[str]]]]:
    index: dict[tuple[Direction, str, int], list[tuple[Row, list[str]]]] = {}
    for row in rows:
        for path in row.paths if row.group != USER else ():
            parts = path.split("/")
            index.setdefault((row.direction, row.operation, len(parts)), []).append((row, parts))
    return index


_documents = msgspec.json.Decoder(msgspec.Raw)
_AS_TEXT = frozenset({p.NodeStatusPatch, p.PodStatusPatch, p.DeviceStateReport, p.DeviceDetailQuery, p.UserUpload})
_BY_PAYLOAD = {row.payload: row for row in ROWS}
_WATCHED = {row.operation: row for row in ROWS if row.source == DYNAMIC}
_BY_TYPE = _index(row for row in ROWS if row.source != DYNAMIC)
_BY_PATH = _index_paths(ROWS)
_BY_USER = {(row.direction, row.source, row.operation): row for row in ROWS if row.group == USER}
_PLACEHOLDERS = frozenset({"{namespace}", "{name}"})
_LONGEST_PATH = max(path.count("/") for row in ROWS for path in row.paths) + 1

__all__ = [
    "CLUSTER",
    "ROWS",
    "Confirm",
    "Direction",
    "Lane",
    "Row",
    "acknowledge",
    "acknowledge_many",
    "acknowledged",
    "after",
    "answer",
    "answer_transport",
    "classify",
    "compose",
    "is_farewell",
    "is_transport",
    "row_of",
    "subject",
]
