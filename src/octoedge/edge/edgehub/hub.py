"""EdgeHub: keeps a session with the cloud, for ever.

    ENROLLING ─► CONNECTING ─► CONNECTED ─► WAITING ─► CONNECTING …        STOPPED
        ▲            └────────── cannot ──────┘
        └── the certificate is no longer good ┘

The first tries after a loss come fast, so that a restarted CloudCore has its node back within a second or two; after
half a minute without success they become rare. A session that dies young counts as a failed try: two nodes that fight
for one name must not do so a thousand times a second.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
import random
from collections.abc import Callable

import msgspec

from octoedge.edge.edgehub.enrolment import Enrolment
from octoedge.edge.edgehub.session import Dropped, Session
from octoedge.edge.edgehub.uplink import Uplink
from octoedge.edge.ports import Inbound
from octoedge.errors import ConnectionRefusedByPeer, NameUnresolved, PkiError, TokenError, TransportError
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce
from octoedge.transport.connection import Connection, Dial
from octoedge.transport.tap import Tap

log = logging.getLogger(__name__)

_IMPATIENT_SECONDS = 30.0
"""For so long after the loss of a good session the tries stay fast."""
_YOUNG_SECONDS = 10.0
"""A session that ended sooner is no success."""
_LOST = "the connection to the cloud"


class State(enum.Enum):
    """What the hub is doing."""

    ENROLLING = "enrolling"
    CONNECTING = "connecting"
    CONNECTED = "connected"
    WAITING = "waiting"
    STOPPED = "stopped"


class Settings(msgspec.Struct, frozen=True):
    """How the hub behaves."""

    heartbeat: float = 15.0
    """Seconds between two signs of life."""
    may_give_up: bool = False
    """Whether a refusal that only a person can cure ends the program. False once the node has pods to look after."""


_DEFAULTS = Settings()


class EdgeHub:
    """A module: connects, and connects again."""

    name = "edgehub"
    needs: tuple[str, ...] = ("metamanager",)

    def __init__(
        self,
        dial: Dial,
        uplink: Uplink,
        inbound: Inbound,
        enrolment: Enrolment | None,
        settings: Settings = _DEFAULTS,
        rng: random.Random | None = None,
        tap: Tap | None = None,
    ) -> None:
        self._dial = dial
        self._uplink = uplink
        self._inbound = inbound
        self._enrolment = enrolment
        self._tap = tap
        self._settings = settings
        self._rng = rng or random.Random()  # noqa: S311 - spreads a fleet in time, guards nothing
        self._complaints = SaidOnce(log)
        self._dropped = Dropped()
        self._connection: Connection | None = None
        self._stopping = False
        self._wake = asyncio.Event()
        self._lost_at: float | None = None
        self._fast, self._slow = self._patience()
        # A name that is not found costs the cloud nothing: no need to become slow.
        self._nameless = Backoff(first=1.0, limit=2.0, jitter=0.5, rng=self._rng)
        self.state = State.ENROLLING
        self.since = 0.0
        """Monotonic time of the last change of `state`."""
        self.trouble = ""
        """What is wrong, as a sentence; empty while connected."""

    async def run(self, ready: Callable[[], None]) -> None:
        """Connect until cancelled or drained; raises `TokenError` when only a person can help and that is allowed."""
        ready()
        try:
            while not self._stopping:
                pause = await self._attempt()
                if pause and not self._stopping:
                    self._enter(State.WAITING)
                    await self._rest(pause)
        finally:
            self._enter(State.STOPPED)

    async def drain(self) -> None:
        """Close the connection in good order and do not open another."""
        self._stopping = True
        self._wake.set()
        await self.reconnect()

    async def reconnect(self) -> None:
        """End the connection; `run` opens a new one unless it is stopping."""
        if self._connection is not None:
            await self._connection.close()

    async def _rest(self, seconds: float) -> None:
        """Wait, unless told to stop."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    async def _attempt(self) -> float:
        """One try: enrol, connect, serve. Returns the seconds to wait before the next."""
        try:
            if self._enrolment is not None:
                self._enter(State.ENROLLING)
                await self._enrolment.ensure()
            self._enter(State.CONNECTING)
            connection = await self._dial()
            if self._stopping:
                await connection.close()
                return 0.0
        except PkiError as error:
            if self._settings.may_give_up and isinstance(error, TokenError):
                raise
            self._complain(error)
            return self._slow.next()
        except TransportError as error:
            self._complain(error)
            if isinstance(error, NameUnresolved):
                return self._nameless.next()
            return self._pause(refused=isinstance(error, ConnectionRefusedByPeer))
        return await self._serve(connection)

    async def _serve(self, connection: Connection) -> float:
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._connection = connection
        self._enter(State.CONNECTED)
        self.trouble = ""
        self._complaints.over(_LOST, "is up again")
        log.info("connected to the cloud at %s", connection.peer.address)
        heartbeat = self._settings.heartbeat
        session = Session(connection, self._uplink, self._inbound, self._dropped, heartbeat=heartbeat, tap=self._tap)
        try:
            why = await session.run()
        finally:
            self._connection = None
        if self._stopping:
            log.info("disconnected from the cloud")
            return 0.0
        self._complain(TransportError(f"was lost: {why}"))
        if loop.time() - began >= _YOUNG_SECONDS:
            self._fast, self._slow = self._patience()
            self._lost_at = loop.time()
        return self._pause()

    def _pause(self, *, refused: bool = False) -> float:
        now = asyncio.get_running_loop().time()
        if self._lost_at is None:
            self._lost_at = now
        impatient = not refused and now - self._lost_at < _IMPATIENT_SECONDS
        return (self._fast if impatient else self._slow).next()

    def _patience(self) -> tuple[Backoff, Backoff]:
        """(right after a loss, later on)."""
        return (
            Backoff(first=0.1, limit=1.0, factor=1.6, jitter=0.5, rng=self._rng),
            Backoff(first=2.0, limit=15.0, factor=1.6, jitter=0.5, rng=self._rng),
        )

    def _complain(self, error: Exception) -> None:
        self.trouble = str(error)
        self._complaints.trouble(_LOST, str(error))

    def _enter(self, state: State) -> None:
        if state is not self.state:
            log.debug("= %s", state.value)
            self.state = state
            self.since = asyncio.get_running_loop().time()
