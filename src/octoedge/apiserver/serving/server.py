"""The HTTPS port: aiohttp reads requests and writes responses; what they mean is the API's business.

Every read has a limit and a deadline. A handler is cancelled when its client goes away; so that a stalled watcher holds
nothing but its own socket, writes have deadlines too (`sending`).
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Callable, Mapping

from aiohttp import web

from octoedge.apiserver.access.authentication import ANONYMOUS, Authenticator
from octoedge.apiserver.access.credentials import Credentials
from octoedge.apiserver.serving.doors import Doors, Turns
from octoedge.apiserver.serving.requests import Answers, Pieces, Request, Response, Takeover, error_answer
from octoedge.apiserver.serving.sending import send
from octoedge.errors import ApiError, OctoedgeError

log = logging.getLogger(__name__)

MAX_BODY = 3 * 1024 * 1024
MAX_LINE = 64 * 1024
"""Longest request line and longest header: selectors and tokens are long."""
BODY_SECONDS = 30.0
IDLE_SECONDS = 120.0
HANDSHAKE_SECONDS = 15.0


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
        self._turns = Turns()
        self._doors: Doors | None = None
        self._context: ssl.SSLContext | None = None

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
        self._doors = Doors(server)
        listening = await asyncio.get_running_loop().create_server(
            self._doors, self._host, self._port, ssl=self._tls(), backlog=1024, ssl_handshake_timeout=HANDSHAKE_SECONDS
        )
        try:
            log.info("= serving on https://%s:%d", self._host, self._port)
            ready()
            await asyncio.Event().wait()
        finally:
            listening.close()
            server.pre_shutdown()
            await server.shutdown(1.0)

    def show(self) -> None:
        """Use the credentials as they are in their files, from the next handshake on."""
        if self._context is not None:
            self._context.load_cert_chain(self._credentials.server.certificate, self._credentials.server.key)
            self._context.load_verify_locations(self._credentials.ca.certificate)

    def _tls(self) -> ssl.SSLContext:
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self.show()
        context.verify_mode = ssl.CERT_OPTIONAL
        context.set_alpn_protocols(["http/1.1"])
        return context

    async def _handle(self, http: web.BaseRequest) -> web.StreamResponse:
        response: Response
        if self._doors is not None:
            self._doors.asked(http.protocol)
        try:
            request = await self._request(http)
            with self._turns.taken(http.method):
                response = await self._api.handle(request)
                if isinstance(response, Pieces):
                    return await send(http, response)
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
        return await send(http, response)

    async def _request(self, http: web.BaseRequest) -> Request:
        """The request, read whole; of somebody unknown, whom nobody allows to write, the body is not even read."""
        certificate: Mapping[str, object] | None = http.get_extra_info("peercert")
        user = self._authenticator.user(http.headers, certificate)
        body = b"" if user is ANONYMOUS else await _read_body(http)
        raw = http.rel_url.raw_query_string
        return Request(http.method, http.path, _query(http), http.headers, body, user, raw, http.remote or "")


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
