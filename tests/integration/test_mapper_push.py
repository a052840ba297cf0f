"""What mappers push, at real servers: Redis, MariaDB, mosquitto, and web servers that are away, slow, wrong or full."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import logging
import re
import socket
import urllib.request
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any

import aiomysql
import msgspec
import pytest
import redis.asyncio
from aiohttp import web
from line_protocol_parser import parse_line
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import (
    ExportMetricsServiceRequest,
    ExportMetricsServiceResponse,
)

from octoedge.mappers.framework import run as mappers
from octoedge.mappers.push import settings as s
from octoedge.mappers.push.hub import Hub
from octoedge.mappers.push.sending import Sample
from octoedge.runtime.clock import SystemClock
from octoedge.store.sqlite import Database
from octoedge.testing.cloudlink import CloudLink
from octoedge.testing.databases import MariaDb, RedisServer
from octoedge.testing.devices import DeviceWorld
from octoedge.testing.eventually import comes_true
from octoedge.testing.mosquitto import Mosquitto
from octoedge.transport.mqtt_packets import Published

BEGIN = 1_790_000_000_000


def _run(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    async def bounded() -> None:
        async with asyncio.timeout(50):
            await main()

    asyncio.run(bounded())


class Pusher:
    """A mapper's hub with one target."""

    def __init__(self, hub: Hub, target: s.Target) -> None:
        self.hub = hub
        self.target = target
        self._count = 0

    def put(self, *values: object, prop: str = "t", device: str = "boiler") -> None:
        for value in values:
            self._count += 1
            self.hub.put(Sample(self.target, "plant", device, prop, "float", str(value), BEGIN + self._count))

    def count(self, what: str = "pushed") -> int:
        return self.hub.counts[what, self.target.method]


@contextlib.asynccontextmanager
async def pushing(target: s.Target) -> AsyncIterator[Pusher]:
    async with asyncio.TaskGroup() as group:
        hub = Hub(group)
        hub.wants("plant/boiler", [target])
        yield Pusher(hub, target)
        hub.wants("plant/boiler", ())


