"""What all sections of a configuration file have in common, and durations as Kubernetes writes them."""

from __future__ import annotations

import re
from typing import Any, ClassVar

import msgspec


class Section(msgspec.Struct, kw_only=True, frozen=True, forbid_unknown_fields=True, rename="camel"):
    """One block of a configuration file; a key that is missing keeps its default."""

    hidden_when_empty: ClassVar[frozenset[str]] = frozenset()
    """Fields that are left out of a printed file while they are empty, as the Go side does."""


class Switch(Section, frozen=True):
    """A module that can only be switched."""

    enable: bool = False
    """Whether the module runs."""


class Duration(float):
    """A span of time in seconds; written `1m0s` in the file, as metav1.Duration is."""

    __slots__ = ()

    def __str__(self) -> str:
        return format_duration(self)


_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "μs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_PART = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h)", re.ASCII)
_LONGEST = 64
"""Characters of a duration's text; Go's longest is under 30."""


def parse_duration(text: str) -> Duration:
    """`1m0s`, `100ms`, `-1.5h`, `0` → seconds; `ValueError` for anything else."""
    rest = text[1:] if text[:1] in ("+", "-") else text
    if rest == "0":
        return Duration(0)
    if len(text) > _LONGEST or not rest or _PART.sub("", rest):
        raise ValueError(f"{text[:_LONGEST]!r} is not a duration such as 1m0s or 100ms")
    seconds = sum(float(number) * _UNITS[unit] for number, unit in _PART.findall(rest))
    return Duration(-seconds if text[0] == "-" else seconds)


def decode_hook(kind: type[Any], value: Any) -> Any:
    """How msgspec decodes what it does not know: durations."""
    if kind is Duration:
        if not isinstance(value, str):
            raise ValueError(f"Expected a duration such as `1m0s`, got `{type(value).__name__}`")
        return parse_duration(value)
    raise NotImplementedError(f"{kind} in a configuration file")


def format_duration(seconds: float) -> str:
    """Seconds as Go prints them: `1m0s`, `100ms`, `0s`."""
    nanos = round(abs(seconds) * 1e9)
    sign = "-" if seconds < 0 and nanos else ""
    if nanos == 0:
        return "0s"
    for unit, size in (("ns", 1), ("µs", 1_000), ("ms", 1_000_000)):
        if nanos < size * 1000:
            return f"{sign}{_number(nanos, size)}{unit}"
    minutes, rest = divmod(nanos, 60_000_000_000)
    hours, minutes = divmod(minutes, 60)
    text = f"{_number(rest, 1_000_000_000)}s"
    if hours or minutes:
        text = f"{minutes}m{text}"
    return f"{sign}{hours}h{text}" if hours else sign + text


def _number(nanos: int, size: int) -> str:
    whole, part = divmod(nanos, size)
    if not part:
        return str(whole)
    digits = len(str(size)) - 1
    return f"{whole}.{part:0{digits}d}".rstrip("0")
