"""The kubelet's HTTP API as far as it is served through the tunnel: a table of paths, everything else is a 404.

`requests` gives the handler for each kind of stream. Plain requests (logs, metrics) end in an `HttpAnswer`; what
KubeEdge pipes as raw bytes (exec, attach; here port-forward too) is in `pipes`.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping

from octoedge.edge.edgestream.exec import raw_streams
from octoedge.edge.edgestream.logs import serve_logs
from octoedge.edge.edgestream.stream import Stream
from octoedge.edge.edgestream.tunnel import Handler
from octoedge.edge.ports import HttpAnswer, Kubelet
from octoedge.errors import ApiError
from octoedge.protocol.tunnel import Connector, Kind

Page = Callable[[Connector], Awaitable[HttpAnswer]]
"""Answers a plain GET."""


NODE_PAGES = ("healthz", "metrics", "pods", "stats")
"""First parts of paths that tell of the node; a Go cloud asks for `metrics` and `stats` only."""


def requests(kubelet: Kubelet) -> Mapping[Kind, Handler]:
    """What the cloud may ask of this node."""

    async def container_logs(connector: Connector) -> HttpAnswer:
        return await serve_logs(kubelet, connector)

    async def node_page(connector: Connector) -> HttpAnswer:
        return await kubelet.page("/" + "/".join(connector.segments))

    raw = raw_streams(kubelet)
    return {
        Kind.LOGS: _pages({"containerLogs": container_logs}),
        Kind.METRICS: _pages(dict.fromkeys(NODE_PAGES, node_page)),
        Kind.EXEC: raw,
        Kind.ATTACH: raw,
    }


def _pages(table: Mapping[str, Page]) -> Handler:
    async def handle(connector: Connector, stream: Stream) -> None:
        page = table.get(connector.segments[0])
        if page is None:
            raise ApiError(404, "NotFound", f"/{connector.segments[0][:100]} is not served by this node")
        answer = await page(connector)
        await stream.answer(answer.status, answer.headers)
        async with _closing(answer.body) as body:
            async for chunk in body:
                await stream.write(chunk)

    return handle


@contextlib.asynccontextmanager
async def _closing(body: AsyncIterator[bytes]) -> AsyncIterator[AsyncIterator[bytes]]:
    """Ends a generator at once when the stream ends, not when it is collected."""
    try:
        yield body
    finally:
        close = getattr(body, "aclose", None)
        if close is not None:
            await close()
