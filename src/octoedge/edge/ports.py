"""What the modules of EdgeCore offer each other; nobody imports a sibling.

    cloud ⇄ edgehub ──Link──► metamanager ──Metadata──► edged ──Kubelet──► edgestream
                     ◄─Uplink─              ◄─changes──

Intent flows down as `Change`s, which are already stored when they are handed on; reports flow up through `Metadata`,
which stores them before it sends them.
"""

from __future__ import annotations

import enum
import sqlite3
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Payload
from octoedge.protocol.resource import Resource


class ChangeKind(enum.Enum):
    """What happened to a stored object."""

    PUT = "put"
    DELETE = "delete"


class Change(msgspec.Struct, frozen=True):
    """An object was stored or removed; for DELETE `object` is its last form (or what the cloud sent).

    The same change may come more than once. An object that took the place of another under the same name (a different
    uid) comes as a DELETE of the old one and a PUT of the new one.
    """

    kind: ChangeKind
    resource: Resource
    object: bytes


class Metadata(Protocol):
    """MetaManager, as edged sees it: the only door to stored metadata. Reads work offline."""

    @property
    def online(self) -> bool:
        """Whether the cloud can be asked right now."""
        ...

    @property
    def rebuilt(self) -> bool:
        """Whether the store is new and the cloud has not had the time to fill it.

        What the store does not know is then no proof of anything: pods found running must be left alone.
        """
        ...

    @property
    def damage(self) -> str:
        """What was wrong with the store when it was opened, as a sentence; empty when nothing was."""
        ...

    async def until_online(self) -> None:
        """Return when the cloud can be asked."""
        ...

    async def list(self, kind: str) -> list[bytes]:
        """All stored objects of a resource type (`pod`), as JSON bytes; never asks the cloud."""
        ...

    async def get(self, resource: Resource, *, fresh: bool = False) -> bytes:
        """One object: stored, else (configmap, secret …) asked from the cloud and stored.

        `fresh`: asked from the cloud while it answers, even if stored; for what the cloud does not send by itself.
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

    async def report_pod_status(self, resource: Resource, uid: str, patch: bytes, *, patience: float = 0.0) -> None:
        """Hand over a strategic merge patch of the pod's status; stored when this returns, sent when possible.

        The latest patch per pod replaces an unsent one, so it must carry the whole status.
        """
        ...

    async def create_pod(self, resource: Resource, pod: bytes) -> bytes:
        """Have the cloud create a mirror pod; the pod as it is there. Raises `OfflineError`, `ApiError`."""
        ...

    async def delete_pod(self, resource: Resource, uid: str) -> None:
        """Tell the cloud that the pod has ended here (grace 0, UID precondition); durable, sent when possible."""
        ...

    async def register_node(self, node: bytes) -> bytes:
        """Create the Node or adopt an existing one; returns the Node. Raises `OfflineError`, `ApiError`."""
        ...

    async def report_node_status(self, name: str, patch: bytes) -> None:
        """Send a strategic merge patch of the Node's status; the latest wins.

        Raises `ApiError` when the cloud refuses it and `OfflineError` when it is away; then the patch is kept and sent
        on return, unless a newer one replaces it.
        """
        ...

    async def renew_lease(self, lease: bytes) -> bytes:
        """Create or update the node's lease; only online. Raises `OfflineError`, `ApiError`."""
        ...

    async def report_event(self, event: bytes) -> None:
        """Hand over a core/v1 Event; kept (bounded, oldest dropped) while offline."""
        ...


class Reply(msgspec.Struct, frozen=True):
    """The cloud's answer to a request."""

    message: Message
    """As it came, to be acknowledged once it is stored."""
    body: bytes


class Link(Protocol):
    """EdgeHub, as MetaManager sees it: a way to send while connected."""

    @property
    def connected(self) -> bool:
        """Whether a session with the cloud is up."""
        ...

    async def until_connected(self) -> None:
        """Return when a session is up."""
        ...

    async def until_disconnected(self) -> None:
        """Return when no session is up (any more)."""
        ...

    def answers(self, payload: Payload) -> bool:
        """Whether the cloud at the other end answers such a message (a Go cloud does not answer all that ours does)."""
        ...

    @property
    def keeps_lease(self) -> bool:
        """Whether the cloud renews the node's Lease by itself, as long as this connection lives."""
        ...

    @property
    def silences(self) -> int:
        """How often the cloud spoke again after a silence in which it may have given the node up."""
        ...

    @property
    def heard(self) -> int:
        """How often anything came from the cloud, a sign of life among it."""
        ...

    async def request(self, payload: Payload, timeout: float) -> Reply:
        """Send and wait for the answer. Raises `OfflineError`, `DeadlineError`."""
        ...

    async def send(self, payload: Payload) -> None:
        """Send without waiting for an answer. Raises `OfflineError`."""
        ...

    async def acknowledge(self, message: Message, error: str = "") -> None:
        """Confirm a message that is stored now, or say why it could not be."""
        ...


