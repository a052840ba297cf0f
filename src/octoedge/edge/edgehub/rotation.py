"""Renews the node's certificate in time: at a moment between 70 and 90 % of its life, another one for every node."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import Protocol

from octoedge.edge.ports import Link
from octoedge.errors import PkiError, TransportError
from octoedge.runtime.backoff import Backoff

log = logging.getLogger(__name__)

_LOOK_SECONDS = 3600.0
"""The wall clock may jump, so it is looked at again and again."""


class Renewable(Protocol):
    """Enrolment, as far as it matters here."""

    def renewal_due(self, share: float) -> float:
        """Seconds until that share of the certificate's life is over."""
        ...

    async def renew(self) -> None:
        """Get a new certificate."""
        ...


class Rotation:
    """A module: waits, renews, lets the hub connect with the new certificate."""

    name = "certificate rotation"
    needs = ("edgehub",)

    def __init__(
        self,
        enrolment: Renewable,
        link: Link,
        reconnect: Callable[[], Awaitable[None]],
        rng: random.Random | None = None,
    ) -> None:
        self._enrolment = enrolment
        self._link = link
        self._reconnect = reconnect
        self._rng = rng or random.Random()  # noqa: S311 - spreads a fleet in time, guards nothing

    async def run(self, ready: Callable[[], None]) -> None:
        """Renew until cancelled."""
        ready()
        retry = Backoff(first=2.0, limit=32.0, jitter=0.1, rng=self._rng)
        while True:
            await self._link.until_connected()
            try:
                await self._wait_until_due(self._rng.uniform(0.7, 0.9))
                await self._enrolment.renew()
            except (PkiError, TransportError) as error:
                log.warning("the certificate could not be renewed: %s", error)
                await asyncio.sleep(retry.next())
                continue
            retry.reset()
            await self._reconnect()

    async def _wait_until_due(self, share: float) -> None:
        while (seconds := self._enrolment.renewal_due(share)) > 0:  # noqa: ASYNC110 - the wall clock has no event
            await asyncio.sleep(min(seconds + 1.0, _LOOK_SECONDS))
