"""The mappers of this node: who registered for which protocol, and telling each what it should know (DMI).

    Device and DeviceModel objects ─┐
    registration ───────────────────┴─► one turn per protocol: tell.plan ──► calls ──► what was told, stored

A turn compares what is with what was told, so a mapper may come before, after or between its models and devices, and a
call that failed is made again. What was told is stored: a restart of EdgeCore does not restart the mappers' devices.
"""

from __future__ import annotations

import functools
import logging
import sqlite3
from collections.abc import Awaitable, Callable

import msgspec

from octoedge.api import devices as api
from octoedge.dmi import messages as m
from octoedge.dmi.services import MAPPER, call
from octoedge.edge.devicetwin.tell import Call, Key, Verb, Wanted, plan, wanted
from octoedge.edge.ports import Metadata
from octoedge.errors import DeadlineError, MessageError, TransportError
from octoedge.protocol.protobuf import Message
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce
from octoedge.store.sqlite import Database
from octoedge.transport.grpc import Channel, GrpcError

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0
"""KubeEdge's deadline for a call to a mapper."""
MAX_MAPPERS = 64
_KEY = "node/nodeID/namespace/devicemapper/"
"""Where KubeEdge keeps registrations in the table `meta`; the words are literal."""
_TYPE = "devicemapper"


class Registration(msgspec.Struct, frozen=True):
    """A mapper as KubeEdge keeps it; `address` is the path of its socket, base64 in JSON."""

    name: str
    version: str = ""
    api_version: str = ""
    protocol: str = ""
    address: bytes = b""
    state: str = ""

    @property
    def path(self) -> str:
        """The socket's path."""
        return self.address.decode(errors="replace")

    @property
    def wide(self) -> bool:
        """Whether it is one of ours, which reads numbers of 64 bits."""
        return "octoedge" in self.version


class _Served(msgspec.Struct):
    """A protocol's mapper."""

    registration: Registration
    channel: Channel
    backoff: Backoff = msgspec.field(default_factory=lambda: Backoff(first=0.5, limit=30.0))


class Mappers:
    """Tells the mappers of this node."""

    def __init__(self, database: Database, metadata: Metadata, explain: Callable[[str, str], Awaitable[None]]) -> None:
        self._explain = explain
        self._explained: dict[str, str] = {}
        self._database = database
        self._metadata = metadata
        self._served: dict[str, _Served] = {}
        self._queue: KeyedQueue[str] = KeyedQueue(self._turn, workers=8, name="mapper for")
        self._said = SaidOnce(log)
        self._troubles: dict[str, dict[str, str]] = {}

    @property
    def troubles(self) -> dict[str, str]:
        """Device or model → why its mapper does not know of it, or of its newest form."""
        return {key: why for troubles in self._troubles.values() for key, why in troubles.items()}

    @property
    def registrations(self) -> list[Registration]:
        """Who serves which protocol."""
        return [served.registration for served in self._served.values()]

    async def run(self) -> None:
        """Take up the mappers that registered before, then tell until cancelled."""
        for registration in self._database.read_now(_registrations):
            self._serve(registration)
        self.changed()
        try:
            await self._queue.run()
        finally:
            for served in self._served.values():
                served.channel.close()

    def changed(self) -> None:
        """A device or model changed: every mapper is compared with what it was told."""
        for protocol in self._served:
            self._queue.add(protocol)

    async def register(self, info: m.MapperInfo, *, with_data: bool) -> m.MapperRegisterResponse:
        """A mapper is there; returns what it should know when it asks for that, else it is told by calls."""
        registration = Registration(info.name, info.version, info.api_version, info.protocol, info.address, info.state)
        _check(registration)
        if registration.protocol not in self._served and len(self._served) >= MAX_MAPPERS:
            raise MessageError(f"there are {MAX_MAPPERS} mappers on this node already")
        knows = await self._wanted(registration) if with_data else Wanted({}, {}, {})
        await self._database.write(lambda connection: _keep(connection, registration, knows.digests()))
        self._serve(registration)
        self._queue.add(registration.protocol)
        log.info("mapper %s serves %s at %s", registration.name, registration.protocol, registration.path)
        return m.MapperRegisterResponse(tuple(knows.models.values()), tuple(knows.devices.values()))

    def _serve(self, registration: Registration) -> None:
        before = self._served.get(registration.protocol)
        if before is not None:
            before.channel.close()
        self._served[registration.protocol] = _Served(registration, Channel(registration.path))

    async def _wanted(self, registration: Registration) -> Wanted:
        devices = _readable(await self._metadata.list(api.DEVICE), api.Device, self._said)
        models = _readable(await self._metadata.list(api.MODEL), api.DeviceModel, self._said)
        by_name = {f"{model.metadata.namespace}/{model.metadata.name}": model for model in models}
        return wanted(registration.protocol, devices, by_name, wide=registration.wide)

    async def _turn(self, protocol: str) -> None:
        served = self._served[protocol]
        wants = await self._wanted(served.registration)
        told = self._database.read_now(lambda connection: _told(connection, protocol))
        troubles = dict(wants.troubles)
        failed = False
        for one in plan(wants.digests(), told):
            try:
                await self._make(served, one, wants)
            except (TransportError, DeadlineError) as error:
                # The mapper is away; it registers when it is back, and may also just come back.
                troubles |= dict.fromkeys(wants.devices, f"its mapper does not answer: {error}")
                failed = True
                break
            except (GrpcError, MessageError) as error:
                troubles[one.key[1]] = f"its mapper refuses it: {error}"
                self._said.trouble(f"{one.verb.name} {one.key[1]}", str(error))
                failed = True
                continue
            await self._database.write(functools.partial(_note, protocol=protocol, done=one))
        if failed:
            self._queue.add_later(protocol, served.backoff.next())
        else:
            served.backoff.reset()
        self._troubles[protocol] = troubles
        for device in (*wants.devices, *wants.troubles):
            why = troubles.get(device, "")
            if self._explained.get(device) != why:
                await self._explain(device, why)
                self._explained[device] = why

    def devices_of(self, protocol: str) -> list[str]:
        """The devices that the mapper of a protocol was told of."""
        told = self._database.read_now(lambda connection: _told(connection, protocol))
        return [key for kind, key in told if kind == api.DEVICE]

    async def _make(self, served: _Served, one: Call, wants: Wanted) -> None:
        name, request = _CALLS[one.verb](one.key[1], wants)
        await call(served.channel, MAPPER[name], request, CALL_SECONDS)


