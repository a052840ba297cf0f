"""A container runtime's streaming server in this process: it answers 101 and then is an echo.

Asked for SPDY/3.1 it echoes stdin to stdout (and each `data` stream of a port-forward to itself) and ends with an
outcome when stdin is closed; asked for anything else it echoes raw bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import msgspec

from octoedge.edge.ports import HttpAnswer, StreamRequest
from octoedge.errors import ApiError
from octoedge.transport.spdy import Data, Framer, Opened, Ping

_CHUNK = 64 * 1024
_HELD_UP_SECONDS = 0.3


@dataclass
class StreamingServer:
    """Make it, enter `running()`, ask for `url`."""

    exit_code: int = 0
    refuse: bytes = b""
    """An HTTP answer to be given instead of 101."""
    silent: bool = False
    """Whether it reads nothing after its 101."""
    sinks: bool = False
    """Whether it reads everything and says nothing after its 101."""
    flood: bool = False
    """Whether it writes without end after its 101."""
    port: int = 0
    heads: list[str] = field(default_factory=list)
    """The request of each connection."""
    open: int = 0
    """Connections that are open now."""
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    written: int = 0
    """Bytes of the flood so far."""
    held_up: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the flood has not moved for a moment."""
    writers: set[asyncio.StreamWriter] = field(default_factory=set)
    closes_after: int | None = None
    """Bytes of input after which the connection is dropped."""

    @property
    def url(self) -> str:
        """What a runtime would answer."""
        return f"http://127.0.0.1:{self.port}/exec/token"

    @contextlib.asynccontextmanager
    async def running(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[StreamingServer]:
        """Serve within the context; every connection has ended behind it."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.speak()
            await self.until_open(0)

    def cut(self) -> None:
        """Every connection breaks."""
        for writer in self.writers:
            writer.transport.abort()

    def speak(self) -> None:
        """A silent server ends its connections and is silent no more."""
        self.silent = False
        self.changed.set()

    async def until_open(self, count: int) -> None:
        """Return when so many connections are open."""
        async with asyncio.timeout(10):
            while self.open != count:
                self.changed.clear()
                await self.changed.wait()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        self.writers.add(writer)
        self.changed.set()
        try:
            with contextlib.suppress(OSError, EOFError):
                await self._talk(reader, writer)
        finally:
            writer.close()
            self.open -= 1
            self.writers.discard(writer)
            self.changed.set()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        self.heads.append(head)
        if self.refuse:
            writer.write(self.refuse)
            return
        spdy = "upgrade: spdy/3.1" in head.lower()
        upgrade = "SPDY/3.1" if spdy else "raw"
        answer = f"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: {upgrade}\r\n"
        if "x-stream-protocol-version: v4.channel.k8s.io" in head.lower():
            answer += "X-Stream-Protocol-Version: v4.channel.k8s.io\r\n"
        writer.write(f"{answer}\r\n".encode())
        if self.flood:
            await self._flood(reader, writer)
        elif self.silent:
            while self.silent:
                self.changed.clear()
                await self.changed.wait()
        elif self.sinks:
            while await reader.read(_CHUNK):
                pass
        elif spdy:
            await self._spdy(reader, writer)
        else:
            await self._echo(reader, writer)

    async def _echo(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        left = self.closes_after
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
            if left is not None:
                left -= len(data)
                if left <= 0:
                    return

    async def _flood(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async def write() -> None:
            while True:
                writer.write(b"y\n" * 8192)
                self.written += 16384
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(writer.drain(), _HELD_UP_SECONDS)
                    continue
                self.held_up.set()
                await writer.drain()

        async with asyncio.TaskGroup() as group:
            writing = group.create_task(write())
            while await reader.read(_CHUNK):
                pass
            writing.cancel()

    async def _spdy(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        framer = Framer()
        streams: dict[str, int] = {}
        back: dict[int, int] = {}
        while data := await reader.read(_CHUNK):
            for event in framer.feed(data):
                match event:
                    case Opened(stream, headers):
                        kind = headers["streamtype"]
                        streams[kind] = stream
                        writer.write(framer.syn_reply(stream, {}))
                        back[stream] = stream
                    case Data(stream, part, fin):
                        target = streams.get("stdout", stream) if stream == streams.get("stdin") else back[stream]
                        writer.write(framer.data(target, part, fin=fin))
                        if fin and stream == streams.get("stdin"):
                            writer.write(framer.data(streams["error"], _outcome(self.exit_code), fin=True))
                    case Ping(number):
                        writer.write(framer.ping(number))
            await writer.drain()


def _outcome(exit_code: int) -> bytes:
    """How kubelets tell of a command's end."""
    if exit_code == 0:
        return b'{"metadata":{},"status":"Success"}'
    causes = [{"reason": "ExitCode", "message": str(exit_code)}]
    return msgspec.json.encode(
        {
            "metadata": {}, "status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes},
            "message": f"command terminated with non-zero exit code: exit code {exit_code}",
        }
    )  # fmt: skip


@dataclass
class StreamsAt:
    """`ContainerStreams` whose every stream is at `server`; without one, nothing is streamed. It has no pages."""

    server: StreamingServer | None = None
    streams_asked: list[StreamRequest] = field(default_factory=list)
    unblocked: asyncio.Event = field(default_factory=asyncio.Event)

    async def unblock(self, request: StreamRequest) -> None:
        assert request.stdin
        self.unblocked.set()

    async def stream_url(self, request: StreamRequest) -> str:
        self.streams_asked.append(request)
        if self.server is None or request.pod == "none":
            raise ApiError(404, "NotFound", "pod does not exist")
        return self.server.url

    async def page(self, path: str) -> HttpAnswer:
        raise ApiError(404, "NotFound", f"{path} is not served by this node")
