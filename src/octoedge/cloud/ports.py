"""What the modules of CloudCore offer each other; nobody imports a sibling, they meet in `cloudcore`.

    API ──informers──► edgecontroller.downstream ──Downlink──► cloudhub ══ edge
    API ◄──client───── edgecontroller.upstream  ◄──Upstream── cloudhub ══ edge
                       synccontroller ──Downlink──► cloudhub ──Checkpoints──► synccontroller
                       synccontroller ◄──Intent── edgecontroller.downstream, devicecontroller.downstream

Calls between modules do not wait: they note what there is to do and return. Every queue behind them is bounded.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from octoedge.api.meta import view
from octoedge.kube.informer import Entry
from octoedge.protocol.delivery import Item
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Payload
from octoedge.protocol.resource import Resource


class Downlink(Protocol):
    """CloudHub, as the controllers see it: the way to the nodes that are connected here."""

    @property
    def connected(self) -> Collection[str]:
        """Names of the nodes that have a session now."""
        ...

    def ours(self, node: str) -> bool:
        """Whether the node is connected and runs an edge of ours, not KubeEdge's."""
        ...

    def offer(self, node: str, item: Item) -> None:
        """Deliver one version of an object for sure; nothing when the node is away (connecting compares anew)."""
        ...

    def answer(self, node: str, message: Message) -> None:
        """Send an answer once; nothing when the node is away."""
        ...

    def end(self, node: str, why: str) -> None:
        """End the node's session, if it has one."""
        ...


class Upstream(Protocol):
    """A controller, as CloudHub sees it: takes what nodes ask and report."""

    def receive(self, node: str, message: Message, payload: Payload) -> None:
        """Take one request; it will be answered by its id, also when there are too many."""
        ...


class Checkpoints(Protocol):
    """What each node is known to have, durable (spec: channel, section 8)."""

    def opened(self, node: str, store: str) -> None:
        """A session began; `store` names the node's database (empty: a Go edge). Another database has nothing yet."""
        ...

    def version(self, node: str, uid: str) -> int | None:
        """The version that the node has; 0 when it may have something; None when it was never sent the object."""
        ...

    def expect(self, node: str, item: Item, then: Callable[[], None]) -> None:
        """The object is about to be sent for the first time; `then` is called once that is durable.

        Without this a lost acknowledgement and a lost connection would leave an orphan at the edge: the object could
        be deleted in the cloud and nobody would know that the node holds it.
        """
        ...

    def reached(self, node: str, item: Item, store: str) -> None:
        """The node has stored the item in this database; written behind, the latest only."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that a node should have."""

    resource: Resource
    uid: str
    version: int
    """The version of its last change that matters to the edge (a pod's status does not)."""


class LastChanges:
    """Of each object, by uid, the version of its last change that matters to the edge."""

    def __init__(self, matters: Callable[[bytes, bytes], bool]) -> None:
        self._matters = matters
        self._versions: dict[str, int] = {}

    def note(self, old: bytes | None, new: bytes) -> bool:
        """Remember the version when the change matters; whether it does."""
        if old is not None and not self._matters(old, new):
            return False
        meta = view(new).metadata
        self._versions[meta.uid] = meta.version
        return True

    def forget(self, uid: str) -> None:
        """The object is gone."""
        self._versions.pop(uid, None)

    def want(self, resource: Resource, entry: Entry) -> Wanted:
        """The object as something that a node should have."""
        return Wanted(resource, entry.uid, self._versions.get(entry.uid, entry.version))


@dataclass(frozen=True, slots=True)
class Live:
    """An object as it is in the API now."""

    uid: str
    version: int
    node: str | None = None
    """The only node that may have it (empty: none may); None when any node may keep it."""
    raw: bytes = b""
    """The object, where a delete must carry all of it."""


class Intent(Protocol):
    """EdgeController and DeviceController, as SyncController sees them: what should be where."""

    def wanted(self, node: str) -> Iterable[Wanted]:
        """Everything that the node should have, in the order in which it should get it."""
        ...

    def item(self, wanted: Wanted, *, first: bool) -> Item | None:
        """The item to offer for it; None when the object has gone meanwhile."""
        ...

    def tracks(self, kind: str) -> bool:
        """Whether objects of this resource type (`pod`) are known here, so that absence means something."""
        ...

    def live(self, resource: Resource) -> Live | None:
        """The object as it is now; None when it does not exist."""
        ...

    def exists(self, node: str) -> bool:
        """Whether there is an edge node of this name."""
        ...


SessionListener = Callable[[str], None]
"""Told the name of a node whose session began or ended."""
