"""The certificate is renewed in time, whatever clock and cloud do, and the hub connects with the new one."""

from __future__ import annotations

import asyncio
import random

from octoedge.edge.edgehub.rotation import Rotation
from octoedge.errors import CertificateError, ConnectError
from octoedge.testing.clock import VirtualClock, run
from octoedge.testing.cloudlink import CloudLink

YEAR = 365 * 86400.0


class Certificate:
    """A certificate of a year; renewing it may fail."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.begins = clock.epoch
        self.renewed: list[float] = []
        self.failures: list[Exception] = []

    def renewal_due(self, share: float) -> float:
        return self.begins + YEAR * share - self.clock.now()

    async def renew(self) -> None:
        if self.failures:
            raise self.failures.pop()
        self.begins = self.clock.now()
        self.renewed.append((self.clock.now() - self.clock.epoch) / YEAR)


def play(seconds: float, *, failures: tuple[Exception, ...] = (), jump: float = 0.0) -> tuple[Certificate, int]:
    async def main() -> tuple[Certificate, int]:
        clock = VirtualClock()
        certificate = Certificate(clock)
        certificate.failures = list(failures)
        reconnects: list[float] = []

        async def reconnect() -> None:
            reconnects.append(clock.now())

        rotation = Rotation(certificate, CloudLink(), reconnect, random.Random(7))
        async with asyncio.TaskGroup() as group:
            task = group.create_task(rotation.run(lambda: None))
            await asyncio.sleep(10)
            clock.shift(jump)
            await asyncio.sleep(seconds)
            task.cancel()
        return certificate, len(reconnects)

    return run(main())


def test_between_seventy_and_ninety_percent_of_its_life() -> None:
    certificate, reconnects = play(2.5 * YEAR)
    assert reconnects == len(certificate.renewed) == 3
    steps = [after - before for before, after in zip([0.0, *certificate.renewed], certificate.renewed, strict=False)]
    assert all(0.7 <= step <= 0.91 for step in steps)


def test_a_cloud_that_fails_is_asked_again() -> None:
    certificate, reconnects = play(0.95 * YEAR, failures=(ConnectError("away"), CertificateError("odd")) * 20)
    assert len(certificate.renewed) == reconnects == 1


def test_a_clock_that_jumps_ahead_is_noticed_within_the_hour() -> None:
    certificate, reconnects = play(3700.0, jump=0.95 * YEAR)
    assert reconnects == 1
    assert certificate.renewed
