"""Telemetry for tests: a node's outbox and the cloud's store, both real, and a way between them that loses anything.

Telemetry (telemetry.db) ── Road ── Intake (telemetry.db)         in virtual time; either end may be killed
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from octoedge.api.config.cloudcore import TelemetryExport
from octoedge.cloud.telemetry import intake, store
from octoedge.cloud.telemetry.exports import Exports, Sender
from octoedge.edge.ports import Reply
from octoedge.edge.telemetry import outbox
from octoedge.edge.telemetry.settings import Settings
from octoedge.edge.telemetry.telemetry import Telemetry
from octoedge.errors import DeadlineError, OfflineError
from octoedge.protocol import codec, handshake, routes
from octoedge.protocol.message import Message
from octoedge.protocol.payloads import Payload, TelemetryBatch
from octoedge.store.sqlite import Database
from octoedge.testing.clock import VirtualClock
from octoedge.testing.inline import InlineDatabase

NODE = "edge-1"


class Road:
    """Implements `ports.AgreeingLink`."""

    keeps_lease = False
    silences = heard = 0

    def __init__(self, *, agrees: bool = True) -> None:
        self.agrees = agrees
        self.cloud: intake.Intake | None = None
        self.loses = 0.0
        """How likely it is that a batch, or an answer, is lost on the way."""
        self.loses_answers = False
        """Whether every batch arrives, and no answer."""
        self.batches: list[bytes] = []
        self.rng = random.Random(1)  # noqa: S311 - a simulation that repeats
        self._waiting: dict[str, asyncio.Future[Reply]] = {}
        self._number = 0
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._up.set()

    # ---- the node's side -----------------------------------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether the way is there."""
        return self._up.is_set()

    def agreed(self, feature: str) -> bool:
        """Telemetry, or a cloud that knows of none."""
        return self.connected and self.agrees and feature == handshake.TELEMETRY

    async def until_connected(self) -> None:
        """Return when it is there."""
        await self._up.wait()

    async def until_disconnected(self) -> None:
        """Return when it is gone."""
        await self._down.wait()

    def answers(self, payload: Payload) -> bool:
        """A cloud of ours."""
        return isinstance(payload, TelemetryBatch)

    async def request(self, payload: Payload, timeout: float) -> Reply:
        """Through the real messages and rows."""
        if not self.connected:
            raise OfflineError("the way is gone")
        self._number += 1
        number = f"e{self._number}"
        waiting: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._waiting[number] = waiting
        data = codec.encode(routes.compose(payload, message_id=number, timestamp=0))
        self.batches.append(data)
        try:
            async with asyncio.timeout(timeout):
                if self.cloud is not None and self.rng.random() >= self.loses:
                    message = codec.decode(data)
                    self.cloud.receive(NODE, message, routes.classify(routes.Direction.UP, message))
                return await waiting
        except TimeoutError as error:
            raise DeadlineError("no answer") from error
        finally:
            del self._waiting[number]

    async def send(self, payload: Payload) -> None:
        """Nothing of telemetry goes without an answer."""
        raise AssertionError(payload)

    async def acknowledge(self, message: Message, error: str = "") -> None:
        """Nothing comes down."""
        raise AssertionError((message, error))

    def cut(self) -> None:
        """Who waits for an answer gets none."""
        self._up.clear()
        self._down.set()
        for waiting in self._waiting.values():
            if not waiting.done():
                waiting.set_exception(OfflineError("the connection was lost"))

    def mend(self) -> None:
        """It is there again."""
        self._down.clear()
        self._up.set()

    # ---- the cloud's side ----------------------------------------------------------------------------------------

    def answer(self, node: str, message: Message) -> None:
        """An answer, on its way down."""
        assert node == NODE
        if self.loses_answers:
            return
        waiting = self._waiting.get(message.header.parent_msg_id)
        if waiting is not None and not waiting.done() and self.connected and self.rng.random() >= self.loses:
            waiting.set_result(Reply(message, message.data()))


class Answers:
    """Implements `ports.Downlink`, of which telemetry needs the answers only."""

    def __init__(self, road: Road) -> None:
        self._road = road

    connected = frozenset({NODE})

    def ours(self, _: str) -> bool:
        """One of ours."""
        return True

    def offer(self, node: str, item: object) -> None:
        """Nothing of telemetry goes down."""
        raise AssertionError((node, item))

    def answer(self, node: str, message: Message) -> None:
        """To the node."""
        self._road.answer(node, message)

    def end(self, node: str, why: str) -> None:
        """Nobody is thrown out."""
        raise AssertionError((node, why))


