"""What EventBus keeps: topics that rules of the cloud's router listen to, and messages on their way to the cloud.

Both are in the node's database (KubeEdge's table `sub_topics`, and the outbox), so that a rule goes on working after a
restart without the cloud, and no message is lost that the broker was told is taken.
"""

from __future__ import annotations

import sqlite3

from octoedge.edge.ports import USER_UPLOAD, Reports
from octoedge.errors import MessageError
from octoedge.protocol.topics import check_pattern
from octoedge.store.sqlite import Database

MAX_TOPICS = 1000


class Table:
    """Reads and writes them."""

    def __init__(self, database: Database, reports: Reports) -> None:
        self._database = database
        self._reports = reports

    def topics(self) -> list[str]:
        """Topics of rules."""
        return self._database.read_now(_topics)

    async def add(self, topic: str) -> None:
        """A rule listens to the topic. Raises `MessageError`, `StoreError`."""
        check_pattern(topic)

        def write(connection: sqlite3.Connection) -> None:
            if len(_topics(connection)) >= MAX_TOPICS:
                raise MessageError(f"rules listen to {MAX_TOPICS} topics of this node already")
            connection.execute("INSERT OR REPLACE INTO sub_topics (topic) VALUES (?)", (topic,))

        await self._database.write(write)

    async def drop(self, topic: str) -> bool:
        """No rule listens to the topic any more; whether one did. Raises `StoreError`."""
        gone: int = await self._database.write(
            lambda connection: connection.execute("DELETE FROM sub_topics WHERE topic = ?", (topic,)).rowcount
        )
        return gone > 0

    async def upload(self, topic: str, payload: bytes) -> None:
        """Keep a message for the cloud: on disk when this returns. Raises `StoreError`."""
        await self._database.write(
            lambda connection: self._reports.keep(connection, USER_UPLOAD, topic, lambda _: payload)
        )
        self._reports.wake(USER_UPLOAD, topic)


def _topics(connection: sqlite3.Connection) -> list[str]:
    return [row[0] for row in connection.execute("SELECT topic FROM sub_topics ORDER BY topic")]
