"""Header blocks of HTTP/2 (RFC 7541), as much as gRPC needs.

Writing: every field as a literal that is not indexed. Reading: everything. As clients we have no dynamic table (our
SETTINGS forbid it), so blocks that repeat, as the answers of gRPC do, are decoded once; as servers we have one.
"""

from __future__ import annotations

from collections.abc import Iterable

from octoedge.errors import ProtocolError

Fields = tuple[tuple[str, str], ...]

_NAMES = (
    ":authority", ":method", ":method", ":path", ":path", ":scheme", ":scheme", ":status", ":status", ":status",
    ":status", ":status", ":status", ":status", "accept-charset", "accept-encoding", "accept-language",
    "accept-ranges", "accept", "access-control-allow-origin", "age", "allow", "authorization", "cache-control",
    "content-disposition", "content-encoding", "content-language", "content-length", "content-location",
    "content-range", "content-type", "cookie", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "link", "location",
    "max-forwards", "proxy-authenticate", "proxy-authorization", "range", "referer", "refresh", "retry-after",
    "server", "set-cookie", "strict-transport-security", "transfer-encoding", "user-agent", "vary", "via",
    "www-authenticate",
)  # fmt: skip
_VALUES = {
    2: "GET", 3: "POST", 4: "/", 5: "/index.html", 6: "http", 7: "https", 8: "200", 9: "204", 10: "206", 11: "304",
    12: "400", 13: "404", 14: "500", 16: "gzip, deflate",
}  # fmt: skip
_LENGTHS = (
    "ISXXXXXXXTZXXZXXXXXXXXZXXXXXXXXXBFFHIBDGFFDGDBBBAAABBBBBBBCDKBHFIBCCCCCCCCCCCCCCCCCCCCCCDCDIOIJBKABABABBBACCBBBAB"
    "CBAABCCCCCKGJIXPRPPRRRSRSSSSSTSTTRSTSSSSQRSRSSTRQPRRSSQSRRTQRSSQQRQSRSSPRRRSRRSVVPORSRUVVVWWVTUOQVWWVWTQQVVXWWWPTP"
    "QRQQSRRUUTTVSVWVVWWWWWXWWWWWVZ"
)
"""Bits of each symbol's Huffman code, A = 5; the code is canonical, so the lengths say all (RFC 7541, appendix B)."""
_END = 256
_CACHED = 64
TABLE = 4096
"""Bytes of the dynamic table that a peer may count on before it has read any settings."""
_ENTRY = 32
"""Bytes that an entry of the dynamic table counts beyond its texts."""
MAX_BLOCK = 64 * 1024
"""Bytes of one header block."""


def encode(fields: Iterable[tuple[str, str]]) -> bytes:
    """A header block; names must be lower case."""
    out = bytearray()
    for name, value in fields:
        out.append(0)
        for text in (name.encode(), value.encode()):
            out += _integer(len(text), 7)
            out += text
    return bytes(out)


class Decoder:
    """Reads the header blocks of one connection; `limit` is the size of the dynamic table in bytes."""

    def __init__(self, limit: int = 0) -> None:
        self._limit = self._size = limit
        self._table: list[tuple[str, str]] = []
        """The dynamic table, newest first."""
        self._seen: dict[bytes, Fields] = {}
        self._huffman: dict[tuple[int, int], int] = {}

    def decode(self, block: bytes) -> Fields:
        """The fields of a block; `ProtocolError` when it is none."""
        known = self._seen.get(block)
        if known is not None:
            return known
        try:
            fields = tuple(self._fields(block))
        except (IndexError, UnicodeDecodeError) as error:
            raise ProtocolError(f"a header block cannot be read: {error}") from error
        if not self._limit and len(self._seen) < _CACHED:
            self._seen[block] = fields
        return fields

    def _fields(self, block: bytes) -> Iterable[tuple[str, str]]:
        at = 0
        while at < len(block):
            first = block[at]
            if first & 0x80:  # an indexed field
                index, at = _read_integer(block, at, 7)
                yield self._known(index)
            elif first & 0xE0 == 0x20:  # a new size of the dynamic table
                size, at = _read_integer(block, at, 5)
                if size > self._limit:
                    raise ProtocolError(f"the peer wants a header table of {size} bytes; {self._limit} were agreed")
                self._size = size
                self._forget()
            else:  # a literal: to be kept in the table, or not
                index, at = _read_integer(block, at, 6 if first & 0x40 else 4)
                if index:
                    name = self._known(index)[0]
                else:
                    name, at = self._text(block, at)
                value, at = self._text(block, at)
                if first & 0x40:
                    self._table.insert(0, (name, value))
                    self._forget()
                yield name, value

    def _known(self, index: int) -> tuple[str, str]:
        if 1 <= index <= len(_NAMES):
            return _NAMES[index - 1], _VALUES.get(index, "")
        if len(_NAMES) < index <= len(_NAMES) + len(self._table):
            return self._table[index - len(_NAMES) - 1]
        raise ProtocolError(f"header field {index} is not in the table")

    def _forget(self) -> None:
        """Drop the oldest entries that the table's size does not hold."""
        left = self._size
        for count, (name, value) in enumerate(self._table):
            left -= len(name.encode()) + len(value.encode()) + _ENTRY
            if left < 0:
                del self._table[count:]
                return

    def _text(self, block: bytes, at: int) -> tuple[str, int]:
        packed = block[at] & 0x80
        size, at = _read_integer(block, at, 7)
        data = block[at : at + size]
        if len(data) < size:
            raise ProtocolError("a header block ends within a text")
        return (self._unpack(data) if packed else data).decode(), at + size

    def _unpack(self, data: bytes) -> bytes:
        """The text that Huffman codes stand for."""
        codes = self._huffman or _codes(self._huffman)
        out = bytearray()
        code, length = 0, 0
        for byte in data:
            for shift in range(7, -1, -1):
                code = code << 1 | byte >> shift & 1
                length += 1
                symbol = codes.get((length, code))
                if symbol == _END:
                    raise ProtocolError("a header text holds the end-of-string symbol")
                if symbol is not None:
                    out.append(symbol)
                    code, length = 0, 0
        if length > 7 or code != (1 << length) - 1:
            raise ProtocolError("a header text is padded with something else than ones")
        return bytes(out)


def _codes(into: dict[tuple[int, int], int]) -> dict[tuple[int, int], int]:
    """Fill in (length, code) → symbol."""
    lengths = [ord(letter) - ord("A") + 5 for letter in _LENGTHS]
    code, before = 0, 0
    for symbol in sorted(range(len(lengths)), key=lambda symbol: (lengths[symbol], symbol)):
        code <<= lengths[symbol] - before
        before = lengths[symbol]
        into[before, code] = symbol
        code += 1
    return into


def _integer(value: int, bits: int) -> bytes:
    """`value` with a prefix of `bits` bits, whose other bits are zero."""
    limit = (1 << bits) - 1
    if value < limit:
        return bytes((value,))
    out = bytearray((limit,))
    value -= limit
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_integer(block: bytes, at: int, bits: int) -> tuple[int, int]:
    limit = (1 << bits) - 1
    value = block[at] & limit
    at += 1
    if value < limit:
        return value, at
    for shift in range(0, 28, 7):
        byte = block[at]
        at += 1
        value += (byte & 0x7F) << shift
        if not byte & 0x80:
            return value, at
    raise ProtocolError("a number in a header block is too large")
