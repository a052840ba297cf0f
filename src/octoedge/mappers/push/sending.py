"""What an outlet gives to the method behind it, and what it hears back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from octoedge.mappers.push.settings import Target


@dataclass(frozen=True, slots=True)
class Sample:
    """A value that is to be pushed to one target."""

    target: Target
    namespace: str
    device: str
    prop: str
    type: str
    """As KubeEdge's mappers say it: int, float, double, string, boolean …; may be empty."""
    value: str
    time: int
    """When it was collected, ms since the Unix epoch."""

    @property
    def stream(self) -> tuple[str, str, str]:
        """Whose values keep their order."""
        return self.namespace, self.device, self.prop


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a batch: all was taken, but for what is named here."""

    left: Sequence[Sample] = ()
    """Worth another try, in their order."""
    why: str = ""
    refused: Sequence[tuple[Sample, str]] = ()
    """Never to be taken, and why."""


class Sender(Protocol):
    """One server; it connects when it has something to send, and keeps the connection."""

    batch: int
    """Most samples in one call."""

    async def send(self, samples: Sequence[Sample]) -> Taken:
        """Hand a batch over, within a deadline of its own. Raises `ValueRefused` when a sample of it will never be
        taken and none was taken, another `OctoedgeError` when nothing was and another try may help."""
        ...

    async def close(self) -> None:
        """Give the connection up; idempotent."""
        ...
