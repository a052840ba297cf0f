"""The client's half of the WebSocket protocol, without I/O: an upgrade request, and frames (RFC 6455).

    upgrade_request(…) → bytes          Upgraded.parse(bytes) → answer, or what is wrong with it
    encode(opcode, data) → bytes        FrameReader.feed(bytes) → Message | Ping | Pong | Close

No extensions and no sub-protocols: KubeEdge uses neither (spec: channel, section 1.1). It exists because the
agent's memory budget needs it; `docs/decisions/0002-own-websocket-client.md` has the figures.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import os
from collections.abc import Iterator, Mapping

import msgspec

from octoedge.errors import ProtocolError

_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_MAX_CONTROL = 125
MAX_HEAD = 16 * 1024
"""Bytes of the server's answer to the upgrade, without its body."""
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009
_NO_CODE = 1005


class Opcode(enum.IntEnum):
    """What a frame is."""

    CONT = 0
    TEXT = 1
    BINARY = 2
    CLOSE = 8
    PING = 9
    PONG = 10


class FrameError(ProtocolError):
    """The server broke the protocol; `code` is what to close the connection with."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(text)
        self.code = code


class Message(msgspec.Struct, frozen=True):
    """A whole message, text or binary; its bytes are not checked to be UTF-8 (spec: stream, section 5)."""

    data: bytes


class Ping(msgspec.Struct, frozen=True):
    """To be answered with a pong of the same data."""

    data: bytes


class Pong(msgspec.Struct, frozen=True):
    """The answer to a ping."""

    data: bytes


class Close(msgspec.Struct, frozen=True):
    """The server ends the connection."""

    code: int
    reason: str

    def __str__(self) -> str:
        if self.code == _NO_CODE:
            return "without a reason"
        return f"{self.code} {self.reason}".strip()


Event = Message | Ping | Pong | Close


def upgrade_request(host: str, path: str, headers: Mapping[str, str], key: str) -> bytes:
    """The request that asks for a WebSocket; `key` comes from `new_key()`."""
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host}",
        "Connection: Upgrade",
        "Upgrade: websocket",
        "Sec-WebSocket-Version: 13",
        f"Sec-WebSocket-Key: {key}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    if any("\r" in line or "\n" in line for line in lines):
        raise ValueError("a header of the upgrade request holds a line break")
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def new_key() -> str:
    """A fresh random Sec-WebSocket-Key."""
    return base64.b64encode(os.urandom(16)).decode()


class Upgraded(msgspec.Struct, frozen=True):
    """The server's answer to an upgrade request."""

    status: int
    headers: Mapping[str, str]
    """Names in lower case."""

    @classmethod
    def parse(cls, head: bytes) -> Upgraded:
        """The answer in `head`, which ends with an empty line; `ProtocolError` when it is no HTTP."""
        first, *rest = head.decode("latin-1").split("\r\n")
        version, _, status = first.partition(" ")
        if not version.startswith("HTTP/1.") or not status[:3].isdecimal():
            raise ProtocolError(f"the server answered {first[:80]!r}, which is no HTTP")
        headers: dict[str, str] = {}
        for line in rest:
            name, colon, value = line.partition(":")
            if colon:
                headers[name.strip().lower()] = value.strip()
        return cls(int(status[:3]), headers)

    def check(self, key: str) -> None:
        """Raise `ProtocolError` unless the server agreed to exactly what was asked."""
        headers = self.headers
        if headers.get("upgrade", "").lower() != "websocket" or "upgrade" not in headers.get("connection", "").lower():
            raise ProtocolError("the server agreed to something else than a WebSocket")
        accept = base64.b64encode(hashlib.sha1(key.encode() + _GUID, usedforsecurity=False).digest()).decode()
        if headers.get("sec-websocket-accept") != accept:
            raise ProtocolError("the server's Sec-WebSocket-Accept does not fit our key")
        for name in ("sec-websocket-extensions", "sec-websocket-protocol"):
            if headers.get(name):
                raise ProtocolError(f"the server chose a {name} that was not offered: {headers[name][:80]!r}")


