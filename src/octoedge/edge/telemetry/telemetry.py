"""Telemetry, the module: opens the outbox when a Device asks for it, or values wait from an earlier life.

What needs memory is imported then, and not before. A damaged outbox is set aside: new values have a new epoch, and the
cloud's audit says what the old one still had.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from octoedge.edge.ports import AgreeingLink
from octoedge.edge.telemetry.settings import Settings
from octoedge.errors import StoreCorrupt, StoreError, first_of
from octoedge.runtime.clock import Clock
from octoedge.store.sqlite import Database, set_aside

if TYPE_CHECKING:
    from octoedge.edge.telemetry.outbox import Outbox
    from octoedge.edge.telemetry.sender import Sender

log = logging.getLogger(__name__)

ALL = "*"
"""Instead of a property's name: every property that the mapper reports."""
_OPEN_SECONDS = 5.0
"""For an outbox that is being opened, while a mapper waits."""
_TRY_SECONDS = 30.0
"""Until an outbox that cannot be opened is tried again."""


Opener = Callable[[Path], Awaitable[Database]]


class Telemetry:
    """Implements `ports.Recorder`."""

    name = "telemetry"
    needs: tuple[str, ...] = ("metamanager",)

    def __init__(self, settings: Settings, link: AgreeingLink, clock: Clock, opener: Opener | None = None) -> None:
        self._settings = settings
        self._link = link
        self._clock = clock
        self._opener = opener
        self._declared: dict[str, frozenset[str]] = {}
        self._wanted = asyncio.Event()
        self._opened = asyncio.Event()
        self._damaged = asyncio.Event()
        self._outbox: Outbox | None = None
        self._sender: Sender | None = None

    def declare(self, device: str, properties: frozenset[str]) -> None:
        """From now on values of these properties of the device are kept; what waits of others is still sent."""
        if properties:
            self._declared[device] = properties
            self._wanted.set()
        else:
            self._declared.pop(device, None)

    def keeps(self, device: str) -> bool:
        """Whether values of this device are kept."""
        return device in self._declared

    async def keep(self, device: str, values: Mapping[str, tuple[str, int]]) -> None:
        """Number these values (text, ms since the epoch or 0) where they are declared; on disk when this returns."""
        names = self._declared.get(device)
        if not names:
            return
        taken = values if ALL in names else {name: value for name, value in values.items() if name in names}
        if not taken:
            return
        try:
            async with asyncio.timeout(_OPEN_SECONDS):
                await self._opened.wait()
        except TimeoutError as error:
            raise StoreError(f"{self._settings.path} is not open yet: no telemetry is taken") from error
        outbox, sender = self._outbox, self._sender
        assert outbox is not None
        assert sender is not None
        try:
            await outbox.keep(device, taken)
        except StoreCorrupt as damage:
            self._damaged.set()
            raise StoreError(str(damage)) from damage
        sender.wake()

    def health(self) -> dict[str, Any] | None:
        """For the status socket; None while nothing asks for telemetry."""
        if self._outbox is None or self._sender is None:
            return None
        return {"state": self._sender.state, **self._outbox.counts()}

    async def run(self, ready: Callable[[], None]) -> None:
        """Keep and send until cancelled."""
        ready()
        if not self._settings.path.exists():
            await self._wanted.wait()
        from octoedge.edge.telemetry.outbox import Outbox
        from octoedge.edge.telemetry.sender import Sender

        while True:
            database = await self._open()
            self._damaged.clear()
            self._outbox = Outbox(database, self._clock, self._settings)
            self._sender = Sender(self._outbox, self._link, self._settings.gather_seconds)
            self._opened.set()
            try:
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._sender.run(), name="telemetry")
                    group.create_task(self._until_damaged(), name="damage of telemetry")
            except* StoreCorrupt as damage:
                log.error("%s", first_of(damage))
            finally:
                self._opened.clear()
                self._outbox = self._sender = None
                database.close()
            self._set_aside()

    async def _until_damaged(self) -> None:
        await self._damaged.wait()
        raise StoreCorrupt(f"{self._settings.path} is damaged")

    def _set_aside(self) -> None:
        aside = set_aside(self._settings.path, self._clock.now())
        log.error("what was in the outbox of telemetry lies at %s; values get numbers of a new epoch", aside)

    async def _open(self) -> Database:
        opener = self._opener or _open
        while True:
            try:
                return await opener(self._settings.path)
            except StoreCorrupt as error:
                log.error("%s", error)
                self._set_aside()
            except StoreError as error:
                log.error("telemetry waits: %s", error)
                await asyncio.sleep(_TRY_SECONDS)


async def _open(path: Path) -> Database:
    from octoedge.edge.telemetry.outbox import opened

    return await asyncio.to_thread(opened, path)
