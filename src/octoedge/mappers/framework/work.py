"""One device at work: connect, set what is wished, read on the beat, tell EdgeCore; and again when the way breaks.

    connect ─► apply wishes ─► read what is due ─► report ─► wait for the next beat or a change ─┐
       ▲              ▲──────────────────────────────────────────────────────────────────────────┘
       └── back-off ◄── several rounds without an answer

A wish that the device or its model refuses is not tried again until it changes; why goes up with the property's value
(`reason`). A wish that failed on the way is tried again.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Protocol

from octoedge.dmi import messages as m
from octoedge.errors import ConfigError, DeviceError, OctoedgeError, ValueRefused, first_of
from octoedge.mappers.framework import values
from octoedge.mappers.framework.deadlines import guarded, within
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.mapper import Mapper
from octoedge.mappers.framework.schedule import Schedule
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

ROUNDS = 3
"""So many rounds without any answer end a connection."""
DISCONNECT_SECONDS = 5.0
NEWS_SECONDS = 0.05
"""Between readings of what comes by itself."""
MAX_REASON = 200
"""Characters of a reason; EdgeCore takes 256."""


NO_STREAM = "mappers here carry no video; have the camera's address in a property of type STRING"


class State(enum.Enum):
    """Whether a device can be reached; EdgeCore knows these words."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    UNHEALTHY = "unhealthy"
    OFFLINE = "offline"


class Teller(Protocol):
    """Who is told of values and states."""

    def report(self, device: tuple[str, str], twins: list[m.Twin]) -> None:
        """Values of a device."""
        ...

    def state(self, device: tuple[str, str], state: str) -> None:
        """Whether it can be reached."""
        ...


class Sieve(Protocol):
    """Who sends values to other places than EdgeCore (`push.outgoing`)."""

    def sift(self, twins: Sequence[m.Twin], now: float) -> list[m.Twin]:
        """Values that have just been read; the ones that EdgeCore is to hear of come back."""
        ...

    def soon(self, names: Iterable[str], now: float) -> None:
        """EdgeCore is to hear of these at once."""
        ...


Pushing = Callable[[Device], Sieve | None]
"""What a device, as it is described now, needs for its `pushMethod`s; None when it has none."""


