"""How many may be inside at once, and how long a connection may be silent: the server answers 429 before it collapses.

`Doors` makes the protocol of each connection: it drops those that ask nothing in time, and those beyond the limit.
`Turns` counts the requests being answered; watches and streams leave the count once they flow.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

from aiohttp import web

from octoedge.errors import ApiError

MAX_CONNECTIONS = 8192
FIRST_REQUEST_SECONDS = 30.0
"""After the handshake; between requests it is the server's idle time that counts."""
MAX_READING = 400
MAX_WRITING = 200
"""kube-apiserver's --max-requests-inflight and --max-mutating-requests-inflight."""


class Doors:
    """A protocol factory around aiohttp's."""

    def __init__(
        self,
        server: web.Server,
        *,
        most: int = MAX_CONNECTIONS,
        silence: float = FIRST_REQUEST_SECONDS,
    ) -> None:
        self._server = server
        self._most = most
        self._silence = silence
        self._silent: dict[web.RequestHandler, asyncio.TimerHandle] = {}

    def __call__(self) -> asyncio.BaseProtocol:
        """The protocol of a connection that was just accepted."""
        if max(len(self._server.connections), len(self._silent)) >= self._most:
            return Refused()
        made = self._server()
        self._silent[made] = asyncio.get_running_loop().call_later(self._silence, self._drop, made)
        return made

    def asked(self, connection: web.RequestHandler) -> None:
        """A whole request came on this connection."""
        timer = self._silent.pop(connection, None)
        if timer is not None:
            timer.cancel()

    def _drop(self, connection: web.RequestHandler) -> None:
        del self._silent[connection]
        if connection.transport is not None:
            connection.transport.abort()


class Refused(asyncio.Protocol):
    """A connection too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        cast(asyncio.Transport, transport).abort()


class Turns:
    """The requests that are being answered."""

    def __init__(self, reading: int = MAX_READING, writing: int = MAX_WRITING) -> None:
        self._free = {True: reading, False: writing}

    @contextmanager
    def taken(self, method: str) -> Iterator[None]:
        """Hold one turn; 429 when all are taken."""
        reads = method in ("GET", "HEAD", "OPTIONS")
        if not self._free[reads]:
            raise ApiError(
                429, "TooManyRequests", "Too many requests, please try again later.", {"retryAfterSeconds": 1}
            )
        self._free[reads] -= 1
        try:
            yield
        finally:
            self._free[reads] += 1
