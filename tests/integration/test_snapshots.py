"""Snapshot and restore beside a server that works, and kill -9 of either at any moment: nothing half, nothing lost."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

pytest.importorskip("aiohttp")

from octoedge.apiserver.store import snapshot
from octoedge.commands.bench.plane import Plane
from octoedge.errors import ApiError, OctoedgeError
from octoedge.kube.client import Client
from octoedge.kube.kinds import CONFIGMAPS

SEED = int(os.environ.get("OCTOEDGE_SEED", "20261121"))
ROUNDS = int(os.environ.get("OCTOEDGE_ROUNDS", "3"))


@pytest.fixture
def plane(tmp_path: Path) -> Iterator[Plane]:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    at = Plane(tmp_path / "data", port)
    at.folder.mkdir()
    at.start()
    yield at
    at.stop()


def command(plane: Plane, word: str, file: Path) -> subprocess.Popen[str]:
    """`octoedge apiserver snapshot|restore FILE`."""
    line = [sys.executable, "-m", "octoedge.commands.octoedge", "apiserver", word, str(file)]
    line += ["--data-dir", str(plane.folder)]
    return subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def done(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out + err


def configmap(name: str, text: str) -> bytes:
    return msgspec.json.encode(
        {"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": name}, "data": {"t": text}}
    )


async def held(client: Client) -> dict[str, str]:
    """The ConfigMaps of the tests."""
    listing = await client.list(CONFIGMAPS, "default")
    decoded: list[Any] = [msgspec.json.decode(item) for item in listing.items]
    return {one["metadata"]["name"]: one["data"]["t"] for one in decoded if one["metadata"]["name"].startswith("cm-")}


async def write_until_killed(plane: Plane, acknowledged: dict[str, str], first: int) -> None:
    """Create objects until the server is gone; what it has acknowledged is noted."""
    async with Client(plane.access) as client:
        for number in range(first, first + 100_000):
            try:
                await client.create(CONFIGMAPS, "default", configmap(f"cm-{number}", "x" * (number % 5000)))
            except OctoedgeError:
                return
            acknowledged[f"cm-{number}"] = "x" * (number % 5000)


def test_it_runs_on_while_it_is_saved_and_restored(plane: Plane, tmp_path: Path) -> None:
    async def main() -> None:
        async with Client(plane.access) as client:
            await client.create(CONFIGMAPS, "default", configmap("cm-kept", "saved"))
            status, said = await asyncio.to_thread(lambda: done(command(plane, "snapshot", tmp_path / "saved")))
            assert status == 0, said
            assert (tmp_path / "saved").stat().st_mode & 0o777 == 0o600
            await client.patch(CONFIGMAPS, "default", "cm-kept", b'{"data":{"t":"changed"}}')
            await client.create(CONFIGMAPS, "default", configmap("cm-later", "later"))
            version = (await client.list(CONFIGMAPS, "default")).version

            async def told() -> int:
                try:
                    async for _ in client.watch(CONFIGMAPS, "default", version=version):
                        pass
                except ApiError as error:
                    return error.code
                return 0

            watching = asyncio.ensure_future(told())
            status, said = await asyncio.to_thread(lambda: done(command(plane, "restore", tmp_path / "saved")))
            assert status == 0, said
            assert await asyncio.wait_for(watching, 10) == 410
            assert await held(client) == {"cm-kept": "saved"}
            listing = await client.list(CONFIGMAPS, "default")
            assert int(listing.version) > int(version)
            await client.create(CONFIGMAPS, "default", configmap("cm-new", "new"))
            (tmp_path / "saved").write_bytes((tmp_path / "saved").read_bytes()[:-20])
            status, said = await asyncio.to_thread(lambda: done(command(plane, "restore", tmp_path / "saved")))
            assert status == 1
            assert "cut off" in said
            assert await held(client) == {"cm-kept": "saved", "cm-new": "new"}
        plane.stop()
        await asyncio.to_thread(plane.start)
        async with Client(plane.access) as client:
            assert await held(client) == {"cm-kept": "saved", "cm-new": "new"}

    asyncio.run(main())


def test_kill_9_of_anything_at_any_moment(plane: Plane, tmp_path: Path) -> None:
    """Each round writes, saves or restores, and kills the server or the command somewhere in between."""
    chance = random.Random(SEED)

    async def main() -> None:
        acknowledged: dict[str, str] = {}
        for number in range(ROUNDS):
            file = tmp_path / f"saved-{number}"
            writing = asyncio.ensure_future(write_until_killed(plane, acknowledged, number * 100_000))
            await asyncio.sleep(0.2)
            saving = command(plane, "snapshot", file)
            await asyncio.sleep(chance.uniform(0.1, 0.6))
            if chance.random() < 0.5:
                saving.kill()
            done(saving)
            os.kill(plane.pid, signal.SIGKILL)
            await writing
            plane.stop()
            await asyncio.to_thread(plane.start)
            async with Client(plane.access) as client:
                after = await held(client)
                assert acknowledged.items() <= after.items(), f"seed {SEED}: something acknowledged is lost"
                if file.exists():
                    saved = await restore_with_a_kill(plane, file, chance)
                    now = await held(client)
                    assert now in (saved, after), f"seed {SEED}: neither before nor after"
                    acknowledged = now

    async def restore_with_a_kill(plane: Plane, file: Path, chance: random.Random) -> dict[str, str]:
        restoring = command(plane, "restore", file)
        await asyncio.sleep(chance.uniform(0.1, 0.8))
        if chance.random() < 0.3:
            restoring.kill()
        else:
            os.kill(plane.pid, signal.SIGKILL)
            plane.stop()
        done(restoring)
        if chance.random() < 0.5:
            plane.stop()
        plane.stop()
        await asyncio.to_thread(plane.start)
        objects: list[Any] = [msgspec.json.decode(data) for _, data in snapshot.read(file).objects]
        found = [one for one in objects if one["kind"] == "ConfigMap" and one["metadata"]["name"].startswith("cm-")]
        return {one["metadata"]["name"]: one["data"]["t"] for one in found}

    asyncio.run(main())