class Work:
    """One device; `run` until it is gone, `change` when its description changed."""

    def __init__(
        self, mapper: Mapper, device: Device, teller: Teller, clock: Clock, pushing: Pushing = lambda _: None
    ) -> None:
        self.device = device
        self.state = State.UNKNOWN
        self.trouble = ""
        self.latest: dict[str, m.Twin] = {}
        """What was told last of each property."""
        self.counts: Counter[str] = Counter()
        self._mapper = mapper
        self._teller = teller
        self._clock = clock
        self._pushing = pushing
        self._sieve = pushing(device)
        self._link: Any = None
        self._wake = asyncio.Event()
        self._turn = asyncio.Lock()
        self._schedule: Schedule | None = None
        self._applied: dict[str, str] = {}
        """Property → the wish that the device has been set to since it was connected."""
        self._written: dict[str, str] = {}
        """Property → what it was set to last, by a wish or by a method."""
        self._refused: dict[str, tuple[str, str]] = {}
        """Property → the wish that will not do, and why."""
        self._reconnect = False
        self._news_at = 0.0
        self._said = SaidOnce(log)

    def change(self, device: Device) -> None:
        """Go on with a new description; the connection stays where its settings and its properties' places did."""
        self._reconnect = self._reconnect or _place(device) != _place(self.device)
        for name, prop in device.properties.items():
            before = self.device.properties.get(name)
            if before is not None and not before.described_as(prop):
                # It may lie elsewhere now, or its range may have changed: the wish is looked at anew.
                self._refused.pop(name, None)
                self._applied.pop(name, None)
        for problem in set(device.problems) - set(self.device.problems):
            log.warning("device %s: %s", device.id, problem)
        self.device = device
        self._sieve = self._pushing(device)
        self._schedule = None
        self._wake.set()

    def swap(self, mapper: Mapper) -> None:
        """Go on with another mapper, which its author has just saved."""
        self._mapper = mapper
        self._refused.clear()
        self._reconnect = True
        self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        for problem in self.device.problems:
            log.warning("device %s: %s", self.device.id, problem)
        async with asyncio.TaskGroup() as group:
            group.create_task(self._states(), name=f"state of {self.device.id}")
            group.create_task(self._always(), name=f"work on {self.device.id}")

    async def read_now(self, name: str) -> str:
        """Read a property at once and tell of it. Raises `DeviceError`, `ValueRefused`, `ConfigError`."""
        prop = self._property(name)
        async with self._turn:
            return await self._read_one(prop)

    async def write_now(self, name: str, text: str) -> None:
        """Set a property at once, past its wish. Raises `DeviceError`, `ValueRefused`, `ConfigError`."""
        prop = self._property(name)
        async with self._turn:
            await self._write(prop, text)
        self._soon([name], self._now())
        self._wake.set()

    # ---- the circle ------------------------------------------------------------------------------------------------

    async def _always(self) -> None:
        backoff = Backoff(first=0.5, limit=30.0)
        while True:
            self._reconnect = False
            self._wake.clear()
            try:
                await self._connected(backoff)
            except OctoedgeError as error:
                self._be(State.OFFLINE, str(error))
            except Exception as error:
                # An author's mistake on one device must not end the others.
                log.debug("device %s", self.device.id, exc_info=True)
                self._be(State.OFFLINE, f"{type(error).__name__}: {error}")
            if not self._reconnect:
                await self._pause(backoff.next())

    async def _connected(self, backoff: Backoff) -> None:
        device, mapper = self.device, self._mapper
        link = await within(mapper.connect_seconds, mapper.connect(device), "no connection")
        self._link = link
        self._applied.clear()
        try:
            await self._with_news(link, backoff)
        finally:
            self._link = None
            try:
                away = asyncio.shield(guarded(mapper.disconnect(link)))
                await within(DISCONNECT_SECONDS, away, "disconnecting: no end")
            except (OctoedgeError, TimeoutError) as error:
                log.debug("device %s: disconnecting: %s", device.id, error)

    async def _with_news(self, link: Any, backoff: Backoff) -> None:
        """The rounds; beside them a link that has `listen` says what came by itself, as long as it is connected."""
        listen = getattr(link, "listen", None)
        if listen is None:
            await self._rounds(backoff)
            return
        why: BaseException | None = None
        try:
            async with asyncio.TaskGroup() as group:
                listening = group.create_task(guarded(listen(self._news)), name=f"news of {self.device.id}")
                await self._rounds(backoff)
                listening.cancel()
                # What fails while a group ends leaves its parent cancelled in Python 3.11.
                await asyncio.wait([listening])
        except* OctoedgeError as errors:
            why = first_of(errors)
        if why is not None:
            raise why from None

    def _news(self, names: Sequence[str]) -> None:
        """Values came by themselves: they are read and told at once, a chatty device's a few times a second."""
        if self._schedule is not None:
            now = self._now()
            if self._news_at <= now:
                self._news_at = max(now, self._news_at + NEWS_SECONDS)
            self._soon(names, self._news_at)
            self._wake.set()

    async def _rounds(self, backoff: Backoff) -> None:
        silent = 0
        self._schedule = None
        while not self._reconnect:
            self._wake.clear()
            if self._schedule is None:
                self._say_streams()
            schedule = self._schedule = self._schedule or self._new_schedule()
            async with self._turn:
                again = await self._apply()
                due = [self.device.properties[name] for name in schedule.due(self._now())]
                answered = await self._read(due) if due else None
            if answered is False or (due == [] and again):
                silent += 1
                if silent >= ROUNDS:
                    raise DeviceError(f"no answer {ROUNDS} times: {self.trouble}")
            elif answered or (not due and not again):
                silent = 0
                backoff.reset()
                if not due and self.state is not State.ONLINE:
                    self._be(State.ONLINE, "")
            await self._until(schedule.next(), again=again)

    def _new_schedule(self) -> Schedule:
        beats = {name: prop.beat for name, prop in self.device.properties.items()}
        return Schedule({name: beat for name, beat in beats.items() if beat is not None}, self._now())

    def _soon(self, names: Sequence[str], when: float) -> None:
        if self._schedule is not None:
            self._schedule.soon(names, when)
        if self._sieve is not None:
            self._sieve.soon(names, when)

    async def _until(self, when: float | None, *, again: bool) -> None:
        waits = [when - self._now()] if when is not None else []
        waits += [1.0] if again else []
        await self._pause(max(0.0, min(waits)) if waits else None)

    async def _pause(self, seconds: float | None) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    # ---- wishes ----------------------------------------------------------------------------------------------------

    async def _apply(self) -> bool:
        """Set what is wished and not set yet; whether some of it must be tried again."""
        again = False
        for prop in self.device.properties.values():
            if not prop.desired or self._applied.get(prop.name) == prop.desired or prop.type == "STREAM":
                continue
            if self._refused.get(prop.name, ("", ""))[0] == prop.desired:
                continue
            try:
                await self._write(prop, prop.desired)
            except DeviceError as error:
                self._note(prop, f"not applied: {error}")
                again = True
            except OctoedgeError as error:
                self._refuse(prop, f"not applied: {error}")
            else:
                self._applied[prop.name] = prop.desired
                self._refused.pop(prop.name, None)
                self._said.over(f"{self.device.id} {prop.name}", "applied")
                if prop.beat is None:
                    await self._read_back(prop)
            self._soon([prop.name], self._now())
        return again

    async def _write(self, prop: Property, text: str) -> None:
        if not prop.writable:
            raise ValueRefused(f"the model says that {prop.name} is read-only")
        value = values.parse(text, prop.type)
        values.check(value, prop.minimum, prop.maximum)
        if self._link is None:
            raise DeviceError(f"device {self.device.id} cannot be reached: {self.trouble or 'connecting'}")
        self.counts["writes"] += 1
        writing = guarded(self._mapper.write_one(self._link, prop, value))
        await within(self._mapper.write_seconds, writing, f"writing {prop.name}: no answer")
        self._written[prop.name] = text

    def _say_streams(self) -> None:
        """Properties that are never read are told with the reason, not left empty."""
        for prop in self.device.properties.values():
            if prop.type == "STREAM":
                self._note(prop, self._reason(prop, ""))
                self._tell([self._twin(prop, "")])

    async def _read_back(self, prop: Property) -> None:
        """Look whether a device took a wish that is read on no beat; when it did not, that is told."""
        try:
            said = self._said_as(prop, (await self._all([prop])).get(prop.name))
        except OctoedgeError:
            return
        if why := self._reason(prop, said):
            self._note(prop, why)
            self._tell([self._twin(prop, said)])

    def _refuse(self, prop: Property, why: str) -> None:
        self._refused[prop.name] = (prop.desired, why)
        self._note(prop, why)
        if not prop.reported:
            self._tell([self._twin(prop, self._text_of(prop.name))])

    def _note(self, prop: Property, why: str) -> None:
        self._said.trouble(f"{self.device.id} {prop.name}", why)

    # ---- values ----------------------------------------------------------------------------------------------------

    async def _read(self, due: Sequence[Property]) -> bool:
        """Read and tell; whether the device answered at all."""
        found = await self._all(due)
        twins: list[m.Twin] = []
        failed: list[str] = []
        for prop in due:
            value = found.get(prop.name, DeviceError("the mapper gives no value"))
            try:
                if not self._only_written(prop, value):
                    twins.append(self._twin(prop, self._said_as(prop, value)))
                elif prop.name in self._written:
                    twins.append(self._twin(prop, self._written[prop.name]))
            except OctoedgeError as error:
                failed.append(f"{prop.name}: {error}")
        self.counts["reads"] += len(due)
        self.counts["failed"] += len(failed)
        told = twins if self._sieve is None else self._sieve.sift(twins, self._now())
        if told:
            self._tell(told)
        self._be(State.UNHEALTHY if failed else State.ONLINE, "; ".join(failed[:3]))
        return bool(twins) or not failed

    def _only_written(self, prop: Property, value: Any) -> bool:
        """Whether there is no way to read it, only one to write: then what was written is its value."""
        return isinstance(value, ConfigError) and not prop.visitor and prop.name in self._mapper.writers

    async def _all(self, due: Sequence[Property]) -> dict[str, Any]:
        try:
            reading = guarded(self._mapper.read_all(self._link, due))
            found: dict[str, Any] = await within(self._mapper.read_seconds, reading, "no answer")
        except OctoedgeError as error:
            return dict.fromkeys((prop.name for prop in due), error)
        return found

    async def _read_one(self, prop: Property) -> str:
        if self._link is None:
            raise DeviceError(f"device {self.device.id} cannot be reached: {self.trouble or 'connecting'}")
        value = (await self._all([prop])).get(prop.name, DeviceError("the mapper gives no value"))
        said = self._said_as(prop, value)
        if prop.reported:
            self._tell([self._twin(prop, said)])
        return said

    @staticmethod
    def _said_as(prop: Property, value: Any) -> str:
        if isinstance(value, OctoedgeError):
            raise value
        if value is None:
            raise DeviceError("the device has no value")
        return values.text(value, prop.type)

    def _twin(self, prop: Property, said: str) -> m.Twin:
        kind = {"type": prop.said_type} if prop.said_type else {}
        stamp = {"timestamp": str(int(self._clock.now() * 1000))}
        why = self._reason(prop, said)
        reason = {"reason": why[:MAX_REASON]} if why else {}
        return m.Twin(prop.name, m.TwinProperty(prop.desired, kind), m.TwinProperty(said, {**kind, **stamp, **reason}))

    def _reason(self, prop: Property, said: str) -> str:
        """Why the value is not the one that is wished; empty when it is, or when nothing is wished."""
        if prop.type == "STREAM":
            return f"properties[{prop.name}] is of type STREAM: {NO_STREAM}"
        wish, why = self._refused.get(prop.name, ("", ""))
        if wish and wish == prop.desired:
            return why
        written = self._written.get(prop.name, "")
        if written and not values.same(said, written, prop.type):
            return f"the device was set to {written[:60]} and answers {said[:60]}"
        return ""

    def _text_of(self, name: str) -> str:
        return self.latest[name].reported.value if name in self.latest else ""

    def _tell(self, twins: list[m.Twin]) -> None:
        self.latest.update({twin.property_name: twin for twin in twins})
        self._teller.report((self.device.namespace, self.device.name), twins)

    # ---- the state -------------------------------------------------------------------------------------------------

    def _be(self, state: State, trouble: str) -> None:
        self.trouble = trouble
        if trouble:
            self._said.trouble(self.device.id, f"{state.value}: {trouble}")
        else:
            self._said.over(self.device.id, state.value)
        if state is not self.state:
            self.state = state
            self._tell_state()

    def _tell_state(self) -> None:
        if self.device.state_cycle is not None and self.state is not State.UNKNOWN:
            self._teller.state((self.device.namespace, self.device.name), self.state.value)

    async def _states(self) -> None:
        while True:
            await asyncio.sleep(self.device.state_cycle or 1.0)
            self._tell_state()

    def _property(self, name: str) -> Property:
        prop = self.device.properties.get(name)
        if prop is None:
            raise ConfigError(f"device {self.device.id} has no property {name[:100]!r}")
        return prop

    @staticmethod
    def _now() -> float:
        return asyncio.get_running_loop().time()


def _place(device: Device) -> tuple[Any, ...]:
    """What a driver makes its link of."""
    return dict(device.settings), {name: (prop.type, dict(prop.visitor)) for name, prop in device.properties.items()}
