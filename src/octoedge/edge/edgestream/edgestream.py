"""Keeps the tunnel to CloudCore open: dial, serve until it ends, wait a moment, dial again."""

from __future__ import annotations

import asyncio
import enum
import logging
from collections.abc import Callable
from pathlib import Path

from octoedge.api.config import edgecore as config
from octoedge.edge.edgestream.kubelet import requests
from octoedge.edge.edgestream.tails import Tails
from octoedge.edge.edgestream.tunnel import Tunnel
from octoedge.edge.ports import Kubelet, LogEnds
from octoedge.errors import ConnectError, ConnectionClosed
from octoedge.protocol import tunnel as wire
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce
from octoedge.transport import websocket
from octoedge.transport.connection import Connection, Dial

log = logging.getLogger(__name__)

_SUBJECT = "tunnel for logs and exec"


class State(enum.Enum):
    """How the tunnel is doing."""

    DIALLING = "dialling"
    OPEN = "open"
    WAITING = "waiting"


class EdgeStream:
    """Module: serves what the cloud asks through the tunnel. Others never wait for it."""

    name = "edgestream"
    restart = True

    def __init__(
        self, dial: Dial, kubelet: Kubelet, *, needs: tuple[str, ...] = (), write_seconds: float = 15.0,
        silence_seconds: float = 15.0, ends: LogEnds | None = None, tail_seconds: float = 30.0,
        news: Callable[[], int] = lambda: 0,
    ) -> None:  # fmt: skip
        """`ends` are handed to a cloud that keeps them, each `tail_seconds`; None: nothing is. `news`: see `Tunnel`."""
        self.needs = needs
        self._dial = dial
        self._requests = requests(kubelet)
        self._write_seconds = write_seconds
        self._silence_seconds = silence_seconds
        self._ends = ends
        self._news = news
        self._tail_seconds = tail_seconds
        self._said = SaidOnce(log)
        self.state = State.WAITING

    async def run(self, ready: Callable[[], None]) -> None:
        """Dial and serve until cancelled."""
        ready()
        backoff = Backoff(first=0.2, limit=1.6)
        while True:
            self.state = State.DIALLING
            try:
                connection = await self._dial()
                self.state = State.OPEN
                began = asyncio.get_running_loop().time()
                await self._serve(connection)
            except (ConnectError, ConnectionClosed) as error:
                _end_if_cancelled(error)
                self._said.trouble(_SUBJECT, f"{error}; dialling again")
                if self.state is State.OPEN and asyncio.get_running_loop().time() - began > backoff.limit:
                    backoff.reset()
            self.state = State.WAITING
            await asyncio.sleep(backoff.next())

    async def _serve(self, connection: Connection) -> None:
        self._said.over(_SUBJECT, "open again")
        log.debug("= tunnel to %s is open", connection.peer.address)
        tunnel = Tunnel(
            connection,
            self._requests,
            write_seconds=self._write_seconds,
            silence_seconds=self._silence_seconds,
            tails=self._tails(connection),
            news=self._news,
        )
        try:
            await tunnel.run()
        finally:
            await connection.close()

    def _tails(self, connection: Connection) -> Tails | None:
        """What hands the ends of logs over; None when the cloud keeps none, or none are to be given."""
        asked = connection.peer.headers.get(wire.LOG_ENDS.lower(), "")
        if self._ends is None or not (asked.isascii() and asked.isdigit() and int(asked[:9])):
            return None
        return Tails(self._ends, self._tail_seconds, int(asked[:9]))


def _end_if_cancelled(error: Exception) -> None:
    """A task group lets an error win over a cancellation that comes in the same moment; whoever stops us waits."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError from error


def tunnel_dial(settings: config.EdgeStream, node: str, address: Callable[[], str]) -> Dial:
    """Opens tunnels as the configuration says; `address` is asked for the node's IP each time."""

    async def dial() -> Connection:
        return await websocket.connect(
            websocket.Endpoint(
                url=f"wss://{settings.server}{wire.PATH}",
                ca_file=Path(settings.tls_tunnel_ca_file),
                certificate_file=Path(settings.tls_tunnel_cert_file),
                key_file=Path(settings.tls_tunnel_private_key_file),
                headers={
                    wire.NODE_HEADER: node,
                    wire.ADDRESS_HEADER: address(),
                    wire.AGREEMENT: wire.VERSION,
                    wire.PINGS: f"{wire.RARELY:g}",
                },
                timeout=float(settings.handshake_timeout),
                max_bytes=wire.MAX_MESSAGE,
            )
        )

    return dial
