"""What the cloud's store has of each stream, number by number: for the verdict over a history of telemetry."""

from __future__ import annotations

import functools
import sqlite3
from collections.abc import Callable

import msgspec

from octoedge.cloud.telemetry import store
from octoedge.store.sqlite import Database


class Kept(msgspec.Struct):
    """One epoch of a stream, as the cloud has it."""

    current: bool
    sent: int
    forgotten_upto: int
    gaps: list[tuple[int, int, str]]
    texts: dict[int, str]
    lives: int = 1

    def explains(self, number: int) -> bool:
        """Whether a value that is not here is missing with a reason."""
        if number <= self.forgotten_upto or any(first <= number <= last for first, last, _ in self.gaps):
            return True
        return not self.current and number > self.sent


Key = tuple[str, str, str]
"""(device, property, epoch)"""


def read(database: Database, numbered: Callable[[str, str], tuple[str, int]]) -> dict[Key, Kept]:
    """All epochs; of one that a node began anew, under its own name, the values that count last. `numbered` says which
    epoch a stream has on its node now."""
    found: dict[Key, Kept] = {}
    text = "SELECT epoch, id, forgotten_upto, base FROM stream"
    rows = database.read_now(lambda c: {row[0]: row[1:] for row in c.execute(text)})
    for account in database.read_now(store.accounts):
        key, upto, base = rows[account.epoch]
        epoch = account.epoch.partition("~")[0]
        device, _, name = account.stream.rpartition("/")
        current = numbered(device, name)[0] == epoch
        before = found.get((device, name, epoch), Kept(current, 0, 0, [], {}, 0))
        texts = {number: text for number, text in before.texts.items() if number <= base}
        for first, got in database.read_now(functools.partial(_blocks, key)):
            texts.update(enumerate(got, first))
        gaps = [(first, min(last, base), why) for first, last, why in before.gaps if first <= base] + account.gaps
        kept = Kept(current, account.sent + base, max(upto, before.forgotten_upto), gaps, texts, before.lives + 1)
        found[device, name, epoch] = kept
    return found


def _blocks(key: int, connection: sqlite3.Connection) -> list[tuple[int, list[str]]]:
    """(number of the first value, texts) of each block."""
    rows = connection.execute("SELECT first, count FROM block WHERE stream = ?", (key,)).fetchall()
    return [(first, store.after(connection, key, first - 1, count)[2]) for first, count in rows]
