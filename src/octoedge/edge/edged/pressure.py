"""When the node is short of something, and of what pods must be taken: thresholds and amounts in, a verdict out. Pure.

    evictionHard, evictionSoft ──thresholds()──► Pressures.look(amounts, now) ──► conditions, what is to be reclaimed

A threshold that was met counts until the amount is over it by its minimum reclaim; a soft one is acted on after its
grace period. A condition lasts for the transition period after it was last true, so that it does not flap.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

import msgspec

from octoedge.api.config.section import parse_duration
from octoedge.api.quantity import whole
from octoedge.errors import ConfigError


class Signal(enum.Enum):
    """What is measured."""

    MEMORY = "memory.available"
    NODE_DISK = "nodefs.available"
    NODE_INODES = "nodefs.inodesFree"
    IMAGE_DISK = "imagefs.available"
    IMAGE_INODES = "imagefs.inodesFree"
    PIDS = "pid.available"


_MEMORY, _DISK, _PIDS = "MemoryPressure", "DiskPressure", "PIDPressure"
CONDITIONS = {
    Signal.MEMORY: _MEMORY,
    Signal.NODE_DISK: _DISK,
    Signal.NODE_INODES: _DISK,
    Signal.IMAGE_DISK: _DISK,
    Signal.IMAGE_INODES: _DISK,
    Signal.PIDS: _PIDS,
}
RESOURCES = {
    Signal.MEMORY: "memory",
    Signal.NODE_DISK: "ephemeral-storage",
    Signal.NODE_INODES: "inodes",
    Signal.IMAGE_DISK: "ephemeral-storage",
    Signal.IMAGE_INODES: "inodes",
    Signal.PIDS: "pids",
}
"""What users call that which a signal is short of."""


class Amount(msgspec.Struct, frozen=True):
    """How much is left, and how much there is in all."""

    available: int
    capacity: int


Amounts = Mapping[Signal, Amount]


class Threshold(msgspec.Struct, frozen=True):
    """Below `limit` pods are evicted: at once (hard), or after `grace` seconds."""

    signal: Signal
    limit: str
    """A quantity, or a share of the capacity in percent."""
    hard: bool = True
    grace: float = 0.0
    reclaim: str = "0"

    def met(self, amounts: Amounts, *, with_reclaim: bool = False) -> bool:
        """Whether too little is left; what cannot be measured is not short."""
        amount = amounts.get(self.signal)
        if amount is None or amount.capacity <= 0:
            return False
        wanted = bytes_of(self.limit, amount.capacity)
        return amount.available < wanted + (bytes_of(self.reclaim, amount.capacity) if with_reclaim else 0)


class EvictionSettings(msgspec.Struct, frozen=True):
    """What the configuration says about eviction."""

    hard: dict[str, str] = {}
    soft: dict[str, str] = {}
    soft_grace: dict[str, str] = {}
    reclaim: dict[str, str] = {}
    max_pod_grace: int = 0
    transition: float = 300.0


class Verdict(msgspec.Struct, frozen=True):
    """How the node is, and which threshold is to be acted on now."""

    conditions: frozenset[str] = frozenset()
    due: Threshold | None = None


class Pressures:
    """Remembers which thresholds were met, and since when; times are monotonic seconds."""

    def __init__(self, thresholds: tuple[Threshold, ...], transition: float) -> None:
        # Memory first: it kills while a disk only fills.
        self._thresholds = sorted(thresholds, key=lambda one: one.signal is not Signal.MEMORY)
        self._transition = transition
        self._since: dict[Threshold, float] = {}
        self._true_at: dict[str, float] = {}

    def look(self, amounts: Amounts, now: float) -> Verdict:
        """The verdict on what was measured now."""
        met = [one for one in self._thresholds if one.met(amounts, with_reclaim=one in self._since)]
        self._since = {one: self._since.get(one, now) for one in met}
        for one in met:
            self._true_at[CONDITIONS[one.signal]] = now
        # One that is met at this moment counts even where conditions are to pass at once.
        self._true_at = {name: at for name, at in self._true_at.items() if at == now or now - at < self._transition}
        due = next((one for one in met if now - self._since[one] >= one.grace), None)
        return Verdict(frozenset(self._true_at), due)


def thresholds(settings: EvictionSettings) -> tuple[Threshold, ...]:
    """The thresholds that are set. Raises `ConfigError` for what is none, by the name of its key."""
    found = []
    for key, table in (("evictionHard", settings.hard), ("evictionSoft", settings.soft)):
        for name, limit in table.items():
            signal = _signal(key, name)
            if _off(key, name, limit):
                continue
            grace = 0.0 if key == "evictionHard" else _grace(settings, name)
            reclaim = settings.reclaim.get(name, "0")
            _off("evictionMinimumReclaim", name, reclaim)
            found.append(Threshold(signal, limit, key == "evictionHard", grace, reclaim))
    for name in settings.reclaim:
        _signal("evictionMinimumReclaim", name)
    return tuple(found)


def bytes_of(text: str, total: int) -> int:
    """A quantity, or a share of `total` in percent."""
    return int(total * float(text[:-1]) / 100) if text.endswith("%") else whole(text)


def _signal(key: str, name: str) -> Signal:
    try:
        return Signal(name)
    except ValueError:
        known = ", ".join(signal.value for signal in Signal)
        raise ConfigError(f"{key}: {name!r} is no eviction signal; there are {known}") from None


def _off(key: str, name: str, limit: str) -> bool:
    """Whether a limit of nothing (or of everything) switches the threshold off."""
    try:
        amount = bytes_of(limit, 10_000)
    except ValueError as error:
        raise ConfigError(f"{key}.{name}: {limit!r} is neither a quantity nor a percentage") from error
    if amount < 0 or (limit.endswith("%") and amount > 10_000):
        raise ConfigError(f"{key}.{name}: {limit!r} must not be negative, nor above 100%")
    return amount == 0 or limit == "100%"


def _grace(settings: EvictionSettings, name: str) -> float:
    text = settings.soft_grace.get(name, "")
    try:
        return float(parse_duration(text))
    except ValueError as error:
        said = f"has no grace period; set evictionSoftGracePeriod.{name} to a duration such as 1m30s"
        raise ConfigError(f"evictionSoft.{name} {said}") from error
