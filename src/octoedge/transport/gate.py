"""In front of a TLS listener: so many handshakes at once, and so many connections of one address, and no more.

    accept ─► full? reset ─► TLS handshake, with a deadline ─► the protocol behind (aiohttp's), data passed through

Who comes beyond is disconnected before anything is computed for him; a flood so costs a socket for a moment. What is
refused is said once a minute at most.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import ssl
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

from octoedge.errors import ConnectError

log = logging.getLogger(__name__)

_HANDSHAKE_SECONDS = 15.0
_SAY_SECONDS = 60.0
_PAUSE_SECONDS = 0.5
"""After an accept that failed, as when file descriptors are out."""
_BACKLOG = 1024


@dataclass(frozen=True, slots=True)
class Limits:
    """How many at once; None: no limit."""

    handshakes: int | None = None
    handshakes_per_address: int | None = None
    connections_per_address: int | None = None
    """Open connections, those in handshake included."""


NO_LIMITS = Limits()


class Gate:
    """Accepts connections for one listener."""

    def __init__(
        self, behind: Callable[[], asyncio.Protocol], tls: ssl.SSLContext | None, limits: Limits, where: str
    ) -> None:
        self._behind = behind
        self._tls = tls
        self._limits = limits
        self._where = where
        self._handshakes: Counter[str] = Counter()
        self._open: Counter[str] = Counter()
        self._under_way = 0
        self._refused = 0
        self._said = float("-inf")

    async def accept(self, listener: socket.socket) -> None:
        """Take connections until cancelled."""
        loop = asyncio.get_running_loop()
        async with asyncio.TaskGroup() as group:
            while True:
                try:
                    connection, peer = await loop.sock_accept(listener)
                except OSError as error:
                    log.warning("cannot accept at %s: %s", self._where, error)
                    await asyncio.sleep(_PAUSE_SECONDS)
                    continue
                address = str(peer[0])
                if self._full(address):
                    self._refuse(connection, address)
                else:
                    self._open[address] += 1
                    self._handshakes[address] += 1
                    self._under_way += 1
                    group.create_task(self._let_in(connection, address), name=f"handshake with {address}")

    async def _let_in(self, connection: socket.socket, address: str) -> None:
        passage = _Passage(self._behind(), lambda: _less(self._open, address))
        seconds = _HANDSHAKE_SECONDS if self._tls is not None else None
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: passage, connection, ssl=self._tls, ssl_handshake_timeout=seconds
            )
        except (OSError, EOFError) as error:
            log.debug("TLS handshake with %s at %s: %s", address, self._where, error)
        except Exception:
            log.exception("the TLS handshake with %s at %s failed", address, self._where)
        finally:
            self._under_way -= 1
            _less(self._handshakes, address)
            if not passage.made:
                connection.close()
                _less(self._open, address)

    def _full(self, address: str) -> bool:
        limits = self._limits
        counted = (
            (limits.handshakes, self._under_way),
            (limits.handshakes_per_address, self._handshakes[address]),
            (limits.connections_per_address, self._open[address]),
        )
        return any(limit is not None and count >= limit for limit, count in counted)

    def _refuse(self, connection: socket.socket, address: str) -> None:
        with contextlib.suppress(OSError):
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))  # nothing stays
        connection.close()
        self._refused += 1
        now = asyncio.get_running_loop().time()
        if now - self._said >= _SAY_SECONDS:
            log.warning(
                "too many at once at %s: disconnected %s (%d since this was said last); octoedge.doors has the limits",
                self._where, address, self._refused,
            )  # fmt: skip
            self._said, self._refused = now, 0


class _Passage(asyncio.Protocol):
    """Passes everything to the protocol behind, and tells when it is over."""

    def __init__(self, behind: asyncio.Protocol, closed: Callable[[], None]) -> None:
        self._behind = behind
        self._closed = closed
        self.made = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.made = True
        self._behind.connection_made(transport)

    def data_received(self, data: bytes) -> None:
        self._behind.data_received(data)

    def eof_received(self) -> bool | None:
        return self._behind.eof_received()

    def pause_writing(self) -> None:
        self._behind.pause_writing()

    def resume_writing(self) -> None:
        self._behind.resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        if self.made:
            self._closed()
            self._behind.connection_lost(exc)


@contextlib.asynccontextmanager
async def listening(
    behind: Callable[[], asyncio.Protocol],
    host: str | None,
    port: int,
    tls: ssl.SSLContext | None,
    limits: Limits = NO_LIMITS,
    scheme: str = "https",
) -> AsyncIterator[int]:
    """Listen within the context; gives the real port. `ConnectError` says which address is taken."""
    where = f"{scheme}://{host or '*'}:{port}"
    listeners = await _bind(host, port, where)
    gate = Gate(behind, tls, limits, where)
    failure: Exception | None = None
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(gate.accept(one), name=f"listener {where}") for one in listeners]
            try:
                yield int(listeners[0].getsockname()[1])
            except Exception as error:  # as it is, not in the group's wrapping
                failure = error
            for task in tasks:
                task.cancel()
    finally:
        for one in listeners:
            one.close()
    if failure is not None:
        raise failure


async def _bind(host: str | None, port: int, where: str) -> list[socket.socket]:
    """A listening socket for each address that `host` stands for."""
    made: list[socket.socket] = []
    try:
        found = await asyncio.get_running_loop().getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )
        for family, kind, protocol, _, address in dict.fromkeys(found):
            own = made[0].getsockname()[1] if made else port  # port 0: the same one for all
            try:
                listener = socket.socket(family, kind, protocol)
            except OSError:
                continue  # a machine without IPv6
            made.append(listener)
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            listener.bind((address[0], own, *address[2:]))
            listener.listen(_BACKLOG)
            listener.setblocking(False)
    except OSError as error:
        for one in made:
            one.close()
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
        raise ConnectError(f"cannot listen on {where}: {why}; is another program using this port?") from error
    if not made:
        raise ConnectError(f"cannot listen on {where}: there is no such address on this machine")
    return made


def _less(counter: Counter[str], address: str) -> None:
    counter[address] -= 1
    if counter[address] <= 0:
        del counter[address]