class WebServer:
    """Remembers what it is sent, and answers what it is told to."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.connections: set[Any] = set()
        self.status = 200
        self.body = b""
        self.refuses: bytes | None = None
        self.hang = False
        self.port = 0

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        body = await request.read()
        self.connections.add(id(request.transport))
        if self.hang:
            assert request.transport is not None
            request.transport.close()
        if self.status >= 300:
            return web.Response(status=self.status, text="not now", headers={"Location": "/elsewhere"})
        if self.refuses is not None and self.refuses in body:
            return web.Response(status=400, text="a field has another type")
        self.requests.append((request.path_qs, dict(request.headers), body))
        return web.Response(body=self.body)

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[str]:
        runner = web.ServerRunner(web.Server(self.handle))
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", self.port).start()
        self.port = runner.addresses[0][1]
        try:
            yield f"http://127.0.0.1:{self.port}"
        finally:
            await runner.cleanup()

    def forms(self) -> list[str]:
        """Values of the forms that came."""
        return [body.decode().partition("&")[0].partition("=")[2] for _, _, body in self.requests]


# ---- web servers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["500", "301", "404", "drops", "away"])
def test_a_web_server_gets_all_forms_in_their_order_over_its_troubles(wrong: str) -> None:
    async def main() -> None:
        server = WebServer()
        async with contextlib.AsyncExitStack() as stack:
            url = await stack.enter_async_context(server.serving())
            async with pushing(s.Http(f"{url}/take?x=1")) as pusher:
                pusher.put(*range(200))
                await comes_true(lambda: pusher.count() == 200)
                assert len(server.connections) == 1, "one property goes by one kept connection"
                if wrong == "away":
                    await stack.aclose()
                elif wrong == "drops":
                    server.hang = True
                else:
                    server.status = int(wrong)
                pusher.put(*range(200, 210))
                await comes_true(lambda: pusher.count("push_failures") >= 1)
                server.status, server.hang = 200, False
                if wrong == "away":
                    await stack.enter_async_context(server.serving())
                await comes_true(lambda: pusher.count() == 210)
        seen = list(dict.fromkeys(server.forms()))
        assert seen == [str(number) for number in range(210)]
        path, headers, body = server.requests[0]
        assert path == "/take?x=1"
        assert headers["Content-Type"] == "application/x-www-form-urlencoded"
        assert re.fullmatch(rb"t=0&time=\d{4}-\d\d-\d\d \d\d:\d\d:\d\d", body)

    _run(main)


def test_a_form_that_is_refused_holds_up_no_other(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = WebServer()
        server.refuses = b"bad"
        async with server.serving() as url, pushing(s.Http(url)) as pusher:
            pusher.put(1, "bad", 2)
            pusher.put(3, prop="u")
            await comes_true(lambda: pusher.count() == 3 and pusher.count("push_refused") == 1)
        assert sorted(server.forms()) == ["1", "2", "3"]

    _run(main)
    assert "plant/boiler/t is refused" in caplog.text


def test_points_reach_a_strict_influxdb(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        server = WebServer()
        server.status = 401
        async with server.serving() as url:
            target = s.Influxdb2(url, "my org", "b", "m", (("unit", "k W"),), "f")
            async with pushing(target) as pusher:
                pusher.put(1.5)
                await comes_true(lambda: pusher.count("push_failures") >= 1)
            monkeypatch.setenv("TOKEN", "hush\n")
            async with pushing(target) as pusher:
                pusher.put("x")
                await comes_true(lambda: pusher.count("push_failures") >= 1)
                server.status, server.refuses = 200, b"poison"
                pusher.put(*range(5), "poison", 'it"s')
                await comes_true(lambda: pusher.count() == 7 and pusher.count("push_refused") == 1)
        points = [parse_line(line) for _, _, body in server.requests for line in body.decode().splitlines()]
        assert [point["fields"]["f"] for point in points] == ["x", "0", "1", "2", "3", "4", 'it"s']
        assert points[0]["tags"] == {"unit": "k W"}
        assert points[0]["time"] == BEGIN + 1
        path, headers, _ = server.requests[0]
        assert path == "/api/v2/write?org=my+org&bucket=b&precision=ms"
        assert headers["Authorization"] == "Token hush"

    _run(main)
    assert "TOKEN is not set" in caplog.text
    assert "hush" not in caplog.text


def test_gauges_reach_a_collector(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        server = WebServer()
        async with server.serving() as url, pushing(s.Otel(f"{url}/v1/metrics")) as pusher:
            pusher.put(0, 1.5, "true", "warm")
            await comes_true(lambda: pusher.count() == 3 and pusher.count("push_refused") == 1)
            partial = ExportMetricsServiceResponse()
            partial.partial_success.rejected_data_points = 1
            partial.partial_success.error_message = "too old"
            server.body = partial.SerializeToString()
            pusher.put(7, prop="u")
            await comes_true(lambda: pusher.count("push_refused") == 2)
        path, headers, body = server.requests[0]
        assert (path, headers["Content-Type"]) == ("/v1/metrics", "application/x-protobuf")
        metric = ExportMetricsServiceRequest.FromString(body).resource_metrics[0].scope_metrics[0].metrics[0]
        assert [point.as_double for point in metric.gauge.data_points] == [0.0, 1.5, 1.0]

    _run(main)
    assert "it is no number" in caplog.text
    assert "too old" in caplog.text


def test_rows_reach_a_tdengine(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ours: no package has a real one."""
    monkeypatch.setenv("USERNAME", "root")
    monkeypatch.setenv("PASSWORD", "hush")

    async def main() -> None:
        server = WebServer()
        server.body = msgspec.json.encode({"code": 0x357, "desc": "Authentication failure"})
        async with server.serving() as url, pushing(s.TdEngine(url, "site")) as pusher:
            pusher.put(1)
            await comes_true(lambda: pusher.count("push_failures") >= 1)
            server.body = b"<html>nonsense"
            await comes_true(lambda: pusher.count("push_failures") >= 2)
            server.body = msgspec.json.encode({"code": 0, "rows": 1})
            await comes_true(lambda: pusher.count() == 1)
            pusher.put("x" * 65, 2)
            await comes_true(lambda: pusher.count() == 2 and pusher.count("push_refused") == 1)
        statements = [body.decode() for _, _, body in server.requests]
        assert sum(one.startswith("CREATE STABLE IF NOT EXISTS `plant/boiler` ") for one in statements) >= 1
        assert "INSERT INTO `plant/boiler/t` USING `plant/boiler`" in statements[-1]
        path, headers, _ = server.requests[0]
        assert path == "/rest/sql/site"
        assert headers["Authorization"] == f"Basic {base64.b64encode(b'root:hush').decode()}"

    _run(main)
    assert "Authentication failure" in caplog.text
    assert "answers what no TDengine does" in caplog.text
    assert "hush" not in caplog.text


