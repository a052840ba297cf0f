"""The kubelet-like API for the API server (10003): a table of paths, one handler each.

GET /containerLogs/NAMESPACE/POD/CONTAINER → the pod's node (asked from the API) → its tunnel → a stream → the answer,
chunk by chunk; /exec, /attach and /portForward go the same way and then are `exec`. Errors are text with the right
status, as a kubelet gives them; the API server passes them on.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from urllib.parse import unquote

import msgspec
from aiohttp import web

from octoedge.cloud.cloudstream.away import NodesAway
from octoedge.cloud.cloudstream.exec import PATHS, pipe, wanted
from octoedge.cloud.cloudstream.stream import Stream
from octoedge.cloud.cloudstream.trust import authorize
from octoedge.cloud.cloudstream.tunnel import Tunnel
from octoedge.cloud.cloudstream.tunnels import Tunnels
from octoedge.errors import ApiError, ConnectionClosed, OctoedgeError, bad_request
from octoedge.kube.client import Client
from octoedge.kube.kinds import PODS
from octoedge.kube.read import flag
from octoedge.protocol.tunnel import Connector, Kind
from octoedge.transport.websocket_server import start

log = logging.getLogger(__name__)

ANSWER_SECONDS = 30.0
_CLOSE_SECONDS = 2.0
_LOOKUP_SECONDS = 10.0
_PASSED_ON = ("Accept-Encoding", "User-Agent")
_NOT_YET = ("run", "checkpoint", "logs")
_NODE_PAGES = ("healthz", "metrics", "pods", "stats")
"""First parts of paths that tell of a node; which one, `_node_meant` finds out."""
_TYPE = "text/plain; charset=utf-8"

Page = Callable[[web.Request], Awaitable[web.StreamResponse]]


class _Spec(msgspec.Struct, frozen=True, rename="camel"):
    node_name: str = ""


class _Metadata(msgspec.Struct, frozen=True):
    uid: str = ""


class _Pod(msgspec.Struct, frozen=True):
    metadata: _Metadata = _Metadata()
    spec: _Spec = _Spec()


class KubeletApi:
    """Answers what the API server asks of kubelets."""

    def __init__(self, host: str | None, port: int, client: Client, tunnels: Tunnels, away: NodesAway) -> None:
        self._host = host
        self.port = port
        self._client = client
        self._tunnels = tunnels
        self._away = away

    @contextlib.asynccontextmanager
    async def listening(self, tls: ssl.SSLContext) -> AsyncIterator[None]:
        """Listen within the context; `port` then is the real one, also when 0 was asked for."""
        app = web.Application(middlewares=[_errors])
        app.router.add_get("/containerLogs/{namespace}/{pod}/{container}", self._container_logs)
        for path in PATHS:
            app.router.add_get(path, self._pipe, allow_head=False)
            app.router.add_post(path, self._pipe)
        for name in _NODE_PAGES:
            app.router.add_get(f"/{name}{{rest:(/.*)?}}", self._node_page, allow_head=False)
        for name in _NOT_YET:
            app.router.add_route("*", f"/{name}{{rest:(/.*)?}}", _not_yet)
        # Without cancellation a reader that has left would be noticed only at the next byte of its log.
        runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=_CLOSE_SECONDS)
        await runner.setup()
        try:
            site = web.TCPSite(runner, self._host, self.port, ssl_context=tls, backlog=256)
            await start(site, f"port {self.port}")
            self.port = runner.addresses[0][1]
            log.info("listening for the API server on port %s (logs, exec)", self.port)
            yield
        finally:
            await runner.cleanup()

    async def _container_logs(self, request: web.Request) -> web.StreamResponse:
        pod = await self._pod(request)
        await authorize(self._client, _certificate(request), pod.spec.node_name)
        headers = {name: tuple(request.headers.getall(name)) for name in _PASSED_ON if name in request.headers}
        url = request.rel_url
        connector = Connector(url.raw_path, url.raw_query_string, "", headers)
        async with contextlib.AsyncExitStack() as stack:
            try:
                stream = await stack.enter_async_context(self._stream(pod.spec.node_name, Kind.LOGS, connector))
            except ApiError as why:
                return await self._away.log(request, pod.spec.node_name, pod.metadata.uid, why)
            return await _pass_on(request, stream)

    async def _node_page(self, request: web.Request) -> web.StreamResponse:
        node = self._tunnels.find(_node_meant(request)).node
        await authorize(self._client, _certificate(request), node)
        url = request.rel_url
        headers: dict[str, tuple[str, ...]] = {"Accept-Encoding": ("identity",)}
        connector = Connector(url.raw_path, url.raw_query_string, "", headers)
        async with self._stream(node, Kind.METRICS, connector) as stream:
            return await _pass_on(request, stream)

    async def _pipe(self, request: web.Request) -> web.StreamResponse:
        kind, connector = wanted(request)
        node = (await self._pod(request)).spec.node_name
        await authorize(self._client, _certificate(request), node)
        async with self._stream(node, kind, connector) as stream:
            return await pipe(request, node, stream)

    @contextlib.asynccontextmanager
    async def _stream(self, node: str, kind: Kind, connector: Connector) -> AsyncIterator[Stream]:
        """A stream that is given back whatever happens, a reader that leaves included; `ApiError` 503: node away."""
        tunnel = self._tunnels.find(node)
        try:
            stream = await tunnel.open(kind, connector)
        except ConnectionClosed as error:
            raise ApiError(503, "ServiceUnavailable", f"node {tunnel.node} has just gone away: {error}") from error
        try:
            await self._confirm(tunnel)
            yield stream
        finally:
            await tunnel.close(stream)

    async def _confirm(self, tunnel: Tunnel) -> None:
        try:
            await tunnel.confirm()
        except ConnectionClosed as error:
            raise self._tunnels.cut(tunnel) from error

    async def _pod(self, request: web.Request) -> _Pod:
        namespace, name = request.match_info["namespace"], request.match_info["pod"]
        try:
            async with asyncio.timeout(_LOOKUP_SECONDS):
                found = msgspec.json.decode(await self._client.get(PODS, namespace, name), type=_Pod)
        except TimeoutError as error:
            raise ApiError(504, "Timeout", f"the API server did not say where pod {name} runs") from error
        except msgspec.DecodeError as error:
            raise ApiError(502, "InternalError", f"the API server's pod {name} cannot be read") from error
        if not found.spec.node_name:
            raise bad_request(f"pod {name} does not have a host assigned")
        return found


def _node_meant(request: web.Request) -> str:
    """The node of a request that names none in its path: a kube-apiserver's proxy says for whom, others by the host."""
    parts = request.headers.get("X-Forwarded-Uri", "").split("/")
    if parts[:4] == ["", "api", "v1", "nodes"] and len(parts) > 6:
        return unquote(parts[4])
    return request.host.rpartition(":")[0].strip("[]") or request.host