class AgreeingLink(Link, Protocol):
    """EdgeHub, as a module sees it that needs more of the cloud than KubeEdge's protocol has."""

    def agreed(self, feature: str) -> bool:
        """Whether the cloud at the other end has said that it can this, of `handshake.KNOWN`."""
        ...


class Recorder(Protocol):
    """Telemetry, as DeviceTwin sees it."""

    def declare(self, device: str, properties: frozenset[str]) -> None:
        """Values of these properties of a device (`<namespace>/<name>`) are to be kept from now on; none: of no one."""
        ...

    def keeps(self, device: str) -> bool:
        """Whether values of this device are kept."""
        ...

    async def keep(self, device: str, values: Mapping[str, tuple[str, int]]) -> None:
        """Take new values: property → (text, ms since the epoch, 0: now); on disk when this returns.

        Raises `StoreError`: then the values have to be said again.
        """
        ...


class Reports(Protocol):
    """MetaManager's outbox, as modules see it that keep reports in the same transaction as what they tell of."""

    def keep(
        self, connection: sqlite3.Connection, kind: str, key: str, combine: Callable[[bytes | None], bytes]
    ) -> None:
        """Keep a report (`TWIN_REPORT`, `DEVICE_STATE`); `combine` gets the one that is not sent yet."""
        ...

    def drop(self, connection: sqlite3.Connection, kind: str, key: str) -> None:
        """Nobody wants to know any more."""
        ...

    def wake(self, kind: str, key: str, patience: float = 0.0) -> None:
        """The transaction is over: send as soon as possible, or after so many seconds, with what comes until then."""
        ...


TWIN_REPORT = "twin-report"
"""Kind of a report: what a device's properties are. Its key is `<namespace>/<name>`, as of all reports of devices."""
DEVICE_STATE = "device-state"
"""Kind of a report: whether a device can be reached."""
USER_UPLOAD = "user-upload"
"""Kind of a report: a message of an MQTT client for the cloud; its key is the topic, and none replaces another."""


class Bus(Protocol):
    """EventBus, as DeviceTwin sees it."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Tell MQTT clients, when there is a broker; never waits. Too much is dropped, the oldest first, and said."""
        ...


class DeviceDoor(Protocol):
    """DeviceTwin, as EventBus sees it."""

    async def receive(self, topic: str, payload: bytes, stored: Callable[[], None]) -> None:
        """Take one message on a topic of a device or node; waits while too many are under way.

        `stored` is called when what it changed is on disk, or it changed nothing: the broker may forget it then.
        """
        ...


Inbound = Callable[[Message, Payload], Awaitable[None]]
"""MetaManager's door for EdgeHub: called for every message that nobody waits for, in order per object.

Messages about different objects overlap. A call is cut off when the session ends; the cloud then sends again.
"""


class LogRequest(msgspec.Struct, frozen=True):
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


class HttpAnswer(msgspec.Struct, frozen=True):
    """An answer in the kubelet's HTTP API; `body` is read once, chunk by chunk."""

    status: int
    body: AsyncIterator[bytes]
    headers: dict[str, str] = msgspec.field(default_factory=dict)


class ContainerLogs(Protocol):
    """Edged, as EdgeStream sees it."""

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        """The log's bytes, following it when asked to. Raises `ApiError` 404/400 with the kubelet's texts."""
        ...


class LogMark(msgspec.Struct, frozen=True):
    """How far a container's log has been read: the instance of the container, its file, and the place in it."""

    attempt: int
    file: int
    offset: int


class LogKey(msgspec.Struct, frozen=True):
    """A container that has a log."""

    namespace: str
    pod: str
    uid: str
    container: str


