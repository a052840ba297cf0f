"""Snapshots: what is read is what was written, anything else is refused with a sentence; a restore never goes back."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("aiohttp")

from octoedge.apiserver.store import snapshot
from octoedge.apiserver.store.backend import LEAP, Backend, Drop, Put
from octoedge.apiserver.store.restoration import Restoration, restore_stopped
from octoedge.errors import ApiError, StoreCorrupt, StoreError

Json = dict[str, Any]
NOW = 1_800_000_000.0


def thing(name: str, value: int = 0) -> Json:
    return {"kind": "Thing", "apiVersion": "v1", "metadata": {"name": name, "uid": name}, "value": value}


@asynccontextmanager
async def opened(folder: Path) -> AsyncIterator[Backend]:
    """A store with keys beside it."""
    for key in snapshot.KEYS:
        path = folder / key
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.exists():
            path.write_text(f"the key {key} of {folder.name}")
    backend = Backend(folder / "state.db", lambda _, obj: {"value": str(obj.get("value"))})
    task = asyncio.get_running_loop().create_task(backend.run(lambda: None))
    try:
        yield backend
    finally:
        task.cancel()
        await asyncio.wait([task])
        backend.close()


async def put(backend: Backend, *objects: Json) -> None:
    await backend.change(lambda _: [Put("things", obj) for obj in objects])


def values(backend: Backend) -> dict[str, int]:
    return {item.name: msgspec.json.decode(item.data)["value"] for item in backend.items("things")}


def test_a_running_store_goes_back_and_its_versions_go_on(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path) as backend:
            await put(backend, thing("a", 1), thing("b", 2))
            taken = snapshot.take(tmp_path, tmp_path / "saved", NOW)
            assert (taken.head.resource_version, len(taken.objects)) == (2, 2)
            assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o600
            await put(backend, thing("a", 10), thing("c", 3))
            await backend.change(lambda _: [Drop("things", "", "b"), Put("others", thing("o"))])
            before, follower = backend.version, backend.follow("things", backend.version)
            waiting = asyncio.ensure_future(follower.next())
            await asyncio.sleep(0)
            told: list[tuple[str, bool]] = []
            backend.listen("things", lambda item, removed: told.append((item.name, removed)))
            (tmp_path / "saved").replace(tmp_path / snapshot.STAGED)
            answer = await Restoration(backend, tmp_path).answer()
            assert answer.code == 200
            assert values(backend) == {"a": 1, "b": 2}
            assert backend.items("others") == []
            assert backend.version > before + LEAP
            assert all(item.version > before + LEAP for item in backend.items("things"))
            assert [item.fields["value"] for item in backend.items("things")] == ["1", "2"]
            assert sorted(told) == [("a", False), ("b", False), ("c", True)]
            with pytest.raises(ApiError) as gone:
                await waiting
            assert gone.value.code == 410
            for resource in ("things", "others", "never heard of"):
                with pytest.raises(ApiError):
                    backend.follow(resource, before)
            version = backend.version
            await put(backend, thing("d", 4))
            assert [change.item.name for change in await backend.follow("things", version).next()] == ["d"]
        async with opened(tmp_path) as again:
            assert values(again) == {"a": 1, "b": 2, "d": 4}
            for resource in ("things", "never heard of"):
                with pytest.raises(ApiError):
                    again.follow(resource, before)

    asyncio.run(main())


def test_a_stopped_server_becomes_the_one_that_was_saved(tmp_path: Path) -> None:
    async def main() -> None:
        old, new = tmp_path / "old", tmp_path / "new"
        async with opened(old) as backend:
            await put(backend, thing("a", 1))
        async with opened(new) as backend:
            await put(backend, thing("x"), thing("y"))
        snapshot.take(old, tmp_path / "saved", NOW)
        found = snapshot.read(tmp_path / "saved")
        assert snapshot.differing_keys(found, new) == list(snapshot.KEYS)
        assert await restore_stopped(found, new) > LEAP
        assert snapshot.differing_keys(found, new) == []
        assert (new / "pki/ca.key").stat().st_mode & 0o777 == 0o600
        async with opened(new) as backend:
            assert values(backend) == {"a": 1}

    asyncio.run(main())


def test_a_running_server_does_not_become_another_one(tmp_path: Path) -> None:
    async def main() -> None:
        async with opened(tmp_path / "old") as backend:
            await put(backend, thing("a", 1))
        async with opened(tmp_path / "new") as backend:
            await put(backend, thing("x", 5))
            snapshot.take(tmp_path / "old", tmp_path / "new" / snapshot.STAGED, NOW)
            with pytest.raises(ApiError, match="stop this one first"):
                await Restoration(backend, tmp_path / "new").answer()
            assert values(backend) == {"x": 5}
            assert not (tmp_path / "new" / snapshot.STAGED).exists()

    asyncio.run(main())


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A snapshot of some objects."""
    folder = tmp_path_factory.mktemp("saved")

    async def main() -> None:
        async with opened(folder) as backend:
            await put(backend, *(thing(f"thing-{number}", number) for number in range(50)))

    asyncio.run(main())
    snapshot.take(folder, folder / "saved", NOW)
    return folder / "saved"


