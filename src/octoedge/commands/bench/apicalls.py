"""What CloudCore asks of the API: its requests pass through here, and are counted by what they are.

CloudCore ──HTTP──► this process: counts ──TLS, as CloudCore──► API server
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import yaml
from aiohttp import web
from yarl import URL

from octoedge.commands.bench.world import PORT_OFFSET
from octoedge.kube.access import Access
from octoedge.kube.read import parse_path

PORT = 6446 + PORT_OFFSET
_PARALLEL = 256
_OF_A_CONNECTION = frozenset(("host", "connection", "content-length", "transfer-encoding"))


class Calls:
    """Hands requests on."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._session: aiohttp.ClientSession | None = None
        self.counts: Counter[str] = Counter()
        """list, watch, read, write → how many."""

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Serve until the end."""
        connector = aiohttp.TCPConnector(limit=_PARALLEL, ssl=self._access.tls or False)
        timeout = aiohttp.ClientTimeout(total=None)
        async with aiohttp.ClientSession(connector=connector, timeout=timeout, auto_decompress=False) as self._session:
            app = web.Application(client_max_size=64 << 20)
            app.router.add_route("*", "/{rest:.*}", self._handle)
            runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
            await runner.setup()
            try:
                await web.TCPSite(runner, "127.0.0.1", PORT, shutdown_timeout=0.1).start()
                yield
            finally:
                await runner.cleanup()

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        assert self._session is not None
        self.counts[_kind(request.method, request.path, request.query.get("watch", ""))] += 1
        url = URL(self._access.server + request.raw_path, encoded=True)
        headers = {key: value for key, value in request.headers.items() if key.lower() not in _OF_A_CONNECTION}
        body = await request.read()
        async with self._session.request(request.method, url, headers=headers, data=body or None) as answer:
            kept = {key: value for key, value in answer.headers.items() if key.lower() not in _OF_A_CONNECTION}
            response = web.StreamResponse(status=answer.status, headers=kept)
            await response.prepare(request)
            async for piece in answer.content.iter_any():
                await response.write(piece)
            await response.write_eof()
            return response


def write_kubeconfig(path: Path) -> None:
    """For a CloudCore whose requests are to be counted."""
    cluster = {"name": "bench", "cluster": {"server": f"http://127.0.0.1:{PORT}"}}
    context = {"name": "bench", "context": {"cluster": "bench", "user": ""}}
    tree = {"apiVersion": "v1", "kind": "Config", "current-context": "bench", "clusters": [cluster]}
    path.write_text(yaml.safe_dump({**tree, "contexts": [context], "users": []}))


def _kind(method: str, path: str, watch: str) -> str:
    if method != "GET":
        return "write"
    if watch in ("true", "1"):
        return "watch"
    target = parse_path(path)
    return "list" if target is not None and not target.name else "read"
