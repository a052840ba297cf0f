"""Logs of containers, asked of CloudCore's kubelet-like API and passed through as they come."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import aiohttp
from yarl import URL

from octoedge.apiserver.credentials import Pair
from octoedge.apiserver.kubelet import client_context, refused
from octoedge.apiserver.requests import Chunks
from octoedge.errors import ApiError

_CONNECT_SECONDS = 10.0
_FIRST_BYTE_SECONDS = 60.0
_MAX_ERROR = 64 * 1024


class KubeletLogs:
    """A client of one kubelet-like API."""

    def __init__(self, endpoint: str, client: Pair, ca: Path | None) -> None:
        self._endpoint = endpoint.rstrip("/")
        self._client = client
        self._ca = ca
        self._context: ssl.SSLContext | None = None

    async def open(self, namespace: str, pod: str, container: str, query: Mapping[str, str]) -> Chunks:
        """The log as it comes; `ApiError` when there is none to be had."""
        path = "/".join(quote(part, safe="") for part in ("containerLogs", namespace, pod, container))
        url = URL(f"{self._endpoint}/{path}", encoded=True).with_query(dict(query))
        timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
        session = aiohttp.ClientSession(timeout=timeout, connector=aiohttp.TCPConnector(ssl=self._tls()))
        try:
            async with asyncio.timeout(_FIRST_BYTE_SECONDS):
                response = await session.get(url)
                if response.status >= 300:
                    raise refused(response.status, await response.content.read(_MAX_ERROR))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await session.close()
            raise ApiError(500, "InternalError", f'Get "{url}": {error or type(error).__name__}') from error
        except BaseException:
            await session.close()
            raise
        return _chunks(session, response)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            self._context = client_context(self._client, self._ca)
        return self._context


async def _chunks(session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> Chunks:
    async with session, response:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise ApiError(502, "BadGateway", f"the log ended early: {error}") from error
