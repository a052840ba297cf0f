"""What a node's database says of itself after kills: the judge of `octoedge bench --only messages`."""

from __future__ import annotations

import asyncio
from pathlib import Path

from octoedge.api.meta import view
from octoedge.commands.bench.stores import Journal, database, make
from octoedge.edge.metamanager import records
from octoedge.edge.metamanager.schema import open_store
from octoedge.protocol.resource import Resource

ONE = Resource("default", "configmap", "one")


def configmap(uid: str, version: int) -> bytes:
    return b'{"metadata":{"name":"one","namespace":"default","uid":"%s","resourceVersion":"%d"}}' % (
        uid.encode(),
        version,
    )


def test_the_journal_tells_what_took_effect_what_did_twice_and_what_went_back(tmp_path: Path) -> None:
    async def main() -> None:
        make(tmp_path, "edge-1")
        path = database(tmp_path, "edge-1")
        journal = Journal(path)
        assert (journal.effects(), journal.doubled(), journal.backwards(), journal.held()) == (0, 0, 0, {})
        store = open_store(path, 0.0).database

        async def put(uid: str, version: int) -> None:
            obj = configmap(uid, version)
            await store.write(lambda connection: records.put(connection, ONE, obj, view(obj).metadata))

        await put("a", 1)
        await put("a", 2)
        await put("a", 2)
        await put("a", 1)
        assert (journal.effects(), journal.doubled(), journal.backwards()) == (2, 0, 0), "what is refused is no effect"
        assert journal.held() == {"a": 2}
        await store.write(lambda connection: records.delete(connection, ONE, "a"))
        assert (journal.effects(), journal.held()) == (3, {})

        await put("a", 2)
        assert (journal.doubled(), journal.backwards()) == (1, 1), "it came back after its end"
        store.close()

    asyncio.run(main())
