"""All devices of a mapper: EdgeCore tells what there is (DMI), each device gets its `Work`.

    registration's reply ─┐
    RegisterDevice …     ─┴─► tables of devices and models ──► Work started, changed or ended

A device may come before its model: it works without types and ranges until the model is there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from octoedge.dmi import messages as m
from octoedge.errors import MessageError
from octoedge.mappers.framework.device import Device, device
from octoedge.mappers.framework.mapper import Mapper
from octoedge.mappers.framework.ports import Sieve, Teller
from octoedge.mappers.framework.work import Work
from octoedge.runtime.clock import Clock

if TYPE_CHECKING:
    from octoedge.mappers.push.hub import Hub

log = logging.getLogger(__name__)

Key = tuple[str, str]
MAX_DEVICES = 10_000


class Panel:
    """Implements `dmi.services.DeviceMapper`."""

    def __init__(self, mapper: Mapper, clock: Clock) -> None:
        self._mapper = mapper
        self._clock = clock
        self._teller: Teller | None = None
        self._forget: Callable[[Key], None] = lambda _: None
        self._group: asyncio.TaskGroup | None = None
        self._devices: dict[Key, m.Device] = {}
        self.models: dict[Key, m.DeviceModel] = {}
        self.works: dict[Key, Work] = {}
        self._tasks: dict[Key, asyncio.Task[None]] = {}
        self.pushes: Hub | None = None
        """What devices push past EdgeCore; None as long as none did."""
        self._strangers: set[tuple[str, str, str]] = set()
        """(namespace, model, what was said of a key that means nothing)"""

    @property
    def protocol(self) -> str:
        """Of the devices."""
        return self._mapper.protocol

    async def run(self, teller: Teller, forget: Callable[[Key], None]) -> None:
        """Work on what devices there are until cancelled; `forget` is told of those that are gone."""
        self._teller, self._forget = teller, forget
        async with asyncio.TaskGroup() as self._group:
            for key in list(self._devices):
                self._apply(key)
            await asyncio.Event().wait()

    def take(self, reply: m.MapperRegisterResponse) -> None:
        """What EdgeCore has now is all there is."""
        self.models = {_key(model.namespace, model.name): model for model in reply.models}
        given = {_key(one.namespace, one.name): one for one in reply.devices}
        for key in self._devices.keys() - given.keys():
            self._remove(key)
        for key, one in given.items():
            self._put(key, one)

    def swap(self, mapper: Mapper) -> None:
        """Another mapper for the same devices."""
        self._mapper = mapper
        for work in self.works.values():
            work.swap(mapper)

    def get(self, namespace: str, name: str) -> Work | None:
        """A device at work."""
        return self.works.get((namespace, name))

    # ---- DMI -------------------------------------------------------------------------------------------------------

    async def register_device(self, request: m.DeviceRequest) -> m.Named:
        """A device is new."""
        one = request.device
        self._put(_key(one.namespace, one.name), one)
        return m.Named(one.name, one.namespace)

    async def update_device(self, request: m.DeviceRequest) -> m.Empty:
        """A device changed."""
        one = request.device
        self._put(_key(one.namespace, one.name), one)
        return m.Empty()

    async def remove_device(self, request: m.Named) -> m.Empty:
        """A device is gone."""
        self._remove(_key(request.namespace, request.name))
        return m.Empty()

    async def create_device_model(self, request: m.ModelRequest) -> m.Named:
        """A model is new."""
        self._put_model(request.model)
        return m.Named(request.model.name, request.model.namespace)

    async def update_device_model(self, request: m.ModelRequest) -> m.Empty:
        """A model changed."""
        self._put_model(request.model)
        return m.Empty()

    async def remove_device_model(self, request: m.Named) -> m.Empty:
        """A model is gone."""
        self.models.pop(_key(request.namespace, request.name), None)
        return m.Empty()

    async def get_device(self, request: m.Named) -> m.DeviceRequest:
        """A device with its latest values."""
        key = _key(request.namespace, request.name)
        if key not in self._devices:
            raise MessageError(f"there is no device {'/'.join(key)} here")
        told, work = self._devices[key], self.works.get(key)
        twins = tuple(work.latest.values()) if work is not None else ()
        status = m.DeviceStatus(twins, told.status.report_to_cloud, told.status.report_cycle)
        return m.DeviceRequest(m.Device(told.name, told.spec, status, told.namespace))

    # ---- the tables ------------------------------------------------------------------------------------------------

    def _put(self, key: Key, one: m.Device) -> None:
        if not one.name:
            raise MessageError("the device has no name")
        if key not in self._devices and len(self._devices) >= MAX_DEVICES:
            raise MessageError(f"this mapper has {MAX_DEVICES} devices already")
        self._devices[key] = one
        self._apply(key)

    def _put_model(self, model: m.DeviceModel) -> None:
        key = _key(model.namespace, model.name)
        if self.models.get(key) == model:
            return
        self.models[key] = model
        for name, one in self._devices.items():
            if (name[0], one.spec.model) == key:
                self._apply(name)

    def _apply(self, key: Key) -> None:
        if self._group is None or self._teller is None:
            return
        one = self._devices[key]
        described = device(one, self.models.get((key[0], one.spec.model)))
        self._check_units(described)
        self._say_strangers(described)
        work = self.works.get(key)
        if work is None:
            log.info("device %s is here", described.id)
            work = self.works[key] = Work(self._mapper, described, self._teller, self._clock, self._pushing)
            self._tasks[key] = self._group.create_task(work.run(), name=f"device {described.id}")
        elif work.device != described:
            log.info("device %s changed", described.id)
            work.change(described)

    def _remove(self, key: Key) -> None:
        self._devices.pop(key, None)
        task = self._tasks.pop(key, None)
        if task is not None:
            log.info("device %s is gone", "/".join(key))
            task.cancel()
            if self.pushes is not None:
                self.pushes.wants(self.works[key].device.id, ())
            del self.works[key]
            self._forget(key)

    def _pushing(self, described: Device) -> Sieve | None:
        if not any(prop.pushes for prop in described.properties.values()):
            if self.pushes is not None:
                self.pushes.wants(described.id, ())
            return None
        from octoedge.mappers.push.hub import Hub  # most mappers push nothing
        from octoedge.mappers.push.outgoing import Outgoing

        assert self._group is not None
        self.pushes = self.pushes or Hub(self._group)
        return Outgoing(described, self.pushes, asyncio.get_running_loop().time())

    def _check_units(self, described: Device) -> None:
        for name, unit in self._mapper.units.items():
            prop = described.properties.get(name)
            if prop is not None and unit and prop.unit and prop.unit != unit:
                log.warning("%s %s: the mapper reads %s, the model says %s", described.id, name, unit, prop.unit)

    def _say_strangers(self, described: Device) -> None:
        """Keys that mean nothing; once of all devices of a model, which have most of theirs from it."""
        for text in self._mapper.strangers(described):
            key = (described.namespace, described.model, text)
            if key not in self._strangers and len(self._strangers) < MAX_DEVICES:
                self._strangers.add(key)
                log.warning("device %s: %s", described.id, text)


def _key(namespace: str, name: str) -> Key:
    return namespace or "default", name
