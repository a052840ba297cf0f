"""Who has not been heard of for too long. Pure: time is an argument, in seconds.

A device whose `stateReport` says every how many milliseconds its mapper speaks is away when three such cycles pass in
silence; a mapper on whose socket nobody listens takes its devices with it.
"""

from __future__ import annotations

CYCLES = 3
_SHORTEST = 1.0
"""Seconds; a cycle of a few milliseconds is not taken at its word."""


class Hearing:
    """When each device was heard last."""

    def __init__(self) -> None:
        self._patience: dict[str, float] = {}
        self._heard: dict[str, float] = {}

    @property
    def expects(self) -> bool:
        """Whether there is a device to be heard."""
        return bool(self._patience)

    def expect(self, device: str, cycle: int, now: float) -> None:
        """The device is to be heard every `cycle` ms; 0: nothing is expected of it."""
        if cycle <= 0:
            self.forget(device)
            return
        self._patience[device] = max(_SHORTEST, CYCLES * cycle / 1000)
        self._heard.setdefault(device, now)

    def heard(self, device: str, now: float) -> None:
        """Its mapper, or a client, has said something of it."""
        if device in self._patience:
            self._heard[device] = now

    def forget(self, device: str) -> None:
        """It is gone, or nothing is expected any more."""
        self._patience.pop(device, None)
        self._heard.pop(device, None)

    def overdue(self, now: float) -> dict[str, float]:
        """Device → seconds of silence, of those that were silent for too long."""
        silent = {device: now - self._heard[device] for device in self._patience}
        return {device: seconds for device, seconds in silent.items() if seconds > self._patience[device]}
