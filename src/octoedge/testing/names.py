"""A name server, for tests of programs whose machine has lost its own."""

from __future__ import annotations

import asyncio
from typing import cast

_A = 1


class NameServer(asyncio.DatagramProtocol):
    """Knows one name as 127.0.0.1, and says nothing at all while it is `silent`."""

    def __init__(self, name: str) -> None:
        self._name = b"".join(bytes([len(part)]) + part.encode() for part in name.split(".")) + b"\0"
        self.silent = False
        self.asked = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # Python 3.11's selector loop has datagram transports that are no DatagramTransport by type.
        self._transport = cast("asyncio.DatagramTransport", transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.asked.set()
        if self.silent:
            return
        end = data.index(b"\0", 12) + 5
        known = data[12 : end - 4] == self._name
        found = known and int.from_bytes(data[end - 4 : end - 2], "big") == _A
        record = b"\xc0\x0c\0\x01\0\x01\0\0\0\0\0\x04\x7f\0\0\x01" if found else b""
        flags = b"\x81\x80" if known else b"\x81\x83"
        self._transport.sendto(
            data[:2] + flags + b"\0\x01" + bytes([0, found]) + b"\0\0\0\0" + data[12:end] + record, addr
        )
