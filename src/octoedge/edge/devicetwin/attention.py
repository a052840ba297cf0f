"""Attention: devices of which nobody speaks count as offline, until somebody does.

heard(device) ──► hearing (pure) ──overdue──► desk.silence ──► state Offline, told to clients and the cloud
mappers' sockets, tried now and then ─────────┘ (a mapper that another has displaced takes its devices back)
"""

from __future__ import annotations

import asyncio
import logging
import socket

from octoedge.edge.devicetwin.desk import Desk
from octoedge.edge.devicetwin.hearing import CYCLES, Hearing
from octoedge.edge.devicetwin.mappers import Mappers
from octoedge.edge.devicetwin.registrations import Registration
from octoedge.errors import DeviceUnknown, StoreCorrupt, StoreError
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

_LOOK_SECONDS = 1.0
_TRY_SECONDS = 5.0
"""So often the sockets of mappers are tried; one that is not there twice in a row is gone."""


class Attention:
    """Listens for the devices of one node."""

    def __init__(self, desk: Desk, mappers: Mappers) -> None:
        self._desk = desk
        self._mappers = mappers
        self._hearing = Hearing()
        self._silent = desk.silent()
        self._said = SaidOnce(log)
        self._missed: dict[str, int] = {}
        self._next_try = 0.0
        self._wake = asyncio.Event()

    def expect(self, device: str, cycle: int) -> None:
        """A Device says every how many milliseconds its mapper tells its state; 0: it does not say."""
        self._hearing.expect(device, cycle, _now())
        self._wake.set()

    async def heard(self, device: str) -> None:
        """Somebody spoke of the device: one that was only silent is what it was before."""
        self._hearing.heard(device, _now())
        if device in self._silent:
            await self._back(device)

    async def run(self) -> None:
        """Listen until cancelled; a node where nothing is to be heard costs nothing."""
        while True:
            if not (self._hearing.expects or self._mappers.registrations):
                await self._wake.wait()
                self._wake.clear()
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                await self._look()
            except StoreCorrupt:
                raise
            except StoreError as error:
                self._said.trouble("states of devices", str(error))

    def wake(self) -> None:
        """A mapper has come."""
        self._wake.set()

    async def _look(self) -> None:
        for device, seconds in self._hearing.overdue(_now()).items():
            await self._lost(device, f"nobody has spoken of it for {seconds:.0f} s, {CYCLES} cycles of its stateReport")
        if _now() >= self._next_try:
            self._next_try = _now() + _TRY_SECONDS
            for registration in self._mappers.registrations:
                await self._tried(registration, listens(registration.path))

    async def _tried(self, registration: Registration, there: bool) -> None:
        protocol, path = registration.protocol, registration.path
        missed = 0 if there else self._missed.get(protocol, 0) + 1
        if missed >= 2 and (other := self._other(registration)) is not None:
            await self._mappers.reinstate(other, registration)
            path, there, missed = other.path, True, 0
        was, self._missed[protocol] = self._missed.get(protocol, 0), missed
        if missed == 2:
            log.warning("nobody listens on %s any more: the devices of %s count as offline", path, protocol)
            for device in self._mappers.devices_of(protocol):
                await self._lost(device, f"its mapper is gone: nobody listens on {path}")
        elif there and was >= 2:
            log.info("somebody listens on %s again", path)
            for device in self._mappers.devices_of(protocol):
                await self.heard(device)

    def _other(self, gone: Registration) -> Registration | None:
        """A mapper that it had displaced and that is still there."""
        return next((one for one in self._mappers.displaced(gone) if listens(one.path)), None)

    async def _lost(self, device: str, why: str) -> None:
        if device not in self._silent:
            try:
                if not await self._desk.silence(device, why):
                    return
            except DeviceUnknown:
                return
            self._silent = self._desk.silent()

    async def _back(self, device: str) -> None:
        before = self._desk.silent().get(device)
        if before is not None:
            # Nobody has said a state since; one that never had any is there all the same: it was heard.
            await self._desk.set_state(device, before or "online")
        self._silent.pop(device, None)


def listens(path: str) -> bool:
    """Whether somebody takes connections on the unix socket; it neither waits nor says anything there."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except BlockingIOError:
            return True  # so many wait already
        except OSError:
            return False
    return True


def _now() -> float:
    return asyncio.get_running_loop().time()
