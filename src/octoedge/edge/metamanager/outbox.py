"""Reports of this node on their way to the cloud: stored first, sent while connected, removed on the answer.

    kind         key            one row per        sent as
    pod-status   <ns>/<name>    pod (the latest)   PodStatusPatch
    pod-delete   <ns>/<name>    pod                PodDelete
    node-status  <node>         node (the latest)  NodeStatusPatch
    event        <ns>/<name>/…  event, bounded     EventInsert
    twin-report  <ns>/<name>    device (combined)  TwinReport
    device-state <ns>/<name>    device (the latest) DeviceStateReport
    user-upload  …/<topic>      message, bounded    UserUpload

Rows that share a lane (a pod's status and its end, all events) are sent one after another, lanes side by side. A row
that was replaced while it was on its way stays for another turn. What the cloud finally refuses is dropped, said once.
"""

from __future__ import annotations

import asyncio
import logging
import random
import sqlite3
import uuid
from collections.abc import Callable

import msgspec

from octoedge.edge.ports import DEVICE_STATE, TWIN_REPORT, USER_UPLOAD, Link
from octoedge.errors import ApiError, DeadlineError, MessageError, OfflineError, StoreCorrupt, StoreError
from octoedge.protocol import payloads as p
from octoedge.protocol.resource import CLUSTER, Resource
from octoedge.protocol.routes import TOPIC
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database

log = logging.getLogger(__name__)

POD_STATUS = "pod-status"
POD_DELETE = "pod-delete"
NODE_STATUS = "node-status"
EVENT = "event"

_LANES = {POD_STATUS: "pod", POD_DELETE: "pod", TWIN_REPORT: "device", DEVICE_STATE: "device"}
"""What kinds that share a lane for each key call it; the others have one lane each."""

MAX_EVENTS = 1000
"""Events kept while the cloud is away; the oldest go first."""
MAX_UPLOADS = 1000
"""Messages of MQTT clients kept while the cloud is away."""
_BOUNDS = {EVENT: MAX_EVENTS, USER_UPLOAD: MAX_UPLOADS}
"""Kinds of which none replaces another, and how many are kept."""
_TRIES = 5
"""So often a report that the cloud refuses is sent again: its cache may be behind."""
_GONE = 404
_LANES_AT_ONCE = 16


class Row(msgspec.Struct, frozen=True):
    """One report."""

    number: int
    kind: str
    key: str
    uid: str
    body: bytes

    @property
    def lane(self) -> str:
        """Rows of one lane are sent in order."""
        return _lane(self.kind, self.key)

    def payload(self) -> p.Payload:
        """What is sent."""
        return _PAYLOADS[self.kind](self)


class _Trouble(msgspec.Struct):
    backoff: Backoff
    tries: int = 0


