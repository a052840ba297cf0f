"""A running daemon hands a capture of its channel to whoever may ask on this machine: a Unix socket, mode 0600.

    Tap ──heard──► bounded queue ──redacted──► lines of `protocol.capture` ──socket──► octoedge capture ──► a file

    ask      one line: {"node": "" or a name, "seconds": how long, "bytes": how many at most}
    answer   the lines of the capture; the socket is closed after the last

Nothing that is secret leaves the process. Who listens must not cost the daemon anything: what comes faster than it can
be redacted and read is left out, and the capture says so; big messages are redacted on another thread. A delta, whose
pieces could not be told apart from a secret's, is written as the whole object that it makes.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from octoedge.errors import MessageError
from octoedge.protocol import routes
from octoedge.protocol.payloads import ObjectDelta, ObjectUpdate
from octoedge.protocol.routes import Direction
from octoedge.runtime.clock import Clock
from octoedge.transport.local import beside, serve
from octoedge.transport.tap import Tap, Way
from octoedge.version import VERSION

if TYPE_CHECKING:
    from octoedge.protocol.capture import Held, Record
    from octoedge.protocol.message import Message
    from octoedge.protocol.redaction import Redactor

log = logging.getLogger(__name__)

_MAX_WAITING = 4 * 1024 * 1024
"""Bytes of messages that may wait to be written."""
_EACH = 256
"""Bytes that a message takes beside its text, about."""
_LARGEST = _MAX_WAITING // 2
"""Bytes of a message that is kept with its content."""
_BIG = 16 * 1024
"""Bytes of a message that is redacted on another thread."""
_ASK_SECONDS, _MAX_ASK = 5.0, 4096
_WRITE_SECONDS = 10.0
"""A reader that takes nothing for so long is left."""
_AT_ONCE = 4
"""Captures at the same time."""
_LONGEST, _MOST = 24 * 3600.0, 1 << 30
"""Seconds and bytes of a capture, whatever is asked for."""
_KEY = 32
_DELTA = routes.row_of(ObjectDelta).operation
_UPDATE = routes.row_of(ObjectUpdate).operation


class Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What somebody wants to have captured."""

    node: str = ""
    seconds: float = 60.0
    bytes: int = 64 * 1024 * 1024


HeldBy = Callable[[str], AsyncGenerator[tuple[str, str, bytes], None]]
"""Given a node's name, or nothing for all: (node, resource, object) of what is there when a capture begins."""
Now = Callable[[str, str], Awaitable[bytes | None]]
"""Given a node's name and a resource: the object as it is now at that end."""


