"""The store: nothing answered is lost, a watch neither misses nor repeats, over restarts and compaction."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from octoedge.apiserver.store.backend import Backend, Drop, Edit, Keep, Put, View
from octoedge.errors import ApiError, StoreCorrupt

Json = dict[str, Any]


def thing(name: str, value: int = 0, **labels: str) -> Json:
    metadata = {"name": name, "namespace": "ns", "uid": name, "labels": labels}
    return {"kind": "Thing", "apiVersion": "v1", "metadata": metadata, "value": value}


@asynccontextmanager
async def opened(path: Path, **limits: Any) -> AsyncIterator[Backend]:
    backend = Backend(path / "state.db", lambda _, obj: {"value": str(obj.get("value"))}, **limits)
    task = asyncio.get_running_loop().create_task(backend.run(lambda: None))
    try:
        yield backend
    finally:
        task.cancel()
        await asyncio.wait([task])
        backend.close()


async def put(backend: Backend, *objects: Json) -> int:
    items = await backend.change(lambda _: [Put("things", obj) for obj in objects])
    return items[-1].version


async def drop(backend: Backend, name: str) -> None:
    await backend.change(lambda _: [Drop("things", "ns", name)])


def test_versions_rise_over_restarts_and_deletions(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path, max_changes=2) as backend:
            await put(backend, thing("a"), thing("b"))
            await backend.change(lambda _: [Drop("things", "ns", "a"), Drop("things", "ns", "b")])
            assert backend.version == 4
        async with opened(tmp_path, max_changes=2) as backend:
            assert backend.version == 4
            assert await put(backend, thing("c")) == 5
            assert [item.name for item in backend.items("things")] == ["c"]

    asyncio.run(main())


def test_deciders_see_each_other_and_a_refused_one_takes_back_only_itself(tmp_path: Path) -> None:
    def add_one(view: View) -> list[Edit]:
        found = view.get("things", "ns", "a")
        value = msgspec.json.decode(found.data)["value"] if found else 0
        return [Put("things", thing("a", value + 1))]

    def refuse(_: View) -> list[Edit]:
        raise ApiError(409, "Conflict", "no")

    async def main() -> None:
        async with opened(tmp_path) as backend:
            answers = await asyncio.gather(
                *(backend.change(refuse if number % 3 == 0 else add_one) for number in range(30)),
                return_exceptions=True,
            )
            assert sum(isinstance(answer, ApiError) for answer in answers) == 10
            found = backend.get("things", "ns", "a")
            assert found is not None
            assert msgspec.json.decode(found.data)["value"] == backend.version == 20

    asyncio.run(main())


def test_dry_runs_and_keeps_write_nothing(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as backend:
            dry = await backend.change(lambda _: [Put("things", thing("a"))], dry_run=True)
            assert (dry[0].version, backend.version, backend.items("things")) == (0, 0, [])
            await put(backend, thing("a"))
            found = backend.get("things", "ns", "a")
            assert found is not None
            assert await backend.change(lambda _: [Keep(found)]) == [found]
            assert backend.version == 1

    asyncio.run(main())


def test_a_requester_that_goes_away_leaves_the_store_whole(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as backend:
            tasks = [asyncio.create_task(put(backend, thing(f"t{number}"))) for number in range(20)]
            await asyncio.sleep(0)
            for task in tasks[::2]:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            names = {item.name for item in backend.items("things")}
            assert {f"t{number}" for number in range(1, 20, 2)} <= names
            seen = await backend.follow("things", 0).next()
            assert {change.item.name for change in seen} == names

    asyncio.run(main())


def test_a_version_that_is_not_there_yet_is_gone(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as backend:
            with pytest.raises(ApiError) as caught:
                backend.follow("things", 5)
            assert caught.value.code == 410

    asyncio.run(main())


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.sampled_from("abc"), st.integers(0, 3)),
        st.tuples(st.just("drop"), st.sampled_from("abc"), st.just(0)),
        st.tuples(st.just("restart"), st.just(""), st.just(0)),
        st.tuples(st.just("read"), st.just(""), st.just(0)),
    ),
    max_size=25,
)


@settings(max_examples=40, deadline=None)
@given(STEPS, st.integers(2, 12))
def test_a_watch_neither_misses_nor_repeats_over_restart_and_compaction(
    steps: list[tuple[str, str, int]], limit: int
) -> None:
    """A client that lists once and then only follows, listing anew when told so, always has what the store has."""

    async def main(path: Path) -> None:
        known: dict[str, bytes] = {}
        version, seen = 0, set[int]()
        rest = list(steps)
        while True:
            async with opened(path, max_changes=limit) as backend:
                while rest and rest[0][0] != "restart":
                    kind, name, value = rest.pop(0)
                    if kind == "put":
                        await put(backend, thing(name, value))
                    elif kind == "drop" and backend.get("things", "ns", name):
                        await drop(backend, name)
                    elif kind == "read":
                        version = await catch_up(backend, known, version, seen)
                version = await catch_up(backend, known, version, seen)
                assert known == {item.name: item.data for item in backend.items("things")}
            if not rest:
                return
            rest.pop(0)

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(main(Path(folder)))


async def catch_up(backend: Backend, known: dict[str, bytes], version: int, seen: set[int]) -> int:
    """Follow from `version` to now; returns the version reached."""
    try:
        cursor = backend.follow("things", version)
    except ApiError:
        known.clear()
        known.update({item.name: item.data for item in backend.items("things")})
        return backend.version
    while cursor.version < backend.version:
        for change in await cursor.next():
            assert change.version > version
            assert change.version not in seen
            seen.add(change.version)
            assert (change.type == "ADDED") == (change.item.name not in known)
            if change.type == "DELETED":
                del known[change.item.name]
            else:
                known[change.item.name] = change.item.data
            version = change.version
    return backend.version


def test_what_selectors_need_survives_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as backend:
            await put(backend, thing("a", 1, color="red"))
            await put(backend, thing("a", 2))
        async with opened(tmp_path) as backend:
            first, second = await backend.follow("things", 0).next()
            assert first.before is None
            assert second.before is not None
            assert (second.before.labels, second.before.fields) == ({"color": "red"}, {"value": "1"})

    asyncio.run(main())


@pytest.mark.parametrize("data", [b'{"metadata"', b"null", b'{"metadata":{"name":"a","resourceVersion":"x"}}', b"\xff"])
def test_an_object_that_was_damaged_on_disk_is_named_when_the_store_is_opened(tmp_path: Path, data: bytes) -> None:
    async def fill() -> None:
        async with opened(tmp_path) as backend:
            await put(backend, thing("a"))

    asyncio.run(fill())
    with contextlib.closing(sqlite3.connect(tmp_path / "state.db")) as connection:
        connection.execute("UPDATE log SET data = ?", (data,))
        connection.execute("UPDATE objects SET data = ?", (data,))
        connection.commit()

    async def reopen() -> None:
        async with opened(tmp_path):
            pass

    with pytest.raises(StoreCorrupt, match=r"state.db holds one of things that cannot be read"):
        asyncio.run(reopen())
