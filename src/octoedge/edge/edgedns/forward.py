"""Everything that is no cluster name: asked of the node's own name servers, one after the other, in time.

Each question gets a socket of its own (a port that nobody can guess) and a number of its own. Servers that do not
answer are passed over; who answered last is asked first. Never asked is this server itself.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from collections.abc import Collection
from pathlib import Path

import msgspec

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.cache import Cache
from octoedge.errors import DeadlineError
from octoedge.runtime.address import is_address

TRY_SECONDS, TCP_SECONDS, WHOLE_SECONDS = 1.5, 3.0, 4.0
"""For one server by UDP, by TCP, and in all: a client waits 5 s."""
AT_ONCE = 128
_SERVERS = 3
_MOST_FILE = 64 * 1024


class Server(msgspec.Struct, frozen=True):
    """A name server."""

    host: str
    port: int = 53


class Resolvers:
    """The name servers of a resolv.conf, read again when the file changes."""

    def __init__(self, file: Path, own: Collection[str]) -> None:
        self._file = file
        self._own = frozenset(own)
        self._seen: tuple[int, int] = (0, 0)
        self._servers: list[Server] = []

    def servers(self) -> list[Server]:
        """Those to be asked, the best first."""
        try:
            found = os.stat(self._file)
            if (found.st_mtime_ns, found.st_ino) != self._seen:
                with self._file.open(errors="replace") as file:
                    self._servers = read_servers(file.read(_MOST_FILE), self._own)
                self._seen = (found.st_mtime_ns, found.st_ino)
        except OSError:
            self._servers, self._seen = [], (0, 0)
        return list(self._servers)

    def named(self) -> str:
        """Which they are, and where that was read, for who has to put it right."""
        hosts = ", ".join(server.host for server in self._servers)
        return f"{hosts} of {self._file}" if hosts else f"{self._file} names none that could be asked"

    def prefer(self, server: Server) -> None:
        """It has answered."""
        if server in self._servers and self._servers[0] != server:
            self._servers.remove(server)
            self._servers.insert(0, server)


def read_servers(text: str, own: Collection[str]) -> list[Server]:
    """The name servers that a resolv.conf names, without our own addresses."""
    words = [line.split("#", 1)[0].split(";", 1)[0].split() for line in text.splitlines()]
    hosts = [line[1] for line in words if len(line) > 1 and line[0] == "nameserver"]
    good = [host for host in dict.fromkeys(hosts) if is_address(host.partition("%")[0]) and host not in own]
    return [Server(host) for host in good[:_SERVERS]]


class Forwarder:
    """Asks them."""

    def __init__(self, servers: Resolvers) -> None:
        self._servers = servers
        self.cache = Cache()
        self.under_way = 0

    async def resolve(self, asked: bytes, *, whole: bool = False) -> bytes:
        """The answer to a query (with one question), under its number.

        `whole`: never a truncated one. Raises `DeadlineError` when there is none in time, or too much is under way.
        """
        now = asyncio.get_running_loop().time
        kept = self.cache.get(asked, now())
        if kept is not None:
            return kept
        if self.under_way >= AT_ONCE:
            raise DeadlineError(f"{AT_ONCE} questions to other name servers are under way already")
        self.under_way += 1
        try:
            async with asyncio.timeout(WHOLE_SECONDS):
                found = asked[:2] + (await self._ask_any(os.urandom(2) + asked[2:], whole))[2:]
        except TimeoutError as error:
            raise DeadlineError(f"no name server answered within {WHOLE_SECONDS:g} s") from error
        finally:
            self.under_way -= 1
        self.cache.put(asked, found, now())
        return found

    async def _ask_any(self, asked: bytes, whole: bool) -> bytes:
        servers = self._servers.servers()
        found = b""
        for server in servers if len(servers) != 1 else servers * 2:
            try:
                answer = await _ask(server, asked, whole)
            except (OSError, EOFError, ValueError, TimeoutError):
                continue
            if wire.code_of(answer) not in (wire.Code.FAILED, wire.Code.REFUSED):
                self._servers.prefer(server)
                return answer
            found = answer
        if not found:
            raise DeadlineError(f"none of the node's name servers answers: {self._servers.named()}")
        return found


async def _ask(server: Server, asked: bytes, whole: bool) -> bytes:
    async with asyncio.timeout(TRY_SECONDS):
        answer = await _by_udp(server, asked)
    if not (whole and wire.is_truncated(answer)):
        return answer
    async with asyncio.timeout(TCP_SECONDS):
        return await _by_tcp(server, asked)


async def _by_udp(server: Server, asked: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    with _socket(server, socket.SOCK_DGRAM) as made:
        made.connect(_address(server))
        await loop.sock_sendall(made, asked)
        while True:
            answer = await loop.sock_recv(made, 65535)
            if wire.answers_to(answer, asked):
                return answer


async def _by_tcp(server: Server, asked: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    made = _socket(server, socket.SOCK_STREAM)
    try:
        await loop.sock_connect(made, _address(server))
        reader, writer = await asyncio.open_connection(sock=made)
    except BaseException:
        made.close()
        raise
    try:
        writer.write(len(asked).to_bytes(2, "big") + asked)
        await writer.drain()
        answer = await reader.readexactly(int.from_bytes(await reader.readexactly(2), "big"))
        if not wire.answers_to(answer, asked):
            raise EOFError("the name server answered something else")
        return answer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _socket(server: Server, kind: socket.SocketKind) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in server.host else socket.AF_INET, kind)
    made.setblocking(False)
    return made


def _address(server: Server) -> tuple[str, int] | tuple[str, int, int, int]:
    if ":" not in server.host:
        return server.host, server.port
    host, _, zone = server.host.partition("%")
    return host, server.port, 0, socket.if_nametoindex(zone) if zone else 0
