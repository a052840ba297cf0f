"""DeviceTwin, the module: the doors through which everything comes that concerns devices.

EventBus ──receive──────────────────┐
MetaManager ──changes of objects────┤
a KubeEdge cloud ──from_cloud───────┼──► work ──► desk, mappers
mappers ──dmi.sock──────────────────┘

What does the work is imported when there is something to do: a node without devices does without its memory.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octoedge.edge.ports import Bus, Change, Metadata, Recorder, Reports
from octoedge.errors import ConfigError, DeviceUnknown, MessageError, ProtocolError, StoreCorrupt, StoreError
from octoedge.protocol import payloads as p
from octoedge.protocol.message import Message
from octoedge.protocol.topics import parse
from octoedge.runtime.channel import Receiver
from octoedge.runtime.clock import Clock
from octoedge.runtime.inorder import InOrder
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database
from octoedge.transport.grpc_server import serving

if TYPE_CHECKING:
    from octoedge.edge.devicetwin.work import Work

log = logging.getLogger(__name__)

_AT_ONCE = 256
"""Messages of MQTT clients under way; then EventBus waits."""
_SOCKET_MODE = 0o600
SOCKET = "dmi.sock"
KINDS = ("device", "devicemodel")
"""Resource types of the objects that concern DeviceTwin."""
_CALLS = tuple(
    f"/v1beta1.DeviceManagerService/{name}" for name in ("MapperRegister", "ReportDeviceStatus", "ReportDeviceStates")
)
"""What mappers may call; `dmi.services` says what each takes."""


def socket_path(configured: str) -> Path:
    """Where mappers find EdgeCore: `dmiSockPath` names a directory; a path to a socket stands for its directory."""
    directory = Path(configured or "/etc/kubeedge/")
    return (directory.parent if directory.suffix == ".sock" else directory) / SOCKET


class Silence:
    """The bus of a node without MQTT."""

    def publish(self, topic: str, payload: bytes) -> None:
        """Nobody listens."""


class DeviceTwin:
    """Implements `ports.DeviceDoor` and, for KubeEdge's messages, `ports.Inbound`."""

    name = "deviceTwin"
    needs: tuple[str, ...] = ("metamanager",)

    def __init__(
        self, node: str, database: Database, metadata: Metadata, reports: Reports, bus: Bus,
        changes: Receiver[Change], clock: Clock, socket: Path, recorder: Recorder | None = None,
    ) -> None:  # fmt: skip
        self._node = node
        self._database = database
        self._metadata = metadata
        self._reports = reports
        self._bus = bus
        self._changes = changes
        self._clock = clock
        self._socket = socket
        self._recorder = recorder
        self._said = SaidOnce(log)
        self._lanes: InOrder | None = None
        self._group: asyncio.TaskGroup | None = None
        self._made: Work | None = None

    async def run(self, ready: Callable[[], None]) -> None:
        """Work until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                known: bool = self._database.read_now(_holds_something)
                if known or await self._metadata.list("device"):
                    await self._work.take_up()
                self._lanes = InOrder(group, _AT_ONCE)
                group.create_task(self._follow(), name="devices")
                group.create_task(self._serve(), name="DMI")
                ready()
        finally:
            self._group = self._made = None

    def health(self) -> dict[str, Any]:
        """For the status socket."""
        return self._made.health() if self._made else {"devices": 0, "mappers": {}, "troubles": {}}

    async def receive(self, topic: str, payload: bytes, stored: Callable[[], None]) -> None:
        """One message of an MQTT client; waits while too many are under way."""
        try:
            asked = parse(topic)
        except ProtocolError as error:
            self._said.trouble("MQTT", str(error))
            asked = None
        if asked is None or self._lanes is None:
            stored()
            return
        work = functools.partial(self._work.requests[asked.request], asked.identity, payload)
        await self._lanes.submit(asked.identity, functools.partial(self._guarded, topic, work, stored))

    async def from_cloud(self, _message: Message, payload: p.Payload) -> None:
        """Membership and desired values as KubeEdge's cloud says them; it awaits no acknowledgement."""
        try:
            if isinstance(payload, p.TwinSync):
                await self._work.desk.twin_cloud_updated(payload.resource.name, payload.body)
            else:
                await self._work.membership(payload.body)
        except StoreCorrupt:
            raise
        except (MessageError, StoreError, DeviceUnknown) as error:
            log.warning("%s of the cloud is not taken: %s", type(payload).__name__, error)

    @property
    def _work(self) -> Work:
        if self._made is None:
            from octoedge.edge.devicetwin.work import Work

            self._made = Work(
                self._node, self._database, self._metadata, self._reports, self._bus, self._clock, self._recorder
            )
            if self._group is not None:
                self._group.create_task(self._made.run(), name="mappers")
        return self._made

    async def _follow(self) -> None:
        async for change in self._changes:
            try:
                await self._work.changed(change)
            except StoreCorrupt:
                raise
            except StoreError as error:
                # The object itself is stored: the next start, or its next change, takes it up.
                log.warning("%s is not taken up: %s", change.resource, error)

    async def _guarded(self, topic: str, work: Callable[[], Awaitable[None]], stored: Callable[[], None]) -> None:
        """One message must not end the agent; what the disk did not take, the broker keeps."""
        try:
            await work()
        except StoreCorrupt:
            raise
        except StoreError as error:
            self._said.trouble("devices", str(error))
            return
        except Exception:
            log.exception("a message on %s could not be handled", topic)
        stored()

    async def _serve(self) -> None:
        """Without its socket mappers stay away, and everything else goes on."""
        try:
            async with serving(self._socket, _SOCKET_MODE, {path: self._call(path) for path in _CALLS}):
                await asyncio.Event().wait()
        except ConfigError as error:
            log.warning("mappers cannot be served: %s", error)

    def _call(self, path: str) -> Callable[[bytes], Awaitable[bytes]]:
        async def serve(request: bytes) -> bytes:
            return await self._work.calls[path](request)

        return serve


def _holds_something(connection: sqlite3.Connection) -> bool:
    """Whether there are devices or mappers from an earlier life."""
    row = connection.execute(
        "SELECT EXISTS (SELECT 1 FROM device) OR EXISTS (SELECT 1 FROM meta WHERE type = 'devicemapper')"
    ).fetchone()
    return bool(row[0])
