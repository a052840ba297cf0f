"""The way to EdgeCore: registration, and reports that are kept until EdgeCore has them (DMI, mapper side).

    report(device, twins) ──► latest of each property ──► ReportDeviceStatus, one call per device and 1,000 properties

While EdgeCore is away only the latest value of each property is kept, so the memory is bounded by what devices there
are. A new socket under the path means that EdgeCore began anew: then the mapper registers again.

KubeEdge's own EdgeCore takes one call a second of all mappers, after a hundred at once. When one says so, calls go at
that pace, the device that waits longest first, and a state is only told when it is another one.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path

from octoedge.dmi import messages as m
from octoedge.dmi.services import MANAGER, call
from octoedge.errors import DeadlineError, MessageError, TransportError
from octoedge.mappers.framework.pieces import pieces
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.keyed import KeyedQueue
from octoedge.runtime.logs import SaidOnce
from octoedge.runtime.throttle import Throttle
from octoedge.transport.grpc import Channel, GrpcError

log = logging.getLogger(__name__)

CALL_SECONDS = 10.0
LOOK_SECONDS = 5.0
"""How often the socket is looked at: whether it is still the one that the mapper registered at."""
_AT_ONCE = 16
_TOO_MANY = "too many request"
"""What KubeEdge's EdgeCore answers to a call over its limit."""
_PER_SECOND = 0.95
_TRIES = 5
"""So often a report that EdgeCore refuses is sent; then it is dropped, and the next one has its own chance."""

Key = tuple[str, str]
"""(namespace, name) of a device"""
_State = tuple[str, str]
"""Of a device, and why it is so."""
Take = Callable[[m.MapperRegisterResponse], None]


