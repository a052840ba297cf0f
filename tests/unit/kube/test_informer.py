"""The informer: a copy that is right whatever happens to the API server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import msgspec
import pytest

from octoedge.api.meta import view
from octoedge.errors import ApiError, ConnectError
from octoedge.kube.client import Client, Listing
from octoedge.kube.informer import Informer
from octoedge.kube.kinds import CONFIGMAPS, Kind
from octoedge.testing.clock import run
from octoedge.testing.kube import MemoryApi, MemoryClient

Event = tuple[str, str, str]


@dataclass
class Diary:
    """Notes (what happened, name, uid)."""

    events: list[Event] = field(default_factory=list)

    def note(self, old: bytes | None, new: bytes | None) -> None:
        meta = view(new or old or b"").metadata
        what = "added" if old is None else "gone" if new is None else "changed"
        self.events.append((what, meta.name, meta.uid))


@asynccontextmanager
async def _running(informer: Informer) -> AsyncIterator[None]:
    task = asyncio.create_task(informer.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def _make(client: Client, name: str, **data: str) -> None:
    body = msgspec.json.encode({"metadata": {"name": name, "managedFields": [{}]}, "data": data})
    await client.create(CONFIGMAPS, "default", body)


async def _change(client: Client, name: str, **data: str) -> None:
    await client.patch(CONFIGMAPS, "default", name, msgspec.json.encode({"data": data}))


def test_the_copy_follows_the_api() -> None:
    async def main() -> None:
        api, diary = MemoryApi(), Diary()
        client = api.client()
        await _make(client, "a")
        informer = Informer(client, CONFIGMAPS, diary.note)
        async with _running(informer):
            await informer.wait_synced()
            await _make(client, "b")
            await _change(client, "a", k="v")
            await client.delete(CONFIGMAPS, "default", "b")
            await asyncio.sleep(1.0)
            assert [event[:2] for event in diary.events] == [
                ("added", "a"),
                ("added", "b"),
                ("changed", "a"),
                ("gone", "b"),
            ]
            raw = informer.get("default", "a")
            assert raw is not None
            decoded = msgspec.json.decode(raw)
            assert (decoded["kind"], decoded["apiVersion"], decoded["data"]) == ("ConfigMap", "v1", {"k": "v"})
            assert "managedFields" not in decoded["metadata"]

    run(main())


def test_a_broken_watch_is_resumed_without_listing() -> None:
    async def main() -> None:
        api, diary = MemoryApi(), Diary()
        client = api.client()
        informer = Informer(client, CONFIGMAPS, diary.note)
        async with _running(informer):
            await informer.wait_synced()
            await _make(client, "a")
            await asyncio.sleep(1.0)
            await api.go_away()
            await asyncio.sleep(20.0)
            api.away = False
            await _make(client, "b")
            await asyncio.sleep(20.0)
            assert [event[:2] for event in diary.events] == [("added", "a"), ("added", "b")]
            lists = [where for method, where in api.requests if method == "GET"]
            assert len(lists) == 1

    run(main())


def test_a_log_that_was_cut_is_made_good_by_a_list() -> None:
    async def main() -> None:
        api, diary = MemoryApi(), Diary()
        client = api.client()
        for name in ("stays", "goes", "again"):
            await _make(client, name)
        informer = Informer(client, CONFIGMAPS, diary.note)
        async with _running(informer):
            await informer.wait_synced()
            diary.events.clear()
            await api.go_away()
            await asyncio.sleep(1.0)
            api.away = False
            await client.delete(CONFIGMAPS, "default", "goes")
            await client.delete(CONFIGMAPS, "default", "again")
            await _make(client, "again")
            await _make(client, "new")
            api.forgotten = api.version
            await asyncio.sleep(30.0)
            assert sorted(event[:2] for event in diary.events) == [
                ("added", "again"),
                ("added", "new"),
                ("gone", "again"),
                ("gone", "goes"),
            ]
            names = [event[0] for event in diary.events if event[1] == "again"]
            assert names == ["gone", "added"], "an object made anew is two events"

    run(main())


class FailingClient(MemoryClient):
    """Lists nothing, in ways that an API server in trouble may."""

    def __init__(self, api: MemoryApi, error: Exception | None) -> None:
        super().__init__(api)
        self.error = error
        self.failing = False

    async def list(
        self, kind: Kind, namespace: str = "", *, labels: str = "", fields: str = "", page: int = 500
    ) -> Listing:
        if self.failing and self.error is not None:
            raise self.error
        return await super().list(kind, namespace, labels=labels, fields=fields, page=page)


@pytest.mark.parametrize(
    "error", [ApiError(500, "InternalError", "oops"), ConnectError("gone"), ApiError(403, "Forbidden", "no")]
)
def test_a_failed_list_deletes_nothing(error: Exception) -> None:
    async def main() -> None:
        api, diary = MemoryApi(), Diary()
        client = FailingClient(api, error)
        await _make(client, "a")
        informer = Informer(client, CONFIGMAPS, diary.note)
        async with _running(informer):
            await informer.wait_synced()
            client.failing = True
            await api.go_away()
            await asyncio.sleep(1.0)
            api.away = False
            await _change(client, "a", k="1")
            api.forgotten = api.version
            await asyncio.sleep(60.0)
            assert len(informer) == 1
            client.failing = False
            await asyncio.sleep(30.0)
            assert [event[:2] for event in diary.events] == [("added", "a"), ("changed", "a")]

    run(main())


class HastyClient(MemoryClient):
    """Ends every watch at once, politely."""

    watches = 0

    async def watch(self, kind: Kind, *_: object, **__: object) -> AsyncIterator[object]:  # type: ignore[override]
        self.watches += 1
        return
        yield


def test_a_server_that_ends_watches_at_once_is_not_asked_in_a_circle() -> None:
    async def main() -> None:
        client = HastyClient(MemoryApi())
        async with _running(Informer(client, CONFIGMAPS)):
            await asyncio.sleep(60.0)
        assert 5 < client.watches < 40

    run(main())


def test_objects_are_found_by_what_the_index_says() -> None:
    async def main() -> None:
        client = MemoryApi().client()
        informer = Informer(client, CONFIGMAPS, index=_colours)
        async with _running(informer):
            await informer.wait_synced()
            await _make(client, "a", colour="red")
            await _make(client, "b", colour="red")
            await asyncio.sleep(1.0)
            assert [key[1] for key, _ in informer.find("red")] == ["a", "b"]
            await _change(client, "a", colour="blue")
            await client.delete(CONFIGMAPS, "default", "b")
            await asyncio.sleep(1.0)
            assert informer.find("red") == []
            assert [key[1] for key, _ in informer.find("blue")] == ["a"]

    run(main())


def _colours(raw: bytes) -> list[str]:
    data: Mapping[str, str] = msgspec.json.decode(raw)["data"]
    return [data["colour"]]


@pytest.mark.parametrize("seed", range(10))
def test_whatever_happens_the_copy_ends_as_the_api_is(seed: int) -> None:
    async def main() -> None:
        rng, api, diary = random.Random(seed), MemoryApi(), Diary()
        client = api.client()
        informer = Informer(client, CONFIGMAPS, diary.note)
        async with _running(informer):
            for step in range(40):
                await asyncio.sleep(rng.choice([0.0, 0.01, 2.0]))
                await _accident(api, rng, str(step))
            api.away = False
            await asyncio.sleep(30.0)
            live = {
                obj["metadata"]["uid"]: obj["metadata"]["resourceVersion"] for obj in api.within("/api/v1/configmaps")
            }
            assert {view(raw).metadata.uid: view(raw).metadata.resource_version for raw in informer.all()} == live
        there: set[tuple[str, str]] = set()
        for what, name, uid in diary.events:
            assert ((name, uid) in there) == (what != "added"), "events of one object come in order"
            (there.discard if what == "gone" else there.add)((name, uid))

    run(main())


async def _accident(api: MemoryApi, rng: random.Random, value: str) -> None:
    client, name = api.client(), rng.choice("abc")
    try:
        match rng.choice(["make", "change", "delete", "away", "back", "forget"]):
            case "make":
                await _make(client, name)
            case "change":
                await _change(client, name, k=value)
            case "delete":
                await client.delete(CONFIGMAPS, "default", name)
            case "away":
                await api.go_away()
            case "back":
                api.away = False
            case "forget":
                api.forgotten = api.version
    except (ApiError, ConnectError):
        return
