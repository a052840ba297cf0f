"""One open tunnel: messages of the cloud open, feed and end streams; every stream is a task of its own.

Between two Octoedges the reader never waits for a stream, so a slow one holds up nobody. Whatever ends a stream, the
cloud is told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import resource
from collections.abc import Awaitable, Callable, Mapping
from typing import NoReturn, Protocol, runtime_checkable

from octoedge.edge.edgestream.stream import Stream
from octoedge.edge.edgestream.tails import Tails
from octoedge.errors import ApiError, ConnectionClosed, MessageError
from octoedge.protocol.tunnel import (
    AGREEMENT,
    OPENING,
    PINGS,
    RARELY,
    RAW,
    VERSION,
    Connector,
    Frame,
    Kind,
    decode,
    decode_connector,
    read_uvarint,
)
from octoedge.transport.connection import Connection

log = logging.getLogger(__name__)

Handler = Callable[[Connector, Stream], Awaitable[None]]
"""Serves one stream; raises `ApiError` to answer with its code and text."""

MAX_STREAMS = 4096
"""Streams at once on one node; further ones are refused, and those that the limit of open files leaves no room for."""
PING_SECONDS = 5.0
"""Between two pings for a Go cloud, and between two looks whether one is due for ours."""
GO_FIRST_SECONDS = 150.0
"""How long a Go cloud may leave its first ping unanswered: before it serves a tunnel it writes into the Node, asleep
for 20 s after each failure, for 2 min. Hung up on meanwhile, it later takes the dead tunnel for the node's, instead of
the one that was dialled since: logs and exec would fail until that one breaks."""
_GOODBYE_SECONDS = 1.0
_SLOW_READER_SECONDS = 5.0
"""How long a Go cloud's tunnel is held up by a container that does not read; shorter than the deadline of a ping."""


@runtime_checkable
class Pings(Protocol):
    """A connection that can ask whether the other end is still there."""

    async def ping(self, timeout: float) -> None:
        """Return when the peer has answered; raises `ConnectionClosed` when it has not in time."""
        ...


@runtime_checkable
class Movable(Protocol):
    """A connection that can tell that this machine's own address has changed."""

    def moved(self) -> str:
        """What has changed, as a sentence; empty when nothing has."""
        ...


