"""Exports to a web server and a mosquitto over real sockets: all values, in order, over refusals and restarts."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest
from aiohttp import web

from octoedge.api.config.cloudcore import TelemetryExport
from octoedge.cloud.telemetry import store
from octoedge.cloud.telemetry.exports import Exports
from octoedge.protocol.telemetry import Section, pack
from octoedge.store.sqlite import Database
from octoedge.testing.eventually import comes_true
from octoedge.testing.mosquitto import Mosquitto
from octoedge.transport.mqtt_packets import Published


async def add(database: Database, first: int, last: int, name: str = "t") -> None:
    column = pack([number * 1000 for number in range(first, last + 1)], [str(n) for n in range(first, last + 1)])
    section = Section("default/th", name, "e", first, last, [], column)
    await database.write(lambda connection: store.take(connection, "edge-1", section, 0))


@contextlib.asynccontextmanager
async def exporting(database: Database, export: TelemetryExport) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(Exports([export], lambda: database).run(lambda: None))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class Server:
    """Remembers what it is sent; is away for the first requests, and refuses those with a word."""

    def __init__(self, refusals: int, refuses: str = "") -> None:
        self.refusals = refusals
        self.refuses = refuses
        self.requests: list[tuple[str, str, str]] = []
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = (await request.read()).decode()
        if self.refusals:
            self.refusals -= 1
            return web.Response(status=503, text="not now")
        if self.refuses and self.refuses in body:
            return web.Response(status=400, text="a field has another type")
        self.requests.append((request.path_qs, request.headers.get("Authorization", ""), body))
        return web.Response(status=204)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(self.handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        try:
            yield
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("kind", ["http", "influxdb"])
def test_a_web_server_gets_all_over_a_refusal_and_a_restart(tmp_path: Path, kind: str) -> None:
    (tmp_path / "token").write_text("secret\n")

    async def main() -> None:
        database = Database.open(tmp_path / "telemetry.db", store.MIGRATIONS)
        server = Server(1)
        for first in (1, 4001, 8001):
            await add(database, first, first + 3999)
        async with server.serving():
            export = TelemetryExport(
                name="x", kind=kind, url=f"{server.url}/write?org=o", token_file=str(tmp_path / "token")
            )
            async with exporting(database, export):
                await comes_true(lambda: database.read_now(_cursor) == 12_000)
            await add(database, 12_001, 12_003)
            async with exporting(database, export):
                await comes_true(lambda: database.read_now(_cursor) == 12_003)
        database.close()
        lines = [line for _, _, body in server.requests for line in body.splitlines()]
        if kind == "http":
            assert [msgspec.json.decode(line)["value"] for line in lines] == [str(n) for n in range(1, 12_004)]
            assert {head for _, head, _ in server.requests} == {"Bearer secret"}
        else:
            assert lines[0] == "t,namespace=default,device=th value=1.0 1000"
            assert len(lines) == 12_003
            assert {head for _, head, _ in server.requests} == {"Token secret"}
            assert {path for path, _, _ in server.requests} == {"/write?org=o&precision=ms"}

    asyncio.run(main())


def test_a_stream_that_is_refused_holds_up_no_other_and_keeps_its_place(tmp_path: Path) -> None:
    async def main() -> None:
        database = Database.open(tmp_path / "telemetry.db", store.MIGRATIONS)
        server = Server(0, refuses="poison")
        await add(database, 1, 10, "poison")
        await add(database, 1, 10, "good")
        async with server.serving():
            async with exporting(database, TelemetryExport(name="x", kind="influxdb", url=server.url)):
                await comes_true(lambda: len(server.requests) == 1)
            server.refuses = ""
            async with exporting(database, TelemetryExport(name="x", kind="influxdb", url=server.url)):
                await comes_true(lambda: len(server.requests) == 2)
        database.close()
        assert [body.partition(",")[0] for _, _, body in server.requests] == ["good", "poison"]

    asyncio.run(main())


def test_a_broker_gets_all(tmp_path: Path) -> None:
    async def main() -> None:
        database = Database.open(tmp_path / "telemetry.db", store.MIGRATIONS)
        await add(database, 1, 300)
        heard: list[str] = []
        async with Mosquitto(tmp_path) as broker:
            listener = await broker.client("listener")

            async def listen() -> None:
                async for message in listener.messages():
                    listener.acknowledge(message)
                    if isinstance(message, Published):
                        assert message.topic == "octoedge/default/th/t"
                        heard.append(msgspec.json.decode(message.payload)["value"])

            task = asyncio.get_running_loop().create_task(listen())
            await listener.subscribe([("octoedge/#", 1)])
            async with exporting(database, TelemetryExport(name="bus", kind="mqtt", url=broker.url)):
                await comes_true(lambda: len(heard) >= 300)
                await comes_true(lambda: database.read_now(_cursor) == 300)
            task.cancel()
            await asyncio.wait([task])
            listener.close()
        database.close()
        assert heard == [str(number) for number in range(1, 301)]

    asyncio.run(main())


def _cursor(connection: object) -> int:
    row = connection.execute("SELECT number FROM cursor").fetchone()  # type: ignore[attr-defined]
    return int(row[0]) if row else 0