@given(st.data())
@settings(max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
def test_damage_of_any_kind_is_seen(saved: Path, tmp_path: Path, data: st.DataObject) -> None:
    whole = saved.read_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    bit = data.draw(st.integers(0, 8))
    # Eight stands for the end: a file that is cut off here.
    damaged = whole[:at] if bit == 8 else whole[:at] + bytes([whole[at] ^ 1 << bit]) + whole[at + 1 :]
    file = tmp_path / "damaged"
    file.write_bytes(damaged)
    if bit == 8 or at >= 10 or not _same(file, saved):  # gzip's header has bits that say nothing about what is inside
        # A number that was hit may look like the format of a newer version.
        with pytest.raises(StoreError, match=str(file)):
            snapshot.read(file)


def _same(file: Path, other: Path) -> bool:
    try:
        return snapshot.read(file) == snapshot.read(other)
    except StoreError:
        return False


@pytest.mark.parametrize("text", [b"", b"{}\n", b"hello", b'{"line":"end","objects":0,"sha256":""}\n', b"\xff\n"])
def test_another_file_is_refused(tmp_path: Path, text: bytes) -> None:
    for number, body in enumerate((text, gzip.compress(text))):
        file = tmp_path / f"other-{number}"
        file.write_bytes(body)
        with pytest.raises(StoreCorrupt, match=r"no snapshot|cut off"):
            snapshot.read(file)


def test_a_newer_format_is_refused(saved: Path, tmp_path: Path) -> None:
    text = gzip.decompress(saved.read_bytes()).replace(b'"format":1', b'"format":2', 1)
    (tmp_path / "newer").write_bytes(gzip.compress(text))
    with pytest.raises(StoreError, match="newer Octoedge"):
        snapshot.read(tmp_path / "newer")


def test_an_altered_object_is_refused(saved: Path, tmp_path: Path) -> None:
    text = gzip.decompress(saved.read_bytes()).replace(b'"value":7', b'"value":8', 1)
    (tmp_path / "altered").write_bytes(gzip.compress(text))
    with pytest.raises(StoreCorrupt, match="damaged"):
        snapshot.read(tmp_path / "altered")


def test_a_folder_without_data_is_said(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="holds no API server's data"):
        snapshot.take(tmp_path, tmp_path / "saved", NOW)
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_database_is_not_saved(tmp_path: Path) -> None:
    (tmp_path / "state.db").write_bytes(b"SQLite format 3\0" + bytes(5000))
    with pytest.raises(StoreError):
        snapshot.take(tmp_path, tmp_path / "saved", NOW)
    assert not (tmp_path / "saved").exists()
