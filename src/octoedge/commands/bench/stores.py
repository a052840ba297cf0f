"""Nodes in a process of their own, to be killed: EdgeHub, MetaManager and a database on disk for each, no containers.

    main() with the arguments FOLDER HUB-URL NAME…      NAME.crt, NAME.key and ca.crt lie in FOLDER

A trigger writes into each database what took effect there, in the transaction that made it so: the journal, one row for
each version stored (and `NULL` for a delete). It knows nothing of messages, so it tells what a kill really left.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from octoedge.edge.edgehub.hub import EdgeHub
from octoedge.edge.edgehub.uplink import Uplink
from octoedge.edge.metamanager.metamanager import MetaManager
from octoedge.edge.metamanager.schema import open_store
from octoedge.edge.ports import Change
from octoedge.protocol import handshake
from octoedge.protocol.resource import Resource
from octoedge.runtime import openfiles
from octoedge.runtime.channel import Receiver, Sender, channel
from octoedge.runtime.clock import SystemClock
from octoedge.runtime.supervisor import Supervisor
from octoedge.transport.connection import Connection
from octoedge.transport.websocket import Endpoint, connect, small_tls_buffers

REPORT_SECONDS = 0.5
_JOURNAL = """
    CREATE TABLE IF NOT EXISTS journal (number INTEGER PRIMARY KEY AUTOINCREMENT, uid TEXT, version INTEGER);
    CREATE TABLE IF NOT EXISTS reported (uid TEXT PRIMARY KEY, count INTEGER);
    CREATE TRIGGER IF NOT EXISTS stored AFTER INSERT ON meta BEGIN
        INSERT INTO journal (uid, version) VALUES (json_extract(NEW.value, '$.metadata.uid'),
            CAST(json_extract(NEW.value, '$.metadata.resourceVersion') AS INTEGER));
    END;
    CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON meta BEGIN
        INSERT INTO journal (uid, version) VALUES (json_extract(OLD.value, '$.metadata.uid'), NULL);
    END;
"""


@dataclass(frozen=True, slots=True)
class Journal:
    """What one database says of itself; read while nobody or somebody else writes."""

    path: Path

    def effects(self) -> int:
        """How many messages took effect so far."""
        return int(self._rows("SELECT coalesce(max(number), 0) FROM journal")[0][0])

    def doubled(self) -> int:
        """Effects that were had before: the same version stored again, the same object removed again."""
        once = "SELECT count(*) - count(DISTINCT uid || '/' || coalesce(version, 'gone')) FROM journal"
        return int(self._rows(once)[0][0])

    def backwards(self) -> int:
        """Effects that took an object back: an older version after a newer one, or any after its end."""
        newest: dict[str, float] = {}
        count = 0
        for uid, version in self._rows("SELECT uid, version FROM journal ORDER BY number"):
            new = float("inf") if version is None else version
            count += new < newest.get(uid, 0)
            newest[uid] = max(new, newest.get(uid, 0))
        return count

    def held(self) -> dict[str, int]:
        """uid → version of everything that is stored."""
        text = (
            "SELECT json_extract(value, '$.metadata.uid'), json_extract(value, '$.metadata.resourceVersion') FROM meta"
        )
        return {uid: int(version) for uid, version in self._rows(text)}

    def reported(self) -> int:
        """The last count that this node has reported of its pod, as of now on its disk."""
        return int((self._rows("SELECT coalesce(max(count), 0) FROM reported") or [(0,)])[0][0])

    def unsent(self) -> int:
        """Reports that the cloud has not answered."""
        return int(self._rows("SELECT count(*) FROM outbox")[0][0])

    def _rows(self, query: str) -> list[tuple[Any, ...]]:
        with closing(sqlite3.connect(f"file:{self.path}?mode=ro", uri=True, timeout=30)) as connection:
            return connection.execute(query).fetchall()


def database(folder: Path, name: str) -> Path:
    """Where a node keeps what it has."""
    return folder / name / "edgecore.db"


def make(folder: Path, name: str) -> None:
    """A database for a new node, with its journal."""
    path = database(folder, name)
    open_store(path, SystemClock().now()).database.close()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(_JOURNAL)


class _Node:
    def __init__(self, folder: Path, hub: str, name: str) -> None:
        self.name = name
        self._store = open_store(database(folder, name), SystemClock().now())
        self._headers = {
            handshake.NODE: name,
            handshake.PROJECT: "bench",
            handshake.USE: handshake.USE_MESSAGES,
            handshake.STORE: self._store.store_id,
            handshake.FEATURES: handshake.speaks(handshake.KNOWN),
        }
        self._endpoint = Endpoint(
            url=f"{hub}/bench/{name}/events",
            ca_file=folder / "ca.crt",
            certificate_file=folder / f"{name}.crt",
            key_file=folder / f"{name}.key",
            headers=self._headers,
        )
        ends: tuple[Sender[Change], Receiver[Change]] = channel("changes", 1024)
        sender, self._changes = ends
        uplink = Uplink(SystemClock())
        self._meta = MetaManager(self._store, uplink, SystemClock(), sender)
        self._hub = EdgeHub(self._dial, uplink, self._meta.receive, None)

    async def live(self) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(Supervisor([self._meta, self._hub]).run(), name=self.name)
            group.create_task(self._report(), name=f"{self.name} reports")
            async for _ in self._changes:
                pass

    async def _dial(self) -> Connection:
        return await connect(self._endpoint)

    async def _report(self) -> None:
        """Count up in the status of this node's pod; the count is on disk before it is reported."""
        resource = Resource("default", "pod", f"on-{self.name}")
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            pods = await self._meta.list("pod")
            if pods:
                uid = str(msgspec.json.decode(pods[0])["metadata"]["uid"])
                count = await self._store.database.write(partial(_count, uid))
                patch = {"metadata": {"uid": uid}, "status": {"phase": "Running", "message": str(count)}}
                await self._meta.report_pod_status(resource, uid, msgspec.json.encode(patch))


def _count(uid: str, connection: sqlite3.Connection) -> int:
    sentence = "INSERT INTO reported VALUES (?, 1) ON CONFLICT (uid) DO UPDATE SET count = count + 1 RETURNING count"
    return int(connection.execute(sentence, (uid,)).fetchone()[0])


async def _live(folder: Path, hub: str, names: Sequence[str]) -> None:
    async with asyncio.TaskGroup() as group:
        for name in names:
            group.create_task(_Node(folder, hub, name).live(), name=name)


def main() -> None:
    """Live until killed."""
    openfiles.allow_many()
    small_tls_buffers()
    asyncio.run(_live(Path(sys.argv[1]), sys.argv[2], sys.argv[3:]))
