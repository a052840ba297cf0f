"""Logs of containers, asked of their node's kubelet-like API and passed through as they come."""

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

    async def open(self, node: str, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> PodLog:
        """The log as it comes; `ApiError` when there is none to be had."""
        path = "/".join(quote(part, safe="") for part in ("containerLogs", namespace, pod, container))
        url = URL(f"{self._way.to(node)}/{path}", encoded=True).with_query(dict(query))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=self._way.tls))
        try:
            async with asyncio.timeout(_FIRST_BYTE_SECONDS):
                response = await session.get(url, headers={WARNINGS: "true"})
                if response.status >= 300:
                    raise refused(response.status, await response.content.read(_MAX_ERROR))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await session.close()
            raise ApiError(500, "InternalError", f'Get "{url}": {error or type(error).__name__}') from error
        except BaseException:
            await session.close()
            raise
        return PodLog(_chunks(session, response), response.headers.get("Warning", ""))


async def _chunks(session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> Chunks:
    async with session, response:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise ApiError(502, "BadGateway", f"the log ended early: {error}") from error
