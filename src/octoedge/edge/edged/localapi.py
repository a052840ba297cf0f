"""The kubelet's read-only HTTP API on this machine: its pages and the logs of containers, one request a connection.

    GET http://127.0.0.1:10350/healthz, /pods, /stats/summary, /metrics, /metrics/cadvisor, /containerLogs/NS/POD/NAME

It only tells. What acts in containers (exec, attach, port-forward, run) is not here: whoever may open a TCP port of
this machine is nobody in particular; it goes through the cloud, which knows who asks. A page in a browser cannot ask
either: the Host must be an address of this machine, not a name that somebody else chose. Where the node asks who it is
(feature gate requireAuthorization), it tells nobody here more than its health: MetaServer and the cloud tell the rest.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable

import msgspec

from octoedge.edge.ports import HttpAnswer, Kubelet, LogRequest
from octoedge.errors import ApiError
from octoedge.protocol.tunnel import Connector
from octoedge.runtime.address import is_local
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_MOST_HEAD = 16 * 1024
_HEAD_SECONDS, _WRITE_SECONDS = 10.0, 30.0
_CONNECTIONS = 32
_PHRASES = {200: "OK", 400: "Bad Request", 403: "Forbidden", 404: "Not Found", 503: "Service Unavailable"}
_ACTING = frozenset(("exec", "attach", "portForward", "run"))
_HEALTH = "healthz"
_ELSEWHERE = (
    "with the feature gate requireAuthorization this port tells only its health, because it cannot know who asks:"
    " ask the API server, or this node's MetaServer with a token or the node's certificate"
)


class LocalApi:
    """A module: listens while it runs, and tries again where it cannot."""

    name = "local API"
    needs = ("edged",)

    def __init__(
        self,
        address: str,
        port: int,
        kubelet: Kubelet,
        parse: Callable[[Connector], LogRequest],
        *,
        only_health: bool = False,
    ) -> None:
        self._only_health = only_health
        self._address = address
        self._port = port
        self._kubelet = kubelet
        self._parse = parse
        self._open: set[asyncio.Task[None]] = set()
        self._said = SaidOnce(log)

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled. Nothing else waits for a port that somebody has."""
        ready()
        backoff = Backoff(1.0, 60.0)
        while True:
            try:
                server = await asyncio.start_server(self._accept, self._address, self._port, limit=_MOST_HEAD)
            except OSError as error:
                self._said.trouble("local API", f"cannot listen on {self._address}:{self._port}: {error}; trying again")
                await asyncio.sleep(backoff.next())
                continue
            self._said.over("local API", "listens")
            try:
                async with server:
                    await server.serve_forever()
            finally:
                for task in self._open:
                    task.cancel()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open.add(task)
        try:
            if len(self._open) > _CONNECTIONS:
                await _send(writer, _refusal(503, "too many connections at once"))
                return
            await _send(writer, await self._answer(await _request(reader)))
        except (OSError, TimeoutError, asyncio.IncompleteReadError) as error:
            log.debug("local API: %s", str(error) or "the client is too slow")
        finally:
            self._open.discard(task)
            writer.close()

    async def _answer(self, request: tuple[str, str, str] | str) -> HttpAnswer:
        if isinstance(request, str):
            return _refusal(400, request)
        method, target, host = request
        if not is_local(host):
            return _refusal(403, f"the host {host[:100]!r} is not an address of this machine")
        path, _, query = target.partition("?")
        try:
            connector = Connector(path, query)
            first = connector.segments[0]
            if first in _ACTING:
                return _refusal(403, f"{first} is not done here: ask the API server, which knows who asks")
            if method != "GET":
                return _refusal(405, f"{method[:20]} is not allowed; this API only tells")
            if self._only_health and connector.segments != (_HEALTH,):
                return _refusal(403, _ELSEWHERE)
            if first == "containerLogs":
                body = await self._kubelet.logs(self._parse(connector))
                return HttpAnswer(200, body, {"Content-Type": "text/plain; charset=utf-8"})
            return await self._kubelet.page("/" + "/".join(connector.segments))
        except UnicodeDecodeError:
            return _refusal(400, "the path is not UTF-8")
        except ApiError as error:
            return _refusal(error.code, error.message)


async def _request(reader: asyncio.StreamReader) -> tuple[str, str, str] | str:
    """Method, target and Host; a text when it is no request."""
    try:
        async with asyncio.timeout(_HEAD_SECONDS):
            head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.LimitOverrunError:
        return f"the head of the request is longer than {_MOST_HEAD} bytes"
    lines = head.decode("latin-1").split("\r\n")
    words = lines[0].split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
        return "this is no HTTP/1.1 request"
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
    return words[0], words[1], headers.get("host", "")


def _refusal(code: int, text: str) -> HttpAnswer:
    status = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": text, "code": code}

    async def body() -> AsyncIterator[bytes]:
        yield msgspec.json.encode(status) + b"\n"

    return HttpAnswer(code, body(), {"Content-Type": "application/json"})


async def _send(writer: asyncio.StreamWriter, answer: HttpAnswer) -> None:
    """The answer in chunks, so that a reader can tell its end from a break; a reader that stalls is let go."""
    headers = {**answer.headers, "Transfer-Encoding": "chunked", "Connection": "close"}
    lines = [
        f"HTTP/1.1 {answer.status} {_PHRASES.get(answer.status, 'Answer')}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    writer.write("\r\n".join([*lines, "", ""]).encode("latin-1"))
    try:
        async for chunk in answer.body:
            if chunk:
                writer.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
                async with asyncio.timeout(_WRITE_SECONDS):
                    await writer.drain()
    finally:
        close = getattr(answer.body, "aclose", None)  # At once, not when it is collected: a log may be followed.
        if close is not None:
            await close()
    writer.write(b"0\r\n\r\n")
    async with asyncio.timeout(_WRITE_SECONDS):
        await writer.drain()
