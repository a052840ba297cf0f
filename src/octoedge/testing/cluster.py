"""One cloud and many nodes in one process, in virtual time: all parts are real but network, runtime and disk.

    MemoryApi ── CloudCore ══ Cable (memory) ══ EdgeHub ── MetaManager (SQLite) ── Edged ── MemoryRuntime

Cables can be cut and mended, clouds and nodes killed and started again; API, databases, runtimes stay as disks and
containers do. A kill gives nobody the chance to finish anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
from collections import deque
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec

from octoedge.api.config.load import parse_cloudcore
from octoedge.cloud.cloudcore import CloudCore
from octoedge.edge.edged.edged import Edged
from octoedge.edge.edged.nodestatus import NodeSettings
from octoedge.edge.edgehub.hub import EdgeHub
from octoedge.edge.edgehub.uplink import Uplink
from octoedge.edge.metamanager import records
from octoedge.edge.metamanager.metamanager import MetaManager
from octoedge.edge.metamanager.schema import Opened, open_store
from octoedge.edge.ports import Change
from octoedge.errors import ApiError, ConnectError, ConnectionClosed
from octoedge.kube.kinds import PODS, Kind
from octoedge.protocol import handshake
from octoedge.runtime.channel import Receiver, Sender, channel
from octoedge.runtime.supervisor import Module, Supervisor
from octoedge.store.sqlite import Database
from octoedge.testing.clock import VirtualClock
from octoedge.testing.cri import MemoryRuntime
from octoedge.testing.inline import InlineDatabase
from octoedge.testing.kube import MemoryApi
from octoedge.testing.node import MACHINE, PlainMounter, settings
from octoedge.transport.connection import Connection, Peer
from octoedge.transport.memory import MemoryConnection, pair

_TCP_SECONDS = 300.0
"""After this long on a dead way the kernel reports what was sent as lost; ours notice long before, Go edges do not."""
IMAGE = "edge.local/busybox:1"


class Cable:
    """The way between one node and the cloud; may be cut while messages are on it, which then are lost."""

    def __init__(self, node: str, cluster: Cluster) -> None:
        self._node = node
        self._cluster = cluster
        self._wires: list[Wire] = []
        self.whole = True
        self.lag = 0.0
        """Seconds that every message takes, in the order of its connection."""
        self.dials = 0

    async def dial(self, headers: dict[str, str]) -> Connection:
        """The node connects."""
        self.dials += 1
        cloud = self._cluster.cloud
        peer = Peer(self._node, handshake.certificate_name(self._node), f"cable of {self._node}", headers=headers)
        if not self.whole or cloud is None or cloud.hub.admit(peer):
            raise ConnectError(f"nobody answers {self._node}")
        edge, far = pair(peer, Peer(address="cloud in memory", headers=cloud.hub.answer_headers(peer)))
        up: deque[float] = deque()
        down: deque[float] = deque()
        self._wires = [Wire(edge, up, down, self.lag), Wire(far, down, up, self.lag)]
        self._cluster.spawn(cloud.hub.serve(self._wires[1]), f"session of {self._node}")
        return self._wires[0]

    async def cut(self) -> None:
        """End the connection and let no other one through."""
        self.whole = False
        await self.drop()

    async def drop(self) -> None:
        """End the connection."""
        for wire in self._wires:
            await wire.cut()

    def silence(self) -> None:
        """From now on nothing passes and neither end is told; no other connection either."""
        self.whole = False
        for wire in self._wires:
            wire.silence()

    async def move(self) -> None:
        """The node's address changes: its end breaks, the cloud is not told, and the next connection gets through.

        What was on its way up still arrives, later than what comes by the new connection.
        """
        if self._wires:
            edge, cloud = self._wires
            cloud.deaf = True
            await edge.abandon()

    def mend(self) -> None:
        """Let connections through again, at once."""
        self.whole = True
        self.lag = 0.0


class Wire:
    """One end of a connection that can go dead without a word."""

    def __init__(self, inner: MemoryConnection, sent: deque[float], coming: deque[float], lag: float) -> None:
        """`sent` and `coming` say when each message that is under way arrives."""
        self._inner = inner
        self._sent, self._coming = sent, coming
        self._lag = lag
        self._given_up_at: float | None = None
        self.deaf = False
        """Nobody listens at the other end any more: what is sent goes nowhere."""
        self._abandoned = False

    @property
    def silent(self) -> bool:
        """Whether the way is dead."""
        return self._given_up_at is not None

    def silence(self) -> None:
        """Nothing passes any more."""
        if self._given_up_at is None:
            self._given_up_at = asyncio.get_running_loop().time() + _TCP_SECONDS

    @property
    def peer(self) -> Peer:
        return self._inner.peer

    async def send(self, data: bytes) -> None:
        if self.deaf:
            return
        if self._given_up_at is None:
            self._sent.append(asyncio.get_running_loop().time() + self._lag)
            await self._inner.send(data)
        elif asyncio.get_running_loop().time() > self._given_up_at:
            raise ConnectionClosed("TCP has given up")

    async def receive(self) -> bytes:
        while True:
            data = await self._inner.receive()
            early = self._coming.popleft() - asyncio.get_running_loop().time()
            if early > 0:
                await asyncio.sleep(early)
            if not self.silent:
                return data

    async def ping(self, timeout: float) -> None:
        """As a WebSocket's: answered by the other end's machine, not by whoever reads there."""
        if self.silent or self.deaf or self._lag * 2 > timeout:
            await asyncio.sleep(timeout)
            raise ConnectionClosed("the ping was not answered")
        await asyncio.sleep(self._lag * 2)

    async def close(self) -> None:
        if not self.silent and not self._abandoned:
            await self._inner.close()
        else:
            await self._inner.close_here()

    async def abandon(self) -> None:
        """This end is over, and the other one is not told."""
        self._abandoned = True
        await self._inner.close_here()

    async def cut(self) -> None:
        """Both ends hear of it."""
        await self._inner.close()


class EdgeNode:
    """One node: what survives its death is here, what dies is made by `start`."""

    def __init__(self, name: str, cluster: Cluster, seed: int) -> None:
        self.name = name
        self.cable = Cable(name, cluster)
        self.clock = VirtualClock()
        """This machine's own."""
        self.runtime = MemoryRuntime(self.clock, images=(IMAGE,))
        self.directory = cluster.directory / name
        self.meta: MetaManager | None = None
        self.hub: EdgeHub | None = None
        self.uplink: Uplink | None = None
        self.store: Opened | None = None
        self.edged: Edged | None = None
        self._cluster = cluster
        self._rng = random.Random(seed)  # noqa: S311 - a simulation that repeats
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start the agent; returns when its modules are ready, connected or not."""
        cluster = self._cluster
        self.store = store = open_store(self.directory / "edgecore.db", self.clock.now(), InlineDatabase.open)
        if isinstance(store.database, InlineDatabase):
            store.database.breakable = True
        ends: tuple[Sender[Change], Receiver[Change]] = channel("changes", 1024)
        sender, receiver = ends
        self.uplink = uplink = Uplink(self.clock)
        self.meta = MetaManager(store, uplink, self.clock, sender)
        headers = {
            handshake.NODE: self.name,
            handshake.STORE: store.store_id,
            handshake.FEATURES: handshake.speaks(handshake.KNOWN),
        }
        self.hub = EdgeHub(lambda: self.cable.dial(headers), uplink, self.meta.receive, None, rng=self._rng)
        ours = settings(self.directory, node=NodeSettings(self.name, ip="192.0.2.7"))
        self.edged = Edged(
            ours, self.runtime, self.meta, receiver, clock=self.clock, mounter=PlainMounter(), machine=MACHINE
        )
        modules: list[Module] = [self.meta, self.hub, self.edged]
        supervisor = Supervisor(modules)
        self._task = cluster.spawn(supervisor.run(), f"edgecore {self.name}")
        await supervisor.all_ready()

    async def kill(self) -> None:
        """End the agent between two instructions; containers run on."""
        await self.cable.drop()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        if self.meta is not None:
            self.meta.close()

    async def lose_database(self) -> None:
        """Kill the agent and damage its disk; `start` finds a file that is no database."""
        await self.kill()
        for companion in self.directory.glob("edgecore.db-*"):
            companion.unlink()
        (self.directory / "edgecore.db").write_bytes(b"garbage" * 1000)

    async def restart(self) -> None:
        """`kill` and `start`."""
        await self.kill()
        await self.start()

    @property
    def database(self) -> Database | None:
        """The database of the agent that runs now, or ran last."""
        return self.store.database if self.store is not None else None

    @property
    def store_id(self) -> str:
        """Its name."""
        return self.store.store_id if self.store is not None else ""

    def stored(self, *types: str) -> list[bytes]:
        """The objects of these types on disk; for an agent that runs."""
        assert self.database is not None
        return self.database.read_now(
            lambda connection: [obj for kind in types for obj in records.of_type(connection, kind)]
        )

    def running(self) -> list[str]:
        """Names of the pods whose containers run."""
        names = [
            self.runtime.sandboxes[container.sandbox_id].config.metadata.name for container in self.runtime.running()
        ]
        return sorted(names)


class Cluster:
    """A cloud and its nodes; make it with `cluster()`."""

    def __init__(self, directory: Path, group: asyncio.TaskGroup) -> None:
        self.directory = directory
        self.clock = VirtualClock()
        self.api = MemoryApi()
        self.client = self.api.client()
        self.cloud: CloudCore | None = None
        self.nodes: dict[str, EdgeNode] = {}
        self._group = group
        self._cloud_task: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._numbers = itertools.count(1)

    def spawn(self, work: Any, name: str) -> asyncio.Task[None]:
        """Run something for as long as the cluster lives."""
        task: asyncio.Task[None] = self._group.create_task(work, name=name)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def start_cloud(self, *, wait: bool = True) -> None:
        """Start CloudCore; returns when it admits nodes, or at once: where the API is away, it waits for that."""
        self.cloud = CloudCore(parse_cloudcore(b"{}", "test"), self.api.client(), self.clock, listen=False)
        self._cloud_task = self.spawn(self.cloud.run(), "cloudcore")
        if wait:
            await self.cloud.ready()

    async def kill_cloud(self) -> None:
        """End CloudCore between two instructions."""
        self.cloud = None
        if self._cloud_task is not None:
            self._cloud_task.cancel()
            await asyncio.wait([self._cloud_task])
        for node in self.nodes.values():
            await node.cable.drop()

    async def add_node(self, name: str) -> EdgeNode:
        """Start a new node."""
        node = self.nodes[name] = EdgeNode(name, self, next(self._numbers))
        await node.start()
        return node

    async def create_pod(self, name: str, node: str, **spec: Any) -> dict[str, Any]:
        """Create a Pod that is bound to `node`, as user and scheduler do."""
        pod = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name},
            "spec": {
                "nodeName": node,
                "restartPolicy": "Always",
                "terminationGracePeriodSeconds": 5,
                "containers": [{"name": "main", "image": IMAGE, "imagePullPolicy": "IfNotPresent"}],
                **spec,
            },
            "status": {"phase": "Pending", "qosClass": "BestEffort"},
        }
        return await self.create(PODS, "default", pod)

    async def create(self, kind: Kind, namespace: str, obj: dict[str, Any]) -> dict[str, Any]:
        """Create an object as a user does."""
        made: dict[str, Any] = msgspec.json.decode(await self.client.create(kind, namespace, msgspec.json.encode(obj)))
        return made

    async def pod(self, name: str) -> dict[str, Any]:
        """The Pod as the API shows it; `ApiError` 404 when it is gone."""
        found: dict[str, Any] = msgspec.json.decode(await self.client.get(PODS, "default", name))
        return found

    async def phase(self, name: str) -> str:
        """The Pod's phase in the API; empty when it is gone."""
        try:
            return str((await self.pod(name)).get("status", {}).get("phase", ""))
        except ApiError:
            return ""

    async def until(self, so: Callable[[], Any], seconds: float = 120.0) -> None:
        """Wait in virtual time until `so()` (which may be a coroutine function) is true."""
        async with asyncio.timeout(seconds):
            while True:
                answer = so()
                if await answer if asyncio.iscoroutine(answer) else answer:
                    return
                await asyncio.sleep(0.1)

    async def close(self) -> None:
        """End everything."""
        for node in self.nodes.values():
            await node.kill()
        await self.kill_cloud()
        for task in list(self._tasks):
            task.cancel()


@contextlib.asynccontextmanager
async def cluster(directory: Path, *nodes: str) -> AsyncIterator[Cluster]:
    """A running cloud with these nodes."""
    async with asyncio.TaskGroup() as group:
        made = Cluster(directory, group)
        try:
            await made.start_cloud()
            for name in nodes:
                await made.add_node(name)
            yield made
        finally:
            await made.close()
