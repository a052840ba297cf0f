"""The tunnel of one node: opens streams, hands what comes to each, ends them all when it ends."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import NoReturn, Protocol, runtime_checkable

from octoedge.cloud.cloudstream.kept import KeptLogs
from octoedge.cloud.cloudstream.stream import Stream
from octoedge.errors import ConnectionClosed, MessageError
from octoedge.protocol.tunnel import (
    ADDRESS_HEADER,
    AGREEMENT,
    VERSION,
    Connector,
    Frame,
    Kind,
    decode,
    decode_answer,
    decode_log_end,
    encode,
    encode_connector,
    read_uvarint,
)
from octoedge.transport.connection import Connection

log = logging.getLogger(__name__)

_WRITE_SECONDS = 15.0
_SLOW_READER_SECONDS = 5.0
_FRESH_SECONDS = 1.0
"""A node heard of so lately is not asked for a sign of life."""
_SIGN_SECONDS = 0.8
"""How long it may take to give one; longer where the last one took long, so many times as long."""
_SLOW_LINK = 3.0
_UNMEASURED_SECONDS = 5.0
"""How long it may take where nothing is known of the link yet, just after the tunnel has opened."""
_MOST_SIGN_SECONDS = 15.0


@runtime_checkable
class Heard(Protocol):
    """A connection that knows when it last heard of the other end (the event loop's time), and can ask for a sign."""

    heard: float
    round_trip: float

    async def ping(self, timeout: float) -> None:
        """Return at the next sign of life; `ConnectionClosed` when none comes within `timeout` seconds."""
        ...

    async def measure(self) -> None:
        """Have `round_trip` measured, without waiting for it."""
        ...


class Tunnel:
    """One node's open tunnel."""

    def __init__(self, node: str, connection: Connection, numbers: Iterator[int], kept: KeptLogs | None = None) -> None:
        self.node = node
        self.address = connection.peer.headers.get(ADDRESS_HEADER.lower(), "")
        """The internal IP that the node says it has; empty when it says none."""
        self._connection = connection
        self._numbers = numbers
        self._kept = kept
        self._agreed = connection.peer.headers.get(AGREEMENT.lower()) == VERSION
        self._streams: dict[int, Stream] = {}
        self._why = ""
        self._by_kind: dict[Kind, Callable[[Stream, Frame], Awaitable[None]]] = {
            Kind.DATA: self._data,
            Kind.ANSWER: self._answer,
            Kind.REMOVE: self._remove,
            Kind.CREDIT: self._granted,
        }

    @property
    def silent(self) -> float:
        """Seconds since the node was heard of; 0 where the connection does not know."""
        if not isinstance(self._connection, Heard):
            return 0.0
        return asyncio.get_running_loop().time() - self._connection.heard

    def __len__(self) -> int:
        return len(self._streams)

    async def confirm(self) -> None:
        """Return when the node is surely there; `ConnectionClosed` when it gives no sign of life within a second,
        or thrice the link's round trip.

        A link that was cut without a word breaks seconds later only, and who asks now should not wait for that.
        """
        if isinstance(self._connection, Heard) and self.silent > _FRESH_SECONDS:
            usual = _SLOW_LINK * self._connection.round_trip or _UNMEASURED_SECONDS
            await self._connection.ping(min(max(_SIGN_SECONDS, usual), _MOST_SIGN_SECONDS))

    async def run(self) -> NoReturn:
        """Read until the tunnel ends, which raises `ConnectionClosed`; then every stream has ended too."""
        reason = ConnectionClosed(f"the tunnel to node {self.node} has ended")
        try:
            if isinstance(self._connection, Heard):
                await self._connection.measure()
            while True:
                await self._take(await self._connection.receive())
        except ConnectionClosed as error:
            reason = ConnectionClosed(self._why or str(error))
            raise reason from error
        finally:
            for stream in self._streams.values():
                stream.end(reason)
            self._streams.clear()

    async def end(self, why: str) -> None:
        """End the tunnel; `run` then raises with `why`."""
        self._why = self._why or why
        await self._connection.close()

    async def open(self, kind: Kind, connector: Connector) -> Stream:
        """Begin a stream; `ConnectionClosed` when the tunnel breaks on it. Must be given back by `close`."""
        number = next(self._numbers)
        stream = Stream(number, self._send, agreed=self._agreed)
        # Known before the message leaves: the answer may be here before the send returns.
        self._streams[number] = stream
        log.debug("> %s stream %d: %s", self.node, number, kind.name)
        try:
            await self._send(encode(number, kind, encode_connector(number, connector)))
        except BaseException:
            self._streams.pop(number, None)
            raise
        return stream

    async def close(self, stream: Stream) -> None:
        """The reader has gone. The edge is told once, unless it ended the stream itself."""
        if self._streams.pop(stream.number, None) is None or stream.ended:
            return
        stream.end()
        try:
            await self._send(encode(stream.number, Kind.REMOVE))
        except ConnectionClosed:
            log.debug("= %s stream %d ended with its tunnel", self.node, stream.number)

    async def _take(self, message: bytes) -> None:
        try:
            frame = decode(message)
            if frame.kind is Kind.LOG_END and self._kept is not None:
                self._kept.take(self.node, decode_log_end(frame.data, self._kept.limits.container))
                return
            # Streams that are over here may still be talked about there: that is left alone.
            stream = self._streams.get(frame.stream)
            handle = self._by_kind.get(frame.kind)
            if handle is None:
                raise MessageError(f"an edge does not send {frame.kind.name}")
            if stream is None:
                log.debug("< %s %s of stream %d, which is not open here", self.node, frame.kind.name, frame.stream)
                return
            await handle(stream, frame)
        except MessageError as error:
            log.warning("node %s sent something in its tunnel that is left alone: %s", self.node, error)

    async def _data(self, stream: Stream, frame: Frame) -> None:
        await stream.feed(frame.data, _SLOW_READER_SECONDS)
        if stream.ended and self._streams.pop(stream.number, None) is not None:
            await self._send(encode(stream.number, Kind.REMOVE))

    async def _answer(self, stream: Stream, frame: Frame) -> None:
        stream.answered(decode_answer(frame.data))

    async def _granted(self, stream: Stream, frame: Frame) -> None:
        stream.grant(read_uvarint(frame.data)[0])

    async def _remove(self, stream: Stream, frame: Frame) -> None:
        self._streams.pop(frame.stream, None)
        stream.end()

    async def _send(self, message: bytes) -> None:
        try:
            async with asyncio.timeout(_WRITE_SECONDS):
                await self._connection.send(message)
        except TimeoutError as error:
            await self._connection.close()
            raise ConnectionClosed(f"the tunnel to node {self.node} took nothing for {_WRITE_SECONDS:.0f} s") from error
