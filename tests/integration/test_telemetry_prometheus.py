"""Remote write to a web server that takes it apart as Prometheus would, and has Prometheus' reasons to refuse."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path

import pytest
from aiohttp import web
from cramjam import snappy

from octoedge.api.config.cloudcore import TelemetryExport
from octoedge.cloud.telemetry import remotewrite, store, unsent
from octoedge.cloud.telemetry.desk import Desk
from octoedge.cloud.telemetry.exports import Exports
from octoedge.cloud.telemetry.unsent import REFUSED, Unsent
from octoedge.keadm import telemetry
from octoedge.protocol.telemetry import Section, pack
from octoedge.store.sqlite import Database
from octoedge.testing.eventually import comes_true

STREAM = "default/th/t"


class Receiver:
    """Keeps samples of each series; those not newer than its last are refused, as without an out-of-order window."""

    def __init__(self) -> None:
        self.away: list[web.Response] = []
        self.series: dict[tuple[tuple[str, str], ...], list[tuple[int, float]]] = {}
        self.came: list[float] = []
        self.authorization: set[str] = set()
        self.url = ""

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        self.came.append(time.monotonic())
        if self.away:
            return self.away.pop(0)
        assert {name: request.headers[name] for name in remotewrite.HEADERS} == remotewrite.HEADERS
        self.authorization.add(request.headers.get("Authorization", ""))
        body = bytes(snappy.decompress_raw(await request.read()))
        late = 0
        for one in remotewrite.CODEC.decode(body, remotewrite.WriteRequest).timeseries:
            labels = tuple((label.name, label.value) for label in one.labels)
            assert labels == tuple(sorted(labels))
            samples = self.series.setdefault(labels, [])
            for sample in one.samples:
                if samples and sample.timestamp <= samples[-1][0]:
                    late += 1
                else:
                    samples.append((sample.timestamp, sample.value))
        return web.Response(status=400, text="out of order sample") if late else web.Response(status=204)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        runner = web.ServerRunner(web.Server(self.handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{runner.addresses[0][1]}/api/v1/write"
        try:
            yield
        finally:
            await runner.cleanup()

    def samples(self, name: str = "t") -> list[tuple[int, float]]:
        labels = (("__name__", f"octoedge_{name}"), ("device", "th"), ("namespace", "default"), ("property", name))
        return self.series.get(labels, [])


@contextlib.asynccontextmanager
async def background(work: Coroutine[None, None, None]) -> AsyncIterator[None]:
    task = asyncio.get_running_loop().create_task(work)
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


class World:
    """A store, a receiver, and the export between them."""

    def __init__(self, folder: Path) -> None:
        self.database = Database.open(folder / "telemetry.db", store.MIGRATIONS)
        self.receiver = Receiver()
        self._numbers: dict[str, int] = {}
        (folder / "password").write_text("secret\n")
        self._password = str(folder / "password")
        self._folder = folder
        self._exports: Exports | None = None

    async def add(self, times: list[int], text: Callable[[int], str] = str, name: str = "t") -> None:
        first = self._numbers.get(name, 0) + 1
        last = self._numbers[name] = first + len(times) - 1
        column = pack(times, [text(time) for time in times])
        section = Section("default/th", name, "e", first, last, [], column)
        await self.database.write(lambda connection: store.take(connection, "edge-1", section, 0))

    async def hand_over(self) -> None:
        """Run the export, the same one each time, until the store has nothing for it."""
        if self._exports is None:
            export = TelemetryExport(
                name="prom", kind="prometheus", url=self.receiver.url, username="me", token_file=self._password
            )
            self._exports = Exports([export], lambda: self.database)
        async with background(self._exports.run(lambda: None)):
            await self._all_is_handed_over()

    def restart(self) -> None:
        self._exports = None

    async def _all_is_handed_over(self) -> None:
        text = "SELECT count(*) FROM stream LEFT JOIN cursor ON stream = id WHERE settled > coalesce(number, 0)"
        await comes_true(lambda: self.database.read_now(lambda c: c.execute(text).fetchone()[0]) == 0)

    async def audit(self) -> str:
        """What a person is told."""
        status = self._folder / "cloudcore.sock"
        async with background(Desk(status, lambda: self.database, lambda: {"edge-1"}, str).run(lambda: None)):
            await comes_true((self._folder / "cloudcore.telemetry.sock").exists)
            return (await asyncio.to_thread(telemetry.audit, status)).text()

    def left_out(self) -> list[Unsent]:
        return self.database.read_now(unsent.found)


@contextlib.asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    made = World(folder)
    async with made.receiver.serving():
        yield made
    made.database.close()


def test_all_numbers_arrive_in_series_and_texts_are_counted(tmp_path: Path) -> None:
    async def main() -> None:
        async with world(tmp_path) as this:
            for first in (1, 4001, 8001):
                await this.add(list(range(first, first + 4000)))
            await this.add([1, 2, 3], lambda time: "true" if time == 2 else "auto", "mode")
            await this.hand_over()
            await this.add([12_001, 12_002])
            this.restart()
            await this.hand_over()
            assert this.receiver.samples() == [(time, float(time)) for time in range(1, 12_003)]
            assert this.receiver.samples("mode") == [(2, 1.0)]
            assert this.receiver.authorization == {"Basic bWU6c2VjcmV0"}
            assert this.left_out() == [Unsent("prom", "default/th/mode", remotewrite.NO_NUMBER, 2)]

    asyncio.run(main())


def test_what_is_refused_is_given_up_said_once_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        async with world(tmp_path) as this:
            for times in ([100, 101], [50, 51, 52], [60], [200]):
                await this.add(times)
                await this.add(times[:1], lambda _: "0.5", "late")
                await this.hand_over()
            assert this.receiver.samples() == [(100, 100.0), (101, 101.0), (200, 200.0)]
            assert this.receiver.samples("late") == [(100, 0.5), (200, 0.5)]
            assert this.left_out() == [
                Unsent("prom", "default/th/late", REFUSED, 2),
                Unsent("prom", STREAM, REFUSED, 4),
            ]
            told = (await this.audit()).splitlines()
            assert told[0].startswith("11 sent, 11 stored, 0 gaps")
            assert told[2] == f"{STREAM}: 4 not sent on by the export prom: {REFUSED}"

    with caplog.at_level(logging.WARNING, "octoedge.cloud.telemetry.exports"):
        asyncio.run(main())
    said = [record.getMessage() for record in caplog.records if record.name == "octoedge.cloud.telemetry.exports"]
    assert [" ".join(line.split()[2:4]) for line in said] == ["default/th t:", "default/th late:"]
    assert "400 out of order sample" in said[0]


@pytest.mark.parametrize("status", [500, 429, 404])
def test_an_outage_loses_nothing_and_retry_after_is_heard(tmp_path: Path, status: int) -> None:
    async def main() -> None:
        async with world(tmp_path) as this:
            this.receiver.away = [web.Response(status=status, headers={"Retry-After": "2"})]
            await this.add([1, 2, 3])
            await this.hand_over()
            assert len(this.receiver.samples()) == 3
            first, second = this.receiver.came
            assert second - first >= 1.9
            assert this.left_out() == []

    asyncio.run(main())
