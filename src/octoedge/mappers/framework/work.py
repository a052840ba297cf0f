"""One device at work: connect, set what is wished, read on the beat, tell EdgeCore; and again when the way breaks.

    connect ─► apply wishes ─► read what is due ─► report ─► wait for the next beat or a change ─┐
       ▲              ▲──────────────────────────────────────────────────────────────────────────┘
       └── back-off ◄── several rounds without an answer

Which wishes are due, and why a value is not the wished one, `wishes` knows; what an answer says, `readings`; when to
read what, `schedule`.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import logging
from collections import Counter
from collections.abc import Sequence
from typing import Any

from octoedge.dmi import messages as m
from octoedge.errors import ConfigError, DeviceError, OctoedgeError, first_of
from octoedge.mappers.framework.deadlines import guarded, within
from octoedge.mappers.framework.device import Device, Property
from octoedge.mappers.framework.mapper import Mapper
from octoedge.mappers.framework.ports import Pushing, Teller
from octoedge.mappers.framework.readings import text_of, twin, understood
from octoedge.mappers.framework.schedule import Schedule
from octoedge.mappers.framework.wishes import Wishes, meant
from octoedge.runtime.backoff import Backoff
from octoedge.runtime.clock import Clock
from octoedge.runtime.logs import SaidOnce

log = logging.getLogger(__name__)

ROUNDS = 3
"""So many rounds without any answer end a connection."""
DISCONNECT_SECONDS = 5.0
NEWS_SECONDS = 0.05
"""Between readings of what comes by itself."""
_TROUBLE = 400
"""Characters of a trouble that are told."""


class State(enum.Enum):
    """Whether a device can be reached; EdgeCore knows these words."""

    UNKNOWN = "unknown"
    ONLINE = "online"
    UNHEALTHY = "unhealthy"
    OFFLINE = "offline"


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
        self._wishes = Wishes()
        self._reconnect = False
        self._news_at = 0.0
        self._said = SaidOnce(log)

    def change(self, device: Device) -> None:
        """Go on with a new description; the connection stays where its settings and its properties' places did."""
        self._reconnect = self._reconnect or _place(device) != _place(self.device)
        self._wishes.changed(self.device, device)
        for problem in set(device.problems) - set(self.device.problems):
            log.warning("device %s: %s", device.id, problem)
        self.device = device
        self._sieve = self._pushing(device)
        self._schedule = None
        self._wake.set()

    def swap(self, mapper: Mapper) -> None:
        """Go on with another mapper, which its author has just saved."""
        self._mapper = mapper
        self._wishes.swapped()
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
        self._wishes.connected()
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
            if not self._wishes.due(prop):
                continue
            try:
                await self._write(prop, prop.desired)
            except DeviceError as error:
                self._note(prop, f"not applied: {error}")
                again = True
            except OctoedgeError as error:
                self._refuse(prop, f"not applied: {error}")
            else:
                self._wishes.apply(prop)
                self._said.over(f"{self.device.id} {prop.name}", "applied")
                if prop.beat is None:
                    await self._read_back(prop)
            self._soon([prop.name], self._now())
        return again

    async def _write(self, prop: Property, text: str) -> None:
        value = meant(prop, text)
        if self._link is None:
            raise DeviceError(f"device {self.device.id} cannot be reached: {self.trouble or 'connecting'}")
        self.counts["writes"] += 1
        writing = guarded(self._mapper.write_one(self._link, prop, value))
        await within(self._mapper.write_seconds, writing, f"writing {prop.name}: no answer")
        self._wishes.write(prop, text)

    def _say_streams(self) -> None:
        """Properties that are never read are told with the reason, not left empty."""
        for prop in self.device.properties.values():
            if prop.type == "STREAM":
                self._note(prop, self._wishes.reason(prop, ""))
                self._tell([self._twin(prop, "")])

    async def _read_back(self, prop: Property) -> None:
        """Look whether a device took a wish that is read on no beat; when it did not, that is told."""
        try:
            said = text_of(prop, await self._all([prop]))
        except OctoedgeError:
            return
        if why := self._wishes.reason(prop, said):
            self._note(prop, why)
            self._tell([self._twin(prop, said)])

    def _refuse(self, prop: Property, why: str) -> None:
        self._wishes.refuse(prop, why)
        self._note(prop, why)
        if not prop.reported:
            self._tell([self._twin(prop, self._last_text(prop.name))])

    def _note(self, prop: Property, why: str) -> None:
        self._said.trouble(f"{self.device.id} {prop.name}", _line(why))

    # ---- values ----------------------------------------------------------------------------------------------------

    async def _read(self, due: Sequence[Property]) -> bool:
        """Read and tell; whether the device answered at all."""
        found = await self._all(due)
        heard = understood(due, found, self._mapper.writers, self._wishes.written)
        twins = [self._twin(prop, heard.texts[prop.name]) for prop in due if prop.name in heard.texts]
        self.counts["reads"] += len(due)
        self.counts["failed"] += len(heard.failed)
        told = twins if self._sieve is None else self._sieve.sift(twins, self._now())
        if told:
            self._tell(told)
        self._be(State.UNHEALTHY if heard.failed else State.ONLINE, heard.trouble)
        return bool(twins) or not heard.failed

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
        said = text_of(prop, await self._all([prop]))
        if prop.reported:
            self._tell([self._twin(prop, said)])
        return said

    def _twin(self, prop: Property, said: str) -> m.Twin:
        return twin(prop, said, self._wishes.reason(prop, said), self._clock.now())

    def _last_text(self, name: str) -> str:
        return self.latest[name].reported.value if name in self.latest else ""

    def _tell(self, twins: list[m.Twin]) -> None:
        self.latest.update({twin.property_name: twin for twin in twins})
        self._teller.report((self.device.namespace, self.device.name), twins)

    # ---- the state -------------------------------------------------------------------------------------------------

    def _be(self, state: State, trouble: str) -> None:
        self.trouble = trouble = _line(trouble)
        if trouble:
            self._said.trouble(self.device.id, f"{state.value}: {trouble}")
        else:
            self._said.over(self.device.id, state.value)
        if state is not self.state:
            self.state = state
            self._tell_state()

    def _tell_state(self) -> None:
        if self.device.state_cycle is not None and self.state is not State.UNKNOWN:
            self._teller.state((self.device.namespace, self.device.name), self.state.value, self.trouble)

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


def _line(text: str) -> str:
    """What is told of a trouble: libraries and authors quote whatever a device sends, at any length."""
    shown = text[:_TROUBLE].replace("\n", " ")
    return "".join(sign if sign.isprintable() else "\ufffd" for sign in shown) + ("…" if len(text) > _TROUBLE else "")


def _place(device: Device) -> tuple[Any, ...]:
    """What a driver makes its link of."""
    return dict(device.settings), {name: (prop.type, dict(prop.visitor)) for name, prop in device.properties.items()}