def encode(opcode: Opcode, data: bytes, mask: bytes | None = None) -> bytes:
    """One masked frame with the whole of `data`; a client must mask (RFC 6455, section 5.3).

    The mask hides from proxies what looks like HTTP. Nobody reads within TLS, so there a mask of zeros does, for free.
    """
    size = len(data)
    first = bytes((0x80 | opcode,))
    if size < 126:
        head = first + bytes((0x80 | size,))
    elif size < 1 << 16:
        head = first + b"\xfe" + size.to_bytes(2, "big")
    else:
        head = first + b"\xff" + size.to_bytes(8, "big")
    key = os.urandom(4) if mask is None else mask
    return head + key + (masked(data, key) if any(key) else data)


def encode_close(code: int, reason: str = "") -> bytes:
    """The frame that ends the connection."""
    return encode(Opcode.CLOSE, code.to_bytes(2, "big") + reason.encode()[: _MAX_CONTROL - 2])


def masked(data: bytes, key: bytes) -> bytes:
    """`data` XOR the repeated 4-byte `key`: as one long number, which costs no loop."""
    size = len(data)
    stream = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(stream, "little")).to_bytes(size, "little")


class _Head(msgspec.Struct, frozen=True):
    """The beginning of a frame."""

    opcode: Opcode
    final: bool
    begin: int
    size: int


class FrameReader:
    """Turns received bytes into events; keeps what is not whole yet, never more than `max_bytes` of a message."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._buffer = bytearray()
        self._parts = bytearray()
        self._continues = False

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events that `data` completes; `FrameError` when the server breaks the protocol."""
        self._buffer += data
        done = 0
        try:
            while (head := self._head(done)) is not None:
                end = head.begin + head.size
                if len(self._buffer) < end:
                    return
                payload = bytes(memoryview(self._buffer)[head.begin : end])
                done = end
                event = self._control(head, payload) if head.opcode >= Opcode.CLOSE else self._data(head, payload)
                if event is not None:
                    yield event
        finally:
            del self._buffer[:done]

    def _head(self, at: int) -> _Head | None:
        """The head of the frame that begins at `at`, once all of it is there."""
        buffer = self._buffer
        if len(buffer) < at + 2:
            return None
        first, second = buffer[at], buffer[at + 1]
        extra = {126: 2, 127: 8}.get(second & 0x7F, 0)
        if len(buffer) < at + 2 + extra:
            return None
        size = int.from_bytes(buffer[at + 2 : at + 2 + extra], "big") if extra else second & 0x7F
        if first & 0x70:
            raise FrameError(PROTOCOL_ERROR, "a frame uses an extension that was not agreed")
        if second & 0x80:
            raise FrameError(PROTOCOL_ERROR, "a frame of the server is masked")
        try:
            opcode = Opcode(first & 0x0F)
        except ValueError:
            raise FrameError(PROTOCOL_ERROR, f"a frame has the unknown opcode {first & 0x0F}") from None
        head = _Head(opcode, bool(first & 0x80), at + 2 + extra, size)
        self._check(head)
        return head

    def _check(self, head: _Head) -> None:
        """What can be said against a frame before its payload has come."""
        if head.opcode >= Opcode.CLOSE:
            if head.size > _MAX_CONTROL or not head.final:
                raise FrameError(PROTOCOL_ERROR, f"a {head.opcode.name} frame is too long or in pieces")
        elif (head.opcode is Opcode.CONT) is not self._continues:
            raise FrameError(PROTOCOL_ERROR, "a frame continues nothing, or begins before the last message ended")
        elif len(self._parts) + head.size > self._max_bytes:
            size = len(self._parts) + head.size
            raise FrameError(
                TOO_BIG, f"a message of at least {size} bytes is larger than the limit of {self._max_bytes}"
            )

    def _data(self, head: _Head, payload: bytes) -> Event | None:
        self._continues = not head.final
        if head.final and not self._parts:
            return Message(payload)
        self._parts += payload
        if not head.final:
            return None
        whole, self._parts = bytes(self._parts), bytearray()
        return Message(whole)

    def _control(self, head: _Head, payload: bytes) -> Event:
        if head.opcode is Opcode.PING:
            return Ping(payload)
        if head.opcode is Opcode.PONG:
            return Pong(payload)
        if len(payload) == 1:
            raise FrameError(PROTOCOL_ERROR, "a CLOSE frame of one byte has half a code")
        code = int.from_bytes(payload[:2], "big") if payload else _NO_CODE
        return Close(code, payload[2:].decode(errors="replace"))
