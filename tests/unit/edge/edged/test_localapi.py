"""The read-only API on the node: pages and logs by plain HTTP, and nothing that acts."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from octoedge.edge.edged.localapi import LocalApi
from octoedge.edge.edgestream.logs import log_request
from octoedge.edge.ports import HttpAnswer, LogRequest, StreamRequest
from octoedge.errors import ApiError
from octoedge.runtime.address import is_local


class Node:
    """A kubelet with one page and one log."""

    def __init__(self) -> None:
        self.asked: list[LogRequest] = []

    async def page(self, path: str) -> HttpAnswer:
        if path != "/healthz":
            raise ApiError(404, "NotFound", "404 page not found")
        return HttpAnswer(200, _chunks(b"ok"), {"Content-Type": "text/plain"})

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        self.asked.append(request)
        return _chunks(b"one\n", b"", b"two\n")

    async def stream_url(self, request: StreamRequest) -> str:
        raise AssertionError("nothing may act through this API")

    async def unblock(self, request: StreamRequest) -> None:
        raise AssertionError("nothing may act through this API")


async def _chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def at_work(body: Callable[[Node, int], Awaitable[None]], *, only_health: bool = False) -> None:
    async def main() -> None:
        node, port = Node(), free_port()
        api = LocalApi("127.0.0.1", port, node, log_request, only_health=only_health)
        ready = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            task = group.create_task(api.run(ready.set))
            await ready.wait()
            await body(node, port)
            task.cancel()

    asyncio.run(main())


async def ask(port: int, request: bytes) -> tuple[int, bytes]:
    async with asyncio.timeout(30):
        while True:
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                break
            except ConnectionRefusedError:
                await asyncio.sleep(0.01)
        writer.write(request)
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    return int(head.split()[1]), body


def get(path: str, host: str = "127.0.0.1:10350", method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()


def test_pages_and_logs_come_in_chunks() -> None:
    async def body(node: Node, port: int) -> None:
        assert await ask(port, get("/healthz")) == (200, b"2\r\nok\r\n0\r\n\r\n")
        path = "/containerLogs/default/web/main?follow=true&tailLines=5"
        assert await ask(port, get(path)) == (200, b"4\r\none\n\r\n4\r\ntwo\n\r\n0\r\n\r\n")
        assert node.asked == [LogRequest("default", "web", "main", follow=True, tail_lines=5)]

    at_work(body)


@pytest.mark.parametrize(
    ("request_", "code", "said"),
    [
        (get("/nothing"), 404, b"404 page not found"),
        (get("/containerLogs/default/web"), 400, b"Missing container name"),
        (get("/containerLogs/default/web/main?limitBytes=-1"), 422, b"Invalid request"),
        (get("/exec/default/web/main", method="POST"), 403, b"exec is not done here"),
        (get("/run/default/web/main"), 403, b"run is not done here"),
        (get("/healthz", method="DELETE"), 405, b"this API only tells"),
        (get("/pods", host="evil.example:10350"), 403, b"is not an address of this machine"),
        (get("/%ff"), 400, b"not UTF-8"),
        (b"hello\r\n\r\n", 400, b"no HTTP/1.1 request"),
        (b"GET /healthz HTTP/1.1\r\n" + b"X: " + b"x" * 20_000 + b"\r\n\r\n", 400, b"longer than"),
    ],
)
def test_everything_else_is_refused_with_a_reason(request_: bytes, code: int, said: bytes) -> None:
    async def body(_: Node, port: int) -> None:
        status, text = await ask(port, request_)
        assert status == code
        assert said in text

    at_work(body)


def test_who_asks_where_nobody_can_be_known_is_told_nothing_but_health() -> None:
    async def body(node: Node, port: int) -> None:
        assert (await ask(port, get("/healthz")))[0] == 200
        for path in (
            "/", "/pods", "/pods/", "/runningpods/", "/stats/summary", "/metrics", "/metrics/cadvisor", "/configz",
            "/metrics/resource", "/containerLogs/default/web/main", "/logs/", "/healthz/x", "/healthz/../pods", "/spec",
            "//pods", "/%70ods", "/debug/pprof/heap", "/checkpoint/default/web/main",
        ):  # fmt: skip
            status, text = await ask(port, get(path))
            assert status == 403, path
            assert b"this port tells only its health" in text
        for method in ("POST", "PUT", "DELETE", "PATCH", "CONNECT"):
            for path in ("/pods", "/healthz", "/exec/default/web/main", "/run/default/web/main"):
                assert (await ask(port, get(path, method=method)))[0] in (403, 405), (method, path)
        assert node.asked == []

    at_work(body, only_health=True)


def test_a_port_that_somebody_has_is_waited_for() -> None:
    async def main() -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            port = int(other.getsockname()[1])
            api, ready = LocalApi("127.0.0.1", port, Node(), log_request), asyncio.Event()
            async with asyncio.TaskGroup() as group:
                task = group.create_task(api.run(ready.set))
                await ready.wait()
                await asyncio.sleep(0.1)
                other.close()
                assert (await ask(port, get("/healthz")))[0] == 200
                task.cancel()

    asyncio.run(main())


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1:10350", True), ("localhost:10350", True), ("[::1]:10350", True), ("[::1]", True), ("", True),
        ("192.0.2.7", True), ("node.example:10350", False), ("localhost.evil:1", False), ("1.2.3.4.evil", False),
    ],
)  # fmt: skip
def test_hosts(host: str, local: bool) -> None:
    assert is_local(host) == local
