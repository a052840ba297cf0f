"""Makes the server's credentials anew while it runs, before they end.

    Credentials.renew ─► files ─► what shows them from the next handshake on: nobody's connection ends

The wall clock may jump, and a machine may sleep, so it is looked at again and again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable

from octoedge.apiserver.access.credentials import Credentials
from octoedge.errors import OctoedgeError
from octoedge.runtime.clock import Clock

log = logging.getLogger(__name__)

LOOK_SECONDS = 3600.0


class Renewal:
    """A module: looks, renews, and has what stands in the files taken up, whoever put it there."""

    name = "certificates"
    needs: tuple[str, ...] = ("bootstrap",)
    restart = True

    def __init__(
        self,
        credentials: Credentials,
        clock: Clock,
        take_up: Callable[[], Awaitable[None]],
        every: float = LOOK_SECONDS,
    ) -> None:
        """`every`: seconds between two looks."""
        self._credentials = credentials
        self._clock = clock
        self._take_up = take_up
        self._every = every

    async def run(self, ready: Callable[[], None]) -> None:
        """Renew until cancelled."""
        ready()
        while True:
            await asyncio.sleep(self._every)
            try:
                made = self._credentials.renew(self._clock.now())
                await self._take_up()
            except (OSError, ValueError, OctoedgeError) as error:
                log.warning("the certificates could not be looked after, trying again soon: %s", error)
                continue
            if made:
                log.info("made anew, since they would have ended soon: %s", ", ".join(made))
