"""SPDY/3.1 frames without I/O: the way in which Kubernetes' streaming servers carry several streams in one connection.

    syn_stream(…), data(…) … → bytes        feed(bytes) → Opened | Replied | Data | Reset | Ping | Goaway

Kubernetes' peers (moby/spdystream) use no flow control of SPDY's own: whoever does not read holds up the connection.
Header blocks are compressed with one zlib context per direction, so every frame must pass through one `Framer`, in
order. Ids are odd for the side that opened the connection.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from octoedge.errors import ProtocolError

PROTOCOL = "SPDY/3.1"
"""What stands in the header `Upgrade`."""

_VERSION = 3
_MAX_CONTROL = 64 * 1024
"""Bytes of a control frame at most; ours and Kubernetes' are below 1 KiB."""
_MAX_HEADERS = 256 * 1024
"""Bytes of a header block once it is unpacked."""
_MAX_DATA = 2**24 - 1
_MAX_ID = 2**31 - 1
_FIN = 1
_HEAD = 8


class Type(enum.IntEnum):
    """Kinds of control frames."""

    SYN_STREAM = 1
    SYN_REPLY = 2
    RST_STREAM = 3
    SETTINGS = 4
    PING = 6
    GOAWAY = 7
    HEADERS = 8
    WINDOW_UPDATE = 9


@dataclass(frozen=True, slots=True)
class Opened:
    """The other side has opened a stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Replied:
    """The other side has accepted our stream."""

    stream: int
    headers: Mapping[str, str]
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Data:
    """Bytes of a stream; `fin`: the other side will send no more on it."""

    stream: int
    data: bytes
    fin: bool = False


@dataclass(frozen=True, slots=True)
class Reset:
    """A stream was ended in both directions."""

    stream: int
    status: int


@dataclass(frozen=True, slots=True)
class Ping:
    """To be sent back as it is, unless it answers one of ours."""

    number: int


@dataclass(frozen=True, slots=True)
class Goaway:
    """The other side takes no new streams."""

    last: int
    status: int


Event = Opened | Replied | Data | Reset | Ping | Goaway


class Framer:
    """One connection's frames, both directions."""

    def __init__(self) -> None:
        self._packer = zlib.compressobj(zdict=DICTIONARY)
        self._unpacker = zlib.decompressobj(zdict=DICTIONARY)
        self._buffer = bytearray()
        self._stream = 0
        """The stream whose data frame is being read."""
        self._left = 0
        """Bytes of that frame that have not come yet."""
        self._fin = False
        self._by_type: dict[int, Callable[[bytes, bool], Event | None]] = {
            Type.SYN_STREAM: self._opened,
            Type.SYN_REPLY: self._replied,
            Type.RST_STREAM: self._reset,
            Type.PING: self._ping,
            Type.GOAWAY: self._goaway,
            Type.HEADERS: self._headers,
        }

    # ---- what is sent

    def syn_stream(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """Open a stream."""
        head = _id(stream) + bytes(4) + b"\0\0"
        return _control(Type.SYN_STREAM, head + self._pack(headers), _FIN if fin else 0)

    def syn_reply(self, stream: int, headers: Mapping[str, str], *, fin: bool = False) -> bytes:
        """Accept a stream."""
        return _control(Type.SYN_REPLY, _id(stream) + self._pack(headers), _FIN if fin else 0)

    @staticmethod
    def data(stream: int, data: bytes, *, fin: bool = False) -> bytes:
        """Bytes of a stream, up to 16 MiB."""
        if len(data) > _MAX_DATA:
            raise ValueError(f"{len(data)} bytes do not fit into one frame")
        return _id(stream) + bytes((_FIN if fin else 0,)) + len(data).to_bytes(3, "big") + data

    @staticmethod
    def rst_stream(stream: int, status: int) -> bytes:
        """End a stream in both directions."""
        return _control(Type.RST_STREAM, _id(stream) + status.to_bytes(4, "big"))

    @staticmethod
    def ping(number: int) -> bytes:
        """Ask for, or give, a sign of life."""
        return _control(Type.PING, number.to_bytes(4, "big"))

    @staticmethod
    def goaway(last: int, status: int = 0) -> bytes:
        """Take no new streams."""
        return _control(Type.GOAWAY, _id(last) + status.to_bytes(4, "big"))

    # ---- what comes

    @property
    def between_frames(self) -> bool:
        """Whether all that came was whole frames."""
        return not self._stream and not self._buffer

    @property
    def within_data(self) -> bool:
        """Whether a data frame has come in part."""
        return bool(self._stream)

    def feed(self, data: bytes) -> Iterator[Event]:
        """The events in `data`; a data frame may come in pieces. `ProtocolError` when it is no SPDY/3.1."""
        self._buffer += data
        done = 0
        try:
            while True:
                event: Event | None
                if self._stream:
                    event, done = self._piece(done)
                elif len(self._buffer) - done < _HEAD:
                    return
                elif self._buffer[done] & 0x80:
                    end = done + _HEAD + self._control_size(done)
                    if len(self._buffer) < end:
                        return
                    event, done = self._control_frame(done, end), end
                else:
                    done = self._begin_data(done)
                    continue
                if event is not None:
                    yield event
                elif self._stream:
                    return
        finally:
            del self._buffer[:done]

    def _begin_data(self, at: int) -> int:
        self._stream = int.from_bytes(self._buffer[at : at + 4], "big")
        if not self._stream:
            raise ProtocolError("a SPDY data frame names no stream")
        self._fin = bool(self._buffer[at + 4] & _FIN)
        self._left = int.from_bytes(self._buffer[at + 5 : at + 8], "big")
        return at + _HEAD

    def _piece(self, at: int) -> tuple[Data | None, int]:
        """What is there of the data frame that is being read; None when that is nothing."""
        end = min(at + self._left, len(self._buffer))
        if self._left and end == at:
            return None, at
        self._left -= end - at
        whole = not self._left
        event = Data(self._stream, bytes(memoryview(self._buffer)[at:end]), self._fin and whole)
        if whole:
            self._stream = 0
        return event, end

    def _control_size(self, at: int) -> int:
        version = int.from_bytes(self._buffer[at : at + 2], "big") & 0x7FFF
        size = int.from_bytes(self._buffer[at + 5 : at + 8], "big")
        if version != _VERSION:
            raise ProtocolError(f"a control frame of SPDY version {version}; only {_VERSION} is understood")
        if size > _MAX_CONTROL:
            raise ProtocolError(f"a SPDY control frame of {size} bytes is larger than the limit of {_MAX_CONTROL}")
        return size

    def _control_frame(self, at: int, end: int) -> Event | None:
        number = int.from_bytes(self._buffer[at + 2 : at + 4], "big")
        flags = self._buffer[at + 4]
        # SETTINGS, WINDOW_UPDATE and what SPDY does not know say nothing that is needed here.
        read = self._by_type.get(number)
        return None if read is None else read(bytes(self._buffer[at + _HEAD : end]), bool(flags & _FIN))

    def _opened(self, body: bytes, fin: bool) -> Opened:
        _at_least(body, 10)
        return Opened(_read_id(body), self._unpack(body[10:]), fin)

    def _replied(self, body: bytes, fin: bool) -> Replied:
        _at_least(body, 4)
        return Replied(_read_id(body), self._unpack(body[4:]), fin)

    def _headers(self, body: bytes, fin: bool) -> Data | None:
        # Of no use to anybody here, but the compression goes on through them.
        _at_least(body, 4)
        self._unpack(body[4:])
        return Data(_read_id(body), b"", True) if fin else None

    def _reset(self, body: bytes, _fin: bool) -> Reset:
        _at_least(body, 8)
        return Reset(_read_id(body), int.from_bytes(body[4:8], "big"))

    def _ping(self, body: bytes, _fin: bool) -> Ping:
        _at_least(body, 4)
        return Ping(int.from_bytes(body[:4], "big"))

    def _goaway(self, body: bytes, _fin: bool) -> Goaway:
        _at_least(body, 8)
        return Goaway(_read_id(body), int.from_bytes(body[4:8], "big"))

    def _pack(self, headers: Mapping[str, str]) -> bytes:
        parts = [len(headers).to_bytes(4, "big")]
        for name, value in headers.items():
            for text in (name.lower().encode("latin-1"), value.encode("latin-1")):
                parts += (len(text).to_bytes(4, "big"), text)
        return self._packer.compress(b"".join(parts)) + self._packer.flush(zlib.Z_SYNC_FLUSH)

    def _unpack(self, block: bytes) -> dict[str, str]:
        try:
            plain = self._unpacker.decompress(block, _MAX_HEADERS)
        except zlib.error as error:
            raise ProtocolError(f"a SPDY header block cannot be unpacked: {error}") from error
        if self._unpacker.unconsumed_tail:
            raise ProtocolError(f"a SPDY header block is larger than the limit of {_MAX_HEADERS} bytes")
        return _headers_in(plain)


def _headers_in(plain: bytes) -> dict[str, str]:
    count = int.from_bytes(plain[:4], "big")
    if len(plain) < 4 or count * 8 > len(plain):
        raise ProtocolError("a SPDY header block counts more headers than it has")
    texts: list[str] = []
    at = 4
    for _ in range(2 * count):
        begin = at + 4
        at = begin + int.from_bytes(plain[at:begin], "big")
        if at > len(plain):
            raise ProtocolError("a SPDY header block ends too early")
        texts.append(plain[begin:at].decode("latin-1"))
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _control(kind: Type, body: bytes, flags: int = 0) -> bytes:
    return b"\x80\x03" + kind.to_bytes(2, "big") + bytes((flags,)) + len(body).to_bytes(3, "big") + body


def _id(stream: int) -> bytes:
    return stream.to_bytes(4, "big")


def _read_id(body: bytes) -> int:
    return int.from_bytes(body[:4], "big") & _MAX_ID


def _at_least(body: bytes, size: int) -> None:
    if len(body) < size:
        raise ProtocolError("a SPDY control frame is too short")


_WORDS = (
    "options head post put delete trace accept accept-charset accept-encoding accept-language accept-ranges age allow "
    "authorization cache-control connection content-base content-encoding content-language content-length "
    "content-location content-md5 content-range content-type date etag expect expires from host if-match "
    "if-modified-since if-none-match if-range if-unmodified-since last-modified location max-forwards pragma "
    "proxy-authenticate proxy-authorization range referer retry-after server te trailer transfer-encoding upgrade "
    "user-agent vary via warning www-authenticate method get status"
)


def _dictionary() -> bytes:
    words = [*_WORDS.split(), "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"]
    rest = (
        "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-"
        "Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 "
        "Not Found500 Internal Server Error501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug "
        "Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,"
        "image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,publicprivatemax-age=gzip,deflate,"
        "sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0."
    )
    return b"".join(len(word).to_bytes(4, "big") + word.encode() for word in words) + rest.encode()


DICTIONARY = _dictionary()
"""What every SPDY/3 zlib context begins with; its Adler-32 stands at the head of each compressed stream."""
