"""What a device's answers say: texts of values, what failed, and the twins that EdgeCore gets. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from octoedge.dmi import messages as m
from octoedge.errors import ConfigError, DeviceError, OctoedgeError
from octoedge.mappers.framework import values
from octoedge.mappers.framework.device import Property

MAX_REASON = 200
"""Characters of a reason; EdgeCore takes 256."""


@dataclass(frozen=True, slots=True)
class Round:
    """What a round of readings gave."""

    texts: dict[str, str] = field(default_factory=dict)
    """Property → its value."""
    failed: list[str] = field(default_factory=list)
    """A sentence for each property that gave none."""

    @property
    def trouble(self) -> str:
        """The first of them; what several properties have in common is said once."""
        causes: dict[str, list[str]] = {}
        for sentence in self.failed:
            name, _, why = sentence.partition(": ")
            causes.setdefault(why, []).append(name)
        return "; ".join(f"{_listed(names)}: {why}" for why, names in [*causes.items()][:3])


def understood(
    due: Sequence[Property], found: Mapping[str, Any], writers: Collection[str], written: Mapping[str, str]
) -> Round:
    """What a mapper found, an error in place of a value among it. What can only be written (`writers`) has the value
    that was `written`, and none before."""
    heard = Round()
    for prop in due:
        value = found.get(prop.name)
        if isinstance(value, ConfigError) and not prop.visitor and prop.name in writers:
            if prop.name in written:
                heard.texts[prop.name] = written[prop.name]
            continue
        try:
            heard.texts[prop.name] = text_of(prop, found)
        except OctoedgeError as error:
            heard.failed.append(f"{prop.name}: {error}")
    return heard


def text_of(prop: Property, found: Mapping[str, Any]) -> str:
    """A property's value as it travels. Raises `DeviceError`, `ValueRefused`, or what the mapper gave instead."""
    if prop.name not in found:
        raise DeviceError("the mapper gives no value")
    value = found[prop.name]
    if isinstance(value, OctoedgeError):
        raise value
    if value is None:
        raise DeviceError("the device has no value")
    return values.text(value, prop.type)


def _listed(names: Sequence[str]) -> str:
    rest = len(names) - 3
    return ", ".join(names[:3]) + (f" and {rest} more" if rest > 0 else "")


def twin(prop: Property, said: str, why: str, now: float) -> m.Twin:
    """What EdgeCore is told: the value, when it was read (Unix seconds), and `why` it is not the one that is wished."""
    kind = {"type": prop.said_type} if prop.said_type else {}
    stamp = {"timestamp": str(int(now * 1000))}
    reason = {"reason": why[:MAX_REASON].encode(errors="replace").decode()} if why else {}
    return m.Twin(prop.name, m.TwinProperty(prop.desired, kind), m.TwinProperty(said, {**kind, **stamp, **reason}))