def _named(key: str) -> m.Named:
    namespace, _, name = key.partition("/")
    return m.Named(name, namespace)


_CALLS: dict[Verb, Callable[[str, Wanted], tuple[str, Message]]] = {
    Verb.MODEL_NEW: lambda key, wants: ("CreateDeviceModel", m.ModelRequest(wants.models[key])),
    Verb.MODEL_CHANGED: lambda key, wants: ("UpdateDeviceModel", m.ModelRequest(wants.models[key])),
    Verb.MODEL_GONE: lambda key, _: ("RemoveDeviceModel", _named(key)),
    Verb.DEVICE_NEW: lambda key, wants: ("RegisterDevice", m.DeviceRequest(wants.devices[key])),
    Verb.DEVICE_CHANGED: lambda key, wants: ("UpdateDevice", m.DeviceRequest(wants.devices[key])),
    Verb.DEVICE_GONE: lambda key, _: ("RemoveDevice", _named(key)),
}


def _check(registration: Registration) -> None:
    for what, text in (("name", registration.name), ("protocol", registration.protocol)):
        if not text or len(text) > 253 or "/" in text:
            raise MessageError(
                f"a mapper registers with a {what} of 1 to 253 characters without a slash, not {text[:60]!r}"
            )
    if not registration.path.startswith("/"):
        raise MessageError(
            f"mapper {registration.name} registers with the address {registration.path[:100]!r}; it must be the "
            "absolute path of its unix socket"
        )


def _keep(connection: sqlite3.Connection, registration: Registration, knows: dict[Key, str]) -> None:
    connection.execute(
        "INSERT OR REPLACE INTO meta (key, type, value) VALUES (?, ?, ?)",
        (_KEY + registration.name, _TYPE, msgspec.json.encode(registration).decode()),
    )
    connection.execute("DELETE FROM mapper_told WHERE protocol = ?", (registration.protocol,))
    connection.executemany(
        "INSERT INTO mapper_told (protocol, kind, key, digest) VALUES (?, ?, ?, ?)",
        [(registration.protocol, *key, digest) for key, digest in knows.items()],
    )


def _note(connection: sqlite3.Connection, protocol: str, done: Call) -> None:
    if done.digest:
        connection.execute(
            "INSERT OR REPLACE INTO mapper_told (protocol, kind, key, digest) VALUES (?, ?, ?, ?)",
            (protocol, *done.key, done.digest),
        )
    else:
        connection.execute("DELETE FROM mapper_told WHERE protocol = ? AND kind = ? AND key = ?", (protocol, *done.key))


def _told(connection: sqlite3.Connection, protocol: str) -> dict[Key, str]:
    rows = connection.execute("SELECT kind, key, digest FROM mapper_told WHERE protocol = ?", (protocol,))
    return {(kind, key): digest for kind, key, digest in rows}


def _registrations(connection: sqlite3.Connection) -> list[Registration]:
    """In the order of their last registration: of two for one protocol the later serves it."""
    found: list[Registration] = []
    for (value,) in connection.execute("SELECT value FROM meta WHERE type = ? ORDER BY rowid", (_TYPE,)):
        try:
            found.append(msgspec.json.decode(value, type=Registration))
        except msgspec.DecodeError as error:
            log.warning("a mapper's registration cannot be read and is left out: %s", error)
    return found


def _readable(objects: list[bytes], kind: type[api.V], said: SaidOnce) -> list[api.V]:
    found: list[api.V] = []
    for obj in objects:
        try:
            found.append(api.read(obj, kind))
        except MessageError as error:
            said.trouble(f"a stored {kind.__name__}", str(error))
    return found
