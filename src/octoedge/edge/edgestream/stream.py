"""One stream of the tunnel, as a request's handler sees it: bytes both ways, as fast as the other side reads.

A *plain* stream (logs, metrics) is an answer and then bytes. A *raw* one (exec, attach, port-forward) is the bytes of
an HTTP connection, so what goes wrong is said as an HTTP answer among them: that is what every cloud passes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from octoedge.errors import ConnectionClosed
from octoedge.protocol.tunnel import CHUNK, WINDOW, Answer, Kind, encode, encode_answer, uvarint

Send = Callable[[bytes], Awaitable[None]]

MAX_BUFFER = 4 * WINDOW
"""Bytes that wait for the handler at most; a message may be 1 MiB long."""


class Stream:
    """Reads and writes one stream. Towards a Go cloud there is neither a status nor flow control."""

    def __init__(self, number: int, send: Send, *, agreed: bool, raw: bool = False) -> None:
        self.number = number
        self.answered = False
        """Whether anything was sent already."""
        self.removed = False
        """Whether the cloud has ended it."""
        self.taken = 0
        """Bytes that the handler has been given."""
        self._send = send
        self._agreed = agreed
        self._raw = raw
        self._head = uvarint(number) + uvarint(Kind.DATA)
        self._credit = WINDOW
        self._allowed = asyncio.Event()
        self._allowed.set()
        self._received = bytearray()
        self._read = 0
        self._there = asyncio.Event()
        self._room = asyncio.Event()

    # ---- the tunnel's side

    async def feed(self, data: bytes, deadline: float) -> None:
        """Bytes from the cloud; `ConnectionClosed` when nobody takes them within `deadline` seconds.

        An Octoedge cloud sends no more than it was allowed to; a Go cloud is held up for a moment.
        """
        if len(self._received) + len(data) > MAX_BUFFER and not self._agreed:
            await self._wait_for_room(len(data), deadline)
        if len(self._received) + len(data) > MAX_BUFFER:
            raise ConnectionClosed(f"stream {self.number} is sent more than is read here")
        self._received += data
        self._there.set()

    def grant(self, size: int) -> None:
        """The cloud has read; so many more bytes may be sent."""
        self._credit = min(self._credit + size, WINDOW)
        self._allowed.set()

    # ---- the handler's side

    async def answer(self, status: int, headers: dict[str, str]) -> None:
        """Begin the answer; towards a Go cloud the body alone must do."""
        self.answered = True
        if self._agreed:
            await self._send(encode(self.number, Kind.ANSWER, encode_answer(Answer(status, headers))))

    async def fail(self, status: int, text: str) -> None:
        """Answer with an error text; nothing when the answer has begun already, since it cannot be taken back."""
        if self.answered:
            return
        if self._raw:
            await self.write(_http(status, text))
            return
        await self.answer(status, {"Content-Type": "text/plain; charset=utf-8"})
        await self.write(text.encode())

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the reader is behind."""
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            if self._agreed:
                await self._take(len(chunk))
            self.answered = True
            await self._send(self._head + chunk)

    async def read(self) -> bytes:
        """What the cloud has sent since the last call, at least one byte; the stream's end comes as cancellation."""
        while not self._received:
            self._there.clear()
            await self._there.wait()
        data, self._received = bytes(self._received), bytearray()
        self.taken += len(data)
        self._room.set()
        return data

    async def done(self, size: int) -> None:
        """So many bytes were used: the cloud may send as many again; said in large steps."""
        self._read += size
        if self._agreed and self._read >= WINDOW // 2:
            size, self._read = self._read, 0
            await self._send(encode(self.number, Kind.CREDIT, uvarint(size)))

    async def end(self) -> None:
        """Tell the cloud that this stream is over."""
        await self._send(encode(self.number, Kind.REMOVE))

    async def _take(self, size: int) -> None:
        while self._credit < size:
            self._allowed.clear()
            await self._allowed.wait()
        self._credit -= size

    async def _wait_for_room(self, size: int, deadline: float) -> None:
        try:
            async with asyncio.timeout(deadline):
                while self._received and len(self._received) + size > MAX_BUFFER and not self.removed:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            return


def _http(status: int, text: str) -> bytes:
    """An error as a whole HTTP answer."""
    from http import HTTPStatus  # seldom needed, and never small

    reason = next((known.phrase for known in HTTPStatus if known == status), "Error")
    body = f"{text}\n".encode()
    head = (
        f"HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close\r\n"
        f"Content-Length: {len(body)}\r\n\r\n"
    )
    return head.encode("latin-1") + body