class Outbox:
    """Keeps and sends reports."""

    def __init__(
        self, database: Database, link: Link, *, answer_seconds: float = 60.0, rng: random.Random | None = None
    ) -> None:
        self._database = database
        self._link = link
        self._answer_seconds = answer_seconds
        self._rng = rng or random.Random(random.random())  # noqa: S311 - spreads a fleet in time, guards nothing
        self._queue: KeyedQueue[str] = KeyedQueue(self._work_lane, workers=_LANES_AT_ONCE, name="outbox")
        self._troubles: dict[str, _Trouble] = {}
        self._waiting: dict[int, asyncio.Future[None]] = {}
        self._complaints = SaidOnce(log)

    def __len__(self) -> int:
        return int(self._database.read_now(lambda c: c.execute("SELECT count(*) FROM outbox").fetchone()[0]))

    async def put(self, kind: str, key: str, uid: str, body: bytes, *, patience: float = 0.0) -> None:
        """Keep a report; it is on disk when this returns, and sent when possible.

        `patience`: seconds that it may wait for a newer one to take its place, or for others to go with it.
        """
        await self._keep(kind, key, uid, body)
        if patience:
            self._queue.add_later(_lane(kind, key), patience)
        else:
            self._queue.add(_lane(kind, key))

    def keep(
        self, connection: sqlite3.Connection, kind: str, key: str, combine: Callable[[bytes | None], bytes]
    ) -> None:
        """Keep a report inside a transaction; `combine` gets the one that is not sent yet. `wake` when it is over."""
        row = connection.execute("SELECT body FROM outbox WHERE kind = ? AND key = ?", (kind, key)).fetchone()
        _insert(connection, kind, key, "", combine(row[0] if row else None))

    def drop(self, connection: sqlite3.Connection, kind: str, key: str) -> None:
        """Drop a report inside a transaction: nobody wants to know any more."""
        connection.execute("DELETE FROM outbox WHERE kind = ? AND key = ?", (kind, key))

    def wake(self, kind: str, key: str, patience: float = 0.0) -> None:
        """Send what `keep` kept, as soon as possible, or after so many seconds: newer ones may go with it."""
        if patience > 0:
            self._queue.add_later(_lane(kind, key), patience)
        else:
            self._queue.add(_lane(kind, key))

    async def deliver(self, kind: str, key: str, uid: str, body: bytes) -> None:
        """Keep a report and return when the cloud has taken it, or a newer one has replaced it.

        Raises `OfflineError`, `DeadlineError`, and the `ApiError` that the cloud answered.
        """
        number = await self._keep(kind, key, uid, body)
        if not self._link.connected:
            raise OfflineError(f"the {kind} of {key} is kept until the cloud can be reached")
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        self._queue.add(_lane(kind, key))
        try:
            await waiting
        finally:
            del self._waiting[number]

    async def forget(self, namespace: str, name: str, uid: str) -> None:
        """Drop what a pod still had to say about its state; that it has ended is still told."""
        await self._database.write(
            lambda connection: (
                connection.execute(
                    "DELETE FROM outbox WHERE kind = ? AND key = ? AND uid = ?",
                    (POD_STATUS, f"{namespace}/{name}", uid),
                ).rowcount
            )
        )

    async def run(self) -> None:
        """Send until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._queue.run(), name="outbox")
            while True:
                await self._link.until_connected()
                for lane in self._database.read_now(_lanes):
                    self._queue.add(lane)
                await self._link.until_disconnected()
                self._answer_all(OfflineError("the cloud went away before it answered"))

    async def _work_lane(self, lane: str) -> None:
        """Send the lane's rows in order, until one cannot be sent."""
        while True:
            row = self._database.read_now(lambda connection: _first(connection, lane))
            if row is None:
                self._troubles.pop(lane, None)
                return
            if not self._link.connected or not await self._guarded(row, lane):
                return

    async def _guarded(self, row: Row, lane: str) -> bool:
        """`_send`; a disk that takes no write, or a defect met with one row, must not end the agent."""
        try:
            return await self._send(row, lane)
        except StoreCorrupt:
            raise
        except StoreError as error:
            self._complaints.trouble("the outbox", str(error))
            return self._later(row, lane, error)
        except Exception:
            log.exception("%s %s cannot be sent", row.kind, row.key)
            trouble = self._trouble(lane)
            trouble.tries += 1
            if trouble.tries >= _TRIES:
                await self._remove(row, None)
            self._queue.add_later(lane, trouble.backoff.next())
            return False

    async def _send(self, row: Row, lane: str) -> bool:
        """Send one row; whether the next may follow at once."""
        try:
            await self._ask(row)
        except OfflineError as error:
            self._answer(row.number, error)
            return False
        except ApiError as error:
            if not self._is_final(error, lane):
                return self._later(row, lane, error)
            if row.kind == USER_UPLOAD:
                self._complaints.trouble("messages of MQTT clients for the cloud are dropped", str(error))
            elif error.code != _GONE:
                self._complaints.trouble(f"{row.kind} {row.key} is dropped", f"the cloud refuses it: {error}")
            await self._remove(row, error)
        except (DeadlineError, MessageError) as error:
            return self._later(row, lane, error)
        else:
            await self._remove(row, None)
        self._troubles.pop(lane, None)
        return True

    async def _ask(self, row: Row) -> None:
        payload = row.payload()
        if not self._link.answers(payload):
            await self._link.send(payload)
            return
        reply = await self._link.request(payload, self._answer_seconds)
        p.outcome(reply.body)

    def _is_final(self, error: ApiError, lane: str) -> bool:
        """404: what the report is about is gone. Other refusals get some more tries, troubles of the cloud many.

        A pod that was created anew under its name answers 409 to its predecessor's reports: that is a refusal too.
        """
        trouble = self._trouble(lane)
        trouble.tries += 1
        refused = 400 <= error.code < 500 and error.code not in (408, 429)
        return error.code == _GONE or (refused and trouble.tries >= _TRIES)

    def _later(self, row: Row, lane: str, error: Exception) -> bool:
        self._answer(row.number, error)
        self._queue.add_later(lane, self._trouble(lane).backoff.next())
        return False

    def _trouble(self, lane: str) -> _Trouble:
        return self._troubles.setdefault(lane, _Trouble(Backoff(first=0.5, limit=30.0, rng=self._rng)))

    async def _remove(self, row: Row, error: Exception | None) -> None:
        await self._database.write(
            lambda connection: connection.execute("DELETE FROM outbox WHERE number = ?", (row.number,)).rowcount
        )
        self._answer(row.number, error)

    async def _keep(self, kind: str, key: str, uid: str, body: bytes) -> int:
        number, replaced = await self._database.write(lambda connection: _insert(connection, kind, key, uid, body))
        self._answer(replaced, None)
        return number

    def _answer(self, number: int, error: Exception | None) -> None:
        """Tell whoever waits for this row."""
        waiting = self._waiting.get(number)
        if waiting is None or waiting.done():
            return
        if error is None:
            waiting.set_result(None)
        else:
            waiting.set_exception(error)

    def _answer_all(self, error: Exception) -> None:
        for number in list(self._waiting):
            self._answer(number, error)


