"""One stream of the tunnel, as a request's handler sees it: an answer, then bytes, as fast as the other side reads."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from octoedge.protocol.tunnel import CHUNK, WINDOW, Answer, Kind, encode, encode_answer, uvarint

Send = Callable[[bytes], Awaitable[None]]


class Stream:
    """Writes to one stream. Towards a Go cloud there is neither a status nor flow control."""

    def __init__(self, number: int, send: Send, *, agreed: bool) -> None:
        self.number = number
        self.answered = False
        """Whether anything was sent already."""
        self.removed = False
        """Whether the cloud has ended it."""
        self._send = send
        self._agreed = agreed
        self._head = uvarint(number) + uvarint(Kind.DATA)
        self._credit = WINDOW
        self._allowed = asyncio.Event()
        self._allowed.set()

    async def answer(self, status: int, headers: dict[str, str]) -> None:
        """Begin the answer; towards a Go cloud the body alone must do."""
        self.answered = True
        if self._agreed:
            await self._send(encode(self.number, Kind.ANSWER, encode_answer(Answer(status, headers))))

    async def fail(self, status: int, text: str) -> None:
        """Answer with an error text; nothing when the answer has begun already, since it cannot be taken back."""
        if not self.answered:
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

    async def end(self) -> None:
        """Tell the cloud that this stream is over."""
        await self._send(encode(self.number, Kind.REMOVE))

    def grant(self, size: int) -> None:
        """The cloud has read; so many more bytes may be sent."""
        self._credit = min(self._credit + size, WINDOW)
        self._allowed.set()

    async def _take(self, size: int) -> None:
        while self._credit < size:
            self._allowed.clear()
            await self._allowed.wait()
        self._credit -= size
