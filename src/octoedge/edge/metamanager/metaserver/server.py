"""MetaServer's module: the sockets, who asks, and which verb serves a request.

/healthz, /livez, /readyz          anybody
/api, /apis/…, /version, /openapi  whoever is known: the cloud's page, kept for when it is away
everything else                    a resource path, by the table of verbs
"""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import msgspec

from octoedge.edge.metamanager.metaserver.callers import Caller, Callers, Permissions, Signatures
from octoedge.edge.metamanager.metaserver.cloud import AWAY, Cloud
from octoedge.edge.metamanager.metaserver.copies import Copies
from octoedge.edge.metamanager.metaserver.extensions import Extensions
from octoedge.edge.metamanager.metaserver.feeds import Feeds
from octoedge.edge.metamanager.metaserver.policies import Policies
from octoedge.edge.metamanager.metaserver.reads import Reads
from octoedge.edge.metamanager.metaserver.replica import Replica
from octoedge.edge.metamanager.metaserver.writes import Writes
from octoedge.edge.ports import Link
from octoedge.errors import ApiError, ConfigError, DeadlineError, OfflineError, StoreError
from octoedge.kube.read import Target, parse_path
from octoedge.protocol.application import is_discovery
from octoedge.runtime.address import is_address, is_local
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock
from octoedge.runtime.logs import SaidOnce
from octoedge.runtime.memory import trim
from octoedge.store.sqlite import Database
from octoedge.transport.http_server import MAX_HEAD, Answer, HttpServer, Request

log = logging.getLogger(__name__)

Verb = Callable[[Request, Target, Caller], Awaitable[Answer]]
Context = Callable[[], ssl.SSLContext]

_HEALTH = frozenset(("/healthz", "/livez", "/readyz"))
_JSON = {"Content-Type": "application/json"}
_PAGE_SECONDS = 30.0
"""A page of discovery that is younger is not asked for again: kubectl reads dozens of them at once."""
_IP_FREEBIND = 15
_TRIM_SECONDS, _CROWD = 5.0, 16
_PAGES = 512
_HOUR, _DAY_HOURS, _UNREAD_SECONDS = 3600.0, 24, 7 * 86400.0


@dataclass(frozen=True, slots=True)
class Settings:
    """Where MetaServer listens, and whom it believes."""

    node: str
    addresses: Sequence[tuple[str, int]]
    audiences: Sequence[str] = ()
    secure: Context | None = None
    """Makes the TLS context; None: plain HTTP, and whoever can reach the socket counts as the node."""
    signatures: Signatures | None = None
    """Where keys are given that sign tokens."""
    shown: tuple[str, int] | None = None
    """Where clients are told that the API is."""


