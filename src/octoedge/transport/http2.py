"""HTTP/2 (RFC 9113) without I/O, as much of either half as gRPC needs.

    Http2Client.request(headers, body) → stream number          data_to_send() → bytes
    Http2Server.respond(stream, headers, body, trailers)
    receive(bytes) → Headers | Data | Reset | GoAway, in order

Flow control both ways: what the peer's windows do not let out yet waits here, and `consumed` opens ours again. Pushed
streams and priorities do not exist for us.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Iterator

import msgspec

from octoedge.errors import ProtocolError
from octoedge.transport import hpack

_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_FRAME = 16_384
_FIRST_WINDOW = 65_535
_LARGEST_WINDOW = (1 << 31) - 1
WINDOW = 1 << 20
"""Bytes that the peer may send ahead, for each stream and for all together."""
MAX_STREAMS = 64
"""Requests that a server works on at once for one connection."""
_REFUSED_STREAM, _CANCEL = 7, 8
_END_STREAM, _ACK, _END_HEADERS, _PADDED, _PRIORITY = 0x1, 0x1, 0x4, 0x8, 0x20


class _Kind(enum.IntEnum):
    DATA = 0
    HEADERS = 1
    PRIORITY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PUSH_PROMISE = 5
    PING = 6
    GOAWAY = 7
    WINDOW_UPDATE = 8
    CONTINUATION = 9


class _Setting(enum.IntEnum):
    HEADER_TABLE_SIZE = 1
    ENABLE_PUSH = 2
    MAX_CONCURRENT_STREAMS = 3
    INITIAL_WINDOW_SIZE = 4
    MAX_FRAME_SIZE = 5


class Headers(msgspec.Struct, frozen=True):
    """Headers or trailers of a stream."""

    stream: int
    fields: hpack.Fields
    last: bool


class Data(msgspec.Struct, frozen=True):
    """A piece of a stream's body."""

    stream: int
    data: bytes
    last: bool


class Reset(msgspec.Struct, frozen=True):
    """The peer gave the stream up."""

    stream: int
    code: int


class GoAway(msgspec.Struct, frozen=True):
    """The peer will not answer streams after `last_stream`, and ends the connection."""

    last_stream: int
    code: int
    text: str


Event = Headers | Data | Reset | GoAway


class _Outgoing(msgspec.Struct):
    """What a stream still has to send, and how much the peer takes."""

    body: bytes
    window: int
    trailers: bytes = b""
    """The header block that ends the stream; empty: the body's last frame does."""


