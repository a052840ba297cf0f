"""Telemetry, the module: batches of nodes into the store, and the answer once they are there.

    receive(node, message) → queue of its node → one transaction (nodes share its fsync) → the answer

A node may speak of the Devices that name it or did so just now, and go on with streams that it began. What comes of a
Device that is gone otherwise is not stored, but counted: its node would keep it for nothing. Without a disk that takes
values nodes get no answer, and keep them.
"""

from __future__ import annotations

import asyncio
import logging
import sqlite3
import uuid
from collections import deque
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from octoedge.cloud.ports import Downlink
from octoedge.cloud.telemetry import store
from octoedge.errors import ApiError, MessageError, StoreCorrupt, StoreError, bad_request
from octoedge.protocol import routes
from octoedge.protocol import telemetry as wire
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Payload, TelemetryBatch, error_value
from octoedge.runtime.clock import Clock, milliseconds
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database, set_aside

log = logging.getLogger(__name__)

PAYLOADS = (TelemetryBatch,)
"""What CloudHub hands to this module."""
_WORKERS = 16
_PER_NODE = 4
"""Batches of a node that may wait; an edge of ours sends one at a time."""
_STREAMS = 20_000
"""Of one node: whoever has its certificate cannot fill the disk with names."""
_TIDY_SECONDS = 600.0
_DAY_MS = 86_400_000


class Speakers(msgspec.Struct, frozen=True):
    """Who may begin to speak of a Device."""

    nodes: tuple[str, ...] = ()
    """The node that it names, and the one that it named before."""
    gone: bool = False
    """Whether there surely is no such Device."""


SpeakersOf = Callable[[str, str], Speakers]
"""By namespace and name."""


class Settings(msgspec.Struct, frozen=True):
    """Where values are kept, how many, and for how long."""

    path: Path
    max_bytes: int = 1 << 30
    max_days: int = 30


class Intake:
    """Module: takes in batches."""

    name = "telemetry"
    needs: tuple[str, ...] = ()

    def __init__(
        self, settings: Settings, downlink: Downlink, speakers_of: SpeakersOf, clock: Clock,
        opener: Callable[[Path], Awaitable[Database]] | None = None,
    ) -> None:  # fmt: skip
        self._settings = settings
        self._downlink = downlink
        self._speakers_of = speakers_of
        self._clock = clock
        self._opener = opener or _open
        self._database: Database | None = None
        self._opening = asyncio.Lock()
        self._pending: dict[str, deque[tuple[Message, Payload]]] = {}
        self._queue: KeyedQueue[str] = KeyedQueue(self._work, workers=_WORKERS, name="telemetry of")
        self._said = SaidOnce(log)
        self.trouble = ""
        """Why nothing is stored now; empty when it is."""

    @property
    def database(self) -> Database:
        """The store; raises `StoreError` while there is none."""
        if self._database is None:
            nothing = f"there is no telemetry in {self._settings.path}: no node has sent any"
            raise StoreError(f"telemetry cannot be read: {self.trouble}" if self.trouble else nothing)
        return self._database

    def receive(self, node: str, message: Message, payload: Payload) -> None:
        """Take one batch; too many are refused."""
        waiting = self._pending.setdefault(node, deque())
        if len(waiting) >= _PER_NODE:
            error = ApiError(429, "TooManyRequests", f"node {node} has {_PER_NODE} batches of telemetry waiting")
            self._answer(node, message, error_value(error))
            return
        waiting.append((message, payload))
        self._queue.add(node)

    async def run(self, ready: Callable[[], None]) -> None:
        """Take in until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._queue.run(), name="telemetry of nodes")
                group.create_task(self._tidy(), name="age of telemetry")
                ready()
        finally:
            if self._database is not None:
                self._database.close()
                self._database = None

    async def _open(self) -> Database:
        """The store, made when the first values come. What a damaged one held is a gap then, new values are kept."""
        async with self._opening:
            if self._database is None:
                try:
                    self._database = await self._opener(self._settings.path)
                except StoreCorrupt as error:
                    aside = set_aside(self._settings.path, self._clock.now())
                    log.error("%s; it lies at %s now, and telemetry begins with an empty store", error, aside)
                    self._database = await self._opener(self._settings.path)
                self.trouble = ""
        return self._database

    async def _work(self, node: str) -> None:
        for message, payload in self._pending.pop(node, deque()):
            try:
                refused = await self._stored(node, payload.body)
            except MessageError as error:
                log.warning("node %s: %s", node, error)
                self._answer(node, message, error_value(bad_request(str(error))))
            except StoreError as error:
                self.trouble = str(error)
                self._said.trouble("telemetry", f"{error}; nodes keep what they have")
                self._answer(node, message, error_value(ApiError(503, "ServiceUnavailable", str(error))))
            else:
                self.trouble = ""
                self._said.over("telemetry", "it is stored again")
                self._answer(node, message, wire.Outcome(refused))

    async def _stored(self, node: str, body: bytes) -> dict[str, str]:
        """Stored when this returns; streams that are not, and why. Unpacked and packed on the database's thread."""
        database = await self._open()
        return await database.write(lambda connection: self._take(connection, node, wire.decode(body)))

    def _take(self, connection: sqlite3.Connection, node: str, sections: list[wire.Section]) -> dict[str, str]:
        """Store what the node may say; why the rest is not stored."""
        refused: dict[str, str] = {}
        now = milliseconds(self._clock)
        for section in sections:
            owner = store.owner(connection, section)
            speakers = self._speakers_of(*wire.split(section.device))
            if owner == node or (node in speakers.nodes and self._has_room(connection, node)):
                store.take(connection, node, section, now)
            elif not owner and speakers.gone and self._has_room(connection, node):
                why = f"when they came there was no Device {section.device} that names node {node}, or did so before"
                store.give_up(connection, node, section, why[: wire.MAX_WHY], now)
            elif node in speakers.nodes or (speakers.gone and not owner):
                refused[section.stream] = f"node {node} has sent {_STREAMS} streams already"
            else:
                refused[section.stream] = f"device {section.device} is not one of node {node}"
        return refused

    @staticmethod
    def _has_room(connection: sqlite3.Connection, node: str) -> bool:
        return store.streams_of(connection, node) < _STREAMS

    async def _tidy(self) -> None:
        while True:
            try:
                if self._settings.path.exists():
                    await self._open()
                forgotten = await self._forget() if self._database is not None else 0
            except StoreError as error:
                if self._database is None:
                    self.trouble = str(error)
                self._said.trouble("the age of telemetry", str(error))
            else:
                log.log(logging.INFO if forgotten else logging.DEBUG, "%d blocks of telemetry are forgotten", forgotten)
            await asyncio.sleep(_TIDY_SECONDS)

    async def _forget(self) -> int:
        before = milliseconds(self._clock) - self._settings.max_days * _DAY_MS
        return await self.database.write(lambda connection: store.forget(connection, before, self._settings.max_bytes))

    def _answer(self, node: str, message: Message, body: object) -> None:
        answer = routes.answer(
            message, msgspec.json.encode(body), message_id=str(uuid.uuid4()), timestamp=milliseconds(self._clock)
        )
        self._downlink.answer(node, answer)


async def _open(path: Path) -> Database:
    return await asyncio.to_thread(Database.open, path, store.MIGRATIONS)