class World:
    """A node and a cloud; `start_…` and `kill_…` either, files stay."""

    def __init__(self, directory: Path, group: asyncio.TaskGroup, settings: Settings | None = None) -> None:
        self.directory = directory
        self.clock = VirtualClock()
        self.cloud_clock = VirtualClock()
        self.cloud_settings = intake.Settings(directory / "cloud" / "telemetry.db")
        self.devices = {"default/thermometer": frozenset({"*"})}
        """Which properties are kept, of each Device."""
        self.export: Sender | None = None
        """Where all stored values go, too."""
        self.edge_full = self.cloud_full = False
        """Whether a disk has no room; `fill` changes it."""
        self.road = Road()
        self.owners = {("default", "thermometer"): NODE}
        self.former: dict[tuple[str, str], str] = {}
        """Nodes of Devices that are gone."""
        self.devices_known = True
        """Whether CloudCore has read all Devices."""
        self.settings = settings or Settings(directory / "edge" / "telemetry.db")
        self.edge: Telemetry | None = None
        self._edge_file: InlineDatabase | None = None
        self._cloud_file: InlineDatabase | None = None
        self._group = group
        self._edge_task: asyncio.Task[None] | None = None
        self._cloud_task: asyncio.Task[None] | None = None
        self._export_task: asyncio.Task[None] | None = None

    async def start_edge(self, properties: str = "*") -> Telemetry:
        """The node's part, with Devices that ask for these properties, or as `devices` says."""
        self.edge = Telemetry(self.settings, self.road, self.clock, self._open_edge)
        for device, asked in self.devices.items():
            self.edge.declare(device, asked if properties == "*" else frozenset(properties.split(",")))
        self._edge_task = self._group.create_task(self.edge.run(lambda: None))
        await asyncio.sleep(0)
        return self.edge

    async def start_cloud(self) -> None:
        """The cloud's part."""
        made = intake.Intake(
            self.cloud_settings, Answers(self.road), self._speakers, self.cloud_clock, self._open_cloud
        )  # fmt: skip
        self.road.cloud = made
        self._cloud_task = self._group.create_task(made.run(lambda: None))
        if self.export is not None:
            exports = Exports(
                [TelemetryExport(name="copies", kind="copies")], lambda: made.database, {"copies": self.export}
            )
            self._export_task = self._group.create_task(exports.run(lambda: None))
        await asyncio.sleep(0)

    def _speakers(self, namespace: str, name: str) -> intake.Speakers:
        key = (namespace, name)
        nodes = {self.owners.get(key, ""), self.former.get(key, "")} - {""}
        return intake.Speakers(tuple(nodes), gone=key not in self.owners and self.devices_known)

    def fill(self, *, edge: bool, cloud: bool) -> None:
        """Disks without room, or with room again."""
        self.edge_full, self.cloud_full = edge, cloud
        for file, full in ((self._edge_file, edge), (self._cloud_file, cloud)):
            if file is not None:
                file.full = full

    async def kill_edge(self) -> None:
        """Between two instructions."""
        await _kill(self._edge_task, self._edge_file)
        self.edge = None

    async def kill_cloud(self) -> None:
        """Between two instructions."""
        self.road.cloud = None
        await _kill(self._export_task, None)
        await _kill(self._cloud_task, self._cloud_file)

    def accounts(self) -> list[store.Account]:
        """The audit of what the cloud has."""
        assert self.road.cloud is not None
        return self.road.cloud.database.read_now(store.accounts)

    def history(self, name: str = "temperature", device: str = "default/thermometer") -> list[str]:
        """All values of a property."""
        assert self.road.cloud is not None
        found = self.road.cloud.database.read_now(
            lambda connection: store.history(connection, device, name, 0, 1 << 53)
        )
        return found.values if found is not None else []

    def numbered(self, device: str, name: str) -> tuple[str, int] | None:
        """The epoch of a stream on the node, and the number of its latest value; None when there is none."""
        assert self._edge_file is not None
        found: tuple[str, int] | None = self._edge_file.read_now(
            lambda connection: connection.execute(
                "SELECT epoch, next - 1 FROM stream WHERE device = ? AND property = ?", (device, name)
            ).fetchone()
        )
        return found

    def held(self, name: str, device: str = "default/thermometer") -> int:
        """How many values of a stream wait on the node."""
        assert self._edge_file is not None
        found: int = self._edge_file.read_now(
            lambda connection: connection.execute(
                "SELECT count(*) FROM value JOIN stream ON stream = id WHERE device = ? AND property = ?",
                (device, name),
            ).fetchone()[0]
        )
        return found

    async def _open_edge(self, path: Path) -> Database:
        self._edge_file = _inline(path, outbox.MIGRATIONS)
        self._edge_file.full = self.edge_full
        return self._edge_file

    async def _open_cloud(self, path: Path) -> Database:
        self._cloud_file = _inline(path, store.MIGRATIONS)
        self._cloud_file.full = self.cloud_full
        return self._cloud_file


def _inline(path: Path, migrations: tuple[str, ...]) -> InlineDatabase:
    made = InlineDatabase.open(path, migrations)
    assert isinstance(made, InlineDatabase)
    made.breakable = True
    return made


async def _kill(task: asyncio.Task[None] | None, file: InlineDatabase | None) -> None:
    if task is not None:
        task.cancel()
        await asyncio.wait([task])
    if file is not None:
        file.close()