def _lane(kind: str, key: str) -> str:
    return f"{_LANES[kind]} {key}" if kind in _LANES else kind


def _insert(connection: sqlite3.Connection, kind: str, key: str, uid: str, body: bytes) -> tuple[int, int]:
    """(number of the new row, number of the unsent one that it replaces, or 0)."""
    if kind in _BOUNDS:
        key = f"{key}/{uuid.uuid4()}"
    row = connection.execute("SELECT number FROM outbox WHERE kind = ? AND key = ?", (kind, key)).fetchone()
    cursor = connection.execute(
        "INSERT OR REPLACE INTO outbox (kind, key, uid, body) VALUES (?, ?, ?, ?)", (kind, key, uid, body)
    )
    if kind in _BOUNDS:
        connection.execute(
            "DELETE FROM outbox WHERE kind = ? AND number <= "
            "(SELECT number FROM outbox WHERE kind = ? ORDER BY number DESC LIMIT 1 OFFSET ?)",
            (kind, kind, _BOUNDS[kind]),
        )
    return cursor.lastrowid or 0, row[0] if row else 0


def _lanes(connection: sqlite3.Connection) -> list[str]:
    rows = connection.execute("SELECT kind, key FROM outbox ORDER BY number")
    return list(dict.fromkeys(_lane(kind, key) for kind, key in rows))


def _first(connection: sqlite3.Connection, lane: str) -> Row | None:
    name, _, key = lane.partition(" ")
    kinds = [kind for kind, of in _LANES.items() if of == name] or [name, name]
    row = connection.execute(
        "SELECT number, kind, key, uid, body FROM outbox WHERE kind IN (?, ?) AND key = coalesce(?, key) "
        "ORDER BY number LIMIT 1",
        (*kinds, key or None),
    ).fetchone()
    return None if row is None else Row(*row)


def _named(row: Row, kind: str) -> Resource:
    namespace, _, name = row.key.partition("/")
    return Resource(namespace, kind, name)


_PAYLOADS: dict[str, Callable[[Row], p.Payload]] = {
    POD_STATUS: lambda row: p.PodStatusPatch(resource=_named(row, "podpatch"), body=row.body),
    POD_DELETE: lambda row: p.PodDelete(resource=_named(row, "pod"), body=row.body),
    NODE_STATUS: lambda row: p.NodeStatusPatch(resource=Resource(CLUSTER, "nodepatch", row.key), body=row.body),
    EVENT: lambda row: p.EventInsert(resource=_event(row), body=row.body),
    TWIN_REPORT: lambda row: p.TwinReport(resource=_named(row, "device"), body=row.body),
    DEVICE_STATE: lambda row: p.DeviceStateReport(resource=_named(row, "device"), body=row.body),
    USER_UPLOAD: lambda row: p.UserUpload(resource=_topic(row), body=row.body),
}


def _topic(row: Row) -> Resource:
    return Resource("", TOPIC, row.key.rpartition("/")[0])


def _event(row: Row) -> Resource:
    namespace, name, _ = row.key.split("/")
    return Resource(namespace, "event", name)
