"""MQTT 3.1.1 packets without I/O, as much as a client of quality 0 and 1 needs (OASIS MQTT 3.1.1).

    connect(…), subscribe(…), publish(…) … → bytes          Decoder.feed(bytes) → packets

A publication larger than `MAX_PAYLOAD` is read past, not kept: it is told as `TooLarge`, so that it can be acknowledged
and does not come again for ever.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from octoedge.errors import ProtocolError

MAX_PAYLOAD = 1 << 20
"""Bytes of one message."""
_MAX_HEAD = 70_000
"""Bytes of a publication's topic and identifier at most."""

_CONNECT, _CONNACK, _PUBLISH, _PUBACK, _SUBSCRIBE, _SUBACK = 1, 2, 3, 4, 8, 9
_UNSUBSCRIBE, _UNSUBACK, _PINGREQ, _PINGRESP, _DISCONNECT = 10, 11, 12, 13, 14

PING = bytes((_PINGREQ << 4, 0))
DISCONNECT = bytes((_DISCONNECT << 4, 0))

REFUSALS = {
    1: "it does not speak MQTT 3.1.1", 2: "it does not take this client id", 3: "it is not available",
    4: "the user name or password is wrong", 5: "the client is not authorized",
}  # fmt: skip


class Connected(msgspec.Struct, frozen=True):
    """The broker's answer to CONNECT; `code` 0 is success."""

    session_present: bool
    code: int


class Published(msgspec.Struct, frozen=True):
    """A message; one of quality 1 has an `identifier` and is to be acknowledged."""

    topic: str
    payload: bytes
    identifier: int = 0
    retained: bool = False


class TooLarge(msgspec.Struct, frozen=True):
    """A message that was read past."""

    topic: str
    size: int
    identifier: int = 0


class Acknowledged(msgspec.Struct, frozen=True):
    """The broker has a publication, subscription or its end; `codes` tells of each topic of a subscription."""

    identifier: int
    codes: bytes = b""


class Pong(msgspec.Struct, frozen=True):
    """The broker lives."""


Packet = Connected | Published | TooLarge | Acknowledged | Pong


def connect(client_id: str, *, keepalive: int, clean: bool, username: str = "", password: str = "") -> bytes:
    """CONNECT; `keepalive` in seconds. The password only goes along with a user name."""
    flags = (0x02 if clean else 0) | (0x80 if username else 0) | (0x40 if username and password else 0)
    body = _text("MQTT") + bytes((4, flags)) + keepalive.to_bytes(2, "big") + _text(client_id)
    if username:
        body += _text(username)
        if password:
            body += _text(password)
    return _packet(_CONNECT << 4, body)


def subscribe(identifier: int, topics: Iterable[tuple[str, int]]) -> bytes:
    """SUBSCRIBE to (pattern, quality)."""
    body = identifier.to_bytes(2, "big") + b"".join(_text(topic) + bytes((quality,)) for topic, quality in topics)
    return _packet(_SUBSCRIBE << 4 | 2, body)


def unsubscribe(identifier: int, topics: Iterable[str]) -> bytes:
    """UNSUBSCRIBE."""
    return _packet(_UNSUBSCRIBE << 4 | 2, identifier.to_bytes(2, "big") + b"".join(map(_text, topics)))


def publish(topic: str, payload: bytes, *, identifier: int = 0, retain: bool = False, again: bool = False) -> bytes:
    """PUBLISH; of quality 1 when it has an identifier."""
    head = _PUBLISH << 4 | (0x02 if identifier else 0) | (0x01 if retain else 0) | (0x08 if again and identifier else 0)
    return _packet(head, _text(topic) + (identifier.to_bytes(2, "big") if identifier else b"") + payload)


def acknowledge(identifier: int) -> bytes:
    """PUBACK"""
    return _packet(_PUBACK << 4, identifier.to_bytes(2, "big"))


