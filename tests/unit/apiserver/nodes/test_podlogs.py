"""Logs asked of a kubelet: real sockets and TLS, a kubelet that knows its visitors by their connections."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web

from octoedge.apiserver.access.credentials import Pair
from octoedge.apiserver.nodes.kubelet import Direct, Way
from octoedge.apiserver.nodes.podlogs import KubeletLogs
from octoedge.errors import ApiError
from octoedge.testing.tls import make

LINE = b"a line of the log\n"


class Kubelet:
    """Answers by the container's name, and remembers which connection asked."""

    def __init__(self, tls: ssl.SSLContext) -> None:
        self._tls = tls
        self._runner: web.AppRunner | None = None
        self.port = 0
        self.visitors: list[object] = []
        self.left = asyncio.Event()
        """Somebody went before his log's end."""

    async def start(self) -> None:
        app = web.Application()
        app.router.add_get("/containerLogs/shop/cart/{container}", self._answer)
        self._runner = web.AppRunner(app, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", self.port, ssl_context=self._tls, reuse_address=True).start()
        self.port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        if self._runner is not None:
            await self._runner.cleanup()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        self.visitors.append(request.transport.get_extra_info("peername"))
        asked = request.match_info["container"]
        if asked == "unknown":
            return web.Response(status=404, text='container "unknown" not found')
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(LINE)
        if asked == "endless":
            try:
                await asyncio.Event().wait()
            finally:
                self.left.set()
        await response.write_eof()
        return response


@asynccontextmanager
async def running(folder: Path) -> AsyncIterator[tuple[Kubelet, Way, KubeletLogs]]:
    files = make(folder)
    kubelet = Kubelet(files.server(want_client=True))
    await kubelet.start()
    way = Way(Direct(f"https://127.0.0.1:{kubelet.port}"), Pair(files.certificate_file, files.key_file), files.ca_file)
    logs = KubeletLogs(way)
    try:
        yield kubelet, way, logs
    finally:
        await logs.close()
        await kubelet.stop()


def logs_test(test: Callable[[Kubelet, Way, KubeletLogs], Awaitable[None]], folder: Path) -> None:
    async def main() -> None:
        async with asyncio.timeout(30), running(folder) as (kubelet, way, logs):
            await test(kubelet, way, logs)

    asyncio.run(main())


async def read(logs: KubeletLogs, container: str = "app") -> bytes:
    found = await logs.open("edge-1", "shop", "cart", container, {})
    return b"".join([chunk async for chunk in found.chunks])


def test_logs_one_after_the_other_come_by_one_connection(tmp_path: Path) -> None:
    async def test(kubelet: Kubelet, _: Way, logs: KubeletLogs) -> None:
        for _number in range(3):
            assert await read(logs) == LINE
        with pytest.raises(ApiError, match='container "unknown" not found'):
            await read(logs, "unknown")
        assert await read(logs) == LINE
        assert len(set(kubelet.visitors)) == 1

    logs_test(test, tmp_path)


def test_after_a_renewal_no_connection_with_the_old_certificate_is_taken(tmp_path: Path) -> None:
    async def test(kubelet: Kubelet, way: Way, logs: KubeletLogs) -> None:
        assert await read(logs) == LINE
        way.show()
        assert await read(logs) == LINE
        assert await read(logs) == LINE
        first, second, third = kubelet.visitors
        assert first != second == third

    logs_test(test, tmp_path)


def test_a_log_that_is_left_takes_its_connection_with_it(tmp_path: Path) -> None:
    async def test(kubelet: Kubelet, _: Way, logs: KubeletLogs) -> None:
        found = await logs.open("edge-1", "shop", "cart", "endless", {})
        assert await anext(found.chunks) == LINE
        await found.chunks.aclose()
        await kubelet.left.wait()
        assert await read(logs) == LINE
        assert len(set(kubelet.visitors)) == 2

    logs_test(test, tmp_path)


def test_more_logs_are_followed_at_once_than_aiohttp_has_connections_of_its_own_accord(tmp_path: Path) -> None:
    async def test(kubelet: Kubelet, _: Way, logs: KubeletLogs) -> None:
        followed = []
        for _number in range(101):
            followed.append((await logs.open("edge-1", "shop", "cart", "endless", {})).chunks)
            assert await anext(followed[-1]) == LINE
        assert await read(logs) == LINE
        for one in followed:
            await one.aclose()
        assert len(set(kubelet.visitors)) == 102

    logs_test(test, tmp_path)


def test_a_kubelet_that_has_started_anew_is_asked_anew(tmp_path: Path) -> None:
    async def test(kubelet: Kubelet, _: Way, logs: KubeletLogs) -> None:
        assert await read(logs) == LINE
        await kubelet.restart()
        assert await read(logs) == LINE

    logs_test(test, tmp_path)


def test_a_kubelet_that_is_away_is_an_error_and_closing_twice_does_no_harm(tmp_path: Path) -> None:
    async def test(kubelet: Kubelet, _: Way, logs: KubeletLogs) -> None:
        assert await read(logs) == LINE
        await kubelet.stop()
        with pytest.raises(ApiError, match="containerLogs/shop/cart/app"):
            await read(logs)
        await logs.close()

    logs_test(test, tmp_path)
