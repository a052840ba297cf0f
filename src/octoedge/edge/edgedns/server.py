"""The name server: queries in by UDP and TCP, answers out.

a query ──► answer.verdict ──► known: at once
                            ├► another name: what that one has, put together
                            └► elsewhere: `forward`, at most so many at a time
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import cast

import msgspec

from octoedge.edge.edgedns import wire
from octoedge.edge.edgedns.answer import TTL, Chase, Elsewhere, Known, verdict
from octoedge.edge.edgedns.forward import Forwarder
from octoedge.edge.edgedns.records import Records
from octoedge.edge.edgedns.wire import Code, Name, Query
from octoedge.errors import DeadlineError, MessageError

log = logging.getLogger(__name__)

Spawn = Callable[[Coroutine[None, None, None]], None]

CONNECTIONS, IDLE_SECONDS = 64, 10.0
_ALIASES = 4
"""Names that stand for names that stand for …"""
_WAITING = 256
"""Queries by UDP that wait for something else."""
_IP_FREEBIND = 15


class NameServer:
    """Answers queries; knows no sockets."""

    def __init__(self, records: Records, forwarder: Forwarder, domain: Name) -> None:
        self.records = records
        self._forwarder = forwarder
        self._domain = domain

    def at_once(self, data: bytes, most: int = 0) -> bytes | Query | None:
        """The answer; the query where the answer takes a while; None for what deserves none.

        `most`: how many bytes the way takes; 0: as many as the asker says that he takes by UDP.
        """
        query = wire.read_query(data)
        if query is None:
            return None
        if query.wrong is not Code.OK:
            return wire.failed(query, query.wrong)
        try:
            found = verdict(query, self.records, self._domain)
            if not isinstance(found, Known):
                return query
            return _say(query, found, most or query.most)
        except MessageError as error:
            log.debug("a query for %s: %s", ".".join(query.name)[:80], error)
            return wire.failed(query)

    async def later(self, data: bytes, query: Query, most: int = 0) -> bytes:
        """The answer, or that there is none, in time."""
        limit = most or query.most
        try:
            found = verdict(query, self.records, self._domain)
            if isinstance(found, Chase):
                return _say(query, await self._chase(query, found), limit)
            message = await self._forwarder.resolve(data, whole=bool(most))
        except (DeadlineError, MessageError) as error:
            log.debug("a query for %s: %s", ".".join(query.name)[:80], error)
            return wire.failed(query)
        return message if len(message) <= limit else wire.truncated(message, query)

    async def _chase(self, query: Query, chase: Chase) -> Known:
        """The other name, and what that one has."""
        answers = [chase.alias]
        target = chase.target
        for _ in range(_ALIASES):
            found = verdict(msgspec.structs.replace(query, name=target), self.records, self._domain)
            if isinstance(found, Known):
                return Known(found.code, (*answers, *found.answers), found.authority)
            if isinstance(found, Elsewhere):
                asked = wire.ask(int.from_bytes(os.urandom(2), "big"), target, query.type)
                message = await self._forwarder.resolve(asked, whole=True)
                there = (msgspec.structs.replace(one, ttl=min(one.ttl, TTL)) for one in wire.read_answers(message))
                known = {code.value: code for code in Code}
                return Known(known.get(wire.code_of(message), Code.FAILED), (*answers, *there))
            answers.append(found.alias)
            target = found.target
        raise MessageError("names of type ExternalName stand for each other in a circle")


def _say(query: Query, found: Known, most: int) -> bytes:
    return wire.answer(query, found.code, found.answers, found.authority, found.extra, most=most)


class Datagrams(asyncio.DatagramProtocol):
    """Queries by UDP."""

    def __init__(self, server: NameServer, spawn: Spawn) -> None:
        self._server = server
        self._spawn = spawn
        self._waiting = 0
        self._full = False
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        found = self._server.at_once(data)
        if isinstance(found, Query):
            if self._waiting < _WAITING:
                self._waiting += 1
                self._spawn(self._later(data, found, addr))
                return
            found = wire.failed(found)
        self._send(found, addr)

    def pause_writing(self) -> None:
        """The kernel takes no more: answers are dropped, and asked for again."""
        self._full = True

    def resume_writing(self) -> None:
        """It does again."""
        self._full = False

    def error_received(self, exc: Exception) -> None:
        log.debug("an answer did not arrive: %s", exc)

    async def _later(self, data: bytes, query: Query, addr: tuple[str, int]) -> None:
        try:
            self._send(await self._server.later(data, query), addr)
        finally:
            self._waiting -= 1

    def _send(self, message: bytes | None, addr: tuple[str, int]) -> None:
        if message is None or self._transport is None or self._transport.is_closing():
            return
        if not self._full:
            self._transport.sendto(message, addr)


class Connections:
    """Queries by TCP: each connection one after the other."""

    def __init__(self, server: NameServer) -> None:
        self._server = server
        self._tasks: set[asyncio.Task[None]] = set()

    def close(self) -> None:
        """End them all."""
        for task in self._tasks:
            task.cancel()

    async def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve a connection until it ends, says nothing for a while, or says nonsense."""
        task = asyncio.current_task()
        if task is None or len(self._tasks) >= CONNECTIONS:
            writer.close()
            return
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, EOFError, TimeoutError) as error:
            log.debug("a connection ends: %r", error)
        except asyncio.CancelledError:
            # Ends here: asyncio made this task for the connection, and until 3.12 takes its cancellation for an error.
            writer.transport.abort()
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        async with asyncio.timeout(IDLE_SECONDS):
            size = int.from_bytes(await reader.readexactly(2), "big")
            if size > wire.MOST_QUERY:
                return False
            data = await reader.readexactly(size)
        found = self._server.at_once(data, 65535)
        message = await self._server.later(data, found, 65535) if isinstance(found, Query) else found
        if message is None:
            return False
        async with asyncio.timeout(IDLE_SECONDS):
            writer.write(len(message).to_bytes(2, "big") + message)
            await writer.drain()
        return True


