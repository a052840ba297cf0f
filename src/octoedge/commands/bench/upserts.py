"""The edge's store of objects: how many new versions it takes a second, each on disk before the next step."""

from __future__ import annotations

import asyncio
import sqlite3
import tempfile
import time
from functools import partial
from pathlib import Path

from octoedge.api.meta import ObjectMeta, view
from octoedge.commands.bench.report import Samples
from octoedge.edge.metamanager import records
from octoedge.edge.metamanager.schema import open_store
from octoedge.protocol.resource import Resource
from octoedge.store.sqlite import Database

COUNT, OBJECTS, AT_ONCE = 10_000, 200, 64


async def upserts() -> Samples:
    """Of ConfigMaps, one after the other, and as many at once as a cloud that catches up sends."""
    with tempfile.TemporaryDirectory(prefix="octoedge-bench-") as folder:
        store = open_store(Path(folder) / "edgecore.db", time.time())
        try:
            return {
                "upserts_single": [await _rate(store.database, 1, COUNT // 10)],
                "upserts": [await _rate(store.database, AT_ONCE, COUNT)],
            }
        finally:
            store.database.close()


async def _rate(database: Database, at_once: int, count: int) -> float:
    numbers = iter(range(1, count + 1))

    async def work() -> None:
        for number in numbers:
            resource, obj = _configmap(number % OBJECTS, number + at_once * COUNT)
            await database.write(partial(_put, resource, obj, view(obj).metadata))

    began = time.monotonic()
    await asyncio.gather(*(work() for _ in range(at_once)))
    return count / (time.monotonic() - began)


def _put(resource: Resource, obj: bytes, sent: ObjectMeta, connection: sqlite3.Connection) -> None:
    records.put(connection, resource, obj, sent)


def _configmap(number: int, version: int) -> tuple[Resource, bytes]:
    name = f"settings-{number}"
    about = b'{"name":"%s","namespace":"default","uid":"%d","resourceVersion":"%d"}' % (name.encode(), number, version)
    body = b'{"kind":"ConfigMap","apiVersion":"v1","metadata":%s,"data":{"text":"%s"}}' % (about, b"x" * 500)
    return Resource("default", "configmap", name), body
