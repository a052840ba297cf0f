"""Logs of containers, asked of their node's kubelet-like API and passed through as they come.

Connections are kept for a few seconds, so that a log that is asked for soon after needs no handshake. They are told
apart by the TLS context that they were made with: after a renewal none with the old certificate is taken again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote

import aiohttp
from yarl import URL

from octoedge.apiserver.nodes.kubelet import Way, refused
from octoedge.apiserver.serving.requests import Chunks
from octoedge.errors import ApiError
from octoedge.kube.kubelet import WARNINGS

_CONNECT_SECONDS = 10.0
_FIRST_BYTE_SECONDS = 60.0
_MAX_ERROR = 64 * 1024
_KEPT_SECONDS = 15.0
"""Below what servers keep an idle connection for: a kubelet does so for 90 s."""


@dataclass(frozen=True, slots=True)
class PodLog:
    """A log, and what should be known of it."""

    chunks: Chunks
    warning: str = ""
    """The header `Warning` for the client, which kubectl prints beside the log; empty: none."""


class KubeletLogs:
    """A client of nodes' kubelets."""

    def __init__(self, way: Way) -> None:
        self._way = way
        self._session: aiohttp.ClientSession | None = None

    async def open(self, node: str, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> PodLog:
        """The log as it comes; `ApiError` when there is none to be had."""
        path = "/".join(quote(part, safe="") for part in ("containerLogs", namespace, pod, container))
        url = URL(f"{self._way.to(node)}/{path}", encoded=True).with_query(dict(query))
        try:
            async with asyncio.timeout(_FIRST_BYTE_SECONDS):
                response = await self._connections().get(url, headers={WARNINGS: "true"}, ssl=self._way.tls)
                await _accepted(response)
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise ApiError(500, "InternalError", f'Get "{url}": {str(error) or type(error).__name__}') from error
        return PodLog(_chunks(response), response.headers.get("Warning", ""))

    async def close(self) -> None:
        """Let go of all connections; logs that are still read end."""
        if self._session is not None:
            await self._session.close()

    def _connections(self) -> aiohttp.ClientSession:
        """Made when a log is first asked for: a loop must run then, and most servers never need it."""
        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
            # As many as logs are followed, which may be long: one that had to wait for another's end would look dead.
            connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS)
            cookies = aiohttp.DummyCookieJar()
            self._session = aiohttp.ClientSession(timeout=timeout, connector=connector, cookie_jar=cookies)
        return self._session


async def _accepted(response: aiohttp.ClientResponse) -> None:
    """`ApiError` with what the kubelet said, unless it gives the log."""
    if response.status < 300:
        return
    async with response:
        raise refused(response.status, await response.content.read(_MAX_ERROR))


async def _chunks(response: aiohttp.ClientResponse) -> Chunks:
    # A response that is left before its end takes its connection with it.
    async with response:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise ApiError(502, "BadGateway", f"the log ended early: {error}") from error