# ---- databases and a broker ------------------------------------------------------------------------------------------


def test_members_reach_a_redis_that_goes_fills_up_and_knows_better(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def main() -> None:
        server = RedisServer(tmp_path, "--requirepass", "hush")
        async with server:
            target = s.Redis("127.0.0.1", server.port, 3)
            monkeypatch.setenv("PASSWORD", "wrong")
            async with pushing(target) as pusher:
                pusher.put(1)
                await comes_true(lambda: pusher.count("push_failures") >= 1)
            monkeypatch.setenv("PASSWORD", "hush")
            client = redis.asyncio.Redis(port=server.port, db=3, password="hush")
            async with pushing(target) as pusher:
                pusher.put(*range(1000))
                await comes_true(lambda: pusher.count() == 1000)
                members: Any = await client.zrange("boiler", 0, -1, withscores=True)
                assert [msgspec.json.decode(member)["Value"] for member, _ in members] == [str(n) for n in range(1000)]
                assert [score for _, score in members] == [BEGIN + 1 + n for n in range(1000)]
                await client.set("other", "a text")
                pusher.put(5, device="other")
                pusher.put(1000)
                await comes_true(lambda: pusher.count() == 1001 and pusher.count("push_refused") == 1)
                await client.config_set("maxmemory", "1")
                pusher.put(1001)
                await comes_true(lambda: pusher.count("push_failures") >= 1)
                await client.config_set("maxmemory", "0")
                await comes_true(lambda: pusher.count() == 1002)
                await client.aclose()
                await server.kill()
                pusher.put(1002)
                await comes_true(lambda: pusher.count("push_failures") >= 2)
                await server.start()
                await comes_true(lambda: pusher.count() == 1003)

    _run(main)
    for words in ("invalid username-password", "plant/other/t is refused: WRONGTYPE", "used memory > 'maxmemory'"):
        assert words in caplog.text
    assert "hush" not in caplog.text


def test_rows_reach_a_mariadb_that_goes_and_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def rows(server: MariaDb, table: str) -> Sequence[tuple[Any, ...]]:
        connection = await aiomysql.connect(
            host="127.0.0.1", port=server.port, user="mapper", password="secret", db="site", charset="utf8mb4"
        )
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(f"SELECT id, ts, field FROM `{table}` ORDER BY id")
                found: Sequence[tuple[Any, ...]] = await cursor.fetchall()
                return found
        finally:
            connection.close()

    async def main() -> None:
        async with MariaDb(tmp_path) as server:
            target = s.MySql("127.0.0.1", server.port, "site", "mapper")
            monkeypatch.setenv("PASSWORD", "wrong")
            async with pushing(target) as pusher:
                pusher.put(1)
                await comes_true(lambda: pusher.count("push_failures") >= 1)
            monkeypatch.setenv("PASSWORD", "secret")
            async with pushing(target) as pusher:
                pusher.put(*range(300))
                pusher.put("21,5 °C 😀 it's; `x` %s", prop="50%`x")
                await comes_true(lambda: pusher.count() == 301)
                found = await rows(server, "plant/boiler/t")
                assert [field for _, _, field in found] == [str(n) for n in range(300)]
                assert found[0][1].year == 2026
                assert (await rows(server, "plant/boiler/50%``x"))[0][2] == "21,5 °C 😀 it's; `x` %s"
                await server.kill()
                pusher.put(300)
                await comes_true(lambda: pusher.count("push_failures") >= 1)
                await server.start()
                await comes_true(lambda: pusher.count() == 302)
            async with pushing(s.MySql("127.0.0.1", server.port, "nowhere", "mapper")) as pusher:
                pusher.put(1)
                await comes_true(lambda: pusher.count("push_failures") >= 1)

    _run(main)
    assert "Access denied for user 'mapper'" in caplog.text
    assert "secret" not in caplog.text


@pytest.mark.parametrize("quality", [0, 1, 2])
def test_messages_reach_a_broker_on_a_kept_connection(tmp_path: Path, quality: int) -> None:
    async def main() -> None:
        heard: list[str] = []
        async with Mosquitto(tmp_path) as broker, asyncio.TaskGroup() as group:
            listener = await broker.client("listener")

            async def listen() -> None:
                async for message in listener.messages():
                    listener.acknowledge(message)
                    if isinstance(message, Published):
                        heard.append(message.payload.decode())

            listening = group.create_task(listen())
            await listener.subscribe([("plant/t", 1)])
            async with pushing(s.Mqtt(broker.url, "plant/t", quality, True)) as pusher:
                pusher.put(*range(300))
                await comes_true(lambda: len(heard) == 300)
                assert re.fullmatch(r"time is \d{4}-\d\d-\d\d \d\d:\d\d:\d\d  plant/t: 0", heard[0])
                assert [text.rpartition(" ")[2] for text in heard] == [str(number) for number in range(300)]
                listening.cancel()
                listener.close()
                await broker.kill()
                await broker.start()
                pusher.put("last")
                await comes_true(lambda: pusher.count() == 301)
                assert pusher.count("push_failures") == 0
            late = await broker.client("late")
            listener = late
            heard.clear()
            listening = group.create_task(listen())
            await late.subscribe([("plant/t", 1)])
            await comes_true(lambda: [text.rpartition(" ")[2] for text in heard] == ["last"])
            listening.cancel()
            late.close()

    _run(main)


# ---- the whole way ---------------------------------------------------------------------------------------------------


def test_a_device_in_the_cloud_has_its_values_pushed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        door = int(probe.getsockname()[1])

    def metrics() -> str:
        return str(urllib.request.urlopen(f"http://127.0.0.1:{door}/metrics", timeout=10).read().decode())

    async def main() -> None:
        server = WebServer()
        world = DeviceWorld(tmp_path, CloudLink(), SystemClock(), Database)
        settings = mappers.Settings(world.socket, tmp_path / "m.sock", http_port=door)
        async with server.serving() as url, world.running(), asyncio.TaskGroup() as group:
            mapper = group.create_task(mappers.serve(mappers.load("virtual"), settings))
            model = {
                "protocol": "virtual",
                "properties": [{"name": n, "type": "INT", "accessMode": "ReadWrite"} for n in "ab"],
            }
            meta = {"name": "model", "namespace": "plant", "uid": "model", "resourceVersion": "1"}
            await world.push("insert", "plant/devicemodel/model", {"metadata": meta, "spec": model})
            host, _, port = url.rpartition(":")
            visitors = {"protocolName": "virtual", "configData": {"kind": "counter", "dataType": "int"}}
            http = {"hostName": host, "port": int(port), "requestPath": "/take"}
            spec = {
                "deviceModelRef": {"name": "model"},
                "protocol": {"protocolName": "virtual", "configData": {"stepMs": 10}},
                "properties": [
                    {"name": "a", "reportCycle": 50, "visitors": visitors, "pushMethod": {"http": http}},
                    {"name": "b", "reportToCloud": True, "visitors": visitors, "pushMethod": {"http": {}}},
                ],
            }
            await world.put({"metadata": {"name": "one", "namespace": "plant", "uid": "u"}, "spec": spec}, "update")
            await comes_true(lambda: len(server.requests) >= 5)
            text = await asyncio.to_thread(metrics)
            assert int(re.findall(r'octoedge_mapper_pushed_total\{method="http"\} (\d+)', text)[0]) >= 4
            assert 'octoedge_mapper_push_dropped_total{method="http"} 0' in text
            assert len(set(server.forms())) == len(server.forms()), "each value once"
            mapper.cancel()

    with caplog.at_level(logging.WARNING):
        _run(main)
    assert "spec.properties[b].pushMethod.http.hostName is missing" in caplog.text