class Decoder:
    """Reads what a broker sends."""

    def __init__(self) -> None:
        self._data = bytearray()
        self._skipping: tuple[TooLarge, int] | None = None
        """What is being read past, and how many bytes of it are still to come."""

    def feed(self, data: bytes) -> Iterator[Packet]:
        """The packets that are complete now; `ProtocolError` when the broker breaks the protocol."""
        self._data += data
        while True:
            if self._skipping is not None:
                large, left = self._skipping
                gone = min(left, len(self._data))
                del self._data[:gone]
                if gone < left:
                    self._skipping = (large, left - gone)
                    return
                self._skipping = None
                yield large
            head = self._head()
            if head is None:
                return
            at, size = head
            if size > MAX_PAYLOAD + _MAX_HEAD:
                if not self._skip(at, size):
                    return
            elif len(self._data) < at + size:
                return
            else:
                first, body = self._data[0], bytes(self._data[at : at + size])
                del self._data[: at + size]
                packet = _read(first, body)
                if packet is not None:
                    yield packet

    def _head(self) -> tuple[int, int] | None:
        """(where the body begins, its size); None while it is not there."""
        size = 0
        for place in range(4):
            if len(self._data) < place + 2:
                return None
            byte = self._data[place + 1]
            size |= (byte & 0x7F) << 7 * place
            if byte < 0x80:
                return place + 2, size
        raise ProtocolError("the length of an MQTT packet has more than four bytes")

    def _skip(self, at: int, size: int) -> bool:
        """Begin to read past a publication; False while its topic is not there."""
        first = self._data[0]
        if first >> 4 != _PUBLISH:
            raise ProtocolError(f"an MQTT packet of kind {first >> 4} has {size} bytes")
        if len(self._data) < at + _MAX_HEAD:
            return False
        topic, identifier, _ = _read_head(first, bytes(self._data[at : at + _MAX_HEAD]))
        del self._data[:at]
        self._skipping = (TooLarge(topic, size, identifier), size)
        return True


def _read(first: int, body: bytes) -> Packet | None:
    kind = first >> 4
    if kind == _PUBLISH:
        topic, identifier, at = _read_head(first, body)
        if len(body) - at > MAX_PAYLOAD:
            return TooLarge(topic, len(body) - at, identifier)
        return Published(topic, body[at:], identifier, bool(first & 1))
    if kind == _CONNACK and len(body) >= 2:
        return Connected(bool(body[0] & 1), body[1])
    if kind in (_PUBACK, _SUBACK, _UNSUBACK) and len(body) >= 2:
        return Acknowledged(int.from_bytes(body[:2], "big"), body[2:])
    if kind == _PINGRESP:
        return Pong()
    raise ProtocolError(f"an MQTT packet of kind {kind} with {len(body)} bytes means nothing to a client")


def _read_head(first: int, body: bytes) -> tuple[str, int, int]:
    """(topic, identifier or 0, where the payload begins) of a publication."""
    quality = first >> 1 & 3
    size = int.from_bytes(body[:2], "big")
    at = 2 + size
    end = at + (2 if quality else 0)
    if quality > 1 or len(body) < end:
        raise ProtocolError(f"an MQTT publication of quality {quality} and {len(body)} bytes cannot be read")
    try:
        topic = body[2:at].decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"an MQTT topic is no text: {error}") from error
    return topic, int.from_bytes(body[at:end], "big") if quality else 0, end


def _text(text: str) -> bytes:
    data = text.encode()
    if len(data) > 0xFFFF:
        raise ProtocolError(f"an MQTT text of {len(data)} bytes is longer than 65535")
    return len(data).to_bytes(2, "big") + data


def _packet(first: int, body: bytes) -> bytes:
    size, length = bytearray(), len(body)
    while True:
        length, low = length >> 7, length & 0x7F
        size.append(low | (0x80 if length else 0))
        if not length:
            return bytes((first,)) + bytes(size) + body
