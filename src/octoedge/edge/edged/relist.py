"""When to look at the runtime: at once after one of its events, seldom while they flow, every second while they do not.

The kubelet relists every second; an event stream makes that a safety net, and an idle node quiet.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from octoedge.edge.edged.cri.interface import UNIMPLEMENTED, ContainerRuntime
from octoedge.edge.edged.observe import Observer
from octoedge.errors import CriError, OctoedgeError
from octoedge.runtime.backoff import Backoff

log = logging.getLogger(__name__)

WITH_EVENTS = 15.0
WITHOUT_EVENTS = 1.0
_SETTLE = 0.01
"""The runtime's lists follow its events by some milliseconds …"""
_LOOK_AGAIN = 0.1
"""… and now and then by more."""


class Relist:
    """Keeps the observer's picture current and wakes pods that changed."""

    def __init__(self, runtime: ContainerRuntime, observer: Observer, wake: Callable[[str], None]) -> None:
        self._runtime = runtime
        self._observer = observer
        self._wake_pod = wake
        self._trigger = asyncio.Event()
        self._streaming = False

    def now(self) -> None:
        """Look at once."""
        self._trigger.set()

    async def run(self) -> None:
        """Look until cancelled."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._listen(), name="runtime events")
            group.create_task(self._relist(), name="relist")

    async def _listen(self) -> None:
        backoff = Backoff(0.5, 30.0)
        while True:
            try:
                self._streaming = True
                async for _ in self._runtime.events():
                    backoff.reset()
                    self._trigger.set()
            except CriError as error:
                if error.code == UNIMPLEMENTED:
                    log.info("the container runtime has no event stream: it is looked at every second")
                    return
                log.debug("the runtime's event stream was refused: %s", error)
            except OctoedgeError as error:
                log.debug("the runtime's event stream ended: %s", error)
            finally:
                self._streaming = False
            self._trigger.set()
            await asyncio.sleep(backoff.next())

    async def _relist(self) -> None:
        while True:
            triggered = await self._wait()
            if triggered:
                await asyncio.sleep(_SETTLE)
            await self._look()
            if triggered:
                await asyncio.sleep(_LOOK_AGAIN)
                await self._look()

    async def _wait(self) -> bool:
        try:
            async with asyncio.timeout(WITH_EVENTS if self._streaming else WITHOUT_EVENTS):
                await self._trigger.wait()
        except TimeoutError:
            return False
        self._trigger.clear()
        return True

    async def _look(self) -> None:
        try:
            changed = await self._observer.look()
        except OctoedgeError as error:
            log.debug("the runtime cannot be looked at: %s", error)
            return
        for uid in changed:
            self._wake_pod(uid)