async def _pass_on(request: web.Request, stream: Stream) -> web.StreamResponse:
    """The edge's answer as our own; one that breaks off ends without the last chunk, so that the reader knows."""
    answer = await stream.answer(ANSWER_SECONDS)
    response = web.StreamResponse(status=answer.status)
    response.headers["Content-Type"] = answer.headers.get("Content-Type", _TYPE)
    response.enable_chunked_encoding()
    await response.prepare(request)
    try:
        async with contextlib.aclosing(stream.chunks()) as chunks:
            async for chunk in chunks:
                await response.write(chunk)
        await response.write_eof()
    except ConnectionClosed as error:
        log.debug("= %s broke off: %s", request.path, error)
        if flag(request.query, "follow"):
            # Most API servers tell a reader nothing of how his log ended.
            await _last_words(response, f"# the log breaks off here: {error}\n")
        if request.transport is not None:
            request.transport.close()
    except ConnectionError:
        log.debug("= the reader of %s has left", request.path)
    return response


async def _last_words(response: web.StreamResponse, text: str) -> None:
    with contextlib.suppress(ConnectionError, TimeoutError):
        async with asyncio.timeout(_CLOSE_SECONDS):
            await response.write(text.encode())


async def _not_yet(request: web.Request) -> web.StreamResponse:
    what = request.path.strip("/").split("/")[0]
    raise ApiError(501, "NotImplemented", f"{what} is not implemented yet")


@web.middleware
async def _errors(request: web.Request, handler: Page) -> web.StreamResponse:
    """What goes wrong, as a status and a sentence."""
    try:
        return await handler(request)
    except ApiError as error:
        return _text(error.code, error.message)
    except ConnectionClosed as error:
        return _text(503, str(error))
    except OctoedgeError as error:
        return _text(503, f"the API server could not be asked: {error}")
    except web.HTTPException as error:
        return _text(error.status, f"{error.status} {error.reason}")


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text)


def _certificate(request: web.Request) -> dict[str, object] | None:
    transport = request.transport
    return transport.get_extra_info("peercert") if transport is not None else None