class MetaServer:
    """A module: listens while it runs."""

    name = "metaServer"
    needs: tuple[str, ...] = ("metamanager",)

    def __init__(self, settings: Settings, link: Link, database: Database, clock: Clock) -> None:
        self._settings = settings
        policies = Policies(database)
        self._cloud = Cloud(settings.node, link, policies, settings.shown)
        self._replica = Replica(database, clock)
        self.feeds = Feeds(self._cloud, self._replica, clock.now)
        self.copies = Copies(self.feeds, self._replica)
        """For other modules of this node."""
        permissions = Permissions(database, clock, policies)
        self._reads = Reads(self._cloud, self._replica, self.feeds, permissions, clock)
        self._writes = Writes(self._cloud)
        self._callers = Callers(database, self._cloud, clock, settings.audiences, settings.signatures)
        self._clock = clock
        self._pages: dict[str, float] = {}
        self._said = SaidOnce(log)
        self.http = HttpServer(self.answer)
        self.extensions = Extensions(settings.node)
        self._verbs: dict[str, Verb] = {
            "GET": self._read,
            "HEAD": self._read,
            "POST": self._writes.create,
            "PUT": self._writes.update,
            "PATCH": self._writes.patch,
            "DELETE": self._writes.delete,
        }

    async def run(self, ready: Callable[[], None]) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self.feeds.run(), name="feeds")
            group.create_task(self._give_back(), name="memory of clients that are gone")
            group.create_task(self._forget(), name="kinds that nobody reads")
            for address in self._settings.addresses:
                group.create_task(self._listen(*address), name=f"MetaServer on {address[0]}")
            await asyncio.sleep(0)
            ready()

    async def answer(self, request: Request) -> Answer:
        """The answer to one request, errors included."""
        try:
            return await self._answer(request)
        except ApiError as error:
            return _said(error)
        except (OfflineError, DeadlineError, StoreError) as error:
            return _said(ApiError(503, "ServiceUnavailable", str(error)))
        except Exception as error:
            log.exception("MetaServer failed on %s %s", request.method, request.path[:200])
            return _said(ApiError(500, "InternalError", f"this node failed on this request: {error}"))

    async def _answer(self, request: Request) -> Answer:
        if request.path in _HEALTH:
            return Answer(200, b"ok", {"Content-Type": "text/plain; charset=utf-8"})
        caller = await self._caller(request)
        if is_discovery(request.path) and request.method in ("GET", "HEAD"):
            return await self._discovery(request)
        target = parse_path(request.path)
        if target is None:
            raise ApiError(404, "NotFound", "the server could not find the requested resource")
        extension = self.extensions.find(request, root=not caller.account)
        if extension is not None:
            if caller.account:
                raise ApiError(403, "Forbidden", f"service account {caller.account} is not root of this machine")
            return await extension()
        verb = self._verbs.get(request.method)
        if verb is None:
            raise ApiError(405, "MethodNotAllowed", f"{request.method[:20]} is not understood here")
        return await verb(request, target, caller)

    async def _caller(self, request: Request) -> Caller:
        if self._settings.secure is not None:
            return await self._callers.of(request.headers, request.certificate)
        if not is_local(request.headers.get("host", "")):
            raise ApiError(403, "Forbidden", "the host of the request is not an address of this machine")
        return Caller()

    async def _read(self, request: Request, target: Target, caller: Caller) -> Answer:
        watch = request.query.get("watch", "false").lower() not in ("false", "0")
        if watch and not target.subresource:
            return await self._reads.watch(request, target, caller)
        read = self._reads.get if target.name else self._reads.list
        return await read(request, target, caller)

    async def _discovery(self, request: Request) -> Answer:
        path = "/" + request.path.strip("/")
        stored = self._replica.page(path)
        asked = self._pages.get(path, 0.0)
        if stored is not None and self._clock.now() - asked < _PAGE_SECONDS:
            return Answer(200, stored, _JSON)
        try:
            body = await self._cloud.read(path, "get")
        except AWAY as error:
            if stored is None:
                text = f"{path} was never read here, and the cloud is away"
                raise ApiError(503, "ServiceUnavailable", text) from error
            return Answer(200, stored, _JSON)
        _must_be_text(path, body)
        if len(self._pages) >= _PAGES:
            self._pages.clear()
        self._pages[path] = self._clock.now()
        await self._replica.keep_page(path, body)
        return Answer(200, body, _JSON)

    async def _give_back(self) -> None:
        """After a crowd of clients the allocator keeps what they took (TLS, 100 KiB each); the kernel gets it back."""
        most = 0
        while True:
            await asyncio.sleep(_TRIM_SECONDS)
            most = max(most, self.http.peak())
            if most > _CROWD and self.http.connections < most // 2:
                most = self.http.connections
                trim()

    async def _forget(self) -> None:
        """What nobody has read for a week is forgotten, after a whole day with the cloud: an outage is no such day."""
        hours = 0
        while True:
            await asyncio.sleep(_HOUR)
            hours = hours + 1 if self._cloud.online else 0
            if hours < _DAY_HOURS:
                continue
            hours = 0
            try:
                await self._replica.prune(self._clock.now() - _UNREAD_SECONDS)
            except StoreError as error:
                log.warning("what nobody reads cannot be forgotten: %s", error)

    async def _listen(self, host: str, port: int) -> None:
        """Listen; nothing else waits for a port that somebody has, or for a certificate."""
        backoff = Backoff(1.0, 60.0)
        where = f"MetaServer on {host}:{port}"
        while True:
            try:
                tls = self._settings.secure() if self._settings.secure is not None else None
                with _bound(host, port) as bound:
                    server = await asyncio.start_server(self.http.accept, sock=bound, limit=MAX_HEAD, ssl=tls)
                    self._said.over(where, "listens")
                    async with server:
                        await server.serve_forever()
            except FileNotFoundError as error:
                log.debug("= %s waits for the node's certificate: %s", where, error)
                backoff.reset()
            except (OSError, ssl.SSLError) as error:
                self._said.trouble(where, f"cannot listen: {error}; trying again")
            finally:
                self.http.close()
            await asyncio.sleep(backoff.next())


def _must_be_text(path: str, body: bytes) -> None:
    try:
        body.decode()
    except UnicodeDecodeError as error:
        text = f"{path}: what the cloud answered is no text: {error}; see whether its API server answers as it should"
        raise ApiError(502, "BadGateway", text) from error


def address(key: str, text: str) -> tuple[str, int]:
    """IP and port of a setting. Raises `ConfigError`."""
    host, _, port = text.rpartition(":")
    host = host.strip("[]")
    if not (port.isdecimal() and 0 < int(port) < 65536 and is_address(host)):
        raise ConfigError(f"{key} must be IP:port, not {text!r}")
    return host, int(port)


def _bound(host: str, port: int) -> socket.socket:
    """A listening socket; the address may come to be later, as that of a bridge does with its first pod."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    made = socket.socket(family, socket.SOCK_STREAM)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.setsockopt(socket.IPPROTO_IP, _IP_FREEBIND, 1)
        made.bind((host, port))
        made.listen(128)
    except OSError:
        made.close()
        raise
    return made


def _said(error: ApiError) -> Answer:
    return Answer(error.code, msgspec.json.encode(error.status()) + b"\n", _JSON)
