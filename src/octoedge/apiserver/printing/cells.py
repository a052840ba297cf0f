"""What columns are made of: a cell is a function from an object and the time to what stands in a row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from octoedge.runtime.clock import parse_rfc3339

Json = dict[str, Any]
Cell = Callable[[Json, float], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `priority` 1 is shown with `-o wide` only. `cell` is given the object and the time."""

    name: str
    cell: Cell
    type: str = "string"
    format: str = ""
    priority: int = 0


def age(text: Any, now: float) -> str:
    """`5m12s`, `3d4h`, as kubectl writes a duration since a time."""
    if not isinstance(text, str):
        return "<unknown>"
    try:
        return duration(now - parse_rfc3339(text))
    except ValueError:
        return "<unknown>"


def duration(seconds: float) -> str:
    """Kubernetes' HumanDuration."""
    whole = int(seconds)
    if whole < -1:
        return "<invalid>"
    whole = max(0, whole)
    minutes, hours, days = whole // 60, whole // 3600, whole // 86400
    for limit, text in (
        (whole < 120, f"{whole}s"),
        (minutes < 10, _pair(minutes, "m", whole % 60, "s")),
        (minutes < 180, f"{minutes}m"),
        (hours < 8, _pair(hours, "h", minutes % 60, "m")),
        (hours < 48, f"{hours}h"),
        (hours < 192, _pair(days, "d", hours % 24, "h")),
        (days < 730, f"{days}d"),
        (days < 2920, _pair(days // 365, "y", days % 365, "d")),
    ):
        if limit:
            return text
    return f"{days // 365}y"


def _pair(large: int, unit: str, small: int, small_unit: str) -> str:
    return f"{large}{unit}{small}{small_unit}" if small else f"{large}{unit}"


def dig(obj: Any, path: str) -> Any:
    """The value at a dotted path; None when it is not there."""
    for key in path.split("."):
        obj = obj.get(key) if isinstance(obj, dict) else None
    return obj


def at(path: str, default: Any = "") -> Cell:
    return lambda obj, _: dig(obj, path) if dig(obj, path) is not None else default


def age_of(path: str) -> Cell:
    return lambda obj, now: age(dig(obj, path), now)


def count_of(*paths: str) -> Cell:
    return lambda obj, _: sum(len(dig(obj, path) or ()) for path in paths)


NAME = Column("Name", at("metadata.name"), format="name")
AGE = Column("Age", age_of("metadata.creationTimestamp"))


def pairs(path: str) -> Cell:
    def cell(obj: Json, _: float) -> str:
        return ",".join(f"{key}={value}" for key, value in sorted((dig(obj, path) or {}).items())) or "<none>"

    return cell