class _Connection:
    """What both halves share."""

    def __init__(self, settings: Iterable[tuple[_Setting, int]], decoder: hpack.Decoder) -> None:
        payload = b"".join(key.to_bytes(2, "big") + value.to_bytes(4, "big") for key, value in settings)
        self._out = bytearray(_frame(_Kind.SETTINGS, 0, 0, payload))
        self._out += _frame(_Kind.WINDOW_UPDATE, 0, 0, (WINDOW - _FIRST_WINDOW).to_bytes(4, "big"))
        self._in = bytearray()
        self._decoder = decoder
        self._window = _FIRST_WINDOW
        self._stream_window = _FIRST_WINDOW
        self._largest_frame = _FRAME
        self._outgoing: dict[int, _Outgoing] = {}
        self._block: tuple[int, bool, bytearray] | None = None
        """Stream, whether it ends, and the header block that CONTINUATION frames are adding to."""
        self._unacknowledged = 0
        self._handlers: dict[int, Callable[[int, int, bytes], Iterator[Event]]] = {
            _Kind.DATA: self._data,
            _Kind.HEADERS: self._headers,
            _Kind.RST_STREAM: self._reset,
            _Kind.SETTINGS: self._settings,
            _Kind.PING: self._ping,
            _Kind.GOAWAY: self._go_away,
            _Kind.WINDOW_UPDATE: self._window_update,
            _Kind.CONTINUATION: self._continuation,
        }

    def cancel(self, stream: int, code: int = _CANCEL) -> None:
        """Tell the peer that nobody cares for this stream any more."""
        self._outgoing.pop(stream, None)
        self._out += _frame(_Kind.RST_STREAM, 0, stream, code.to_bytes(4, "big"))

    def consumed(self, stream: int, size: int) -> None:
        """`size` bytes of a stream's body have been taken: let the peer send as many again."""
        if size:
            self._out += _frame(_Kind.WINDOW_UPDATE, 0, stream, size.to_bytes(4, "big"))

    def data_to_send(self) -> bytes:
        """What is to be written now."""
        data = bytes(self._out)
        self._out.clear()
        return data

    def receive(self, data: bytes) -> Iterator[Event]:
        """What `data` says; `ProtocolError` when the peer breaks the protocol."""
        self._in += data
        while len(self._in) >= 9:
            size = int.from_bytes(self._in[:3], "big")
            if size > _FRAME:
                raise ProtocolError(f"a frame of {size} bytes is larger than the agreed {_FRAME}")
            if len(self._in) < 9 + size:
                return
            kind, flags = self._in[3], self._in[4]
            stream = int.from_bytes(self._in[5:9], "big") & _LARGEST_WINDOW
            payload = bytes(self._in[9 : 9 + size])
            del self._in[: 9 + size]
            if self._block is not None and kind != _Kind.CONTINUATION:
                raise ProtocolError("a header block is cut into by another frame")
            handler = self._handlers.get(kind)
            if handler is not None:  # unknown kinds are to be ignored
                yield from handler(flags, stream, payload)

    def _data(self, flags: int, stream: int, payload: bytes) -> Iterator[Event]:
        self._unacknowledged += len(payload)
        if self._unacknowledged > WINDOW // 2:
            self.consumed(0, self._unacknowledged)
            self._unacknowledged = 0
        data = _unpadded(flags, payload)
        if len(data) < len(payload):
            self.consumed(stream, len(payload) - len(data))
        yield Data(stream, data, bool(flags & _END_STREAM))

    def _headers(self, flags: int, stream: int, payload: bytes) -> Iterator[Event]:
        block = _unpadded(flags, payload)
        if flags & _PRIORITY:
            block = block[5:]
        self._block = (stream, bool(flags & _END_STREAM), bytearray(block))
        return self._end_of_block(flags)

    def _continuation(self, flags: int, stream: int, payload: bytes) -> Iterator[Event]:
        if self._block is None or self._block[0] != stream:
            raise ProtocolError("a CONTINUATION frame continues nothing")
        self._block[2].extend(payload)
        if len(self._block[2]) > hpack.MAX_BLOCK:
            raise ProtocolError(f"a header block is larger than {hpack.MAX_BLOCK} bytes")
        return self._end_of_block(flags)

    def _end_of_block(self, flags: int) -> Iterator[Event]:
        if flags & _END_HEADERS and self._block is not None:
            stream, last, block = self._block
            self._block = None
            yield Headers(stream, self._decoder.decode(bytes(block)), last)

    def _reset(self, _flags: int, stream: int, payload: bytes) -> Iterator[Event]:
        self._outgoing.pop(stream, None)
        yield Reset(stream, _number(payload[:4]))

    def _settings(self, flags: int, _stream: int, payload: bytes) -> Iterator[Event]:
        if flags & _ACK:
            return
        for at in range(0, len(payload) - 5, 6):
            key, value = int.from_bytes(payload[at : at + 2], "big"), int.from_bytes(payload[at + 2 : at + 6], "big")
            if key == _Setting.INITIAL_WINDOW_SIZE:
                for outgoing in self._outgoing.values():
                    outgoing.window += value - self._stream_window
                self._stream_window = value
            elif key == _Setting.MAX_FRAME_SIZE:
                self._largest_frame = min(value, 1 << 20)
        self._out += _frame(_Kind.SETTINGS, _ACK, 0, b"")
        self._let_all_out()
        yield from ()

    def _ping(self, flags: int, _stream: int, payload: bytes) -> Iterator[Event]:
        if not flags & _ACK:
            self._out += _frame(_Kind.PING, _ACK, 0, payload)
        yield from ()

    def _go_away(self, _flags: int, _stream: int, payload: bytes) -> Iterator[Event]:
        last = _number(payload[:4]) & _LARGEST_WINDOW
        yield GoAway(last, _number(payload[4:8]), payload[8:208].decode(errors="replace"))

    def _window_update(self, _flags: int, stream: int, payload: bytes) -> Iterator[Event]:
        more = _number(payload[:4]) & _LARGEST_WINDOW
        if stream == 0:
            self._window += more
        elif stream in self._outgoing:
            self._outgoing[stream].window += more
        self._let_all_out()
        yield from ()

    def _let_all_out(self) -> None:
        for stream in list(self._outgoing):
            self._let_out(stream)

    def _let_out(self, stream: int) -> None:
        """Send as much of a body as the windows allow; what comes last ends the stream."""
        outgoing = self._outgoing[stream]
        while True:
            size = min(len(outgoing.body), outgoing.window, self._window, self._largest_frame)
            last = size == len(outgoing.body)
            if size <= 0 and not last:
                return
            ends = last and not outgoing.trailers
            if size or ends:
                self._out += _frame(_Kind.DATA, _END_STREAM if ends else 0, stream, outgoing.body[:size])
            outgoing.body = outgoing.body[size:]
            outgoing.window -= size
            self._window -= size
            if last:
                if outgoing.trailers:
                    self._out += _frame(_Kind.HEADERS, _END_HEADERS | _END_STREAM, stream, outgoing.trailers)
                del self._outgoing[stream]
                return