class CaptureSocket:
    """Module: the socket. Without it the daemon runs all the same, and says so."""

    name = "capture socket"
    needs: tuple[str, ...] = ()

    def __init__(
        self, status_socket: Path, role: str, tap: Tap, clock: Clock, held: HeldBy, now: Now,
        knows: Callable[[str], bool] = lambda _: True,
    ) -> None:  # fmt: skip
        """`knows` says whether there is a node of this name, connected or not."""
        self._path = beside(status_socket, "capture")
        self._role = role
        self._tap = tap
        self._clock = clock
        self._held = held
        self._objects = now
        self._knows = knows
        self._open = 0

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve captures until cancelled."""
        ready()
        try:
            await serve(self._path, self._serve)
        except OSError as error:
            log.info("no capture can be asked for at %s: %s", self._path, error)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open += 1
        try:
            asked = await self._asked(reader)
            log.info("a capture of %s was asked for: %.0f s at most", asked.node or "all nodes", asked.seconds)
            await self._capture(asked, reader, writer)
        except (MessageError, OSError) as error:
            writer.write(f"{str(error) or 'nothing was asked'}\n".encode())
        finally:
            self._open -= 1
            writer.close()

    async def _asked(self, reader: asyncio.StreamReader) -> Asked:
        if self._open > _AT_ONCE:
            raise MessageError(f"{_AT_ONCE} captures are running here already")
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                text = await reader.readline()
            asked = msgspec.json.decode(text[:_MAX_ASK], type=Asked)
        except ValueError as error:  # no JSON, or a line that does not end
            raise MessageError(f"the question cannot be read: {error}") from error
        if not (0 < asked.seconds <= _LONGEST and 0 < asked.bytes <= _MOST):
            raise MessageError(f"a capture lasts {_LONGEST:.0f} s and has {_MOST} bytes at most, and more than nothing")
        if asked.node and not self._knows(asked.node):
            raise MessageError(f"there is no node {asked.node} here, so nothing of it can be captured")
        return asked

    async def _capture(self, asked: Asked, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        recording = Recording(self._role, asked, self._tap, self._clock, self._objects)
        with self._tap.heard_by(recording):
            async with asyncio.TaskGroup() as group:
                asking = group.create_task(_until_hung_up(reader, recording), name="who asked for a capture")
                try:
                    await self._send(recording, writer, asked.bytes)
                except (OSError, TimeoutError) as error:
                    log.info("a capture ended: its reader has gone or takes nothing (%s)", error)
                finally:
                    asking.cancel()

    async def _send(self, recording: Recording, writer: asyncio.StreamWriter, most: int) -> None:
        sent = 0
        async with contextlib.aclosing(recording.lines(self._held)) as lines:
            async for line in lines:
                writer.write(line)
                sent += len(line)
                if sent >= most:
                    recording.end("it has as many bytes as were asked for")
                async with asyncio.timeout(_WRITE_SECONDS):
                    await writer.drain()


async def _until_hung_up(reader: asyncio.StreamReader, recording: Recording) -> None:
    """Whoever asked ends the capture by closing its half of the connection."""
    with contextlib.suppress(OSError):
        while await reader.read(_MAX_ASK):
            pass
    recording.end("whoever asked has ended it")


class _Heard(msgspec.Struct, frozen=True):
    at: float
    way: Way
    direction: Direction | None
    """None: the connection has opened, or closed."""
    data: bytes = b""
    size: int = 0


class Recording:
    """One capture: listens, and gives the lines."""

    def __init__(self, role: str, asked: Asked, tap: Tap, clock: Clock, now: Now) -> None:
        from octoedge.protocol import redaction

        self._over = ""
        self._role = role
        self._asked = asked
        self._tap = tap
        self._clock = clock
        self._objects = now
        self._redactor: Redactor = redaction.Redactor(os.urandom(_KEY))
        self._loop = asyncio.get_running_loop()
        self._began = self._loop.time()
        self._waiting: deque[_Heard] = deque()
        self._waiting_bytes = 0
        self._missing = 0
        self._dropped = 0
        self._messages = 0
        self._nodes: set[str] = set()
        self._news = asyncio.Event()

    def opened(self, way: Way) -> None:
        self._put(_Heard(self._now(), way, None))

    def closed(self, way: Way) -> None:
        self._put(_Heard(self._now(), way, None, b"closed"))

    def heard(self, way: Way, direction: Direction, data: bytes, size: int) -> None:
        if self._waiting_bytes + _cost(data) > _MAX_WAITING:
            self._missing += self._wanted(way)
            return
        self._put(_Heard(self._now(), way, direction, data, size))

    def end(self, why: str) -> None:
        """End soon; idempotent."""
        self._over = self._over or why
        self._news.set()

    async def lines(self, held: HeldBy) -> AsyncGenerator[bytes, None]:
        """The lines of the file, until the time is over or somebody ends it."""
        from octoedge.protocol import capture

        node = self._asked.node
        begin = capture.Begin(role=self._role, program=f"Octoedge {VERSION}", node=node, time=self._clock.now())
        yield capture.line(begin)
        for way in self._tap.ways:
            if self._wanted(way):
                yield capture.line(self._opened(0.0, way, before=True))
        async with contextlib.aclosing(held(node)) as objects:
            async for owner, resource, body in objects:
                yield capture.line(await self._held(owner, resource, body))
                if self._over:
                    break
        while not self._over:
            await self._wait()
            for _ in range(len(self._waiting)):
                for record in await self._next():
                    yield capture.line(record)
        for record in self._lost():
            yield capture.line(record)
        yield capture.line(
            capture.End(
                at=self._now(), why=self._over, messages=self._messages, dropped=self._dropped,
                nodes=tuple(sorted(self._nodes)),
            )
        )  # fmt: skip

    async def _wait(self) -> None:
        """Until there is something to write, or nothing more will be."""
        left = self._began + self._asked.seconds - self._loop.time()
        self._news.clear()
        if not self._waiting and not self._over:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(left):
                    await self._news.wait()
        if self._now() >= self._asked.seconds:
            self.end("its time is over")

    async def _next(self) -> list[Record]:
        heard = self._waiting.popleft()
        self._waiting_bytes -= _cost(heard.data)
        return [*self._lost(), await self._record(heard)]

    def _lost(self) -> Iterator[Record]:
        from octoedge.protocol import capture

        if self._missing:
            self._dropped += self._missing
            yield capture.Dropped(at=self._now(), messages=self._missing)
            self._missing = 0

    async def _record(self, heard: _Heard) -> Record:
        from octoedge.protocol import capture

        if heard.direction is None and heard.data:
            return capture.Closed(at=heard.at, connection=heard.way.number)
        if heard.direction is None:
            return self._opened(heard.at, heard.way)
        self._messages += 1
        message, whole = await self._message(heard)
        return capture.Said(
            at=heard.at,
            connection=heard.way.number,
            way=capture.UP if heard.direction is Direction.UP else capture.DOWN,
            size=heard.size,
            message=message,
            left_out=0 if whole else len(heard.data),
        )

    async def _message(self, heard: _Heard) -> tuple[Message, bool]:
        """What is written of it, and whether that is all."""
        from octoedge.protocol import codec
        from octoedge.protocol.message import Header, Message, Route

        try:
            message = codec.decode(heard.data)
        except MessageError:
            return Message(Header(msg_id=""), Route(operation="(not a message)")), True
        known = message if message.route.operation != _DELTA else await self._whole(heard.way, message)
        if known is None or len(heard.data) > _LARGEST:
            return Message(message.header, message.route), False
        if len(bytes(known.content)) > _BIG:
            return await asyncio.to_thread(self._redactor.message, known), True
        return self._redactor.message(known), True

    async def _whole(self, way: Way, message: Message) -> Message | None:
        """The update that a delta stands for; None when nobody holds either version any more."""
        from octoedge.protocol import deltas

        held = await self._objects(self._node_of(way), message.route.resource)
        try:
            body = deltas.apply(held or b"", message.data())
        except MessageError:
            return None
        route = msgspec.structs.replace(message.route, operation=_UPDATE)
        return msgspec.structs.replace(message, route=route, content=msgspec.Raw(body))

    def _opened(self, at: float, way: Way, *, before: bool = False) -> Record:
        from octoedge.protocol import capture

        theirs, ours = self._redactor.headers(way.peer.headers), self._redactor.headers(way.said)
        cloud = self._role == capture.CLOUD
        self._nodes.add(self._node_of(way))
        return capture.Opened(
            at=at,
            connection=way.number,
            node=self._node_of(way),
            edge=theirs if cloud else ours,
            cloud=ours if cloud else theirs,
            before=before,
        )

    async def _held(self, node: str, resource: str, body: bytes) -> Held:
        from octoedge.protocol import capture

        secret = "/secret/" in resource
        if len(body) > _BIG:
            made = await asyncio.to_thread(self._redactor.document, body, secret=secret)
        else:
            made = self._redactor.document(body, secret=secret)
        return capture.Held(node=node, resource=resource, object=msgspec.Raw(made))

    def _wanted(self, way: Way) -> bool:
        return self._asked.node in ("", self._node_of(way))

    def _node_of(self, way: Way) -> str:
        from octoedge.protocol import handshake

        return way.peer.node or way.said.get(handshake.NODE, "")

    def _put(self, heard: _Heard) -> None:
        if not self._wanted(heard.way):
            return
        self._waiting.append(heard)
        self._waiting_bytes += _cost(heard.data)
        self._news.set()

    def _now(self) -> float:
        return round(self._loop.time() - self._began, 6)


def _cost(data: bytes) -> int:
    """What a waiting message counts for; of the largest, whose content is not kept, two may wait."""
    return min(len(data), _LARGEST - _EACH) + _EACH
