"""One stream of a tunnel as the cloud sees it: an answer, then bytes, then the end or the reason why there is none.

What the edge sends waits here for the reader, bounded. An Octoedge edge sends no more than it was given credit for; a
Go edge is held up (with its whole tunnel) for a moment, then the slow stream ends. The same the other way round: what
is written waits for an Octoedge edge's credit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable

from octoedge.errors import ApiError, ConnectionClosed
from octoedge.protocol.tunnel import CHUNK, WINDOW, Answer, Kind, encode, uvarint

Send = Callable[[bytes], Awaitable[None]]

MAX_BUFFER = 4 * WINDOW
"""Bytes of one stream that wait for its reader at most; a message may be 1 MiB long."""
_GO_ANSWER = Answer(200, {"Content-Type": "text/plain"})
"""A Go edge tells no status: what its kubelet says is the body."""


class Stream:
    """Reads one stream; made by `Session.open`."""

    def __init__(self, number: int, send: Send, *, agreed: bool) -> None:
        self.number = number
        self.ended = False
        """Whether the edge has said that it is over, or the tunnel has gone."""
        self._send = send
        self._agreed = agreed
        self._answer: Answer | None = None if agreed else _GO_ANSWER
        self._chunks: deque[bytes] = deque()
        self._buffered = 0
        self._read = 0
        self._failure: ApiError | ConnectionClosed | None = None
        self._left = False
        self._changed = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._head = uvarint(number) + uvarint(Kind.DATA)
        self._credit = WINDOW
        self._allowed = asyncio.Event()

    # ---- the session's side

    def grant(self, size: int) -> None:
        """The edge has read; so many more bytes may be sent."""
        self._credit = min(self._credit + size, WINDOW)
        self._allowed.set()

    def answered(self, answer: Answer) -> None:
        """The edge has sent status and headers; only the first count."""
        if self._answer is None:
            self._answer = answer
            self._changed.set()

    async def feed(self, data: bytes, deadline: float) -> None:
        """Bytes from the edge; a reader that makes no room within `deadline` seconds loses its stream."""
        if self._buffered + len(data) > MAX_BUFFER and not self._agreed:
            await self._wait_for_room(len(data), deadline)
        if self._buffered + len(data) > MAX_BUFFER:
            self.end(ConnectionClosed(f"stream {self.number} was ended: its reader is too slow"))
        if self.ended:
            return
        self._chunks.append(data)
        self._buffered += len(data)
        self._changed.set()

    def end(self, failure: ApiError | ConnectionClosed | None = None) -> None:
        """No more will come; `failure` says that something is missing."""
        if not self.ended:
            self.ended = True
            self._failure = failure
            self._changed.set()
            self._room.set()
            self._allowed.set()

    # ---- the reader's side

    async def answer(self, deadline: float) -> Answer:
        """Status and headers; `ApiError` 504 when none came within `deadline` seconds."""
        try:
            async with asyncio.timeout(deadline):
                while self._answer is None and not self.ended:
                    await self._wait()
        except TimeoutError as error:
            raise ApiError(504, "Timeout", f"the node did not answer within {deadline:.0f} s") from error
        if self._answer is not None:
            return self._answer
        raise self._failure or ApiError(502, "InternalError", "the node ended the request without an answer")

    async def chunks(self) -> AsyncGenerator[bytes, None]:
        """The bytes as they come; raises when the stream broke off."""
        while True:
            while self._chunks and not self._left:
                chunk = self._chunks.popleft()
                self._buffered -= len(chunk)
                self._room.set()
                yield chunk
                await self._acknowledge(len(chunk))
            if self.ended or self._left:
                break
            await self._wait()
        if self._failure is not None:
            raise self._failure

    async def write(self, data: bytes) -> None:
        """Send bytes; waits while the edge is behind. What is written to a stream that has ended is dropped."""
        for start in range(0, len(data), CHUNK):
            chunk = data[start : start + CHUNK]
            while self._agreed and self._credit < len(chunk) and not self.ended:
                self._allowed.clear()
                await self._allowed.wait()
            if self.ended:
                return
            self._credit -= len(chunk)
            await self._send(self._head + chunk)

    def leave(self) -> None:
        """The reader wants no more: `chunks` ends."""
        self._left = True
        self._changed.set()

    async def _acknowledge(self, size: int) -> None:
        """Allow the edge to send what was read, in large steps."""
        self._read += size
        if self._agreed and self._read >= WINDOW // 2 and not self.ended:
            size, self._read = self._read, 0
            await self._send(encode(self.number, Kind.CREDIT, uvarint(size)))

    async def _wait(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def _wait_for_room(self, size: int, deadline: float) -> None:
        try:
            async with asyncio.timeout(deadline):
                while self._buffered and self._buffered + size > MAX_BUFFER and not self.ended:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            return