class Http2Client(_Connection):
    """The half that asks."""

    def __init__(self) -> None:
        settings = ((_Setting.HEADER_TABLE_SIZE, 0), (_Setting.ENABLE_PUSH, 0), (_Setting.INITIAL_WINDOW_SIZE, WINDOW))
        super().__init__(settings, hpack.Decoder())
        self._out[:0] = _PREFACE
        self._next = 1

    @property
    def exhausted(self) -> bool:
        """Whether stream numbers are used up and a new connection is needed."""
        return self._next >= _LARGEST_WINDOW

    def request(self, fields: Iterable[tuple[str, str]], body: bytes) -> int:
        """Send a whole request; the number of its stream."""
        stream = self._next
        self._next += 2
        self._out += _frame(_Kind.HEADERS, _END_HEADERS, stream, hpack.encode(fields))
        self._outgoing[stream] = _Outgoing(body, self._stream_window)
        self._let_out(stream)
        return stream


class Http2Server(_Connection):
    """The half that answers.

    A client may use the header table before it has read our settings, so there is one of the size that it expects.
    """

    def __init__(self) -> None:
        settings = ((_Setting.MAX_CONCURRENT_STREAMS, MAX_STREAMS), (_Setting.INITIAL_WINDOW_SIZE, WINDOW))
        super().__init__(settings, hpack.Decoder(hpack.TABLE))
        self._preface = _PREFACE
        self._open: set[int] = set()
        self._last = 0

    def receive(self, data: bytes) -> Iterator[Event]:
        """What `data` says; `ProtocolError` when the client breaks the protocol."""
        size = min(len(self._preface), len(data))
        if data[:size] != self._preface[:size]:
            raise ProtocolError("the client does not speak HTTP/2")
        self._preface = self._preface[size:]
        for event in super().receive(data[size:]):
            if self._is_ours(event):
                yield event

    def respond(
        self, stream: int, fields: Iterable[tuple[str, str]], body: bytes, trailers: Iterable[tuple[str, str]]
    ) -> None:
        """Send a whole answer; nothing when the client has given the stream up."""
        if stream not in self._open:
            return
        self._open.discard(stream)
        self._out += _frame(_Kind.HEADERS, _END_HEADERS, stream, hpack.encode(fields))
        self._outgoing[stream] = _Outgoing(body, self._stream_window, hpack.encode(trailers))
        self._let_out(stream)

    def _is_ours(self, event: Event) -> bool:
        """Keeps the set of open streams; whether the event is about one of them."""
        if isinstance(event, GoAway):
            return True
        if isinstance(event, Headers) and event.stream > self._last:
            if not event.stream % 2:
                raise ProtocolError(f"a client's stream has the number {event.stream}, which is even")
            self._last = event.stream
            if len(self._open) + len(self._outgoing) >= MAX_STREAMS:
                self.cancel(event.stream, _REFUSED_STREAM)
                return False
            self._open.add(event.stream)
        if isinstance(event, Reset):
            self._open.discard(event.stream)
            return True
        return event.stream in self._open


def _frame(kind: _Kind, flags: int, stream: int, payload: bytes) -> bytes:
    return len(payload).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + payload


def _unpadded(flags: int, payload: bytes) -> bytes:
    if not flags & _PADDED:
        return payload
    if not payload or payload[0] >= len(payload):
        raise ProtocolError("a frame has more padding than bytes")
    return payload[1 : len(payload) - payload[0]]


def _number(data: bytes) -> int:
    if len(data) < 4:
        raise ProtocolError("a frame is shorter than its kind needs")
    return int.from_bytes(data, "big")
