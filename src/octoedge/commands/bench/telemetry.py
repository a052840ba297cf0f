"""Telemetry: what a day at a value a second costs on the wire and in the store, and how fast it goes in and out.

A real store on disk and the real packing of the channel, one thread, processor time; values of a thermometer that
wanders, read on a beat with some milliseconds of jitter.
"""

from __future__ import annotations

import asyncio
import random
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from octoedge.cloud.telemetry import store
from octoedge.commands.bench.report import Samples
from octoedge.protocol.packing import Packer
from octoedge.protocol.routes import Direction
from octoedge.protocol.telemetry import LATEST, Section, decode, encode, pack
from octoedge.store.sqlite import Database

_DAY = 86_400
_BATCH = 60
_DEVICE, _PROPERTY = "default/thermometer", "temperature"
T = TypeVar("T")


async def telemetry() -> Samples:
    """One property's day, in batches of a minute, and its query."""
    times, texts = _day()
    columns = [pack(times[at : at + _BATCH], texts[at : at + _BATCH]) for at in range(0, _DAY, _BATCH)]
    bodies = [
        encode([Section(_DEVICE, _PROPERTY, "e", number * _BATCH + 1, (number + 1) * _BATCH, [], column)])
        for number, column in enumerate(columns)
    ]
    packer = Packer(Direction.UP)
    wire = sum(len(packer.pack(body)) for body in bodies)
    with tempfile.TemporaryDirectory(prefix="octoedge-bench-") as folder:
        database = Database.open(Path(folder) / "telemetry.db", store.MIGRATIONS)
        try:
            began = time.process_time()
            await asyncio.gather(*(database.write(_taking(body)) for body in bodies))
            stored = time.process_time() - began
            query, found = _timed(lambda: database.read_now(_whole))
            size = database.read_now(store.used)
        finally:
            database.close()
    assert found is not None
    assert found.values == texts, "what was stored is not what was sent"
    return {
        "telemetry_rate": [_DAY / stored],
        "telemetry_wire": [wire / _DAY],
        "telemetry_stored": [size / _DAY],
        "telemetry_query": [query],
    }


def _day() -> tuple[list[int], list[str]]:
    rng = random.Random(1)  # noqa: S311 - a day that repeats
    times, texts, value = [], [], 20.0
    for second in range(_DAY):
        value += rng.gauss(0, 0.03)
        times.append(1_790_000_000_000 + second * 1000 + rng.randint(-3, 3))
        texts.append(f"{value:.1f}")
    return times, texts


def _taking(body: bytes) -> Callable[[sqlite3.Connection], None]:
    def take(connection: sqlite3.Connection) -> None:
        for section in decode(body):
            store.take(connection, "edge-1", section, 0)

    return take


def _whole(connection: sqlite3.Connection) -> store.History | None:
    return store.history(connection, _DEVICE, _PROPERTY, 0, LATEST)


def _timed(work: Callable[[], T]) -> tuple[float, T]:
    began = time.process_time()
    result = work()
    return time.process_time() - began, result
