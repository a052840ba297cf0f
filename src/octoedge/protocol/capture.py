"""The file of a capture: what a cloud and an edge said to each other, to be looked at and played again. No I/O.

One record a line, JSON, the first a `Begin`. Everything has been redacted (`redaction`) before it became a record.

    begin     who captured, what and when; the format and its version
    opened    a connection: both halves of its handshake; `before`: it was open when the capture began
    held      an object that was there when the capture began: wanted by the node (cloud), stored by it (edge)
    message   one message of a connection, as whoever speaks said it, packed or not
    closed    a connection is over
    dropped   so many messages are missing here: they came faster than they could be written
    end       the capture is whole, and why it ended

Times are seconds since the beginning. A file without `end` was cut off (whoever wrote it was killed); it is good up to
its last whole line.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

import msgspec

from octoedge.errors import MessageError
from octoedge.protocol.message import Message

FORMAT, VERSION = "octoedge-capture", 1
_LATEST, _END_OF_TIME = 25 * 3600.0, 2.0**37
"""Seconds: a capture lasts a day at most; the year 6325."""
UP: Final = "up"
DOWN: Final = "down"
CLOUD, EDGE = "cloud", "edge"


class Begin(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="begin"):
    """The first line."""

    format: str = FORMAT
    version: int = VERSION
    role: str
    """Which end captured: `cloud` or `edge`."""
    program: str
    """Whose version it was."""
    node: str
    """The node whose messages these are; empty: of all."""
    time: float
    """Seconds since the Unix epoch, by the clock of that end."""


class Opened(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="opened"):
    """A connection."""

    at: float
    connection: int
    node: str
    edge: dict[str, str]
    """Headers that the edge sent."""
    cloud: dict[str, str]
    """Headers of the cloud's answer beyond what every WebSocket has."""
    before: bool = False


class Held(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="held"):
    """An object that was there."""

    node: str
    resource: str
    """`<namespace>/<type>/<name>`, as on the wire."""
    object: msgspec.Raw


class Said(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="message", omit_defaults=True):
    """A message."""

    at: float
    connection: int
    way: Literal["up", "down"]
    size: int
    """Bytes on the wire."""
    message: Message
    left_out: int = 0
    """Bytes of content that were too many to be kept; the message's content is `null` then."""


class Closed(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="closed"):
    """A connection is over."""

    at: float
    connection: int


class Dropped(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="dropped"):
    """Messages are missing here."""

    at: float
    messages: int


class End(msgspec.Struct, frozen=True, kw_only=True, tag_field="record", tag="end"):
    """The last line."""

    at: float
    why: str
    messages: int
    dropped: int
    nodes: tuple[str, ...] = ()
    """Whose messages were captured."""


Record = Begin | Opened | Held | Said | Closed | Dropped | End

_decoder = msgspec.json.Decoder(Record)
_encoder = msgspec.json.Encoder()


class Capture(msgspec.Struct):
    """A file that was read."""

    begin: Begin
    opened: dict[int, Opened] = {}
    held: list[Held] = []
    said: list[Said] = []
    closed: list[Closed] = []
    dropped: int = 0
    ended: str = ""
    """Why it ended; empty when it did not."""
    cut: str = ""
    """Where the file was cut off, as a sentence; empty when it is whole."""

    def nodes(self) -> list[str]:
        """Whose messages these are."""
        return sorted({opened.node for opened in self.opened.values()})

    def of(self, connection: int, way: str) -> list[Said]:
        """What was said on one connection in one direction."""
        return [said for said in self.said if (said.connection, said.way) == (connection, way)]


def line(record: Record) -> bytes:
    """The record as a line of the file."""
    return _encoder.encode(record) + b"\n"


def read(lines: Iterable[bytes], name: str) -> Capture:
    """The capture in a file called `name`; `MessageError` says what in it cannot be read."""
    capture: Capture | None = None
    at = 0.0
    for number, text in enumerate(lines, 1):
        try:
            record = _decoder.decode(text)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            if capture is not None and not text.endswith(b"\n"):
                break
            what = "line 1" if capture is None else f"line {number}"
            raise MessageError(f"{name}, {what}: not a record of a capture ({error}); was it edited?") from error
        if capture is None:
            capture = Capture(_begun(record, name))
            continue
        at = getattr(record, "at", at)
        if not 0.0 <= at <= _LATEST:
            raise MessageError(f"{name}, line {number}: no capture goes as far as {at:g} s; was it edited?")
        _add(capture, record)
    if capture is None:
        raise MessageError(f"{name} is empty; `octoedge capture` writes such files")
    if not capture.ended:
        capture.cut = f"{name} has no end: whoever wrote it was stopped; it goes as far as {at:.1f} s"
    return capture


def ending(first: bytes, last: bytes, name: str) -> End | None:
    """What the last line of a file says, None when it was cut off; `MessageError` when the first begins no capture."""
    try:
        _begun(_decoder.decode(first), name)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise MessageError(f"{name} does not begin as a capture ({error})") from error
    try:
        record = _decoder.decode(last)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    return record if isinstance(record, End) else None


def _begun(record: Record, name: str) -> Begin:
    if not isinstance(record, Begin) or record.format != FORMAT or not 0.0 <= record.time < _END_OF_TIME:
        raise MessageError(f"{name} does not begin as a capture; `octoedge capture` writes such files")
    if record.version != VERSION:
        why = f"{name} is a capture of version {record.version}, and this program reads version {VERSION}"
        raise MessageError(f"{why}: use that of {record.program}")
    return record


def _add(capture: Capture, record: Record) -> None:
    match record:
        case Opened():
            capture.opened[record.connection] = record
        case Held():
            capture.held.append(record)
        case Said():
            capture.said.append(record)
        case Closed():
            capture.closed.append(record)
        case Dropped():
            capture.dropped += record.messages
        case End():
            capture.ended = record.why
        case Begin():
            raise MessageError("a capture begins twice; is this two files in one?")
