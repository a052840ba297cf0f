"""The tunnel's language: many streams on one connection, without I/O (spec: stream, section 5).

    one WebSocket text message = uvarint stream id | uvarint kind | data to the end

The cloud opens a stream by a message whose kind says what it wants (logs, exec …) and whose data is a *connector*: a Go
`url.URL` and headers as JSON. Both sides then send DATA; either ends the stream by REMOVE.

KubeEdge knows the kinds 0 to 6 and breaks on others. Between two Octoedges, which agree by the handshake header
`AGREEMENT`, there are three more: ANSWER carries HTTP status and headers before the first DATA, CREDIT allows the other
side to send so many more bytes of DATA, so that a slow reader holds up nobody but itself. LOG_END belongs to no stream:
the edge hands the end of a container's log over, for when it is away; the cloud asks for that by `LOG_ENDS`.
"""

from __future__ import annotations

import enum
import zlib
from typing import Any
from urllib.parse import unquote

import msgspec

from octoedge.errors import MessageError

PATH = "/v1/kubeedge/connect"
"""Where an edge opens the tunnel."""
NODE_HEADER = "SessionHostNameOverride"
ADDRESS_HEADER = "SessionInternalIP"
AGREEMENT = "Octoedge-Stream"
"""Header of request and answer by which two Octoedges agree on ANSWER and CREDIT; its value is the version, `1`."""
VERSION = "1"
LOG_ENDS = "Octoedge-Log-Ends"
"""Header of the cloud's answer: how many bytes of each container's log it wants to keep."""

PINGS = "Octoedge-Ping-Seconds"
"""Header of request and answer: the edge pings so rarely only (`RARELY`); a Go cloud does not answer it, and is pinged
every 5 s as by a Go edge. On a metered link these pings were most of what an idle node cost."""
RARELY = 60.0
"""Seconds. A link that is dead without a word is noticed by the channel, within three heartbeats, and the tunnel is
asked as soon as the channel is back; these pings are for a tunnel that died alone, and keep NATs' memories awake."""
NOTICED_SECONDS = 75.0
"""So long without a word the cloud takes such a tunnel for open; who wants to use it has it asked first."""

MAX_DATA = 1024 * 1024
"""Bytes of data in one message at most; KubeEdge drops the rest."""
MAX_MESSAGE = MAX_DATA + 20
"""Bytes of one message at most: the data and two numbers."""
CHUNK = 64 * 1024
"""Bytes of data in the messages that we send."""
WINDOW = 256 * 1024
"""Bytes that may be on their way in one direction of one stream, between two Octoedges."""

_MAX_UVARINT_BYTES = 10
_MAX_NUMBER = 2**64 - 1


class Kind(enum.IntEnum):
    """What a message is for."""

    LOGS = 0
    EXEC = 1
    METRICS = 2
    DATA = 3
    REMOVE = 4
    CLOSE = 5
    """The cloud ends the whole tunnel; data is the reason as text."""
    ATTACH = 6
    ANSWER = 7
    """HTTP status and headers as JSON (between two Octoedges only)."""
    CREDIT = 8
    """How many more bytes of DATA may come, as uvarint (between two Octoedges only)."""
    LOG_END = 9
    """What a container has written lately, from the edge; the stream is 0 (between two Octoedges only)."""


OPENING = frozenset({Kind.LOGS, Kind.EXEC, Kind.METRICS, Kind.ATTACH})
"""Kinds that open a stream."""
RAW = frozenset({Kind.EXEC, Kind.ATTACH})
"""Kinds whose DATA are the bytes of an HTTP connection, both ways; port-forward travels as EXEC with its own path."""


class Frame(msgspec.Struct, frozen=True):
    """One message."""

    stream: int
    kind: Kind
    data: bytes = b""


class Connector(msgspec.Struct, frozen=True):
    """What the cloud wants from the edge's kubelet API."""

    path: str
    """Path as it stands in a URL, percent signs included."""
    query: str = ""
    """Raw query, without the question mark."""
    method: str = ""
    """GET or POST for exec and attach; empty otherwise, which means GET."""
    headers: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict)

    @property
    def segments(self) -> tuple[str, ...]:
        """The parts of the path, decoded."""
        return tuple(unquote(part, errors="strict") for part in self.path.strip("/").split("/"))


class Answer(msgspec.Struct, frozen=True):
    """The beginning of an HTTP answer."""

    status: int
    headers: dict[str, str] = {}


def uvarint(number: int) -> bytes:
    """`number` as unsigned LEB128."""
    if not 0 <= number <= _MAX_NUMBER:
        raise ValueError(f"{number} does not fit into 64 bits")
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def read_uvarint(data: bytes, position: int = 0) -> tuple[int, int]:
    """(number, position after it); `MessageError` when there is none or it has more than 64 bits."""
    number = 0
    for count, byte in enumerate(data[position : position + _MAX_UVARINT_BYTES]):
        number |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            if number > _MAX_NUMBER:
                break
            return number, position + count + 1
    raise MessageError("a tunnel message does not begin with two numbers")