async def serve(server: NameServer, addresses: Sequence[tuple[str, int]], listens: Callable[[], None]) -> None:
    """Serve at all these addresses until cancelled. Raises `OSError` when one cannot be had."""
    with contextlib.ExitStack() as stack:
        bound = [
            (stack.enter_context(_bound(one, socket.SOCK_DGRAM)), stack.enter_context(_bound(one, socket.SOCK_STREAM)))
            for one in addresses
        ]
        async with asyncio.TaskGroup() as group:
            await _attend(server, bound, group, stack)
            listens()
            await asyncio.Event().wait()


async def _attend(
    server: NameServer,
    bound: Sequence[tuple[socket.socket, socket.socket]],
    group: asyncio.TaskGroup,
    stack: contextlib.ExitStack,
) -> None:
    loop, connections = asyncio.get_running_loop(), Connections(server)
    stack.callback(connections.close)

    def spawn(work: Coroutine[None, None, None]) -> None:
        group.create_task(work, name="a query that is asked elsewhere")

    for by_udp, by_tcp in bound:
        transport, _ = await loop.create_datagram_endpoint(lambda: Datagrams(server, spawn), sock=by_udp)
        stack.callback(transport.close)
        listener = await asyncio.start_server(connections.accept, sock=by_tcp, limit=wire.MOST_QUERY)
        stack.callback(listener.close)


def _bound(address: tuple[str, int], kind: socket.SocketKind) -> socket.socket:
    """A socket at an address that may come to be later, as that of a bridge does with its first pod."""
    host, port = address
    made = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, kind)
    try:
        made.setblocking(False)
        if kind is socket.SOCK_STREAM:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        made.bind((host, port))
        if kind is socket.SOCK_STREAM:
            made.listen(32)
    except OSError:
        made.close()
        raise
    return made
