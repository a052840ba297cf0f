"""What a handler is given and what it gives back; the server turns HTTP into these and these into HTTP."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import msgspec
from aiohttp import web

from octoedge.errors import ApiError
from octoedge.kube.read import Shortcut

Json = dict[str, Any]
JSON = "application/json"

MASTERS = "system:masters"
"""Whoever is in this group may do everything; no role is asked."""
NODES = "system:nodes"
NODE = "system:node:"
AUTHENTICATED = "system:authenticated"
UNAUTHENTICATED = "system:unauthenticated"
ALL_ACCOUNTS = "system:serviceaccounts"
ACCOUNT = "system:serviceaccount:"
CLOUDCORE = "system:kubeedge:cloudcore"
"""The user, and the role, of CloudCore."""
KUBELET_CLIENT = "kube-apiserver-kubelet-client"
"""Whom this server is to CloudCore's kubelet-like API."""


@dataclass(frozen=True, slots=True)
class User:
    """Who asks."""

    name: str
    groups: tuple[str, ...] = ()
    uid: str = ""
    extra: Mapping[str, list[str]] = field(default_factory=dict)
    behind: User | None = None
    """Who it really is, when he speaks as somebody else."""

    def info(self) -> Json:
        """authentication.k8s.io UserInfo."""
        info: Json = {"username": self.name, "groups": list(self.groups)}
        if self.uid:
            info["uid"] = self.uid
        if self.extra:
            info["extra"] = dict(self.extra)
        return info


@dataclass(frozen=True, slots=True)
class Request:
    """One request, read whole."""

    method: str
    path: str
    """Percent-decoded, without the query."""
    query: Mapping[str, str]
    headers: Mapping[str, str]
    """Names in any case."""
    body: bytes
    user: User
    raw_query: str = ""
    """The query as it stands in the URL, for what may be said more than once."""
    source: str = ""
    """The address that the request came from."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole response."""

    body: bytes
    code: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Pieces:
    """A whole response that is too large to be put together: a list of thousands of objects."""

    pieces: Iterable[bytes]
    size: int
    """Bytes of all pieces."""
    code: int = 200
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


Chunks = AsyncGenerator[bytes, None]


@dataclass(frozen=True, slots=True)
class Stream:
    """A response whose body is still being made: watches and logs."""

    chunks: Chunks
    content_type: str = JSON
    code: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    shortcut: Shortcut | None = None
    """Through which `chunks` may be overtaken while nobody waits for the client."""


@dataclass(frozen=True, slots=True)
class Takeover:
    """A response that leaves HTTP: `talk` speaks on the connection itself (exec, attach, port-forward)."""

    talk: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


Response = Answer | Pieces | Stream | Takeover


class Answers(Protocol):
    """What answers requests."""

    async def handle(self, request: Request) -> Response:
        """The response; `ApiError` for everything that fails."""
        ...


def json_answer(obj: Any, code: int = 200, headers: Mapping[str, str] | None = None) -> Answer:
    """An object as a response."""
    return Answer(msgspec.json.encode(obj) + b"\n", code, headers=headers or {})


def error_answer(error: ApiError) -> Answer:
    """An error as metav1.Status. Clients repeat by themselves, and in silence, what has a Retry-After."""
    seconds = error.details.get("retryAfterSeconds")
    headers = {"Retry-After": str(seconds)} if seconds else {}
    return json_answer(error.status(), error.code, headers)


def success(details: Json) -> Json:
    """The Status of something that was done."""
    return {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}
