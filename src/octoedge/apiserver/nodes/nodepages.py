"""Plain pages of nodes' kubelets, asked where each is: `nodes/NAME/proxy/…`, and what `metrics` is made from."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from octoedge.apiserver.nodes.kubelet import Way, refused
from octoedge.apiserver.serving.requests import Request, Response, Stream
from octoedge.apiserver.writing.rest import Place
from octoedge.errors import ApiError, not_found
from octoedge.kube.read import Reader

_CONNECT_SECONDS = 10.0
_ANSWER_SECONDS = 60.0
_MAX_ERROR = 64 * 1024
_CONNECTIONS = 32
"""Nodes that are asked at once."""


@dataclass(frozen=True, slots=True)
class Page:
    """An answer 200; its body is read once."""

    content_type: str
    chunks: AsyncGenerator[bytes, None]


class NodePages:
    """A client of the kubelets' plain pages."""

    def __init__(self, way: Way) -> None:
        self._way = way

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[aiohttp.ClientSession]:
        """Connections for a few requests."""
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        connector = aiohttp.TCPConnector(ssl=self._way.tls, limit=_CONNECTIONS)
        async with aiohttp.ClientSession(timeout=timeout, connector=connector) as session:
            yield session

    async def read(self, session: aiohttp.ClientSession, node: str, path: str, most: int) -> bytes:
        """A whole page of at most `most` bytes; `ApiError` when it cannot be had."""
        async with self._get(session, node, path, "") as response:
            body = await response.content.read(most)
            while len(body) < most and (more := await response.content.read(most - len(body))):
                body += more
            return body

    async def open(self, node: str, path: str, query: str) -> Page:
        """A page as it comes; `ApiError` when it cannot be had."""
        stack = contextlib.AsyncExitStack()
        try:
            session = await stack.enter_async_context(self.session())
            response = await stack.enter_async_context(self._get(session, node, path, query))
        except BaseException:
            await stack.aclose()
            raise
        content_type = response.headers.get("Content-Type", "text/plain; charset=utf-8")
        return Page(content_type, _chunks(stack, response))

    @contextlib.asynccontextmanager
    async def _get(
        self, session: aiohttp.ClientSession, node: str, path: str, query: str
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        url = URL(self._way.to(node) + quote(path, safe="/") + (f"?{query}" if query else ""), encoded=True)
        # As a kube-apiserver's proxy says it; CloudCore knows the node by it.
        headers = {"X-Forwarded-Uri": f"/api/v1/nodes/{quote(node, safe='')}/proxy{path}"}
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                response = await session.get(url, headers=headers)
                if response.status >= 300:
                    raise refused(response.status, await response.content.read(_MAX_ERROR))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            text = f"error trying to reach node {node}: {str(error) or type(error).__name__}"
            raise ApiError(502, "BadGateway", text) from error
        async with response:
            yield response


class NodeProxy:
    """Handler of nodes/NAME/proxy/PATH: pages may be read, nothing else."""

    def __init__(self, reader: Reader, pages: NodePages) -> None:
        self._reader = reader
        self._pages = pages

    async def get(self, request: Request, place: Place) -> Response:
        """The page."""
        if self._reader.get(place.kind.resource, "", place.name) is None:
            raise not_found("nodes", place.name)
        path = "/" + request.path.split("/proxy", 1)[1].strip("/")
        page = await self._pages.open(place.name, path, request.raw_query)
        return Stream(page.chunks, page.content_type)


async def _chunks(stack: contextlib.AsyncExitStack, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
    async with stack:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise ApiError(502, "BadGateway", f"the page ended early: {error}") from error
