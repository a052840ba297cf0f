"""The HTTPS port: aiohttp reads requests and writes responses; what they mean is the API's business.

Every read has a limit and a deadline. A handler is cancelled when its client goes away; a write that the client does
not take within a minute ends the connection, so that a stalled watcher holds nothing but its own socket.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping
from contextlib import aclosing

from aiohttp import web

from octoedge.apiserver.authentication import Authenticator
from octoedge.apiserver.credentials import Credentials
from octoedge.apiserver.requests import Answer, Answers, Request, Response, Stream, Takeover, error_answer
from octoedge.errors import ApiError, OctoedgeError

log = logging.getLogger(__name__)

MAX_BODY = 3 * 1024 * 1024
MAX_LINE = 64 * 1024
"""Longest request line and longest header: selectors and tokens are long."""
BODY_SECONDS = 30.0
WRITE_SECONDS = 60.0
IDLE_SECONDS = 120.0
CHUNK = 64 * 1024


class Server:
    """The module that listens."""

    name = "server"
    needs: tuple[str, ...] = ("bootstrap", "definitions")

    def __init__(
        self, host: str, port: int, credentials: Credentials, authenticator: Authenticator, api: Answers
    ) -> None:
        self._host = host
        self._port = port
        self._credentials = credentials
        self._authenticator = authenticator
        self._api = api

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        server = web.Server(
            self._handle,
            handler_cancellation=True,
            keepalive_timeout=IDLE_SECONDS,
            max_line_size=MAX_LINE,
            max_field_size=MAX_LINE,
            access_log=None,
            lingering_time=1.0,
        )
        runner = web.ServerRunner(server, shutdown_timeout=1.0)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self._port, ssl_context=self._tls(), backlog=1024)
            await site.start()
            log.info("= serving on https://%s:%d", self._host, self._port)
            ready()
            await asyncio.Event().wait()
        finally:
            await runner.cleanup()

    def _tls(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self._credentials.server.certificate, self._credentials.server.key)
        context.load_verify_locations(self._credentials.ca.certificate)
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        response: Response
        try:
            response = await self._respond(http)
            if isinstance(response, Takeover):
                return await response.talk(http)
        except ApiError as error:
            response = error_answer(error)
        except OctoedgeError as error:
            log.warning("%s %s: %s", http.method, http.path, error)
            response = error_answer(ApiError(500, "InternalError", str(error)))
        except Exception:
            # A fault of ours: the client is told so, the process lives.
            log.exception("%s %s failed", http.method, http.path)
            text = "an internal error occurred; the server's log has it"
            response = error_answer(ApiError(500, "InternalError", text))
        if isinstance(response, Stream):
            return await _stream(http, response)
        return _whole(http, response)

    async def _respond(self, http: web.BaseRequest) -> Response:
        certificate: Mapping[str, object] | None = http.get_extra_info("peercert")
        user = self._authenticator.user(http.headers, certificate)
        body = await _read_body(http)
        raw = http.rel_url.raw_query_string
        request = Request(http.method, http.path, _query(http), http.headers, body, user, raw, http.remote or "")
        return await self._api.handle(request)


def _query(http: web.BaseRequest) -> dict[str, str]:
    """The first value of each parameter, as Go's Values.Get."""
    query: dict[str, str] = {}
    for key, value in http.query.items():
        query.setdefault(key, value)
    return query


async def _read_body(http: web.BaseRequest) -> bytes:
    if not http.body_exists:
        return b""
    if (http.content_length or 0) > MAX_BODY:
        raise _too_large()
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in http.content.iter_any():
                size += len(part)
                if size > MAX_BODY:
                    raise _too_large()
                parts.append(part)
    except TimeoutError as error:
        text = f"the body of the request did not arrive within {BODY_SECONDS:.0f} seconds"
        raise ApiError(408, "Timeout", text) from error
    return b"".join(parts)


def _too_large() -> ApiError:
    return ApiError(413, "RequestEntityTooLarge", f"Request entity too large: limit is {MAX_BODY}")


def _whole(http: web.BaseRequest, answer: Answer) -> web.Response:
    headers = {"Cache-Control": "no-cache, private", **answer.headers, "Content-Type": answer.content_type}
    response = web.Response(body=answer.body, status=answer.code, headers=headers)
    if answer.code in (408, 413):
        response.force_close()
    if len(answer.body) > CHUNK and "gzip" in http.headers.get("Accept-Encoding", ""):
        response.enable_compression(web.ContentCoding.gzip)
    return response


async def _stream(http: web.BaseRequest, stream: Stream) -> web.StreamResponse:
    headers = {"Cache-Control": "no-cache, private", **stream.headers, "Content-Type": stream.content_type}
    response = web.StreamResponse(status=stream.code, headers=headers)
    response.enable_chunked_encoding()
    try:
        async with aclosing(stream.chunks) as chunks:
            await response.prepare(http)
            async for chunk in chunks:
                await _write(response, chunk)
        await response.write_eof()
    except (TimeoutError, ConnectionError, ApiError) as error:
        log.debug("= %s ended: %s", http.path, error or type(error).__name__)
        if http.transport is not None:
            http.transport.abort()
    return response


async def _write(response: web.StreamResponse, chunk: bytes) -> None:
    async with asyncio.timeout(WRITE_SECONDS):
        for at in range(0, len(chunk), CHUNK):
            await response.write(chunk[at : at + CHUNK])
