"""Logs of containers, asked of CloudCore's kubelet-like API and passed through as they come."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from octoedge.apiserver.credentials import Pair
from octoedge.apiserver.requests import Chunks
from octoedge.errors import ApiError

_CONNECT_SECONDS = 10.0
_FIRST_BYTE_SECONDS = 60.0
_MAX_ERROR = 64 * 1024
_REASONS = {400: "BadRequest", 401: "Unauthorized", 403: "Forbidden", 404: "NotFound", 503: "ServiceUnavailable"}


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
                    raise _refused(response.status, await response.content.read(_MAX_ERROR))
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            await session.close()
            raise ApiError(500, "InternalError", f'Get "{url}": {error or type(error).__name__}') from error
        except BaseException:
            await session.close()
            raise
        return _chunks(session, response)

    def _tls(self) -> ssl.SSLContext:
        if self._context is None:
            context = ssl.create_default_context(cafile=str(self._ca) if self._ca else None)
            context.check_hostname = False
            if self._ca is None:
                # As a kube-apiserver without --kubelet-certificate-authority: our own certificate is what counts there.
                context.verify_mode = ssl.CERT_NONE
            context.load_cert_chain(self._client.certificate, self._client.key)
            self._context = context
        return self._context


async def _chunks(session: aiohttp.ClientSession, response: aiohttp.ClientResponse) -> Chunks:
    async with session, response:
        try:
            async for chunk in response.content.iter_any():
                yield chunk
        except aiohttp.ClientError as error:
            raise ApiError(502, "BadGateway", f"the log ended early: {error}") from error


def _refused(code: int, body: bytes) -> ApiError:
    """The error that the other side told of, a metav1.Status or a text."""
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        value = None
    if isinstance(value, dict) and value.get("kind") == "Status":
        return ApiError.from_status({"code": code, **value})
    text = value.get("message") if isinstance(value, dict) else None
    message = str(text or body.decode(errors="replace").strip() or f"the kubelet answered {code}")
    return ApiError(code, _REASONS.get(code, "InternalError"), message)