class EdgeCore:
    """What a mapper says to its EdgeCore."""

    def __init__(self, socket: Path, info: m.MapperInfo, take: Take) -> None:
        self._socket = socket
        self._info = info
        self._take = take
        self._channel = Channel(str(socket))
        self._twins: dict[Key, dict[str, m.Twin]] = {}
        self._states: dict[Key, _State] = {}
        self._tries: Counter[Key] = Counter()
        self._told: dict[Key, str] = {}
        """The state that EdgeCore has of a device."""
        self._limit: Throttle | None = None
        """Set once EdgeCore has said that it was called too often."""
        self._queue: KeyedQueue[Key] = KeyedQueue(self._send, workers=_AT_ONCE, name="report of")
        self._said = SaidOnce(log)
        self._lost = asyncio.Event()
        self.registered = False
        self.counts: Counter[str] = Counter()
        """reports, values, refused: for the metrics."""

    def report(self, device: Key, twins: list[m.Twin]) -> None:
        """Tell values of a device; a newer one replaces one that waits."""
        waiting = self._twins.setdefault(device, {})
        waiting.update({twin.property_name: twin for twin in twins})
        self._queue.add(device)

    def state(self, device: Key, state: str, why: str) -> None:
        """Tell whether a device can be reached, and why not."""
        self._states[device] = (state, why)
        self._queue.add(device)

    def forget(self, device: Key) -> None:
        """The device is gone: nobody wants to know any more."""
        self._twins.pop(device, None)
        self._states.pop(device, None)
        self._tries.pop(device, None)
        self._told.pop(device, None)
        self._queue.forget(device)

    async def run(self) -> None:
        """Register and report until cancelled."""
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._queue.run(), name="reports")
                group.create_task(self._register_always(), name="registration")
        finally:
            self._channel.close()

    async def _register_always(self) -> None:
        backoff = Backoff(first=0.5, limit=10.0)
        while True:
            self._lost.clear()
            self._told.clear()
            self._limit = None
            place = _place(self._socket)
            try:
                request = m.MapperRegisterRequest(with_data=True, mapper=self._info)
                reply = await call(self._channel, MANAGER["MapperRegister"], request, CALL_SECONDS)
            except (TransportError, DeadlineError, GrpcError, MessageError) as error:
                self.registered = False
                self._said.trouble("EdgeCore", f"registering at {self._socket}: {error}; trying again")
                await asyncio.sleep(backoff.next())
                continue
            backoff.reset()
            self.registered = True
            self._said.over("EdgeCore", "registered again")
            log.info("registered at %s for %s: %d devices", self._socket, self._info.protocol, len(reply.devices))
            self._take(reply)
            await self._until_lost(place)

    async def _until_lost(self, place: tuple[int, int] | None) -> None:
        while not self._lost.is_set():
            try:
                async with asyncio.timeout(LOOK_SECONDS):
                    await self._lost.wait()
            except TimeoutError:
                if _place(self._socket) != place:
                    self._channel.close()
                    return

    async def _send(self, device: Key) -> None:
        await self._turn()
        twins, state = self._twins.pop(device, {}), self._states.pop(device, None)
        if self._limit is not None and state is not None and state[0] == self._told.get(device):
            state = None
        try:
            if state:
                await self._call("ReportDeviceStates", m.ReportDeviceStatesRequest(device[1], device[0], *state))
                self._told[device], state = state[0], None
                if twins:
                    await self._turn()
            await self._tell(device, twins)
        except (TransportError, DeadlineError) as error:
            self._said.trouble("reports", f"{error}; the latest values are kept")
            self._lost.set()
            self._keep(device, twins, state, LOOK_SECONDS)
        except (GrpcError, MessageError) as error:
            self._refused(device, twins, state, error)
        else:
            self._tries.pop(device, None)
            self._said.over("reports", "EdgeCore takes them again")

    async def _tell(self, device: Key, twins: dict[str, m.Twin]) -> None:
        """Report these; what EdgeCore does not take stays in `twins`. A piece that it refuses holds up no other one."""
        refused: Exception | None = None
        for number, piece in enumerate(list(pieces(twins.values()))):
            if number:
                await self._turn()
            status = m.DeviceStatus(twins=tuple(piece))
            try:
                await self._call("ReportDeviceStatus", m.ReportDeviceStatusRequest(device[1], status, device[0]))
            except (GrpcError, MessageError) as error:
                refused = error
                if _TOO_MANY in str(error):
                    break
                continue
            self.counts["values"] += len(piece)
            for twin in piece:
                del twins[twin.property_name]
        if refused is not None:
            raise refused

    async def _turn(self) -> None:
        """Wait until EdgeCore takes another call."""
        if self._limit is not None:
            await asyncio.sleep(self._limit.take(asyncio.get_running_loop().time()))

    def _refused(self, device: Key, twins: dict[str, m.Twin], state: _State | None, error: Exception) -> None:
        self.counts["refused"] += 1
        if _TOO_MANY in str(error):
            if self._limit is None:
                self._limit = Throttle(_PER_SECOND, 1)
                log.warning("EdgeCore takes no more calls at once; it gets %g a second: %s", _PER_SECOND, error)
            self._keep(device, twins, state, 0.0)
            return
        self._said.trouble(f"reports of {'/'.join(device)}", str(error))
        self._tries[device] += 1
        if self._tries[device] < _TRIES:
            self._keep(device, twins, state, min(2.0 ** self._tries[device], 30.0))
        else:
            self._tries.pop(device, None)

    def _keep(self, device: Key, twins: dict[str, m.Twin], state: _State | None, seconds: float) -> None:
        self._twins[device] = {**twins, **self._twins.get(device, {})}
        if state:
            self._states.setdefault(device, state)
        self._queue.add_later(device, seconds)

    def _call(self, name: str, request: m.ReportDeviceStatusRequest | m.ReportDeviceStatesRequest) -> Awaitable[None]:
        self.counts["reports"] += 1
        return call(self._channel, MANAGER[name], request, CALL_SECONDS)


def _place(socket: Path) -> tuple[int, int] | None:
    try:
        found = socket.stat()
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns
