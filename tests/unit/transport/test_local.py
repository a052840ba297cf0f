"""The status socket: one line for everyone who may, and no trouble from those who hang up or lie in the way."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from octoedge.transport.local import StatusSocket, listen


def during(path: Path, test: Callable[[], Awaitable[None]]) -> None:
    async def main() -> None:
        ready = asyncio.Event()
        module = StatusSocket(path, lambda: {"node": "edge-1"})
        async with asyncio.TaskGroup() as group:
            running = group.create_task(module.run(ready.set))
            await ready.wait()
            await asyncio.sleep(0)
            await test()
            running.cancel()

    asyncio.run(main())


async def ask(path: Path) -> dict[str, object]:
    reader, writer = await asyncio.open_unix_connection(path)
    line = await reader.read()
    writer.close()
    await writer.wait_closed()
    answer: dict[str, object] = json.loads(line)
    return answer


def test_everyone_gets_one_line(tmp_path: Path) -> None:
    path = tmp_path / "edgecore.sock"
    path.write_text("left behind by a killed process")

    async def test() -> None:
        assert await ask(path) == {"node": "edge-1"}
        _, writer = await asyncio.open_unix_connection(path)
        writer.close()
        assert await ask(path) == {"node": "edge-1"}
        assert path.stat().st_mode & 0o777 == 0o600

    during(path, test)
    assert not path.exists()


def test_what_other_threads_make_meanwhile_has_its_own_mode(tmp_path: Path) -> None:
    over = threading.Event()
    modes: set[int] = set()

    def make() -> None:
        while not over.is_set():
            made = Path(tempfile.mkdtemp(dir=tmp_path)) / "volume"
            made.mkdir(mode=0o755)
            modes.add(made.stat().st_mode & 0o700)

    async def main() -> None:
        for _ in range(500):
            server = await listen(tmp_path / "edgecore.sock", lambda reader, writer: asyncio.sleep(0))
            server.close()
            await asyncio.sleep(0)

    maker = threading.Thread(target=make)
    maker.start()
    try:
        asyncio.run(main())
    finally:
        over.set()
        maker.join()
    assert modes <= {0o700}


def test_a_path_that_is_too_long_costs_the_socket_only(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / ("x" * 120)

    async def main() -> None:
        await StatusSocket(path, dict).run(lambda: None)

    asyncio.run(main())
    assert "octoedge.statusSocket" in caplog.text


def test_what_other_tasks_make_meanwhile_keeps_its_mode(tmp_path: Path) -> None:
    made = tmp_path / "a pod's directory"

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    async def make() -> None:
        made.mkdir(0o700)

    async def main() -> None:
        async with asyncio.TaskGroup() as group:
            listening = group.create_task(listen(tmp_path / "edgecore.sock", answer))
            group.create_task(make())
        listening.result().close()

    asyncio.run(main())
    assert made.stat().st_mode & 0o777 == 0o700