def encode(stream: int, kind: Kind, data: bytes = b"") -> bytes:
    """The message's bytes."""
    return uvarint(stream) + uvarint(kind) + data


def decode(message: bytes) -> Frame:
    """The message in `message`; `MessageError` when it is none or of an unknown kind."""
    if len(message) > MAX_MESSAGE:
        raise MessageError(f"a tunnel message of {len(message)} bytes is larger than the limit of {MAX_MESSAGE}")
    stream, position = read_uvarint(message)
    number, position = read_uvarint(message, position)
    try:
        kind = Kind(number)
    except ValueError as error:
        raise MessageError(f"a tunnel message of the unknown kind {number}") from error
    return Frame(stream, kind, message[position:])


def encode_connector(stream: int, connector: Connector) -> bytes:
    """The data of an opening message, as the Go cloud writes it; the Go edge calls the URL, ours only reads it."""
    url = {
        "Scheme": "http", "Opaque": "", "User": None, "Host": "127.0.0.1:10350",
        "Path": unquote(connector.path), "RawPath": connector.path if "%" in connector.path else "",
        "OmitHost": False, "ForceQuery": False, "RawQuery": connector.query, "Fragment": "", "RawFragment": "",
    }  # fmt: skip
    whole: dict[str, Any] = {"MessID": stream, "url": url, "header": connector.headers}
    if connector.method:
        whole["method"] = connector.method
    return msgspec.json.encode(whole)


class _Url(msgspec.Struct, frozen=True):
    path: str = ""
    rawpath: str = ""
    rawquery: str = ""


class _Connector(msgspec.Struct, frozen=True):
    url: _Url
    header: dict[str, tuple[str, ...] | None] | None = None
    method: str = ""


def decode_connector(data: bytes) -> Connector:
    """The connector in the data of an opening message; keys are read in any case, unknown ones are ignored."""
    try:
        keys = {name.lower(): value for name, value in _objects.decode(data).items()}
        if isinstance(keys.get("url"), dict):
            keys["url"] = {str(name).lower(): value for name, value in keys["url"].items()}
        read = msgspec.convert(keys, _Connector)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"a tunnel request cannot be read: {error}") from error
    path = read.url.rawpath or _escape(read.url.path)
    if not path.startswith("/"):
        raise MessageError("a tunnel request has no path")
    headers = {name: values or () for name, values in (read.header or {}).items()}
    connector = Connector(path, read.url.rawquery, read.method, headers)
    try:
        connector.segments  # noqa: B018  (raises)
    except UnicodeDecodeError as error:
        raise MessageError("a tunnel request's path is not UTF-8") from error
    return connector


def encode_answer(answer: Answer) -> bytes:
    """The data of an ANSWER."""
    return msgspec.json.encode(answer)


def decode_answer(data: bytes) -> Answer:
    """The answer in the data of an ANSWER; `MessageError` when there is none."""
    try:
        answer = _answers.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise MessageError(f"a tunnel answer cannot be read: {error}") from error
    if not 100 <= answer.status <= 599:
        raise MessageError(f"a tunnel answer with the status {answer.status}")
    if any(_UNSAFE & set(name + value) for name, value in answer.headers.items()):
        raise MessageError("a tunnel answer with a line break in its headers")
    return answer


class LogEnd(msgspec.Struct, frozen=True):
    """What a container has written lately: lines, each behind the time of its writing."""

    namespace: str
    pod: str
    uid: str
    container: str
    whole: bool = False
    """Whether the text replaces what came before; else it follows it."""
    text: bytes = b""


class _LogEndHead(msgspec.Struct, frozen=True):
    namespace: str
    pod: str
    uid: str
    container: str
    whole: bool = False


def encode_log_end(end: LogEnd) -> bytes:
    """The data of a LOG_END: a line of JSON, then the text, compressed."""
    head = _LogEndHead(end.namespace, end.pod, end.uid, end.container, end.whole)
    return msgspec.json.encode(head) + b"\n" + zlib.compress(end.text)


def decode_log_end(data: bytes, most: int) -> LogEnd:
    """The log in the data of a LOG_END; `MessageError` when there is none, or a text of more than `most` bytes."""
    line, _, packed = data.partition(b"\n")
    unpacker = zlib.decompressobj()
    try:
        head = _log_ends.decode(line)
        text = unpacker.decompress(packed, most)
    except (msgspec.DecodeError, UnicodeDecodeError, zlib.error) as error:
        raise MessageError(f"the end of a log cannot be read: {error}") from error
    if not unpacker.eof:
        raise MessageError(f"the end of the log of {head.pod[:253]} is incomplete, or longer than {most} bytes")
    return LogEnd(head.namespace, head.pod, head.uid, head.container, head.whole, text)


def _escape(path: str) -> str:
    """A decoded path as it stands in a URL; only what would be misread is escaped."""
    return path.replace("%", "%25").replace("?", "%3F").replace("#", "%23")


_UNSAFE = frozenset("\r\n\0")
_objects = msgspec.json.Decoder(dict[str, Any])
_answers = msgspec.json.Decoder(Answer)
_log_ends = msgspec.json.Decoder(_LogEndHead)