class Tunnel:
    """Serves one connection until it ends."""

    def __init__(
        self, connection: Connection, handlers: Mapping[Kind, Handler], *, write_seconds: float = 15.0,
        silence_seconds: float = 15.0, tails: Tails | None = None, news: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        """`tails` hands the ends of logs to a cloud that keeps them.

        `news` changes its value when the channel has begun anew or was silent: a reason to ask here too, at once.
        """
        self._connection = connection
        self._tails = tails
        self._handlers = handlers
        self._write_seconds = write_seconds
        self._silence_seconds = silence_seconds
        self._news = news
        self._agreed = connection.peer.headers.get(AGREEMENT.lower()) == VERSION
        self._rarely = connection.peer.headers.get(PINGS.lower()) == f"{RARELY:g}"
        self._most = min(MAX_STREAMS, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)
        self._streams: dict[int, tuple[Stream, asyncio.Task[None]]] = {}
        self._by_kind: dict[Kind, Callable[[Frame], Awaitable[None]]] = {
            Kind.DATA: self._data,
            Kind.ANSWER: self._ignore,
            Kind.LOG_END: self._ignore,
            Kind.REMOVE: self._remove,
            Kind.CREDIT: self._credit,
            Kind.CLOSE: self._close,
        }

    def __len__(self) -> int:
        return len(self._streams)

    async def run(self) -> NoReturn:
        """Read until the connection ends, which raises `ConnectionClosed`; then every stream has ended too."""
        reason = ConnectionClosed("the tunnel has ended")
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ping(), name="tunnel ping")
                if self._tails is not None:
                    group.create_task(self._tails.run(self._send), name="ends of logs")
                await self._read(group)
        except* ConnectionClosed as closed:
            first = closed.exceptions[0]
            reason = first if isinstance(first, ConnectionClosed) else reason
        raise reason

    async def _read(self, group: asyncio.TaskGroup) -> NoReturn:
        while True:
            message = await self._connection.receive()
            try:
                frame = decode(message)
                if frame.kind in OPENING:
                    await self._open(frame, group)
                else:
                    await self._by_kind[frame.kind](frame)
            except MessageError as error:
                log.warning("the cloud sent something that is left alone: %s", error)

    async def _open(self, frame: Frame, group: asyncio.TaskGroup) -> None:
        if frame.stream in self._streams:
            raise MessageError(f"stream {frame.stream} is opened twice")
        stream = Stream(frame.stream, self._send, agreed=self._agreed, raw=frame.kind in RAW)
        if len(self._streams) >= self._most:
            await stream.fail(503, f"this node serves {self._most} streams already; try again later")
            await stream.end()
            return
        log.debug("< stream %d: %s", frame.stream, frame.kind.name)
        task = group.create_task(self._serve(frame, stream), name=f"stream {frame.stream}")
        self._streams[frame.stream] = (stream, task)
        # A task that is cancelled before its first step never reaches its own end.
        task.add_done_callback(lambda _: self._streams.pop(frame.stream, None))

    async def _serve(self, frame: Frame, stream: Stream) -> None:
        try:
            await self._handle(frame, stream)
        except asyncio.CancelledError:
            # When the whole tunnel stops, a REMOVE would look like the log's end; the broken connection says it all.
            task = asyncio.current_task()
            if not stream.removed or task is None or task.uncancel() > 0:
                raise
        with contextlib.suppress(ConnectionClosed, TimeoutError):
            async with asyncio.timeout(_GOODBYE_SECONDS):
                await stream.end()
        log.debug("> stream %d has ended", stream.number)

    async def _handle(self, frame: Frame, stream: Stream) -> None:
        try:
            await self._handlers[frame.kind](decode_connector(frame.data), stream)
        except ApiError as error:
            await stream.fail(error.code, error.message)
        except MessageError as error:
            await stream.fail(400, str(error))
        except ConnectionClosed:
            raise
        except Exception:
            log.exception("stream %d failed", stream.number)
            await stream.fail(500, "the node could not serve this request; its log says why")

    async def _data(self, frame: Frame) -> None:
        known = self._streams.get(frame.stream)
        if known is None or known[0].removed:
            return
        stream, task = known
        try:
            await stream.feed(frame.data, _SLOW_READER_SECONDS)
        except ConnectionClosed as error:
            log.warning("%s; it is ended", error)
            stream.removed = True
            task.cancel()

    async def _remove(self, frame: Frame) -> None:
        known = self._streams.get(frame.stream)
        if known is not None and not known[0].removed:
            known[0].removed = True
            known[1].cancel()

    async def _credit(self, frame: Frame) -> None:
        known = self._streams.get(frame.stream)
        if known is not None:
            known[0].grant(read_uvarint(frame.data)[0])

    async def _close(self, frame: Frame) -> None:
        raise ConnectionClosed(f"the cloud ended the tunnel: {frame.data[:300].decode(errors='replace')}")

    async def _ignore(self, frame: Frame) -> None:
        """The cloud does not answer."""

    async def _ping(self) -> None:
        if not isinstance(self._connection, Pings):
            return
        usual = max(self._silence_seconds - PING_SECONDS, PING_SECONDS)
        patience = usual if self._agreed else max(usual, GO_FIRST_SECONDS)
        while True:
            await self._until_due()
            await self._connection.ping(patience)
            patience = usual

    async def _until_due(self) -> None:
        news = self._news()
        for _ in range(int(RARELY // PING_SECONDS) if self._rarely else 0):
            await asyncio.sleep(PING_SECONDS)
            if self._news() != news or (isinstance(self._connection, Movable) and self._connection.moved()):
                return
        await asyncio.sleep(RARELY % PING_SECONDS if self._rarely else PING_SECONDS)

    async def _send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(self._write_seconds):
                await self._connection.send(message)
        except TimeoutError as error:
            raise ConnectionClosed(f"the tunnel took nothing for {self._write_seconds:.0f} s") from error
