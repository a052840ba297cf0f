"""Cron schedules: text → the times that it means. Pure.

Five fields (minute, hour, day of month, month, day of week) with `*`, lists, ranges and steps, month and day names,
`@hourly` and its like, and `CRON_TZ=`. When both days are restricted, either may match, as in every cron.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_MONTHS = {name.lower(): number for number, name in enumerate(calendar.month_abbr) if name}
_DAYS = {name.lower(): (number + 1) % 7 for number, name in enumerate(calendar.day_abbr)}
_FIELDS: tuple[tuple[int, int, Mapping[str, int]], ...] = (
    (0, 59, {}),
    (0, 23, {}),
    (1, 31, {}),
    (1, 12, _MONTHS),
    (0, 7, _DAYS),
)
_EVERY = re.compile(r"@every ((?:\d{1,6}[hms])+)")
_PART = re.compile(r"(\*|\?|\w+)(?:-(\w+))?(?:/(\d{1,4}))?")
_HORIZON_DAYS = 366 * 8 + 2
"""29 February may be eight years away."""


class BadSchedule(Exception):
    """The text is no schedule."""

    def __init__(self, message: str, *, is_zone: bool = False) -> None:
        super().__init__(message)
        self.is_zone = is_zone


@dataclass(frozen=True, slots=True)
class Schedule:
    """When something is due."""

    minutes: frozenset[int] = frozenset()
    hours: frozenset[int] = frozenset()
    days: frozenset[int] = frozenset()
    months: frozenset[int] = frozenset()
    weekdays: frozenset[int] = frozenset()
    any_day: bool = True
    any_weekday: bool = True
    zone: ZoneInfo | None = None
    every: int = 0
    """Seconds between two times, instead of all the others."""

    def after(self, moment: float, start: float = 0.0) -> float | None:
        """The first time after `moment`; None when there never is one. `@every` counts from `start`."""
        if self.every:
            return start + (int((moment - start) // self.every) + 1) * self.every
        local = datetime.fromtimestamp(int(moment) // 60 * 60, self.zone or UTC) + timedelta(minutes=1)
        day = local.date()
        for offset in range(_HORIZON_DAYS):
            date = day + timedelta(days=offset)
            if date.month not in self.months or not self._on(date.day, (date.weekday() + 1) % 7):
                continue
            for hour in sorted(self.hours):
                for minute in sorted(self.minutes):
                    found = datetime(date.year, date.month, date.day, hour, minute, tzinfo=self.zone or UTC)
                    # A wall-clock time that summer time leaves out reads differently when it comes back from UTC.
                    exists = found.astimezone(UTC).astimezone(found.tzinfo).hour == hour
                    if found.timestamp() > moment and exists:
                        return found.timestamp()
        return None

    def _on(self, day: int, weekday: int) -> bool:
        if self.any_day or self.any_weekday:
            return day in self.days and weekday in self.weekdays
        return day in self.days or weekday in self.weekdays


def parse(text: str, zone: str = "") -> Schedule:
    """The schedule; `BadSchedule` says what is wrong with it."""
    words = text.strip()
    found = re.match(r"(?:CRON_)?TZ=(\S+)\s+(.*)", words)
    if found:
        zone, words = found.groups()
    every = _EVERY.fullmatch(words)
    if every:
        return Schedule(every=_seconds(every[1]))
    parts = _MACROS.get(words.lower(), words).split()
    if len(parts) != len(_FIELDS):
        raise BadSchedule(f"expected exactly 5 fields, found {len(parts)}: [{text}]")
    minutes, hours, days, months, weekdays = (
        _field(part, low, high, names) for part, (low, high, names) in zip(parts, _FIELDS, strict=True)
    )
    weekdays = frozenset(day % 7 for day in weekdays)
    any_day, any_weekday = (part.startswith(("*", "?")) for part in (parts[2], parts[4]))
    return Schedule(minutes, hours, days, months, weekdays, any_day, any_weekday, _zone(zone))


def _seconds(text: str) -> int:
    units = {"h": 3600, "m": 60, "s": 1}
    total = sum(int(number) * units[unit] for number, unit in re.findall(r"(\d+)([hms])", text))
    if not total:
        raise BadSchedule("@every needs a duration above zero, such as @every 1h30m")
    return total


def _zone(name: str) -> ZoneInfo | None:
    if not name:
        return None
    try:
        if name.lower() == "local":
            raise ValueError
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise BadSchedule(f"unknown time zone {name}", is_zone=True) from error


def _field(text: str, low: int, high: int, names: Mapping[str, int]) -> frozenset[int]:
    values: set[int] = set()
    for part in text.split(","):
        found = _PART.fullmatch(part)
        if not found:
            raise BadSchedule(f"failed to parse {part!r}: it is no number, name, range or step")
        first, last, step = found.groups()
        if first in ("*", "?"):
            start, end = low, 6 if names is _DAYS else high
        else:
            start = _value(first, low, high, names)
            end = _value(last, low, high, names) if last else (high if step else start)
        if end < start or step == "0":
            raise BadSchedule(f"{part!r} begins after its end, or has a step of zero")
        values.update(range(start, end + 1, int(step or 1)))
    return frozenset(values)


def _value(text: str, low: int, high: int, names: Mapping[str, int]) -> int:
    number = names.get(text.lower()[:3], -1) if text.isalpha() else int(text) if text.isdecimal() else -1
    if not low <= number <= high:
        raise BadSchedule(f"{text!r} is not between {low} and {high}")
    return number
