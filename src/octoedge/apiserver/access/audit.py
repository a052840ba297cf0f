"""The audit log: who did what to whom, one JSON line each, in the form of Kubernetes' audit events (level Metadata).

    Server ──► Audited ──► Api
                 └──► AuditLog: audit.log, audit.log.1 …

Bodies are never in it, neither of requests nor of answers. The URL is, with the command of an exec: the file can only
be read by the user that the server runs as. What cannot be written is told in the server's own log, and is not held up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import uuid
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import msgspec
from aiohttp import web

from octoedge.apiserver.access.authorization import VERBS
from octoedge.apiserver.access.rbac.policy import GROUP
from octoedge.apiserver.serving.requests import CLOUDCORE, Answer, Answers, Request, Response, Takeover
from octoedge.errors import ApiError
from octoedge.kube.read import Target, parse_path
from octoedge.runtime.clock import Clock, rfc3339_micro
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

Json = dict[str, Any]

MAX_BYTES = 10 * 1024 * 1024
KEPT = 5
"""Files, the present one included: 50 MiB at most."""
_MAX_URI = 2048
_MAX_AGENT = 256
_ACTIONS = ("exec", "attach", "portforward", "proxy")
_ROUTINE = ("leases", "events", "objectsyncs", "clusterobjectsyncs")


class Level(Enum):
    """What is written."""

    OFF = "off"
    ACTIONS = "actions"
    """What acts on containers and nodes, and what gives rights: tokens, roles, bindings."""
    WRITES = "writes"
    """Every write too, but the reports of nodes that CloudCore passes on."""


class Audited:
    """Answers as the API does, and writes down who asked."""

    def __init__(self, api: Answers, audit: AuditLog, level: Level, clock: Clock) -> None:
        self._api = api
        self._audit = audit
        self._level = level
        self._clock = clock

    async def handle(self, request: Request) -> Response:
        """The API's response."""
        target = parse_path(request.path) if self._level is not Level.OFF and _may_matter(request) else None
        if target is None or not self._matters(request, target):
            return await self._api.handle(request)
        record = _Record(self._audit, self._clock, request, target)
        try:
            response = await self._api.handle(request)
        except ApiError as error:
            record.write("ResponseComplete", error.code, error)
            raise
        if isinstance(response, Takeover):
            return _followed(response, record)
        record.write("ResponseComplete", response.code if isinstance(response, Answer) else 200)
        return response

    def _matters(self, request: Request, target: Target) -> bool:
        if target.subresource in _ACTIONS:
            return True
        if request.method in ("GET", "HEAD"):
            return False
        if target.subresource == "token":
            return request.user.name != CLOUDCORE or self._level is Level.WRITES
        if target.group == GROUP:
            return True
        routine = target.resource in _ROUTINE or target.subresource == "status"
        return self._level is Level.WRITES and not (routine and request.user.name == CLOUDCORE)


def _may_matter(request: Request) -> bool:
    """Quickly, for all those who only read: there are many of them."""
    return request.method not in ("GET", "HEAD") or any(f"/{action}" in request.path for action in _ACTIONS)


def _followed(response: Takeover, record: _Record) -> Takeover:
    """Written down when it begins and when it is over."""
    record.write("ResponseStarted", 101)

    async def talk(http: web.BaseRequest) -> web.StreamResponse:
        try:
            answered = await response.talk(http)
        except ApiError as error:
            record.write("ResponseComplete", error.code, error)
            raise
        except BaseException:
            record.write("ResponseComplete", 499)
            raise
        record.write("ResponseComplete", 101)
        return answered

    return Takeover(talk)


@dataclass(slots=True)
class _Record:
    """One request on its way into the log."""

    audit: AuditLog
    clock: Clock
    request: Request
    target: Target
    ident: str = ""
    received: str = ""

    def __post_init__(self) -> None:
        self.ident = str(uuid.uuid4())
        self.received = rfc3339_micro(self.clock.now())

    def write(self, stage: str, code: int, error: ApiError | None = None) -> None:
        request, target = self.request, self.target
        person = request.user.behind or request.user
        status: Json = {"code": code}
        if error is not None:
            status |= {"status": "Failure", "reason": error.reason, "message": error.message[:_MAX_URI]}
        uri = f"{request.path}?{request.raw_query}" if request.raw_query else request.path
        event: Json = {
            "kind": "Event",
            "apiVersion": "audit.k8s.io/v1",
            "level": "Metadata",
            "auditID": self.ident,
            "stage": stage,
            "requestURI": uri[:_MAX_URI],
            "verb": _verb(request, target),
            "user": person.info(),
            "sourceIPs": [request.source] if request.source else [],
            "userAgent": request.headers.get("User-Agent", "")[:_MAX_AGENT],
            "objectRef": _reference(target),
            "responseStatus": status,
            "requestReceivedTimestamp": self.received,
            "stageTimestamp": rfc3339_micro(self.clock.now()),
            "annotations": {"authorization.k8s.io/decision": "forbid" if code == 403 else "allow"},
        }
        if request.user.behind is not None:
            event["impersonatedUser"] = request.user.info()
        self.audit.write(msgspec.json.encode(event) + b"\n")


def _verb(request: Request, target: Target) -> str:
    if target.subresource in ("exec", "attach", "portforward"):
        return "create"
    verb = VERBS.get(request.method, request.method.lower())
    return "deletecollection" if verb == "delete" and not target.name else verb


def _reference(target: Target) -> Json:
    parts = {
        "resource": target.resource,
        "namespace": target.namespace,
        "name": target.name,
        "apiGroup": target.group,
        "apiVersion": target.version,
        "subresource": target.subresource,
    }
    return {key: value for key, value in parts.items() if value}


class AuditLog:
    """A file that is written line by line, mode 0600, and the few before it."""

    def __init__(self, path: Path, max_bytes: int = MAX_BYTES, kept: int = KEPT) -> None:
        self._path = path
        self._max_bytes = max_bytes
        self._kept = kept
        self._file: int | None = None
        self._size = 0
        self._said = SaidOnce(log)

    def write(self, line: bytes) -> None:
        """Append one line; trouble with the disk is told once, and when it is over."""
        try:
            self._room(len(line))
            self._size += os.write(self._open(), line)
        except OSError as error:
            self._said.trouble("the audit log", f"{self._path} cannot be written: {error}")
            self.close()
        else:
            self._said.over("the audit log", "it is written again")

    def close(self) -> None:
        """Close the file; the next line opens it again."""
        if self._file is not None:
            with contextlib.suppress(OSError):
                os.close(self._file)
        self._file = None

    def _open(self) -> int:
        if self._file is None:
            self._file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._size = os.fstat(self._file).st_size
        return self._file

    def _room(self, size: int) -> None:
        self._open()
        if not self._size or self._size + size <= self._max_bytes:
            return
        self.close()
        for number in range(self._kept - 1, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = self._path if number == 1 else self._path.with_name(f"{self._path.name}.{number - 1}")
            with contextlib.suppress(FileNotFoundError):
                newer.replace(older)
