"""Numbers and switches out of configData, which manifests have as numbers or as texts. Pure.

What makes no sense is a `ConfigError` with the path of the field: `where` is the part before the key, such as
`protocol.configData`.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from octoedge.errors import ConfigError

LONGEST = 60.0
"""Seconds that a driver may wait for its device."""


def number(given: Mapping[str, Any], key: str, default: float, least: float, most: float, where: str) -> float:
    """A number in its range."""
    value = _float(given, key, default)
    if not least <= value <= most:
        raise _wrong(given, key, where, f"number from {least:.16g} to {most:.16g}")
    return value


def whole(given: Mapping[str, Any], key: str, default: int, least: int, most: int, where: str) -> int:
    """A whole number in its range."""
    value = _float(given, key, default)
    if not least <= value <= most or value != int(value):
        raise _wrong(given, key, where, f"whole number from {least} to {most}")
    return int(value)


def seconds(given: Mapping[str, Any], key: str, default: float, where: str) -> float:
    """How long to wait for a device."""
    value = _float(given, key, default)
    if not 0 < value <= LONGEST:
        raise _wrong(given, key, where, f"number of seconds up to {LONGEST:g}")
    return value


def scale(given: Mapping[str, Any], where: str) -> float:
    """What values are multiplied with; 1 when it is not given."""
    value = _float(given, "scale", 1.0)
    if not value or not math.isfinite(value):
        raise _wrong(given, "scale", where, "number other than 0")
    return value


def flag(given: Mapping[str, Any], key: str) -> bool:
    """A switch; off when it is not given."""
    return str(given.get(key, False)).lower() in ("true", "1", "1.0")


def _float(given: Mapping[str, Any], key: str, default: float) -> float:
    """Not a number where it is none."""
    try:
        return float(given.get(key, default))
    except (TypeError, ValueError, OverflowError):
        return math.nan


def _wrong(given: Mapping[str, Any], key: str, where: str, needed: str) -> ConfigError:
    return ConfigError(f"{where}.{key}: {str(given.get(key))[:40]!r} is no {needed}")
