"""What exports have left out, counted by stream and reason, beside the cursors. Every function is in a transaction."""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping

import msgspec

REFUSED = "refused, wholly or in part"


class Unsent(msgspec.Struct, frozen=True):
    """Values of a stream that an export did not hand on."""

    export: str
    stream: str
    why: str
    count: int


def add(connection: sqlite3.Connection, export: str, key: int, counts: Mapping[str, int]) -> None:
    """Count so many more of this stream."""
    connection.executemany(
        "INSERT INTO unsent VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET number = number + excluded.number",
        [(export, key, why, count) for why, count in counts.items()],
    )


def found(connection: sqlite3.Connection, node: str = "") -> list[Unsent]:
    """All that was left out; of one node's streams when it is named."""
    rows = connection.execute(
        "SELECT export, namespace || '/' || device || '/' || property AS name, why, sum(number) FROM unsent "
        "JOIN stream ON stream.id = unsent.stream WHERE ? IN ('', node) GROUP BY export, name, why ORDER BY 1, 2, 3",
        (node,),
    )
    return [Unsent(*row) for row in rows]
