"""Renews the node's certificate in time: at a moment between 70 and 90 % of its life, another one for every node."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable

from octoedge.edge.edgehub.enrolment import Enrolment
from octoedge.edge.edgehub.hub import EdgeHub
from octoedge.edge.edgehub.uplink import Uplink
from octoedge.errors import PkiError, TransportError
from octoedge.runtime.backoff import Backoff

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3600.0
"""The wall clock may jump, so it is looked at again and again."""


class Rotation:
    """A module: waits, renews, lets the hub connect with the new certificate."""

    name = "certificate rotation"
    needs = ("edgehub",)

    def __init__(self, enrolment: Enrolment, hub: EdgeHub, uplink: Uplink, rng: random.Random | None = None) -> None:
        self._enrolment = enrolment
        self._hub = hub
        self._uplink = uplink
        self._rng = rng or random.Random()  # noqa: S311 - spreads a fleet in time, guards nothing

    async def run(self, ready: Callable[[], None]) -> None:
        """Renew until cancelled."""
        ready()
        retry = Backoff(first=2.0, limit=32.0, jitter=0.1, rng=self._rng)
        while True:
            await self._uplink.until_connected()
            try:
                await self._wait_until_due(self._rng.uniform(0.7, 0.9))
                await self._enrolment.renew()
            except (PkiError, TransportError) as error:
                log.warning("the certificate could not be renewed: %s", error)
                await asyncio.sleep(retry.next())
                continue
            retry.reset()
            await self._hub.reconnect()

    async def _wait_until_due(self, share: float) -> None:
        while (seconds := self._enrolment.renewal_due(share)) > 0:  # noqa: ASYNC110 - the wall clock has no event
            await asyncio.sleep(min(seconds, _LOOK_SECONDS))
