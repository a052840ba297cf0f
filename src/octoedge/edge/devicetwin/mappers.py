"""The mappers of this node: who registered for which protocol, and telling each what it should know (DMI).

    Device and DeviceModel objects ─┐
    registration ───────────────────┴─► one turn per protocol: tell.plan ──► calls ──► what was told, stored

A turn compares what is with what was told, so a mapper may come before, after or between its models and devices, and a
call that failed is made again. What was told is stored: a restart of EdgeCore does not restart the mappers' devices.

Of two mappers of a protocol the one that registered last serves it. The other is remembered: when nobody listens on the
last one's socket any more it serves again (`attention` looks), and is told what it missed.
"""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable

import msgspec

from octoedge.api import devices as api
from octoedge.dmi import messages as m
from octoedge.dmi.services import MAPPER, call
from octoedge.edge.devicetwin import registrations
from octoedge.edge.devicetwin.registrations import Registration
from octoedge.edge.devicetwin.tell import Call, Verb, Wanted, plan, wanted
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
_SHARE = 0.25
"""Of the processor's time, that looking at all devices takes at most while they keep changing."""
_REST_SECONDS = 3.0
MAX_MAPPERS = 64


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
        self._known: list[Registration] = []
        """All that is stored, also of mappers which another has displaced; the last one to register is the last."""
        self._books = asyncio.Lock()
        """Who serves and what it was told change together."""
        self._took = 0.0
        """Seconds of the last look at all devices."""
        self._rested = 0.0
        """From when on (the loop's time) the next look at all devices costs no more than its share."""
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
        self._known = self._database.read_now(registrations.stored)
        for registration in self._known:
            self._serve(registration)
        self.changed()
        try:
            await self._queue.run()
        finally:
            for served in self._served.values():
                served.channel.close()

    def changed(self) -> None:
        """A device or model changed: every mapper is compared with what it was told, of thousands of devices that
        come one after another not at each of them."""
        wait = self._rested - asyncio.get_running_loop().time()
        for protocol in self._served:
            if wait > 0:
                self._queue.add_later(protocol, wait)
            else:
                self._queue.add(protocol)

    async def register(self, info: m.MapperInfo, *, with_data: bool) -> m.MapperRegisterResponse:
        """A mapper is there; returns what it should know when it asks for that, else it is told by calls."""
        registration = Registration(info.name, info.version, info.api_version, info.protocol, info.address, info.state)
        registration.check()
        if registration.protocol not in self._served and len(self._served) >= MAX_MAPPERS:
            raise MessageError(f"there are {MAX_MAPPERS} mappers on this node already")
        knows = await self._wanted(registration) if with_data else Wanted({}, {}, {})
        async with self._books:
            served = self._served.get(registration.protocol)
            before = served.registration if served is not None else None
            await self._database.write(lambda c: registrations.keep(c, registration, knows.digests(), before))
            self._known = self._database.read_now(registrations.stored)
            self._serve(registration)
        self._queue.add(registration.protocol)
        log.info("mapper %s serves %s at %s", registration.name, registration.protocol, registration.path)
        if before is not None and before.name != registration.name:
            log.warning("… in place of mapper %s at %s", before.name, before.path)
        return m.MapperRegisterResponse(tuple(knows.models.values()), tuple(knows.devices.values()))

    def displaced(self, serving: Registration) -> list[Registration]:
        """Mappers of its protocol in whose place it serves, the last one first."""
        return registrations.displaced(self._known, serving)

    async def reinstate(self, again: Registration, gone: Registration) -> None:
        """The one that served is gone; this one, which it had displaced, is there."""
        async with self._books:
            if self._served[gone.protocol].registration is not gone:
                return  # one has registered just now
            await self._database.write(lambda c: registrations.keep_again(c, again, gone))
            self._known = self._database.read_now(registrations.stored)
            self._serve(again)
        self._queue.add(again.protocol)
        log.warning(
            "nobody listens on %s any more: mapper %s at %s serves %s again",
            gone.path, again.name, again.path, again.protocol,
        )  # fmt: skip

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
        wants, calls = await self._look(served)
        troubles = dict(wants.troubles)
        failed = False
        for one in calls:
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
            if not await self._noted(served, one):
                return  # another serves; its own turn waits
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

    async def _look(self, served: _Served) -> tuple[Wanted, list[Call]]:
        """What its mapper should know, and the calls that are missing for that."""
        loop = asyncio.get_running_loop()
        began, before = loop.time(), self._rested
        self._rested = max(before, began + self._took / _SHARE)
        wants = await self._wanted(served.registration)
        told = self._database.read_now(lambda c: registrations.told(c, served.registration.protocol))
        calls = plan(wants.digests(), told)
        now = loop.time()
        self._took = now - began
        rest = self._took * (1 / _SHARE - 1)
        self._rested = min(max(before, now) + rest, now + _REST_SECONDS)
        return wants, calls

    async def _noted(self, served: _Served, done: Call) -> bool:
        """Store that it was told this; False when meanwhile it no longer serves."""
        protocol = served.registration.protocol
        async with self._books:
            if self._served[protocol] is not served:
                return False
            await self._database.write(functools.partial(registrations.note, protocol=protocol, done=done))
        return True

    def devices_of(self, protocol: str) -> list[str]:
        """The devices that the mapper of a protocol was told of."""
        told = self._database.read_now(lambda connection: registrations.told(connection, protocol))
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


def _readable(objects: list[bytes], kind: type[api.V], said: SaidOnce) -> list[api.V]:
    found: list[api.V] = []
    for obj in objects:
        try:
            found.append(api.read(obj, kind))
        except MessageError as error:
            said.trouble(f"a stored {kind.__name__}", str(error))
    return found
