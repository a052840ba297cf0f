"""What the modules of EdgeCore offer each other; nobody imports a sibling.

    cloud ⇄ edgehub ──Link──► metamanager ──Metadata──► edged ──ContainerLogs──► edgestream
                     ◄─Uplink─              ◄─changes──

Intent flows down as `Change`s, which are already stored when they are handed on; reports flow up through `Metadata`,
which stores them before it sends them.
"""

from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Payload
from octoedge.protocol.resource import Resource


class ChangeKind(enum.Enum):
    """What happened to a stored object."""

    PUT = "put"
    DELETE = "delete"


@dataclass(frozen=True, slots=True)
class Change:
    """An object was stored or removed; for DELETE `object` is its last form (or what the cloud sent)."""

    kind: ChangeKind
    resource: Resource
    object: bytes


class Metadata(Protocol):
    """MetaManager, as edged sees it: the only door to stored metadata. Reads work offline."""

    @property
    def online(self) -> bool:
        """Whether the cloud can be asked right now."""
        ...

    async def list(self, kind: str) -> list[bytes]:
        """All stored objects of a resource type (`pod`), as JSON bytes; never asks the cloud."""
        ...

    async def get(self, resource: Resource) -> bytes:
        """One object: stored, else (configmap, secret …) asked from the cloud and stored.

        Raises `ApiError` 404 when the cloud says it does not exist, `OfflineError` when it is not stored and the
        cloud is away.
        """
        ...

    async def token(self, namespace: str, service_account: str, request: dict[str, Any]) -> dict[str, Any]:
        """A TokenRequest with its status filled; stored, renewed in time, and served from the store when offline."""
        ...

    async def forget_pod(self, resource: Resource, uid: str) -> None:
        """The pod is gone here: drop its tokens and pending reports."""
        ...

    async def report_pod_status(self, resource: Resource, uid: str, patch: bytes) -> None:
        """Hand over a strategic merge patch of the pod's status; stored when this returns, sent when possible.

        The latest patch per pod replaces an unsent one, so it must carry the whole status.
        """
        ...

    async def delete_pod(self, resource: Resource, uid: str) -> None:
        """Tell the cloud that the pod has ended here (grace 0, UID precondition); durable, sent when possible."""
        ...

    async def register_node(self, node: bytes) -> bytes:
        """Create the Node or adopt an existing one; returns the Node. Raises `OfflineError`, `ApiError`."""
        ...

    async def report_node_status(self, name: str, patch: bytes) -> None:
        """Send a strategic merge patch of the Node's status; the latest wins. Raises `OfflineError`, `ApiError`."""
        ...

    async def renew_lease(self, lease: bytes) -> bytes:
        """Create or update the node's lease; only online. Raises `OfflineError`, `ApiError`."""
        ...

    async def report_event(self, event: bytes) -> None:
        """Hand over a core/v1 Event; kept (bounded, oldest dropped) while offline."""
        ...


class Link(Protocol):
    """EdgeHub, as MetaManager sees it: a way to send while connected."""

    @property
    def connected(self) -> bool:
        """Whether a session with the cloud is up."""
        ...

    async def request(self, payload: Payload, timeout: float) -> Payload:
        """Send and wait for the answer. Raises `OfflineError`, `DeadlineError`."""
        ...

    async def send(self, payload: Payload) -> None:
        """Send without waiting for an answer. Raises `OfflineError`."""
        ...

    async def acknowledge(self, message: Message, error: str = "") -> None:
        """Confirm a message that is stored now, or say why it could not be."""
        ...


Inbound = Callable[[Message, Payload], Awaitable[None]]
"""MetaManager's door for EdgeHub: called for every message that is no answer, in order."""


@dataclass(frozen=True, slots=True)
class LogRequest:
    """What `kubectl logs` asks (kubelet API /containerLogs/…)."""

    namespace: str
    pod: str
    container: str
    follow: bool = False
    previous: bool = False
    timestamps: bool = False
    tail_lines: int | None = None
    limit_bytes: int | None = None
    since_seconds: int | None = None
    since_time: str = ""


@dataclass(frozen=True, slots=True)
class HttpAnswer:
    """An answer in the kubelet's HTTP API; `body` is read once, chunk by chunk."""

    status: int
    body: AsyncIterator[bytes]
    headers: dict[str, str] = field(default_factory=dict)


class ContainerLogs(Protocol):
    """Edged, as EdgeStream sees it."""

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        """The log's bytes, following it when asked to. Raises `ApiError` 404/400 with the kubelet's texts."""
        ...
