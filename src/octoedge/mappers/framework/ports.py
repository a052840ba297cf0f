"""What one device at work needs of others: who is told of its values, and who sends them elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from octoedge.dmi import messages as m
from octoedge.mappers.framework.device import Device


class Teller(Protocol):
    """Who is told of values and states."""

    def report(self, device: tuple[str, str], twins: list[m.Twin]) -> None:
        """Values of a device."""
        ...

    def state(self, device: tuple[str, str], state: str, why: str) -> None:
        """Whether it can be reached, and why not."""
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