class LogNews(msgspec.Struct, frozen=True):
    """What a container has written since a mark."""

    text: bytes
    """Whole lines, each behind its time."""
    whole: bool
    """Whether it does not follow what was before the mark: another instance, or too much was written meanwhile."""
    mark: LogMark


class LogEnds(Protocol):
    """Edged, as EdgeStream sees it where the cloud keeps the ends of logs."""

    def log_keys(self) -> list[LogKey]:
        """The containers that have a log now."""
        ...

    def log_news(self, key: LogKey, since: LogMark | None, most: int) -> LogNews | None:
        """What was written since then, the last `most` bytes of it at most; None when that is nothing."""
        ...


class StreamAction(enum.Enum):
    """What is done in a container whose input and output are carried to the cloud."""

    EXEC = "exec"
    ATTACH = "attach"
    PORT_FORWARD = "portForward"


class StreamRequest(msgspec.Struct, frozen=True):
    """What `kubectl exec`, `attach` and `port-forward` ask (kubelet API /exec/…, /attach/…, /portForward/…)."""

    action: StreamAction
    namespace: str
    pod: str
    uid: str = ""
    """Empty: whatever pod has the name."""
    container: str = ""
    command: tuple[str, ...] = ()
    stdin: bool = False
    stdout: bool = False
    stderr: bool = False
    tty: bool = False
    ports: tuple[int, ...] = ()


class ContainerStreams(Protocol):
    """Edged, as EdgeStream sees it where bytes go both ways."""

    async def stream_url(self, request: StreamRequest) -> str:
        """The URL, good for one connection, where the runtime's streaming server does it.

        Raises `ApiError` with the kubelet's texts when there is no such pod or container.
        """
        ...

    async def unblock(self, request: StreamRequest) -> None:
        """Have the runtime end commands in the container that are over, whatever input they left unread."""
        ...


class Told(msgspec.Struct, frozen=True):
    """What a follower of a copy is told next; objects are JSON with kind and apiVersion."""

    whole: bool
    """Whether `objects` are all there are: what is not among them is gone. The first one always is."""
    objects: Sequence[bytes]
    """All, or those that are new or have changed."""
    gone: Sequence[tuple[str, str]] = ()
    """(namespace, name) of those that are not there any more, or no longer of the selection."""


class Copies(Protocol):
    """MetaServer, as other modules of the node see it: copies of what the cluster has, on disk, kept up to date.

    A copy is made when somebody follows it for the first time, outlives restarts, and costs the cloud nothing that the
    node's other watchers of the same do not cost already. Asked in the node's own name.
    """

    def follow(
        self, group: str, version: str, plural: str, *, namespace: str = "", labels: str = "", fields: str = ""
    ) -> AsyncGenerator[Told, None]:
        """The objects of a kind, then what happens to them, until closed; use `contextlib.aclosing`.

        Begins at once with what is on disk, also without the cloud; nothing is told while the objects were never
        listed. An outage or a refusal of the cloud tells nothing: what was told last holds.
        """
        ...

    def age(self, group: str, version: str, plural: str, *, labels: str = "", fields: str = "") -> float | None:
        """Seconds since the cloud said that this copy of all namespaces is current; 0: it is. None: nobody follows."""
        ...


class LocalPods(Protocol):
    """Edged, as MetaServer sees it where root of the machine says something about its pods."""

    def release(self, namespace: str, name: str) -> int:
        """Let the held pod of that name start; how many there were."""
        ...

    def release_all(self) -> int:
        """Let every held pod of this node start; how many there were."""
        ...

    async def restart(self, namespace: str, name: str) -> None:
        """End the containers of that pod; they start anew by the pod's restart policy. Raises `ApiError` 404."""
        ...

    def containers(self, namespace: str, name: str) -> list[str]:
        """The names of its containers. Raises `ApiError` 404."""
        ...

    async def logs(self, request: LogRequest) -> AsyncIterator[bytes]:
        """As `ContainerLogs`."""
        ...


class NodePages(Protocol):
    """Edged, as EdgeStream sees it where plain pages of the kubelet are asked for (/pods, /stats/summary, …)."""

    async def page(self, path: str) -> HttpAnswer:
        """The page; raises `ApiError` 404 when there is none, 503 when the runtime does not answer."""
        ...


class Kubelet(ContainerLogs, ContainerStreams, NodePages, Protocol):
    """All that EdgeStream asks of edged."""
